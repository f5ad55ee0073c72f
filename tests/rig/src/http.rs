//! A small HTTP/1.1 client over one kept-alive connection.
//!
//! The rigs must know exactly when an answer was complete: an acknowledgement counts only once its last byte was read.
//! A client of our own has no hidden retries or pooling, which would blur that line, and runs as well inside the guest.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Longest answer that is read; the daemon's answers are far smaller.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// A complete answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// HTTP status code.
    pub status: u16,
    /// `Retry-After` in seconds, if the server said one.
    pub retry_after_s: Option<u64>,
    /// The whole body.
    pub body: Vec<u8>,
}

impl Answer {
    /// The body as JSON; `Null` if it is not.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or(serde_json::Value::Null)
    }

    /// The start of the body, for a message.
    pub fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.body).chars().take(300).collect()
    }
}

/// One connection, opened when first needed and again after any failure.
#[derive(Debug)]
pub struct Client {
    address: SocketAddr,
    timeout: Duration,
    stream: Option<BufReader<TcpStream>>,
}

impl Client {
    /// A client of `address`; no single read or write waits longer than `timeout`.
    pub fn new(address: SocketAddr, timeout: Duration) -> Self {
        Self { address, timeout, stream: None }
    }

    /// `GET path`.
    pub fn get(&mut self, path: &str) -> io::Result<Answer> {
        self.call(&format!("GET {path} HTTP/1.1\r\nHost: rig\r\n\r\n"), b"")
    }

    /// `POST path` with `headers` (each line ended); an error means that the outcome is unknown, never that nothing happened.
    pub fn post(&mut self, path: &str, headers: &str, body: &[u8]) -> io::Result<Answer> {
        let length = body.len();
        let head = format!("POST {path} HTTP/1.1\r\nHost: rig\r\n{headers}Content-Length: {length}\r\n\r\n");
        self.call(&head, body)
    }

    fn call(&mut self, head: &str, body: &[u8]) -> io::Result<Answer> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect()?,
        };
        let mut message = Vec::with_capacity(head.len() + body.len());
        message.extend_from_slice(head.as_bytes());
        message.extend_from_slice(body);
        stream.get_mut().write_all(&message)?;
        let (answer, keep) = read_answer(&mut stream)?;
        if keep {
            self.stream = Some(stream);
        }
        Ok(answer)
    }

    fn connect(&self) -> io::Result<BufReader<TcpStream>> {
        let stream = TcpStream::connect_timeout(&self.address, self.timeout)?;
        stream.set_read_timeout(Some(self.timeout))?;
        stream.set_write_timeout(Some(self.timeout))?;
        stream.set_nodelay(true)?;
        Ok(BufReader::new(stream))
    }
}

/// Reads one answer to its last byte; also says whether the connection may be used again.
fn read_answer(stream: &mut impl BufRead) -> io::Result<(Answer, bool)> {
    let status_line = read_line(stream)?;
    let status =
        status_line.split(' ').nth(1).and_then(|code| code.parse().ok()).ok_or_else(|| broken("status line"))?;
    let (mut length, mut chunked, mut keep, mut retry_after_s) = (None, false, true, None);
    loop {
        let line = read_line(stream)?;
        if line.is_empty() {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| broken("header"))?;
        let value = value.trim();
        match name.to_ascii_lowercase().as_str() {
            "content-length" => length = value.parse::<usize>().ok(),
            "transfer-encoding" => chunked = value.eq_ignore_ascii_case("chunked"),
            "connection" => keep = !value.eq_ignore_ascii_case("close"),
            "retry-after" => retry_after_s = value.parse().ok(),
            _ => {}
        }
    }
    let body = match (chunked, length) {
        (true, _) => read_chunks(stream)?,
        (false, Some(length)) => read_exactly(stream, length)?,
        (false, None) => return Err(broken("answer without a length")),
    };
    Ok((Answer { status, retry_after_s, body }, keep))
}

fn read_line(stream: &mut impl BufRead) -> io::Result<String> {
    let mut line = String::new();
    stream.take(16 << 10).read_line(&mut line)?;
    match line.strip_suffix("\r\n") {
        Some(text) => Ok(text.to_owned()),
        None => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

fn read_exactly(stream: &mut impl BufRead, length: usize) -> io::Result<Vec<u8>> {
    if length > ANSWER_BYTES_MAX {
        return Err(broken("length"));
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(body)
}

fn read_chunks(stream: &mut impl BufRead) -> io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let line = read_line(stream)?;
        let length = usize::from_str_radix(line.trim(), 16).map_err(|_| broken("chunk length"))?;
        if body.len() + length > ANSWER_BYTES_MAX {
            return Err(broken("length"));
        }
        body.extend(read_exactly(stream, length)?);
        if !read_line(stream)?.is_empty() {
            return Err(broken("chunk end"));
        }
        if length == 0 {
            return Ok(body);
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken HTTP answer: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_that_stops_one_byte_short_is_no_answer() {
        let whole = b"HTTP/1.1 202 Accepted\r\nContent-Length: 2\r\n\r\nok";
        let (answer, keep) = read_answer(&mut &whole[..]).expect("whole");
        assert_eq!((answer.status, answer.body.as_slice(), keep), (202, &b"ok"[..], true));
        for cut in 0..whole.len() {
            assert!(read_answer(&mut &whole[..cut]).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn chunks_are_joined() {
        let text =
            b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\nretry-after: 2\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n";
        let (answer, _) = read_answer(&mut &text[..]).expect("whole");
        assert_eq!((answer.body.as_slice(), answer.retry_after_s), (&b"abc"[..], Some(2)));
    }
}
