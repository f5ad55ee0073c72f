use super::*;
use RejectCode::*;

fn options(max_size: Option<u64>, fail_on_error: Option<bool>) -> BatchOptions {
    BatchOptions { max_size, fail_on_error }
}

fn array(events: &[&str]) -> String {
    format!("[{}]", events.join(","))
}

fn error(body: impl AsRef<[u8]>) -> BatchError {
    try_batch(body, BatchOptions::default()).unwrap_err()
}

#[test]
fn good_events_are_stored_and_bad_ones_told_in_order() {
    let bad = without("storeId");
    let other = with(r#""eventId":"e-2""#);
    let body = array(&[GOOD, &bad, "7", &other, "{}", "[]", "null", "\"a,b]\"", GOOD]);
    let read = batch(&body);
    assert_eq!(read.summary, BatchSummary { total: 9, fail_on_error: false });
    assert_eq!(stored(&read.out), [GOOD.as_bytes(), other.as_bytes(), GOOD.as_bytes()]);
    let expected = [MissingField, NotAnObject, MissingField, NotAnObject, NotAnObject, NotAnObject];
    assert_eq!(read.failed(), [1, 2, 4, 5, 6, 7].into_iter().zip(expected).collect::<Vec<_>>());
    let raws: Vec<_> = read.failures.iter().map(|failure| &body[failure.raw.clone()]).collect();
    assert_eq!(raws, [bad.as_str(), "7", "{}", "[]", "null", "\"a,b]\""]);
    assert_eq!(read.failures[0].rejection.event_id.as_deref(), Some("e-1"));
}

#[test]
fn the_three_forms_hold_the_same() {
    let events = [GOOD, GOOD, &without("data")];
    let bare = batch(array(&events));
    let wrapped = batch(format!("{{\"events\":{}}}", array(&events)));
    let lines = ndjson(events.join("\n"));
    for other in [&wrapped, &lines] {
        assert_eq!(other.summary, bare.summary);
        assert_eq!(other.out.entries, bare.out.entries);
        assert_eq!(other.out.records, bare.out.records);
        assert_eq!(other.failed(), bare.failed());
    }
}

#[test]
fn the_wrapper_takes_its_members_in_any_order_and_keeps_none() {
    for body in [
        format!(r#"{{"events":[{GOOD}],"options":{{"failOnError":true}},"other":[1,{{"a":[]}}]}}"#),
        format!(r#" {{ "options" : {{ "failOnError" : true }} , "events" : [ {GOOD} ] }} "#),
        format!(r#"{{"other":{{"events":[]}},"\u0065vents":[{GOOD} ],"options":{{"failOnError":true,"x":1}}}}"#),
        format!("{{\"options\":{{\"failOnError\":true}},\"events\"\r\n:\t[\n{GOOD}\n]\n}}\n"),
    ] {
        let read = batch(&body);
        assert_eq!(read.summary, BatchSummary { total: 1, fail_on_error: true });
        assert_eq!(stored(&read.out), [GOOD.as_bytes()], "{body}");
    }
}

#[test]
fn a_batch_of_none_is_a_batch() {
    for body in ["[]", " [ ] ", r#"{"events":[]}"#, r#"{"options":{},"events" : [ ]}"#] {
        let read = batch(body);
        assert_eq!((read.summary.total, read.failures.len(), read.out.entries.len()), (0, 0, 0));
    }
    for body in ["", "\n", "\r\n\r\n  \n\t"] {
        assert_eq!(ndjson(body).summary.total, 0);
    }
}

#[test]
fn one_event_more_than_allowed_fails_the_batch() {
    for (events, query, limit) in [
        (1_001, options(None, None), 1_000),
        (1_001, options(Some(5_000), None), 1_000),
        (11, options(Some(10), None), 10),
        (1, options(Some(0), None), 0),
    ] {
        let list = vec![GOOD; events];
        let expected = format!("Batch size {events} exceeds limit {limit}");
        assert_eq!(try_batch(array(&list), query).unwrap_err().to_string(), expected);
        let (mut out, mut failures) = (empty(), Vec::new());
        let lines = list.join("\n\n");
        let error = parser().ndjson(lines.as_bytes(), query, NOW, &mut out, &mut failures).unwrap_err();
        assert_eq!((error.to_string(), out.entries.len()), (expected, 0));
        let fits = array(&list[1..]);
        assert_eq!(try_batch(fits, query).unwrap().summary.total as usize, events - 1);
    }
}

#[test]
fn bad_events_count_towards_the_limit() {
    let error = try_batch("[1,2,3]", options(Some(2), None)).unwrap_err();
    assert_eq!(error, BatchError::TooMany { events: 3, limit: 2 });
    let error = parser().ndjson(b"x\ny\nz", options(Some(2), None), NOW, &mut empty(), &mut Vec::new()).unwrap_err();
    assert_eq!(error, BatchError::TooMany { events: 3, limit: 2 });
    assert_eq!(error.code(), None);
}

#[test]
fn options_in_the_body_lower_and_override() {
    let body = |given: &str| format!(r#"{{"events":[{GOOD},{GOOD}],"options":{given}}}"#);
    let read = |given: &str, query| try_batch(body(given), query);
    assert!(read(r#"{"maxSize":2}"#, options(None, None)).is_ok());
    assert!(read(r#"{"maxSize":1}"#, options(None, None)).is_err());
    assert!(read(r#"{"maxSize":1}"#, options(Some(2), None)).is_err());
    assert!(read(r#"{"maxSize":2}"#, options(Some(1), None)).is_err());
    assert!(read(r#"{"maxSize":18446744073709551615}"#, options(None, None)).is_ok());
    for (given, query, expected) in [
        ("{}", None, false),
        ("{}", Some(true), true),
        ("null", Some(true), true),
        (r#"{"failOnError":null,"maxSize":null}"#, Some(true), true),
        (r#"{"failOnError":false}"#, Some(true), false),
        (r#"{"failOnError":true}"#, Some(false), true),
    ] {
        assert_eq!(read(given, options(None, query)).unwrap().summary.fail_on_error, expected, "{given}");
    }
}

#[test]
fn options_have_their_types() {
    for (given, pointer) in [
        ("[]", "/options"),
        ("1", "/options"),
        ("\"\"", "/options"),
        (r#"{"maxSize":0}"#, "/options/maxSize"),
        (r#"{"maxSize":-1}"#, "/options/maxSize"),
        (r#"{"maxSize":1.0}"#, "/options/maxSize"),
        (r#"{"maxSize":"5"}"#, "/options/maxSize"),
        (r#"{"maxSize":1e400}"#, "/options/maxSize"),
        (r#"{"maxSize":5,"maxSize":5}"#, "/options/maxSize"),
        (r#"{"failOnError":1}"#, "/options/failOnError"),
        (r#"{"failOnError":"true"}"#, "/options/failOnError"),
        (r#"{"failOnError":true,"failOnError":true}"#, "/options/failOnError"),
    ] {
        let error = error(format!(r#"{{"events":[{GOOD}],"options":{given}}}"#));
        assert!(matches!(error, BatchError::InvalidOption { .. }), "{given}: {error}");
        assert_eq!(error.pointer(), pointer);
    }
}

#[test]
fn what_is_no_batch_is_told() {
    for (body, code, text) in [
        ("{}", MissingField, "/events is required"),
        (GOOD, MissingField, "/events is required"),
        (r#"{"events":{}}"#, WrongType, "/events must be an array of events"),
        (r#"{"events":null}"#, WrongType, "/events must be an array of events"),
        (r#"{"events":[],"events":[]}"#, DuplicateKey, "/events stands more than once"),
        (r#"{"events":[],"options":{},"options":{}}"#, DuplicateKey, "/options stands more than once"),
        ("7", WrongType, "body must be an object with events, or an array of events"),
        ("null", WrongType, "body must be an object with events, or an array of events"),
        ("", InvalidJson, "body is empty"),
        ("[1,]", InvalidJson, "body is not JSON, near byte 3"),
        ("[1]]", InvalidJson, "body is not JSON, near byte 2"),
        ("\"\u{1}\"", InvalidJson, "body is not JSON"),
    ] {
        let error = error(body);
        assert_eq!((error.code(), error.to_string().as_str()), (Some(code), text), "{body}");
    }
}

#[test]
fn a_batch_is_appended_to_what_is_there() {
    let (mut out, mut failures) = (empty(), Vec::new());
    let mut parser = parser();
    parser.single(GOOD.as_bytes(), NOW, &mut out).unwrap();
    parser.batch(array(&[GOOD, "1"]).as_bytes(), options(None, None), NOW, &mut out, &mut failures).unwrap();
    let (records, entries) = (out.records.clone(), out.entries.clone());
    for bad in ["[", "{}", &format!("[{}1]", "1,".repeat(1_000)), &format!("[{GOOD},{GOOD}")] {
        parser.batch(bad.as_bytes(), options(None, None), NOW, &mut out, &mut failures).unwrap_err();
        assert_eq!((&out.records, &out.entries, failures.len()), (&records, &entries, 1));
    }
    parser.single(b"{}", NOW, &mut out).unwrap_err();
    parser.ndjson(GOOD.as_bytes(), options(None, None), NOW, &mut out, &mut failures).unwrap();
    assert_eq!(stored(&out), [GOOD.as_bytes(); 3]);
    for (before, after) in out.entries.iter().zip(&out.entries[1..]) {
        assert_eq!(before.end, after.start);
    }
    assert!(out.entries.iter().all(|entry| out.id_json(entry) == b"e-1"));
}

#[test]
fn a_bad_line_fails_alone() {
    let deep = with(&format!("\"data\":{}", nested(40)));
    let body = format!("\n{GOOD}\r\n{{\n \t\r\n{deep}\n7\n{GOOD},\n{GOOD}{GOOD}\n\u{feff}{GOOD}\n[{GOOD}]\n{GOOD}");
    let read = ndjson(&body);
    assert_eq!(read.summary.total, 9);
    let codes = [InvalidJson, TooDeep, NotAnObject, InvalidJson, InvalidJson, InvalidJson, NotAnObject];
    assert_eq!(read.failed(), (1..).zip(codes).collect::<Vec<_>>());
    assert_eq!(stored(&read.out), [GOOD.as_bytes(), GOOD.as_bytes()]);
    assert_eq!(&body[read.failures[0].raw.clone()], "{");
    assert_eq!(&body[read.failures[1].raw.clone()], deep);
}

#[test]
fn a_line_that_is_not_utf8_fails_alone() {
    let body = [GOOD.as_bytes(), b"\n{\"a\":\"\xff\"}\n", GOOD.as_bytes(), b"\n"].concat();
    let read = ndjson(&body);
    assert_eq!(read.failed(), [(1, InvalidJson)]);
    assert_eq!(read.failures[0].rejection.first().detail, "is not UTF-8");
    assert_eq!(stored(&read.out).len(), 2);
}

#[test]
fn an_event_broken_over_lines_is_two_bad_lines() {
    let broken = GOOD.replacen(',', ",\n", 1);
    assert_eq!(ndjson(broken).failed(), [(0, InvalidJson), (1, InvalidJson)]);
}

#[test]
fn the_tenant_is_part_of_the_identity() {
    let mut other = Batch::new("acme", Source::Http, NOW);
    parser().single(GOOD.as_bytes(), NOW, &mut other).unwrap();
    assert_ne!(other.entries[0].fingerprint, single(GOOD).unwrap().entries[0].fingerprint);
}

#[test]
fn memory_is_given_back_after_a_large_body() {
    let mut parser = parser();
    let dense = format!("[{}1]", "1,".repeat(4 * 1024 * 1024));
    let spread = format!("[{GOOD}{}]", " ".repeat(8 * 1024 * 1024));
    for body in [&dense, &spread, &dense[1..], &spread[1..]] {
        let _outcome = parser.batch(body.as_bytes(), options(None, None), NOW, &mut empty(), &mut Vec::new());
        assert!(parser.retained_bytes() < 1024 * 1024, "{} bytes", parser.retained_bytes());
    }
    let usual = array(&vec![GOOD; 1_000]);
    parser.batch(usual.as_bytes(), options(None, None), NOW, &mut empty(), &mut Vec::new()).unwrap();
    assert!(parser.retained_bytes() > usual.len(), "usual bodies are parsed without allocating again");
}

#[test]
fn a_text_of_very_many_values_is_told_before_it_is_read() {
    let long = |unit: &str| format!("[{}1]", unit.repeat((3 << 20) / unit.len()));
    for unit in ["1,", "[],", "{},", "\"\",", "[1,2],", "{\"a\":1},", "[[[]]],", " 1 ,"] {
        let text = long(unit);
        let mut reader = crate::reader::Reader::new();
        let values = reader.read(text.as_bytes(), |doc| doc.nodes.len()).unwrap();
        let told = parsing_bytes(text.as_bytes());
        assert!(told >= 40 * values && told <= 80 * values, "{unit}: {told} for {values}");
        assert_eq!(parsing_bytes_of_lines(format!("{GOOD}\n{text}\n{text}").as_bytes()), told, "{unit}");
        assert_eq!(parsing_bytes_of_lines(format!("{GOOD}\n{}", "1,\n".repeat(1 << 20)).as_bytes()), 0);
        assert_eq!(parsing_bytes(&text.as_bytes()[..1 << 20]), 0, "{unit}: it is short");
    }
    assert_eq!(parsing_bytes(array(&vec![GOOD; 10_000]).as_bytes()), 0);
    assert_eq!(parsing_bytes(format!("[\"{}\"]", " ".repeat(3 << 20)).as_bytes()), 0);
}
