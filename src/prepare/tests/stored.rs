use super::*;
use crate::processed::{Envelope, Extractor, Unreadable};
use record::EventView;

fn view<'a>(raw: &'a [u8], event_id: Option<&'a [u8]>, timestamp: Option<&'a [u8]>) -> EventView<'a> {
    let segment = SegmentMeta { tenant: "default", source: 1, received_at: NOW, traceparent: None };
    EventView { seq: Seq::FIRST, committed_at: NOW, segment, event_type: 0, event_id, timestamp, raw }
}

#[test]
fn a_stored_event_is_taken_apart() {
    let raw = br#"{ "metadata" : { "a" : [1, "\u00e9"] } ,"userId":"","eventId":"a\"b","storeId":"\u00e9","x":[{}],
        "sessionId":"s","data" : {"n":1e400 , "d":1,"d":2} ,"eventType":"item_added","timestamp":"2024-05-01T12:00:00.5z" }"#;
    let mut extractor = Extractor::new();
    let envelope = extractor.extract(&view(raw, None, None)).unwrap();
    let expected = Envelope {
        event_id: "a\"b",
        event_type: "item_added",
        timestamp: UnixMicros::new(NOW.get() + 500_000),
        timestamp_text: "2024-05-01T12:00:00.5z",
        user_id: Some(""),
        session_id: "s",
        store_id: "é",
        data: r#"{"n":1e400 , "d":1,"d":2}"#,
        metadata: Some(r#"{ "a" : [1, "\u00e9"] }"#),
    };
    assert_eq!(envelope, expected);
}

#[test]
fn null_is_absent() {
    let raw = with(r#""userId":null"#).replacen('{', r#"{"metadata":null,"#, 1);
    let mut extractor = Extractor::new();
    let envelope = extractor.extract(&view(raw.as_bytes(), None, None)).unwrap();
    assert_eq!((envelope.user_id, envelope.metadata), (None, None));
}

#[test]
fn what_an_envelope_supplied_stands_in() {
    let raw = without("eventId").replace("\"timestamp\":\"2024-05-01T11:59:00Z\"", "\"timestamp\":null");
    let mut extractor = Extractor::new();
    for (id, timestamp) in [
        (&b"e-9"[..], &b"2024-05-01T10:00:00Z"[..]),
        (br"\u0065-9", b"2024-05-01T10:00:00Z"),
        (b"e-9", br"2024-05-01T10:00:00\u005a"),
        (br"e\u002d9", br"\u00322024-05-01T10:00:00Z".strip_prefix(br"\u0032").unwrap()),
    ] {
        let view = view(raw.as_bytes(), Some(id), Some(timestamp));
        let envelope = extractor.extract(&view).unwrap();
        assert_eq!((envelope.event_id, envelope.timestamp_text), ("e-9", "2024-05-01T10:00:00Z"));
    }
}

#[test]
fn damage_is_an_error_and_no_panic() {
    let mut extractor = Extractor::new();
    for (raw, id, error) in [
        (&b""[..], None, Unreadable::NotJson("is empty")),
        (b"\xff", None, Unreadable::NotJson("is not UTF-8")),
        (b"[]", None, Unreadable::NotAnObject),
        (b"{}", None, Unreadable::Field("timestamp")),
        (without("data").as_bytes(), None, Unreadable::Field("data")),
        (with("\"eventId\":7").as_bytes(), None, Unreadable::Field("eventId")),
        (with("\"timestamp\":\"x\"").as_bytes(), None, Unreadable::Field("timestamp")),
        (GOOD.as_bytes(), Some(&b"\xff"[..]), Unreadable::Field("eventId")),
        (GOOD.as_bytes(), Some(br"\"), Unreadable::Field("eventId")),
        (GOOD.as_bytes(), Some(br#"\n","#), Unreadable::Field("eventId")),
        (GOOD.as_bytes(), Some(br#"\n",[1"#), Unreadable::Field("eventId")),
    ] {
        assert_eq!(extractor.extract(&view(raw, id, None)).unwrap_err(), error);
    }
    extractor.extract(&view(GOOD.as_bytes(), None, None)).unwrap();
}
