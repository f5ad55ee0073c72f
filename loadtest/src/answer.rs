//! The little of HTTP responses and WebSocket frames that a load generator must read.

use memchr::{memchr, memmem};
use std::ops::Range;

/// What stands at the start of a buffer.
#[derive(Debug, PartialEq, Eq)]
pub enum Parsed<T> {
    /// More bytes are needed.
    Incomplete,
    /// One whole item.
    Whole(T),
    /// Not what this reader understands.
    Malformed,
}

/// One HTTP response.
#[derive(Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code.
    pub status: u16,
    /// Where the body lies.
    pub body: Range<usize>,
    /// The server closes the connection after this one.
    pub close: bool,
}

/// The longest response head and body accepted.
const HEAD_MAX: usize = 16 << 10;
const BODY_MAX: usize = 64 << 20;

/// Reads one response with a `Content-Length`; its end is `body.end`.
#[inline]
pub fn response(bytes: &[u8]) -> Parsed<Response> {
    if bytes.len() < 13 {
        return Parsed::Incomplete;
    }
    if !bytes.starts_with(b"HTTP/1.") {
        return Parsed::Malformed;
    }
    let Some(status) = digits(&bytes[9..12]) else { return Parsed::Malformed };
    let (mut length, mut close) = (None, false);
    let mut at = 0;
    // Line by line: the first byte tells the few headers of interest from the rest.
    loop {
        let Some(end) = memchr(b'\n', &bytes[at..]) else {
            return if bytes.len() > HEAD_MAX { Parsed::Malformed } else { Parsed::Incomplete };
        };
        let line = &bytes[at..at + end];
        at += end + 1;
        match line.first() {
            Some(b'\r') | None => break,
            Some(b'c' | b'C') => {
                if let Some(value) = header(line, b"content-length:") {
                    length = Some(digits(value).map(usize::from).or_else(|| long_digits(value)));
                } else if let Some(value) = header(line, b"connection:") {
                    close = value.eq_ignore_ascii_case(b"close");
                }
            }
            Some(b't' | b'T') if header(line, b"transfer-encoding:").is_some() => return Parsed::Malformed,
            _ => {}
        }
    }
    let length = match length {
        Some(Some(length)) if length <= BODY_MAX => length,
        None if status == 204 || status == 304 || status < 200 => 0,
        _ => return Parsed::Malformed,
    };
    if bytes.len() < at + length {
        return Parsed::Incomplete;
    }
    Parsed::Whole(Response { status, body: at..at + length, close })
}

/// The trimmed value, if the line is that header (name in lower case, with its colon).
#[inline]
fn header<'a>(line: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let (start, value) = line.split_at_checked(name.len())?;
    start.eq_ignore_ascii_case(name).then(|| value.trim_ascii())
}

/// Up to four digits.
#[inline]
fn digits(text: &[u8]) -> Option<u16> {
    if text.is_empty() || text.len() > 4 {
        return None;
    }
    text.iter().try_fold(0u16, |sum, digit| digit.is_ascii_digit().then(|| sum * 10 + u16::from(digit - b'0')))
}

fn long_digits(text: &[u8]) -> Option<usize> {
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// One WebSocket frame from a server.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    /// Opcode; fragmented messages are malformed here.
    pub opcode: u8,
    /// Where the payload lies.
    pub payload: Range<usize>,
}

/// Reads one unmasked, unfragmented frame; its end is `payload.end`.
#[inline]
pub fn frame(bytes: &[u8]) -> Parsed<Frame> {
    let [first, second, ..] = *bytes else { return Parsed::Incomplete };
    if first & 0xF0 != 0x80 || first & 0x0F == 0 || second & 0x80 != 0 {
        return Parsed::Malformed;
    }
    let (start, length) = match (second, bytes.get(2..)) {
        (126, Some([a, b, ..])) => (4, usize::from(u16::from_be_bytes([*a, *b]))),
        (127, Some([a, b, c, d, e, f, g, h, ..])) => {
            (10, u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]).min(u64::from(u32::MAX)) as usize)
        }
        (126 | 127, _) => return Parsed::Incomplete,
        (short, _) => (2, usize::from(short)),
    };
    if length > BODY_MAX {
        return Parsed::Malformed;
    }
    if bytes.len() < start + length {
        return Parsed::Incomplete;
    }
    Parsed::Whole(Frame { opcode: first & 0x0F, payload: start..start + length })
}

/// The number after the first `"name":` in a JSON text; `name` holds its quotes and colon.
#[inline]
pub fn number_after(json: &[u8], name: &[u8]) -> Option<u64> {
    let at = memmem::find(json, name)? + name.len();
    let mut value = None;
    for digit in json[at..].iter().skip_while(|byte| **byte == b' ') {
        if !digit.is_ascii_digit() {
            break;
        }
        value = Some(value.unwrap_or(0u64).wrapping_mul(10).wrapping_add(u64::from(digit - b'0')));
    }
    value
}

/// The string after the first `"name":` in a JSON text, escapes left as they are; `name` holds its quotes and colon.
#[inline]
pub fn string_after<'a>(json: &'a [u8], name: &[u8]) -> Option<&'a [u8]> {
    let at = memmem::find(json, name)? + name.len();
    let rest = json[at..].trim_ascii_start().strip_prefix(b"\"")?;
    Some(&rest[..memchr(b'"', rest)?])
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: &[u8] = b"HTTP/1.1 202 Accepted\r\ncontent-type: application/json\r\nContent-Length: 5\r\n\r\nhello";

    #[test]
    fn a_response_is_whole_only_with_its_last_byte() {
        for cut in 0..OK.len() {
            assert_eq!(response(&OK[..cut]), Parsed::Incomplete, "{cut}");
        }
        let Parsed::Whole(answer) = response(OK) else { panic!("not whole") };
        assert_eq!((answer.status, &OK[answer.body], answer.close), (202, &b"hello"[..], false));
    }

    #[test]
    fn chunked_and_unlimited_bodies_are_malformed_and_close_is_seen() {
        assert_eq!(response(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"), Parsed::Malformed);
        assert_eq!(response(b"HTTP/1.1 200 OK\r\n\r\n....."), Parsed::Malformed);
        assert_eq!(response(b"SSH-2.0-OpenSSH_9.2"), Parsed::Malformed);
        let closing = b"HTTP/1.1 503 Busy\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        assert!(matches!(response(closing), Parsed::Whole(Response { status: 503, close: true, .. })));
    }

    #[test]
    fn a_frame_is_whole_only_with_its_last_byte() {
        let mut bytes = vec![0x81, 126, 0x01, 0x00];
        bytes.resize(4 + 256, b'x');
        for cut in 0..bytes.len() {
            assert_eq!(frame(&bytes[..cut]), Parsed::Incomplete, "{cut}");
        }
        assert_eq!(frame(&bytes), Parsed::Whole(Frame { opcode: 1, payload: 4..260 }));
        assert_eq!(frame(&[0x01, 0x00]), Parsed::Malformed);
    }

    #[test]
    fn members_are_found() {
        let json = br#"{"eventId":"abc","seq":1234,"duplicate":true}"#;
        assert_eq!(number_after(json, b"\"seq\":"), Some(1234));
        assert_eq!(string_after(json, b"\"eventId\":"), Some(&b"abc"[..]));
        assert_eq!(number_after(json, b"\"none\":"), None);
    }
}
