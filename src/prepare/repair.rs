//! What RFC 8259 allows and the parser does not: numbers beyond the range of a double, and `\u` escapes that are half
//! of a surrogate pair.
//!
//! Both are found only after the parser has given up, so good texts pay nothing. The text that is stored is never
//! touched: a copy of the same length is mended, so that all positions stay right.

use crate::span::is_space;

/// Replaces huge numbers by 0 and half pairs by U+FFFD in `text`, noting where the latter were.
///
/// `structurals` are the positions of all structural characters, opening quotes and scalars. Returns whether anything
/// was replaced.
#[cold]
pub(crate) fn mend(text: &mut [u8], structurals: &[u32], halves: &mut Vec<u32>) -> bool {
    let mut mended = false;
    for at in structurals.iter().map(|at| *at as usize) {
        match text.get(at) {
            Some(b'"') => mended |= mend_string(text, at + 1, halves),
            Some(b'-' | b'0'..=b'9') => mended |= mend_number(text, at),
            _ => {}
        }
    }
    mended
}

fn mend_number(text: &mut [u8], start: usize) -> bool {
    // A quote ends it too, though never in JSON: so no byte of a broken text is looked at twice.
    let ends = |byte: &u8| is_space(*byte) || matches!(byte, b',' | b']' | b'}' | b':' | b'"');
    let len = text[start..].iter().position(ends).unwrap_or(text.len() - start);
    let number = &mut text[start..start + len];
    let huge = is_number(number)
        && std::str::from_utf8(number).is_ok_and(|number| number.parse::<f64>().is_ok_and(f64::is_infinite));
    if huge {
        number.fill(b' ');
        number[0] = b'0';
    }
    huge
}

/// Whether the bytes are one number by RFC 8259's grammar.
fn is_number(text: &[u8]) -> bool {
    let digits = |text: &[u8]| text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let text = text.strip_prefix(b"-").unwrap_or(text);
    let whole = digits(text);
    if whole == 0 || (whole > 1 && text[0] == b'0') {
        return false;
    }
    let mut rest = &text[whole..];
    if let Some(after) = rest.strip_prefix(b".") {
        let len = digits(after);
        if len == 0 {
            return false;
        }
        rest = &after[len..];
    }
    if let Some((b'e' | b'E', after)) = rest.split_first() {
        let after = after.strip_prefix(b"+").or(after.strip_prefix(b"-")).unwrap_or(after);
        let len = digits(after);
        return len > 0 && len == after.len();
    }
    rest.is_empty()
}

fn mend_string(text: &mut [u8], mut at: usize, halves: &mut Vec<u32>) -> bool {
    let before = halves.len();
    while let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'\\', b'"', rest)) {
        at += found;
        if text[at] == b'"' {
            break;
        }
        let Some(unit) = utf16_unit(text, at) else {
            at += 2;
            continue;
        };
        let low_follows = || utf16_unit(text, at + 6).is_some_and(|unit| (0xdc00..0xe000).contains(&unit));
        match unit {
            0xd800..0xdc00 if low_follows() => at += 6,
            0xd800..0xe000 => {
                text[at..at + 6].copy_from_slice(b"\\ufffd");
                halves.push(at as u32);
            }
            _ => {}
        }
        at += 6;
    }
    halves.len() > before
}

/// The value of a `\uXXXX` escape at `at`.
fn utf16_unit(text: &[u8], at: usize) -> Option<u32> {
    let hex = text.get(at..at + 6)?.strip_prefix(b"\\u")?;
    hex.iter().try_fold(0, |unit, digit| Some(unit << 4 | char::from(*digit).to_digit(16)?))
}
