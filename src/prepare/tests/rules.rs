use super::*;
use RejectCode::*;
use std::time::Duration;

fn one(code: RejectCode, pointer: &str) -> (RejectCode, Vec<String>) {
    (code, vec![pointer.to_owned()])
}

#[test]
fn a_good_event_is_stored_as_received() {
    let out = single(GOOD).unwrap();
    assert_eq!(stored(&out), [GOOD.as_bytes()]);
    let entry = &out.entries[0];
    assert_eq!(out.id_json(entry), b"e-1");
    assert_eq!(crate::EVENT_TYPES[usize::from(entry.event_type)], "item_added");
    assert_eq!(entry.content, event::content_hash(GOOD.as_bytes()));
    let fingerprint = key().fingerprint("default", event::Namespace::Events, b"e-1", &mut Vec::new());
    assert_eq!(entry.fingerprint, fingerprint);
    assert_eq!(entry.range(), 0..out.records.len());
}

#[test]
fn every_required_field_is_missed() {
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId", "data"] {
        assert_eq!(rejected(without(field)), one(MissingField, &format!("/{field}")));
    }
}

#[test]
fn every_field_has_its_type() {
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId", "userId"] {
        for value in ["1", "true", "{}", "[\"x\"]"] {
            assert_eq!(rejected(with(&format!("\"{field}\":{value}"))), one(WrongType, &format!("/{field}")));
        }
    }
    for field in ["data", "metadata"] {
        for value in ["1", "\"{}\"", "[]", "false"] {
            assert_eq!(rejected(with(&format!("\"{field}\":{value}"))), one(WrongType, &format!("/{field}")));
        }
    }
}

