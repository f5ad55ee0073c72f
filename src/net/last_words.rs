//! The answers of connections on which no request was read: written by hand, and nothing comes after them.

/// A name for a request that brought none, or for what would have become one: 64 random bits in hexadecimal digits.
#[must_use]
pub fn new_request_id() -> [u8; 16] {
    let mut random: u64 = rand::random();
    std::array::from_fn(|_| {
        let digit = b"0123456789abcdef"[(random & 15) as usize];
        random >>= 4;
        digit
    })
}

/// A problem (RFC 9457) with an id of its own; `headers` are whole lines, `members` follow the status.
#[must_use]
pub fn last_words(status: u16, title: &str, headers: &str, members: &str) -> Vec<u8> {
    let body = format!("{{\"type\":\"about:blank\",\"title\":\"{title}\",\"status\":{status},{members}}}");
    let id = new_request_id();
    format!(
        "HTTP/1.1 {status} {title}\r\ncontent-type: application/problem+json\r\n{headers}x-request-id: {}\r\n\
         connection: close\r\ncontent-length: {}\r\n\r\n{body}",
        id.escape_ascii(),
        body.len()
    )
    .into_bytes()
}

/// A fatal TLS alert, `internal_error` (RFC 8446, 6.2), for a peer whose handshake is not even begun: TLS has none that says
/// "too busy".
#[must_use]
pub(super) const fn alert() -> [u8; 7] {
    [21, 3, 3, 0, 2, 2, 80]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_a_whole_answer() {
        let text = last_words(503, "Service Unavailable", "retry-after: 1\r\n", "\"detail\":\"no\"");
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut answer = httparse::Response::new(&mut headers);
        let httparse::Status::Complete(head) = answer.parse(&text).unwrap() else { panic!("cut off") };
        assert_eq!((answer.code, answer.reason), (Some(503), Some("Service Unavailable")));
        let value = |name: &str| answer.headers.iter().find(|header| header.name == name).map(|header| header.value);
        assert_eq!(value("retry-after"), Some(&b"1"[..]));
        assert_eq!(value("x-request-id").map(<[u8]>::len), Some(16));
        assert_eq!(value("content-length"), Some((text.len() - head).to_string().as_bytes()));
        let body: serde_json::Value = serde_json::from_slice(&text[head..]).unwrap();
        assert_eq!((&body["status"], &body["detail"]), (&503.into(), &"no".into()));
    }
}
