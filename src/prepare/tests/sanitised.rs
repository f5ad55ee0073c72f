use super::*;
use crate::processed::Extractor;
use crate::sanitise::{json, text};
use proptest::prelude::*;
use record::EventView;
use std::borrow::Cow;

const REAL: &str = include_str!("../../../examples/cart-events.ndjson");

fn view(raw: &[u8]) -> EventView<'_> {
    let segment = SegmentMeta { tenant: "default", source: 1, received_at: NOW, traceparent: None };
    EventView { seq: Seq::FIRST, committed_at: NOW, segment, event_type: 0, event_id: None, timestamp: None, raw }
}

fn processed(raw: &str) -> String {
    let mut out = Vec::new();
    Extractor::new().extract(&view(raw.as_bytes())).unwrap().put_processed(&mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn what_a_decoded_string_could_do_to_a_page_is_gone_however_it_was_written() {
    for (raw, clean) in [
        (r#"{"a":"<b>x</b>"}"#, r#"{"a":"&lt;b&gt;x&lt;/b&gt;"}"#),
        (r#"{"\u003Ca\u003e":"\u003cimg src=x onerror=y\u003E"}"#, r#"{"&lt;a&gt;":"&lt;img src=x onerror=y&gt;"}"#),
        (r#"["\u0000a\b\fb\u001F\u007f\u009Fc"]"#, r#"["abc"]"#),
        ("[\"a\u{7f}\u{80}\u{9f}b\"]", r#"["ab"]"#),
        // An escaped backslash and what looks like an escape behind it.
        (r#"["\\u003c\\<\\\u003c"]"#, r#"["\\u003c\\&lt;\\&lt;"]"#),
        ("[\"é\u{a0}\u{c2}½\\\"\"]", "[\"é\u{a0}\u{c2}½\\\"\"]"),
    ] {
        assert_eq!(json(raw), clean, "{raw}");
    }
    assert_eq!(text("a\0<\\u003c\u{85}\u{1b}[31m>"), "a&lt;\\u003c[31m&gt;");
}

#[test]
fn what_is_harmless_stays_byte_for_byte_and_costs_no_memory() {
    for raw in [
        "",
        "{}",
        "{ \"a\" :\t1.50e+07,\r\n\"b\" : -0.0 , \"c\":12345678901234567890123456789 }",
        r#"["\t\n\r\u0009\u000a\u000D \/\"\\ & &lt; &amp; ' \u00e9 \ud83d\ude00"]"#,
    ] {
        assert!(matches!(json(raw), Cow::Borrowed(same) if same == raw), "{raw}");
    }
    assert!(matches!(text("a\t\n\r & \"b\" \\ 'é' \u{a0}"), Cow::Borrowed(_)));
}

#[test]
fn the_processed_form_is_sanitised_and_the_raw_parts_are_not() {
    let raw = r#"{"eventId":"e\u0000<1>","eventType":"item_added","timestamp":"2024-05-01T11:59:00Z","userId":"u<","sessionId":"s>\u001b","storeId":"\u003c","data":{"<k>":"\u003Cscript>","n":1e400},"metadata":{"userAgent":"a\u0007b"}}"#;
    assert_eq!(
        processed(raw),
        r#"{"eventId":"e&lt;1&gt;","eventType":"item_added","timestamp":"2024-05-01T11:59:00.000000Z","userId":"u&lt;","sessionId":"s&gt;","storeId":"&lt;","data":{"&lt;k&gt;":"&lt;script&gt;","n":1e400},"metadata":{"userAgent":"ab"}}"#
    );
    let mut extractor = Extractor::new();
    let stored = view(raw.as_bytes());
    let envelope = extractor.extract(&stored).unwrap();
    assert_eq!((envelope.event_id, envelope.session_id), ("e\0<1>", "s>\u{1b}"), "ids and keys are as received");
    let clean = envelope.sanitised();
    assert_eq!(clean.envelope().metadata, Some(r#"{"userAgent":"ab"}"#));
    assert_eq!(clean.envelope().sanitised().envelope(), clean.envelope());
}

#[test]
fn real_events_stay_as_they_are() {
    for line in REAL.lines() {
        assert!(matches!(json(line), Cow::Borrowed(_)), "{line}");
        let mut extractor = Extractor::new();
        let stored = view(line.as_bytes());
        let envelope = extractor.extract(&stored).unwrap();
        assert_eq!(envelope.sanitised().envelope(), envelope);
    }
}

/// A character and how it is written: as it is where that is allowed, in short, or in hex of either kind.
type Written = (char, u8);

/// JSON before it is written down.
#[derive(Debug, Clone)]
enum Tree {
    Word(&'static str),
    Text(Vec<Written>),
    Array(Vec<Tree>),
    Object(Vec<(Vec<Written>, Tree)>),
}

fn written() -> impl Strategy<Value = Vec<Written>> {
    let letters = prop_oneof![
        prop::sample::select(vec!['<', '>', '&', '\\', '"', '/', 'u', '0', '\0', '\u{8}', '\t', '\n', '\u{c}', '\r']),
        prop::sample::select(vec!['\u{1f}', ' ', '\u{7f}', '\u{80}', '\u{9f}', '\u{a0}', '\u{bf}', 'é', '€', '😀']),
        any::<char>(),
    ];
    prop::collection::vec((letters, 0..4_u8), 0..12)
}

fn tree() -> impl Strategy<Value = Tree> {
    let words = vec!["null", "true", "0", "-0.0", "1E+2", "1e400", "0.1000000000000000055511151231257827"];
    let leaf = prop_oneof![prop::sample::select(words).prop_map(Tree::Word), written().prop_map(Tree::Text)];
    leaf.prop_recursive(4, 40, 6, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..6).prop_map(Tree::Array),
            prop::collection::vec((written(), inner), 0..6).prop_map(Tree::Object),
        ]
    })
}

fn put_char(out: &mut String, (letter, style): Written) {
    let code = u32::from(letter);
    let short = match letter {
        '"' | '\\' | '/' => Some(letter),
        '\u{8}' => Some('b'),
        '\u{c}' => Some('f'),
        '\n' => Some('n'),
        '\r' => Some('r'),
        '\t' => Some('t'),
        _ => None,
    };
    let may_be_plain = code > 0x1f && !matches!(letter, '"' | '\\');
    match (style, short) {
        (0, _) if may_be_plain => out.push(letter),
        (0 | 1, Some(short)) => out.extend(['\\', short]),
        (2, _) => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04x}"))),
        _ => letter.encode_utf16(&mut [0; 2]).iter().for_each(|unit| out.push_str(&format!("\\u{unit:04X}"))),
    }
}

/// As received, or as it is to be in the processed form: told here by characters, not by bytes.
fn put_text(out: &mut String, text: &[Written], is_clean: bool) {
    out.push('"');
    for &(letter, style) in text {
        match letter {
            '<' if is_clean => out.push_str("&lt;"),
            '>' if is_clean => out.push_str("&gt;"),
            '\t' | '\n' | '\r' => put_char(out, (letter, style)),
            letter if is_clean && letter.is_control() => {}
            _ => put_char(out, (letter, style)),
        }
    }
    out.push('"');
}

fn put_tree(out: &mut String, tree: &Tree, is_clean: bool) {
    match tree {
        Tree::Word(word) => out.push_str(word),
        Tree::Text(text) => put_text(out, text, is_clean),
        Tree::Array(elements) => {
            out.push_str("[ ");
            for (place, element) in elements.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "\t,\n" });
                put_tree(out, element, is_clean);
            }
            out.push(']');
        }
        Tree::Object(members) => {
            out.push('{');
            for (place, (key, value)) in members.iter().enumerate() {
                out.push_str(if place == 0 { "" } else { "," });
                put_text(out, key, is_clean);
                out.push_str(" :");
                put_tree(out, value, is_clean);
            }
            out.push_str("\r\n}");
        }
    }
}

proptest! {
    #![proptest_config(cases(20_000))]

    #[test]
    fn strings_and_keys_are_sanitised_and_nothing_else_changes(tree in tree()) {
        let (mut raw, mut wanted) = (String::new(), String::new());
        put_tree(&mut raw, &tree, false);
        put_tree(&mut wanted, &tree, true);
        let clean = json(&raw);
        prop_assert_eq!(&clean, &wanted, "{}", raw);
        prop_assert_eq!(json(&clean), clean.clone(), "twice");
        prop_assert_eq!(matches!(clean, Cow::Borrowed(_)), raw == wanted);
        prop_assert!(clean.len() <= 4 * raw.len());
        serde_json::from_str::<serde::de::IgnoredAny>(&clean).unwrap();
    }

    #[test]
    fn decoded_strings_are_sanitised_alike(written in written()) {
        let (mut raw, decoded) = (String::new(), written.iter().map(|(letter, _)| *letter).collect::<String>());
        put_text(&mut raw, &written, false);
        let read: String = serde_json::from_str(&json(&raw)).unwrap();
        prop_assert_eq!(&read, &text(&decoded));
        prop_assert_eq!(text(&read), &*read, "twice");
        prop_assert!(!read.chars().any(|letter| matches!(letter, '<' | '>')
            || letter.is_control() && !matches!(letter, '\t' | '\n' | '\r')));
    }

    #[test]
    fn no_text_makes_it_stumble(any in "(\\\\|u|0|3|c|<|\u{80}|\u{c2}|é|\"|\0|.){0,20}") {
        prop_assert!(!json(&any).contains(['<', '>']));
        prop_assert!(!text(&any).contains(['<', '>']));
    }
}