#[test]
fn null_is_absent_only_where_the_field_is_optional() {
    single(with(r#""userId":null"#)).unwrap();
    single(with(r#""metadata":null"#)).unwrap();
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId", "data"] {
        assert_eq!(rejected(with(&format!("\"{field}\":null"))), one(WrongType, &format!("/{field}")));
    }
}

#[test]
fn ids_have_1_to_128_bytes() {
    for field in ["eventId", "sessionId", "storeId"] {
        for good in [1, 128] {
            single(with(&format!("\"{field}\":\"{}\"", "x".repeat(good)))).unwrap();
        }
        for bad in [0, 129, 5_000] {
            let body = with(&format!("\"{field}\":\"{}\"", "x".repeat(bad)));
            assert_eq!(rejected(body), one(InvalidLength, &format!("/{field}")));
        }
    }
}

#[test]
fn a_user_id_may_be_empty_but_has_at_most_128_bytes() {
    single(with(r#""userId":"""#)).unwrap();
    single(with(&format!("\"userId\":\"{}\"", "x".repeat(128)))).unwrap();
    assert_eq!(rejected(with(&format!("\"userId\":\"{}\"", "x".repeat(129)))), one(InvalidLength, "/userId"));
}

#[test]
fn length_is_counted_in_bytes_after_unescaping() {
    single(with(&format!("\"eventId\":\"{}\"", "é".repeat(64)))).unwrap();
    assert_eq!(rejected(with(&format!("\"eventId\":\"{}\"", "é".repeat(65)))), one(InvalidLength, "/eventId"));
    let longest = "\\u0041".repeat(128);
    let out = single(with(&format!("\"eventId\":\"{longest}\""))).unwrap();
    assert_eq!(out.id_json(&out.entries[0]), longest.as_bytes());
    assert_eq!(rejected(with(&format!("\"eventId\":\"{longest}A\""))), one(InvalidLength, "/eventId"));
}

#[test]
fn an_id_is_the_same_however_it_is_escaped() {
    let plain = single(with(r#""eventId":"Aé/""#)).unwrap();
    let escaped = single(with(r#""eventId":"\u0041\u00e9\/""#)).unwrap();
    assert_eq!(plain.entries[0].fingerprint, escaped.entries[0].fingerprint);
    assert_eq!(escaped.id_json(&escaped.entries[0]), br"\u0041\u00e9\/");
}

#[test]
fn ids_with_quotes_and_backslashes_are_found() {
    for id in [r#"\""#, r"\\", r#"\\\""#, r"a\\", r#"a\"b"#, r"\\\\", r"x\ny", r"\ud83d\ude00"] {
        let out = single(with(&format!("\"eventId\":\"{id}\""))).unwrap();
        assert_eq!(out.id_json(&out.entries[0]), id.as_bytes());
    }
}

#[test]
fn only_built_in_event_types_are_known() {
    for (number, name) in crate::EVENT_TYPES.iter().enumerate() {
        let out = single(with(&format!("\"eventType\":\"{name}\""))).unwrap();
        assert_eq!(usize::from(out.entries[0].event_type), number);
    }
    for name in ["", "Item_added", "item_added ", "cart_viewed"] {
        assert_eq!(rejected(with(&format!("\"eventType\":\"{name}\""))), one(UnknownEventType, "/eventType"));
    }
}

#[test]
fn a_timestamp_is_rfc_3339_since_1970_and_at_most_a_day_ahead() {
    let verdict = |timestamp: &str| single(with(&format!("\"timestamp\":\"{timestamp}\""))).map(|_| ());
    verdict("1970-01-01T00:00:00Z").unwrap();
    verdict("2024-05-02T12:00:00Z").unwrap();
    for (timestamp, code) in [
        ("yesterday", InvalidTimestamp),
        ("", InvalidTimestamp),
        ("2024-05-01", InvalidTimestamp),
        ("1714564800", InvalidTimestamp),
        ("1969-12-31T23:59:59.999999Z", TimestampTooOld),
        ("1970-01-01T00:00:00+00:01", TimestampTooOld),
        ("2024-05-02T12:00:00.000001Z", TimestampInFuture),
        ("9999-12-31T23:59:59Z", TimestampInFuture),
    ] {
        let rejection = verdict(timestamp).unwrap_err();
        assert_eq!((rejection.code, rejection.first().pointer.as_str()), (code, "/timestamp"), "{timestamp}");
    }
}

#[test]
fn the_future_check_can_be_turned_off_and_set() {
    let body = with(r#""timestamp":"9999-12-31T23:59:59Z""#);
    let mut parser = parser();
    assert_eq!(parser.single(body.as_bytes(), NOW, &mut empty()).unwrap_err().code, TimestampInFuture);
    parser.set_limits(Limits { future_max: None, ..Limits::default() });
    parser.single(body.as_bytes(), NOW, &mut empty()).unwrap();
    parser.set_limits(Limits { future_max: Some(Duration::MAX), ..Limits::default() });
    parser.single(body.as_bytes(), NOW, &mut empty()).unwrap();
    parser.set_limits(Limits { future_max: Some(Duration::ZERO), ..Limits::default() });
    parser.single(GOOD.as_bytes(), NOW, &mut empty()).unwrap();
    let now = UnixMicros::new(NOW.get() - 61_000_000);
    assert_eq!(parser.single(GOOD.as_bytes(), now, &mut empty()).unwrap_err().code, TimestampInFuture);
}

#[test]
fn data_metadata_and_unknown_fields_are_nested_at_most_32_levels() {
    for field in ["data", "metadata", "unknown"] {
        single(with(&format!("\"{field}\":{}", nested(32)))).unwrap();
        assert_eq!(rejected(with(&format!("\"{field}\":{}", nested(33)))), one(TooDeep, &format!("/{field}")));
        assert_eq!(rejected(with(&format!("\"{field}\":{}", nested(900)))), one(TooDeep, &format!("/{field}")));
    }
    let arrays = format!("{{\"a\":{}{}}}", "[".repeat(31), "]".repeat(31));
    single(with(&format!("\"data\":{arrays}"))).unwrap();
    let wide = format!("{{\"a\":[{}]}}", vec![nested(30); 100].join(","));
    single(with(&format!("\"data\":{wide}"))).unwrap();
    let wide = format!("{{\"a\":[{},{}]}}", vec![nested(30); 100].join(","), nested(31));
    assert_eq!(rejected(with(&format!("\"data\":{wide}"))), one(TooDeep, "/data"));
}

#[test]
fn a_member_name_is_escaped_in_its_pointer() {
    assert_eq!(rejected(with(&format!("\"a/b~c\":{}", nested(33)))), one(TooDeep, "/a~1b~0c"));
    assert_eq!(rejected(with(&format!("\"{}\":{}", "k".repeat(129), nested(33)))), one(TooDeep, ""));
}

#[test]
fn a_key_of_the_envelope_stands_once() {
    for field in ["eventId", "eventType", "timestamp", "sessionId", "storeId", "userId", "data", "metadata"] {
        let value = if field.ends_with("data") { "{}" } else { "\"item_added\"" };
        let member = format!("\"{field}\":{value}");
        let body = GOOD.replacen('{', &format!("{{{member},{member},{member},"), 1);
        let (code, pointers) = rejected(body);
        assert_eq!((code, pointers[0].as_str()), (DuplicateKey, format!("/{field}").as_str()));
        assert_eq!(
            pointers.iter().filter(|pointer| **pointer == pointers[0]).count(),
            1 + usize::from(field == "timestamp")
        );
    }
    assert_eq!(rejected(GOOD.replacen('{', r#"{"event\u0049d":"e-1","#, 1)).0, DuplicateKey);
    single(GOOD.replacen('{', r#"{"other":1,"other":2,"#, 1)).unwrap();
}

#[test]
fn a_duplicate_with_a_good_value_is_the_only_problem() {
    for member in [r#""storeId":"b""#, r#""data":{"a":1}"#, r#""eventType":"item_added""#] {
        let body = GOOD.replacen('{', &format!("{{{member},"), 1);
        let field = member.split('"').nth(1).unwrap();
        assert_eq!(rejected(body), one(DuplicateKey, &format!("/{field}")));
    }
}

#[test]
fn an_event_has_at_most_256_kib() {
    let empty = with(r#""data":{"a":""}"#);
    let fill = |len: usize| empty.replace("\"a\":\"\"", &format!("\"a\":\"{}\"", "x".repeat(len - empty.len())));
    single(fill(256 * 1024)).unwrap();
    let large = fill(256 * 1024 + 1);
    let rejection = single(&large).unwrap_err();
    assert_eq!((rejection.code, rejection.event_id.as_deref()), (EventTooLarge, Some("e-1")));
    assert_eq!(rejection.first().detail, "must be at most 262144 bytes, has 262145");
    let read = batch(format!("[{GOOD},{large},{GOOD}]"));
    assert_eq!(read.failed(), [(1, EventTooLarge)]);
    assert_eq!(ndjson(format!("{GOOD}\n{large}\n{GOOD}")).failed(), [(1, EventTooLarge)]);
    // Space around an event is not the event.
    single(format!("{}{GOOD}{}", " ".repeat(300_000), " ".repeat(300_000))).unwrap();
}

#[test]
fn all_problems_are_told_in_the_order_of_the_contract() {
    let body = r#"{"metadata":7,"data":[],"userId":1,"storeId":"","sessionId":null,"timestamp":"x","eventType":"y"}"#;
    let rejection = single(body).unwrap_err();
    let told: Vec<_> = rejection.errors.iter().map(|error| error.pointer.as_str()).collect();
    let fields = ["eventId", "eventType", "timestamp", "sessionId", "storeId", "userId", "data", "metadata"];
    assert_eq!(told, fields.map(|field| format!("/{field}")));
    assert_eq!((rejection.code, rejection.event_id), (MissingField, None));
}

#[test]
fn a_rejected_events_id_is_told_where_it_is_one() {
    assert_eq!(single(without("data")).unwrap_err().event_id.as_deref(), Some("e-1"));
    assert_eq!(single(with(r#""eventId":"""#)).unwrap_err().event_id, None);
    assert_eq!(single(with(&format!("\"eventId\":\"{}\"", "x".repeat(129)))).unwrap_err().event_id, None);
}

#[test]
fn details_do_not_repeat_the_clients_data() {
    let secret = "hunter2";
    for field in ["eventType", "timestamp", "data", "userId"] {
        let body = with(&format!("\"{field}\":\"{secret}{}\"", secret.repeat(50)));
        let rejection = single(body).unwrap_err();
        assert!(rejection.errors.iter().all(|error| !error.detail.contains(secret)), "{rejection:?}");
    }
}

#[test]
fn only_so_many_problems_are_told() {
    let deep = (0..100).map(|n| format!("\"k{n}\":{}", nested(40))).collect::<Vec<_>>().join(",");
    assert_eq!(single(format!("{{{deep}}}")).unwrap_err().errors.len(), 32);
}

#[test]
fn limits_can_be_changed() {
    let mut parser = parser();
    parser.set_limits(Limits { id_bytes_max: 2, depth_max: 1, event_bytes_max: 60, ..Limits::default() });
    let rejection = parser.single(with(r#""data":{"a":{}}"#).as_bytes(), NOW, &mut empty()).unwrap_err();
    let codes: Vec<_> = rejection.errors.iter().map(|error| error.pointer.as_str()).collect();
    assert_eq!(codes, ["", "/eventId", "/sessionId", "/storeId", "/data"]);
    assert_eq!(rejection.code, EventTooLarge);
    parser.set_limits(Limits { depth_max: usize::MAX, id_bytes_max: usize::MAX, ..Limits::default() });
    parser.single(with(&format!("\"data\":{}", nested(1_000))).as_bytes(), NOW, &mut empty()).unwrap();
    let body = with(&format!("\"data\":{}", nested(1_001)));
    assert_eq!(parser.single(body.as_bytes(), NOW, &mut empty()).unwrap_err().code, TooDeep);
    let mut out = empty();
    let id = "\\u0041".repeat(8 * 1024);
    parser.single(with(&format!("\"eventId\":\"{id}\"")).as_bytes(), NOW, &mut out).unwrap();
    assert_eq!(out.id_json(&out.entries[0]), id.as_bytes());
    let text = format!(r#"{{"type":"cart_event","eventId":"{id}","payload":{}}}"#, without("eventId"));
    parser.message(text.as_bytes(), NOW, &mut out, &mut Vec::new()).unwrap();
    assert_eq!(out.id_json(&out.entries[1]), id.as_bytes());
}
