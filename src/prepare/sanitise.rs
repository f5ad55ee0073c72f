//! The sanitised form of texts: what may be shown to a person.
//!
//! Readers of the processed form decode its JSON and put the strings into pages and consoles. So it is the *decoded*
//! string that has to be harmless, however it was written: `\u003c` is a `<`.
//!
//! | character | however written | becomes |
//! |---|---|---|
//! | `<` `>` | also `\u003c`, `\u003e` | `&lt;` `&gt;` |
//! | tab, line feed, carriage return | also `\t`, `\u000a`, … | itself, as it was written: they are part of texts |
//! | other control characters: U+0000–U+001F, U+007F–U+009F | also `\u0000`, `\b`, `\f` | nothing |
//! | everything else | | itself, as it was written |
//!
//! * `&` stays. It opens no element, and a form that is sanitised again must stay as it is: `&lt;` would become
//!   `&amp;lt;`. So `<` and `&lt;` cannot be told apart any more; the raw form can.
//! * Quotes stay: the strings are harmless as the text of an element. Who writes one into an attribute has to escape
//!   quotes himself.
//! * The keys of objects are treated as the values are. Two of them may become one name; readers take the last.
//! * Nothing else changes: not the numbers, the order, the white space. A text grows to four times its length at most.
//!
//! Outside of its strings, JSON has none of these characters but white space, which stays: so nothing here has to know
//! where a string begins.

use std::borrow::Cow;
use std::ops::Range;

/// How characters are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Notation {
    /// As they are.
    Plain,
    /// With the escapes of JSON.
    Json,
}

/// A string's content, decoded, as it is in the processed form.
#[must_use]
pub fn text(text: &str) -> Cow<'_, str> {
    clean(text, Notation::Plain)
}

/// A JSON text with all of its strings and keys as they are in the processed form.
#[must_use]
pub fn json(text: &str) -> Cow<'_, str> {
    clean(text, Notation::Json)
}

fn clean(text: &str, notation: Notation) -> Cow<'_, str> {
    let Some(mut change) = next_change(text.as_bytes(), 0, notation) else { return Cow::Borrowed(text) };
    let mut out = String::with_capacity(text.len() + text.len() / 8);
    let mut kept = 0;
    loop {
        let (place, instead) = change;
        out.push_str(&text[kept..place.start]);
        out.push_str(instead);
        kept = place.end;
        match next_change(text.as_bytes(), kept, notation) {
            Some(next) => change = next,
            None => break,
        }
    }
    out.push_str(&text[kept..]);
    Cow::Owned(out)
}

/// The first character from `at` on that does not stay: where it is written, and what comes instead.
fn next_change(text: &[u8], mut at: usize, notation: Notation) -> Option<(Range<usize>, &'static str)> {
    loop {
        at += text.get(at..)?.iter().position(|byte| may_change(*byte))?;
        let (len, code) = character(&text[at..], notation);
        if let Some(instead) = instead(code) {
            return Some((at..at + len, instead));
        }
        at += len;
    }
}

/// Whether what begins with that byte is worth a look.
const fn may_change(byte: u8) -> bool {
    // 0xc2 leads U+0080 to U+00BF.
    matches!(byte, 0..=0x1f | b'<' | b'>' | b'\\' | 0x7f | 0xc2)
}

/// How long the character is at the beginning of `text`, one that [`may_change`], and which it is.
fn character(text: &[u8], notation: Notation) -> (usize, u32) {
    match (text, notation) {
        ([0xc2, next, ..], _) => (2, u32::from(*next)),
        ([b'\\', b'b', ..], Notation::Json) => (2, 0x08),
        ([b'\\', b'f', ..], Notation::Json) => (2, 0x0c),
        ([b'\\', b'u', a, b, c, d, ..], Notation::Json) => match code([*a, *b, *c, *d]) {
            Some(code) => (6, code),
            None => (1, u32::from(b'\\')),
        },
        // The second one begins nothing.
        ([b'\\', b'\\', ..], Notation::Json) => (2, u32::from(b'\\')),
        ([first, ..], _) => (1, u32::from(*first)),
        ([], _) => (1, 0x20),
    }
}

fn code(digits: [u8; 4]) -> Option<u32> {
    digits.iter().try_fold(0, |code, digit| Some(code << 4 | char::from(*digit).to_digit(16)?))
}

/// What stands in for a character; `None` for one that stays.
const fn instead(code: u32) -> Option<&'static str> {
    match code {
        0x09 | 0x0a | 0x0d => None,
        0..=0x1f | 0x7f..=0x9f => Some(""),
        0x3c => Some("&lt;"),
        0x3e => Some("&gt;"),
        _ => None,
    }
}
