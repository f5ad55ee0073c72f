use super::*;
use crate::processed::Extractor;
use crate::reader::Reader;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use std::ops::Range;

fn space() -> impl Strategy<Value = String> {
    prop_oneof![6 => Just(String::new()), 1 => "[ \t\r\n]{1,3}", 1 => " {60,70}"]
}

fn string() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        8 => "[a-zA-Z0-9 ,:{}\\[\\]é😀-]{0,12}",
        3 => select(vec![r"\\", r#"\""#, r"\/", r"\n", r"\u0041", r"\u0000", r"\ud83d\ude00", r"\u00e9"]).prop_map(String::from),
        1 => "[a-z]{60,70}",
    ];
    proptest::collection::vec(piece, 0..4).prop_map(|pieces| format!("\"{}\"", pieces.concat()))
}

fn odd_string() -> impl Strategy<Value = String> {
    select(vec![r#""\ud800""#, r#""\udc00x""#, r#""\ud800\ud800\udc00""#]).prop_map(String::from)
}

fn scalar() -> impl Strategy<Value = String> {
    let numbers = vec!["0", "-1", "3.25", "1e400", "-1E+999", "12345678901234567890123", "1e-999", "5e0"];
    prop_oneof![
        10 => string(),
        5 => select(numbers).prop_map(String::from),
        3 => select(vec!["true", "false", "null"]).prop_map(String::from),
        1 => odd_string(),
    ]
}

fn joined(items: &[(String, String, String)], open: char, close: char) -> String {
    let items: Vec<String> = items.iter().map(|(before, item, after)| format!("{before}{item}{after}")).collect();
    format!("{open}{}{close}", items.join(","))
}

fn value() -> BoxedStrategy<String> {
    scalar()
        .prop_recursive(5, 40, 5, |inner| {
            let member = (string(), space(), space(), inner.clone()).prop_map(|(k, a, b, v)| format!("{k}{a}:{b}{v}"));
            let list = |item: BoxedStrategy<String>| proptest::collection::vec((space(), item, space()), 0..5);
            prop_oneof![
                list(inner.boxed()).prop_map(|items| joined(&items, '[', ']')),
                list(member.boxed()).prop_map(|items| joined(&items, '{', '}')),
                (1usize..40).prop_map(nested),
            ]
        })
        .boxed()
}

/// A member that may be right, wrong, doubled or missing.
fn member(key: &'static str, good: Vec<&'static str>) -> BoxedStrategy<Vec<String>> {
    let key_text = prop_oneof![9 => Just(format!("\"{key}\"")), 1 => Just(format!("\"\\u{:04x}{}\"", key.as_bytes()[0], &key[1..]))];
    let good = select(good).prop_map(String::from);
    let value = prop_oneof![40 => good, 1 => value()];
    let count = prop_oneof![1 => Just(0usize), 60 => Just(1), 1 => Just(2)];
    (count, key_text, space(), space(), value)
        .prop_map(|(count, key, a, b, value)| vec![format!("{key}{a}:{b}{value}"); count])
        .boxed()
}

const TIMES: [&str; 5] = [
    r#""2024-05-01T11:59:00Z""#,
    r#""2024-05-01T11:59:00.123+01:00""#,
    r#""2024-05-02T12:00:00Z""#,
    r#""2024-05-02T12:00:01Z""#,
    r#""1969-12-31T23:59:59Z""#,
];

fn event() -> BoxedStrategy<String> {
    let ids = || {
        vec![r#""a""#, r#""e-\"1\\""#, r#""\u0061""#, "\"0123456789abcdef0123456789abcdef0123456789abcdef\"", r#""é""#]
    };
    let data = vec!["{}", r#"{"a":[1,{"b":null}],"n":1e999}"#, r#"{ "x" : "}" }"#];
    let required = (
        member("eventId", ids()),
        member("eventType", vec![r#""item_added""#, r#""cart_created""#, r#""purchase_complete\u0064""#]),
        member("timestamp", TIMES.to_vec()),
        member("sessionId", ids()),
        member("storeId", ids()),
        member("data", data.clone()),
    );
    let optional = (
        member("userId", vec![r#""""#, r#""u""#, "null"]),
        member("metadata", [data, vec!["null"]].concat()),
        proptest::collection::vec((string(), value()).prop_map(|(key, value)| format!("{key}:{value}")), 0..3),
    );
    (required, optional, space(), space())
        .prop_flat_map(|(r, o, before, after)| {
            let members = [r.0, r.1, r.2, r.3, r.4, r.5, o.0, o.1, o.2].concat();
            Just(members).prop_shuffle().prop_map(move |members| format!("{{{before}{}{after}}}", members.join(",")))
        })
        .boxed()
}

fn anything() -> impl Strategy<Value = String> {
    prop_oneof![4 => event(), 2 => value(), 1 => Just(GOOD.to_owned())]
}

/// Changes a few bytes: JSON's own characters are likelier than others to matter.
fn mutate(mut text: Vec<u8>, changes: &[(Index, u8, u8)]) -> Vec<u8> {
    const TELLING: &[u8] = b"{}[]\",:\\ \n\r\t\0-+.eEu019trfnl\xff\xc3\xed\xa0\x80\xef\xbb\xbf\x7f\x1f";
    for (at, how, with) in changes {
        if text.is_empty() {
            break;
        }
        let at = at.index(text.len());
        let byte = TELLING[usize::from(*with) % TELLING.len()];
        match how % 4 {
            0 => text[at] = byte,
            1 => text.insert(at, byte),
            2 => drop(text.remove(at)),
            _ => text.truncate(at),
        }
    }
    text
}

fn changes() -> impl Strategy<Value = Vec<(Index, u8, u8)>> {
    proptest::collection::vec(any::<(Index, u8, u8)>(), 1..4)
}

fn trimmed(text: &str) -> &str {
    text.trim_matches([' ', '\t', '\r', '\n'])
}

/// Everything a batch says of its elements must be what they say alone.
fn check_elements(read: &Read, body: &str, elements: &[&str]) {
    assert_eq!(read.summary.total as usize, elements.len());
    let mut raws = stored(&read.out).into_iter();
    let mut failures = read.failures.iter();
    for (index, element) in elements.iter().enumerate() {
        match single(element) {
            Ok(alone) => {
                assert_eq!(raws.next().unwrap(), element.as_bytes());
                assert_eq!(stored(&alone), [element.as_bytes()]);
            }
            Err(rejection) => {
                let failure = failures.next().unwrap();
                assert_eq!((failure.index as usize, &failure.rejection), (index, &rejection));
                assert_eq!(&body[failure.raw.clone()], *element);
            }
        }
    }
    assert_eq!((raws.next(), failures.next()), (None, None));
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn an_event_is_accepted_if_and_only_if_the_slow_rules_accept_it(event in anything(), before in space(), after in space()) {
        let body = format!("{before}{event}{after}");
        let verdict = single(&body);
        prop_assert_eq!(verdict.is_ok(), reference::accepts(body.as_bytes()), "{:?}", verdict);
        if let Ok(out) = verdict {
            prop_assert_eq!(stored(&out), [event.as_bytes()]);
            let id = reference::members(&event, "eventId")[0];
            prop_assert_eq!(out.id_json(&out.entries[0]), &id.as_bytes()[1..id.len() - 1]);
        }
    }

    #[test]
    fn a_mutated_event_is_accepted_if_and_only_if_the_slow_rules_accept_it(event in anything(), changes in changes()) {
        let body = mutate(event.into_bytes(), &changes);
        let verdict = single(&body);
        prop_assert_eq!(verdict.is_ok(), reference::accepts(&body), "{:?}", verdict);
        let malformed = verdict.is_err_and(|rejection| {
            rejection.code == RejectCode::InvalidJson && rejection.first().detail != crate::reader::HALF_PAIR
        });
        prop_assert_eq!(!malformed, reference::is_json(&body), "{}", String::from_utf8_lossy(&body));
    }

    #[test]
    fn elements_stand_where_serde_finds_them(
        events in proptest::collection::vec((space(), anything(), space()), 0..6),
        wrapped in any::<bool>(), more in value(), ws in space(),
    ) {
        let array = joined(&events, '[', ']');
        let body = match wrapped {
            true => format!(r#"{{"x":{more},"events"{ws}:{ws}{array}{ws},"y"{ws}:{more}{ws}}}"#),
            false => format!("{ws}{array}{ws}"),
        };
        let read = batch(&body);
        check_elements(&read, &body, &reference::elements(&array).unwrap());
        if let Some((_, first, _)) = events.first() {
            let text = format!(r#"{{"payload":{ws}{array}{ws},"type":"cart_event"}}"#);
            let (_, out, failures) = message(&text).unwrap();
            prop_assert_eq!(&out.records, &read.out.records);
            prop_assert_eq!(failures.len(), read.failures.len());
            let text = format!(r#"{{"a":{more},"payload"{ws}:{ws}{first}{ws},"type":"cart_event"}}"#);
            if let Ok((Message::Events { array: false, .. }, out, failures)) = message(&text) {
                prop_assert_eq!(out.entries.len(), usize::from(reference::accepts(first.as_bytes())));
                prop_assert!(failures.iter().all(|failure| text[failure.raw.clone()] == *first));
            }
        }
    }

    #[test]
    fn both_ways_of_finding_elements_agree(elements in proptest::collection::vec((space(), value(), space()), 0..8)) {
        let body = joined(&elements, '[', ']');
        let mut reader = Reader::new();
        let (mut fast, mut slow): (Vec<Range<usize>>, Vec<Range<usize>>) = Default::default();
        reader.read(body.as_bytes(), |doc| {
            doc.element_spans(0, doc.root(), &mut fast);
            doc.scan_elements(doc.root(), elements.len(), &mut slow);
        }).unwrap();
        let found: Vec<_> = slow.iter().map(|span| &body[span.clone()]).collect();
        prop_assert_eq!(&fast, &slow);
        prop_assert_eq!(found, reference::elements(&body).unwrap());
    }

    #[test]
    fn a_mutated_batch_is_readable_if_and_only_if_it_is_json(
        events in proptest::collection::vec((space(), anything(), space()), 0..4), changes in changes(),
    ) {
        let body = mutate(joined(&events, '[', ']').into_bytes(), &changes);
        let elements = std::str::from_utf8(&body).ok().and_then(reference::elements);
        match (try_batch(&body, BatchOptions::default()), &elements) {
            (Ok(read), Some(elements)) => check_elements(&read, std::str::from_utf8(&body).unwrap(), elements),
            (Err(error), None) => prop_assert_eq!(error.code() == Some(RejectCode::InvalidJson), !reference::is_json(&body)),
            (result, _) => prop_assert!(false, "{:?} for {:?}", result.map(|read| read.summary), elements),
        }
        // The other ways in must at least come back.
        let _outcome = message(&body);
        let text = [br#"{"type":"cart_event","payload":"#.as_slice(), &body, b"}"].concat();
        let _outcome = message(&text);
    }

    #[test]
    fn lines_are_read_as_if_each_came_alone(
        lines in proptest::collection::vec((anything(), proptest::option::weighted(0.3, changes())), 0..5),
        end in select(vec!["\n", "\r\n", " \n\n", "\n \t\r\n"]), last in any::<bool>(),
    ) {
        let mut body = Vec::new();
        for (line, changes) in &lines {
            // A line break within an event would make it two lines, here as there.
            let line = line.replace(['\n', '\r'], " ").into_bytes();
            body.extend(changes.as_ref().map_or(line.clone(), |changes| mutate(line, changes)));
            body.extend_from_slice(end.as_bytes());
        }
        if last {
            body.extend_from_slice(GOOD.as_bytes());
        }
        let read = ndjson(&body);
        let is_space = |byte: &u8| b" \t\r\n".contains(byte);
        let lines: Vec<&[u8]> = body.split(|byte| *byte == b'\n').filter(|line| !line.iter().all(is_space)).collect();
        prop_assert_eq!(read.summary.total as usize, lines.len());
        let bad: Vec<u32> = (0..).zip(&lines).filter(|(_, line)| !reference::accepts(line)).map(|(n, _)| n).collect();
        prop_assert_eq!(read.failures.iter().map(|failure| failure.index).collect::<Vec<_>>(), bad);
        let good = lines.iter().filter(|line| reference::accepts(line));
        let good: Vec<_> = good.map(|line| trimmed(std::str::from_utf8(line).unwrap()).as_bytes().to_vec()).collect();
        prop_assert_eq!(stored(&read.out), good);
    }

    #[test]
    fn a_stored_event_is_taken_apart_where_serde_finds_its_parts(event in event()) {
        let Ok(out) = single(&event) else { return Ok(()) };
        let text = |key: &str| reference::members(&event, key).first().copied().filter(|text| *text != "null");
        let string = |key: &str| text(key).map(|text| serde_json::from_str::<String>(text).unwrap());
        visit(&out, |view| {
            let mut extractor = Extractor::new();
            let envelope = extractor.extract(&view).unwrap();
            assert_eq!(Some(envelope.event_id), string("eventId").as_deref());
            assert_eq!(Some(envelope.timestamp_text), string("timestamp").as_deref());
            assert_eq!(envelope.user_id, string("userId").as_deref());
            assert_eq!(Some(envelope.data), text("data"));
            assert_eq!(envelope.metadata, text("metadata"));
        });
    }

    #[test]
    fn a_damaged_stored_event_never_panics(event in event(), changes in changes(), id in proptest::option::of(string()), chop in any::<bool>()) {
        let raw = mutate(event.into_bytes(), &changes);
        let id = id.map(|id| id.as_bytes()[usize::from(!chop)..id.len() - usize::from(!chop)].to_vec());
        let segment = SegmentMeta { tenant: "default", source: 1, received_at: NOW, traceparent: None };
        let view = record::EventView {
            seq: Seq::FIRST, committed_at: NOW, segment, event_type: 9, event_id: id.as_deref(), timestamp: id.as_deref(), raw: &raw,
        };
        let _outcome = Extractor::new().extract(&view);
    }

    #[test]
    fn json_is_told_from_what_only_looks_like_it(text in r#"([{}\[\],:" \\tfn0-2eE+.-]|true|false|null|"a"|\\u[dD][89c]00|"b":){0,24}"#) {
        let mut reader = Reader::new();
        prop_assert_eq!(reader.read(text.as_bytes(), |_| ()).is_ok(), reference::is_json(text.as_bytes()));
    }
}
