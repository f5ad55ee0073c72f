use super::*;
use crate::{Channel, Subscription};
use RejectCode::*;

fn cart(payload: &str, more: &str) -> String {
    format!(r#"{{"type":"cart_event","payload":{payload}{more}}}"#)
}

#[track_caller]
fn refused(text: impl AsRef<[u8]>) -> (RejectCode, String) {
    let rejection = message(text).unwrap_err();
    assert_eq!(rejection.errors.len(), 1);
    (rejection.code, rejection.errors[0].pointer.clone())
}

/// What the log holds of the one event: id, timestamp, bytes.
fn lent(out: &Batch) -> (Option<String>, Option<String>, String) {
    let mut found = None;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    visit(out, |event| found = Some((event.event_id.map(text), event.timestamp.map(text), text(event.raw))));
    found.unwrap()
}

#[test]
fn an_event_is_stored_as_it_stands_in_the_payload() {
    for text in [
        cart(GOOD, ""),
        format!(r#" {{ "payload" : {GOOD} , "type" : "cart_event" }} "#),
        format!(r#"{{"pay\u006coad":{GOOD},"x":[{{}}],"type":"cart\u005fevent"}}"#),
        cart(GOOD, r#","eventId":null,"timestamp":null"#),
    ] {
        let (message, out, failures) = message(&text).unwrap();
        assert_eq!(message, Message::Events { total: 1, array: false });
        assert_eq!((lent(&out), failures.len()), ((None, None, GOOD.to_owned()), 0));
    }
}

#[test]
fn an_array_gives_one_outcome_per_element() {
    let text = cart(&format!("[{GOOD},5,{},{GOOD}]", without("data")), "");
    let (message, out, failures) = message(&text).unwrap();
    assert_eq!(message, Message::Events { total: 4, array: true });
    assert_eq!(stored(&out), [GOOD.as_bytes(), GOOD.as_bytes()]);
    let failed: Vec<_> = failures.iter().map(|failure| (failure.index, failure.rejection.code)).collect();
    assert_eq!(failed, [(1, NotAnObject), (2, MissingField)]);
    assert_eq!(&text[failures[0].raw.clone()], "5");
    assert_eq!(failures[1].rejection.first().pointer, "/data");
}

#[test]
fn the_envelope_fills_in_what_the_event_lacks() {
    let bare = without("eventId").replace(r#""timestamp":"2024-05-01T11:59:00Z","#, "");
    let null = bare.replacen('{', r#"{"eventId":null,"timestamp":null,"#, 1);
    for payload in [&bare, &null] {
        let text = cart(payload, r#","eventId":"e\u002d9","timestamp":"2024-05-01T10:00:00\u005a""#);
        let (_, out, failures) = message(text).unwrap();
        assert_eq!(failures, []);
        let expected = (Some(r"e\u002d9".to_owned()), Some(r"2024-05-01T10:00:00\u005a".to_owned()), payload.clone());
        assert_eq!(lent(&out), expected);
        assert_eq!(out.id_json(&out.entries[0]), br"e\u002d9");
        let fingerprint = key().fingerprint("default", event::Namespace::Events, b"e-9", &mut Vec::new());
        assert_eq!(out.entries[0].fingerprint, fingerprint);
        assert_eq!(out.entries[0].content, event::content_hash(payload.as_bytes()));
    }
}

#[test]
fn an_events_own_timestamp_and_equal_id_stay() {
    let (_, out, _) = message(cart(GOOD, r#","eventId":"\u0065-1","timestamp":"not looked at""#)).unwrap();
    assert_eq!(lent(&out), (None, None, GOOD.to_owned()));
    assert_eq!(out.id_json(&out.entries[0]), b"e-1");
}

#[test]
fn an_array_of_one_takes_the_envelopes_id() {
    let (_, out, _) = message(cart(&format!("[{}]", without("eventId")), r#","eventId":"e-9""#)).unwrap();
    assert_eq!(out.id_json(&out.entries[0]), b"e-9");
}

#[test]
fn an_array_takes_the_envelopes_timestamp_for_each() {
    let text = cart(&format!("[{0},{GOOD},{0}]", without("timestamp")), r#","timestamp":"2024-05-01T10:00:00Z""#);
    let (_, out, failures) = message(text).unwrap();
    assert_eq!(failures, []);
    let mut timestamps = Vec::new();
    visit(&out, |event| timestamps.push(event.timestamp.is_some()));
    assert_eq!(timestamps, [true, false, true]);
}

#[test]
fn one_id_cannot_name_several_events() {
    let text = cart(&format!("[{0},{0}]", without("eventId")), r#","eventId":"e-9""#);
    let rejection = message(text).unwrap_err();
    assert_eq!((rejection.code, rejection.first().pointer.as_str()), (IdMismatch, "/eventId"));
    assert_eq!(rejection.event_id.as_deref(), Some("e-9"));
}

#[test]
fn two_different_ids_are_a_mismatch() {
    let (_, out, failures) = message(cart(GOOD, r#","eventId":"e-2""#)).unwrap();
    assert_eq!((out.entries.len(), failures[0].rejection.code), (0, IdMismatch));
    assert_eq!(failures[0].rejection.event_id.as_deref(), Some("e-1"));
    assert_eq!(failures[0].rejection.first().pointer, "/eventId");
}

#[test]
fn what_the_envelope_supplies_is_checked_like_the_events_own() {
    let (no_id, no_timestamp) = (without("eventId"), without("timestamp"));
    let long = format!(r#","eventId":"{}""#, "x".repeat(129));
    for (payload, more, code, pointer) in [
        (&no_id, r#","eventId":"""#, InvalidLength, "/eventId"),
        (&no_id, long.as_str(), InvalidLength, "/eventId"),
        (&no_id, r#","eventId":null"#, MissingField, "/eventId"),
        (&no_timestamp, r#","timestamp":"now""#, InvalidTimestamp, "/timestamp"),
        (&no_timestamp, r#","timestamp":"1969-01-01T00:00:00Z""#, TimestampTooOld, "/timestamp"),
        (&no_timestamp, r#","timestamp":"2999-01-01T00:00:00Z""#, TimestampInFuture, "/timestamp"),
        (&no_timestamp, "", MissingField, "/timestamp"),
    ] {
        let (_, out, failures) = message(cart(payload, more)).unwrap();
        let rejection = &failures[0].rejection;
        assert_eq!((out.entries.len(), rejection.code, rejection.first().pointer.as_str()), (0, code, pointer));
    }
    for (more, pointer) in [(r#","eventId":7"#, "/eventId"), (r#","timestamp":7"#, "/timestamp")] {
        assert_eq!(refused(cart(GOOD, more)), (WrongType, pointer.to_owned()));
    }
}

#[test]
fn half_a_surrogate_pair_is_no_id() {
    assert_eq!(refused(cart(&without("eventId"), r#","eventId":"\ud800""#)), (InvalidJson, "/eventId".to_owned()));
    let (_, _, failures) = message(cart(&with(r#""eventId":"\ud800""#), "")).unwrap();
    assert_eq!(failures[0].rejection.code, InvalidJson);
}

#[test]
fn a_message_that_cannot_be_taken_is_told_with_its_place() {
    let many = format!("[{}1]", "1,".repeat(1_000));
    for (text, code, pointer) in [
        ("", InvalidJson, ""),
        ("hello", InvalidJson, ""),
        ("[]", NotAnObject, ""),
        ("{}", MissingField, "/type"),
        (r#"{"type":7}"#, WrongType, "/type"),
        (r#"{"type":"CART_EVENT"}"#, UnknownMessageType, "/type"),
        (r#"{"type":"heartbeat","type":"heartbeat"}"#, DuplicateKey, "/type"),
        (r#"{"type":"cart_event"}"#, MissingField, "/payload"),
        (r#"{"type":"cart_event","payload":null}"#, WrongType, "/payload"),
        (r#"{"type":"cart_event","payload":"x"}"#, WrongType, "/payload"),
        (r#"{"type":"cart_event","payload":[]}"#, InvalidLength, "/payload"),
        (r#"{"type":"cart_event","payload":{},"payload":{}}"#, DuplicateKey, "/payload"),
        (&cart(&many, ""), BatchTooLarge, "/payload"),
    ] {
        assert_eq!(refused(text), (code, pointer.to_owned()), "{text:.60}");
    }
    assert_eq!(message(cart(&many, "")).unwrap_err().first().detail, "Batch size 1001 exceeds limit 1000");
    let rejection = message(r#"{"type":"cart_event","eventId":"e-1"}"#).unwrap_err();
    assert_eq!(rejection.event_id.as_deref(), Some("e-1"));
}

#[test]
fn a_heartbeat_needs_nothing_else() {
    for text in [r#"{"type":"heartbeat"}"#, r#"{"type":"heartbeat","payload":{"a":[1]},"timestamp":"x"}"#] {
        assert_eq!(message(text).unwrap().0, Message::Heartbeat);
    }
}

#[test]
fn a_subscription_is_for_confirmations_unless_it_says_otherwise() {
    for payload in ["", r#","payload":null"#, r#","payload":{}"#, r#","payload":{"channel":null,"fromSeq":null}"#] {
        let text = format!(r#"{{"type":"subscribe"{payload}}}"#);
        assert_eq!(message(text).unwrap().0, Message::Subscribe(Subscription::default()));
    }
    assert_eq!(Subscription::default().channel, Channel::Confirmations);
    let text = r#"{"type":"subscribe","payload":{"channel":"live","storeId":"a\u0062","eventType":"item_added","fromSeq":0,"x":[]}}"#;
    let wanted = Subscription {
        channel: Channel::Live,
        store_id: Some("ab".to_owned()),
        event_type: Some("item_added".to_owned()),
        from_seq: Some(0),
    };
    assert_eq!(message(text).unwrap().0, Message::Subscribe(wanted));
}

#[test]
fn unsubscribing_names_a_channel_or_all() {
    for (payload, channel) in [
        ("", None),
        (r#","payload":{}"#, None),
        (r#","payload":{"channel":null}"#, None),
        (r#","payload":{"channel":"live"}"#, Some(Channel::Live)),
        (r#","payload":{"channel":"confirmations"}"#, Some(Channel::Confirmations)),
    ] {
        let text = format!(r#"{{"type":"unsubscribe"{payload}}}"#);
        assert_eq!(message(text).unwrap().0, Message::Unsubscribe { channel });
    }
}

#[test]
fn a_subscription_that_makes_no_sense_is_told_with_its_place() {
    let long = format!(r#"{{"storeId":"{}"}}"#, "x".repeat(1_025));
    for (payload, code, pointer) in [
        ("[]", WrongType, "/payload"),
        (r#"{"channel":"LIVE"}"#, InvalidValue, "/payload/channel"),
        (r#"{"channel":1}"#, WrongType, "/payload/channel"),
        (r#"{"channel":"live","channel":"live"}"#, DuplicateKey, "/payload/channel"),
    ] {
        for kind in ["subscribe", "unsubscribe"] {
            let text = format!(r#"{{"type":"{kind}","payload":{payload}}}"#);
            assert_eq!(refused(text), (code, pointer.to_owned()));
        }
    }
    for (payload, code, pointer) in [
        (r#"{"storeId":1}"#, WrongType, "/payload/storeId"),
        (r#"{"storeId":""}"#, InvalidLength, "/payload/storeId"),
        (&long, InvalidLength, "/payload/storeId"),
        (r#"{"eventType":[]}"#, WrongType, "/payload/eventType"),
        (r#"{"fromSeq":-1}"#, WrongType, "/payload/fromSeq"),
        (r#"{"fromSeq":1.5}"#, WrongType, "/payload/fromSeq"),
        (r#"{"fromSeq":"1"}"#, WrongType, "/payload/fromSeq"),
        (r#"{"fromSeq":1,"fromSeq":1}"#, DuplicateKey, "/payload/fromSeq"),
    ] {
        let text = format!(r#"{{"type":"subscribe","payload":{payload}}}"#);
        assert_eq!(refused(text), (code, pointer.to_owned()));
    }
}
