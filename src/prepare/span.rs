//! Finding where values stand in a text that is known to be valid JSON.
//!
//! The parser works on a copy and unescapes strings in place, so a string's address in the copy tells where its
//! content starts in the text. Everything else follows from such an anchor by stepping over white space, one comma or
//! one colon: between two neighbours in valid JSON there is nothing else. Each byte is stepped over at most twice.

use std::ops::Range;

pub(crate) const fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

/// The range of `text` without white space at either end; empty at the end of the text when there is nothing else.
pub(crate) fn trimmed(text: &[u8]) -> Range<usize> {
    let start = text.iter().position(|byte| !is_space(*byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(*byte)).map_or(start, |last| last + 1);
    start..end
}

/// The end of the white space that starts at `at`.
#[inline]
pub(crate) fn skip_space(text: &[u8], mut at: usize) -> usize {
    while text.get(at).is_some_and(|byte| is_space(*byte)) {
        at += 1;
    }
    at
}

/// The start of the white space that ends at `end`.
#[inline]
fn back_over_space(text: &[u8], mut end: usize) -> usize {
    while end > 0 && is_space(text[end - 1]) {
        end -= 1;
    }
    end
}

/// The end of the value before `anchor`, which is where the next sibling starts or the parent's bracket closes.
#[inline]
pub(crate) fn end_before(text: &[u8], anchor: usize) -> usize {
    let end = back_over_space(text, anchor);
    match end.checked_sub(1) {
        Some(comma) if text[comma] == b',' => back_over_space(text, comma),
        _ => end,
    }
}

/// The start of the object whose first key's opening quote is at `quote`.
#[inline]
pub(crate) fn object_start(text: &[u8], quote: usize) -> usize {
    let end = back_over_space(text, quote);
    debug_assert!(end > 0 && text[end - 1] == b'{', "the first key of an object follows its brace");
    end.saturating_sub(1)
}

/// The closing quote of the string whose content starts at `start`.
///
/// `unescaped` is the content's length after unescaping, which tells the place at once where nothing is escaped.
#[inline]
pub(crate) fn string_end(text: &[u8], start: usize, unescaped: usize) -> usize {
    let plain = start + unescaped;
    // Without a backslash before it, the first quote ends the string; and no quote can stand in the content itself.
    if text.get(plain) == Some(&b'"') && memchr::memchr(b'\\', &text[start..plain]).is_none() {
        return plain;
    }
    escaped_string_end(text, start)
}

#[cold]
fn escaped_string_end(text: &[u8], mut at: usize) -> usize {
    loop {
        let Some(found) = text.get(at..).and_then(|rest| memchr::memchr2(b'\\', b'"', rest)) else {
            return text.len();
        };
        at += found;
        if text[at] == b'"' {
            return at;
        }
        at += 2;
    }
}
