//! A small server with the intake's answers and a choice of faults, so that the generator can be held to its counts.

#![allow(clippy::unwrap_used, reason = "a server for tests may fall over")]

use loadtest::answer::{number_after, string_after};
use std::collections::HashMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// What a server does wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Nothing.
    None,
    /// Ends the connection in place of every n-th answer.
    Hangup(u64),
    /// Answers 503 to every n-th request.
    Busy(u64),
    /// Announces the end of the connection with every n-th answer.
    CloseAfter(u64),
    /// Never answers after the n-th request.
    Silence(u64),
    /// Answers with another event's id.
    WrongId,
    /// Waits this many milliseconds before each answer.
    Slow(u64),
}

/// A running server; its threads end with the test process.
pub(crate) struct Fake {
    /// Where it listens.
    pub(crate) address: SocketAddr,
    state: Arc<State>,
}

struct State {
    fault: Fault,
    requests: AtomicU64,
    /// Ids accepted, with their seq.
    seen: Mutex<HashMap<String, u64>>,
    dead: AtomicBool,
    open: Mutex<Vec<TcpStream>>,
}

impl Fake {
    /// Starts one.
    pub(crate) fn start(fault: Fault) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            fault,
            requests: AtomicU64::new(0),
            seen: Mutex::default(),
            dead: AtomicBool::new(false),
            open: Mutex::default(),
        });
        let accepting = Arc::clone(&state);
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                if accepting.dead.load(Ordering::SeqCst) {
                    break;
                }
                accepting.open.lock().unwrap().push(stream.try_clone().unwrap());
                let state = Arc::clone(&accepting);
                std::thread::spawn(move || state.serve(stream));
            }
        });
        Self { address, state }
    }

    /// Ids accepted so far.
    pub(crate) fn accepted(&self) -> HashMap<String, u64> {
        self.state.seen.lock().unwrap().clone()
    }

    /// Ends every connection and takes no more.
    pub(crate) fn die(&self) {
        self.state.dead.store(true, Ordering::SeqCst);
        // Wakes the accepting thread, which then lets go of the port.
        drop(TcpStream::connect(self.address));
        for stream in self.state.open.lock().unwrap().drain(..) {
            drop(stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

impl State {
    fn serve(&self, stream: TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().unwrap());
        let mut writer = stream;
        // Answers are written in two parts: without this, the second waits for the first one's acknowledgement.
        writer.set_nodelay(true).unwrap();
        while let Some((line, body)) = read_request(&mut reader) {
            if line.starts_with("GET") {
                let head = "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
                            Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
                writer.write_all(head.as_bytes()).unwrap();
                return self.serve_websocket(&mut reader, &mut writer);
            }
            let (status, text) = if line.contains("/batch") { self.take_batch(&body) } else { self.take_one(&body) };
            if self.answer(&mut writer, status, &text).is_none() {
                // The list of open ones holds a copy, so letting go would not be enough.
                drop(writer.shutdown(std::net::Shutdown::Both));
                return;
            }
        }
    }

    /// Writes the answer, or does what the fault says; `None` ends the connection.
    fn answer(&self, writer: &mut TcpStream, status: u16, text: &str) -> Option<()> {
        let count = self.requests.fetch_add(1, Ordering::SeqCst) + 1;
        let (mut status, mut extra) = (status, "");
        match self.fault {
            Fault::Hangup(n) if count.is_multiple_of(n) => return None,
            Fault::Silence(n) if count > n => std::thread::sleep(Duration::from_secs(60)),
            Fault::Busy(n) if count.is_multiple_of(n) => status = 503,
            Fault::CloseAfter(n) if count.is_multiple_of(n) => extra = "Connection: close\r\n",
            Fault::Slow(millis) => std::thread::sleep(Duration::from_millis(millis)),
            _ => {}
        }
        let head = format!("HTTP/1.1 {status} X\r\n{extra}Content-Length: {}\r\n\r\n", text.len());
        // In two parts, so that answers arrive in pieces.
        writer.write_all(head.as_bytes()).ok()?;
        writer.write_all(text.as_bytes()).ok()?;
        extra.is_empty().then_some(())
    }

    fn take_one(&self, body: &[u8]) -> (u16, String) {
        match self.take(body) {
            None => (400, "{\"eventId\":null,\"status\":\"rejected\",\"code\":\"bad\"}".to_owned()),
            Some((id, seq, duplicate)) => {
                let id = if self.fault == Fault::WrongId { "0".repeat(36) } else { id };
                let more = if duplicate { ",\"duplicate\":true" } else { "" };
                (202, format!("{{\"eventId\":\"{id}\",\"status\":\"accepted\",\"seq\":{seq}{more}}}"))
            }
        }
    }

    fn take_batch(&self, body: &[u8]) -> (u16, String) {
        let value: serde_json::Value = serde_json::from_slice(body).unwrap();
        let events = value["events"].as_array().unwrap();
        let (mut good, mut duplicates, mut details) = (0, 0, Vec::new());
        for (index, event) in events.iter().enumerate() {
            match self.take(event.to_string().as_bytes()) {
                Some((_, _, duplicate)) => {
                    good += 1;
                    duplicates += u64::from(duplicate);
                }
                None => details.push(format!("{{\"index\":{index},\"code\":\"bad\"}}")),
            }
        }
        let (total, failed) = (events.len(), details.len());
        let details = details.join(",");
        let text = format!(
            "{{\"batchId\":\"b\",\"totalEvents\":{total},\"successful\":{good},\"failed\":{failed},\
             \"duplicates\":{duplicates},\"details\":[{details}]}}"
        );
        (202, text)
    }

    /// Checks one event as the intake would; `None` for a bad one.
    fn take(&self, body: &[u8]) -> Option<(String, u64, bool)> {
        let event: serde_json::Value = serde_json::from_slice(body).ok()?;
        let id = event["eventId"].as_str()?.to_owned();
        let kind = event["eventType"].as_str()?;
        let good = loadtest::template::EVENT_TYPES.contains(&kind)
            && event["timestamp"].as_str()?.parse::<jiff::Timestamp>().is_ok()
            && event["sessionId"].is_string()
            && event["storeId"].is_string()
            && event["data"].is_object();
        if !good {
            return None;
        }
        let mut seen = self.seen.lock().unwrap();
        let next = seen.len() as u64 + 1;
        let duplicate = seen.contains_key(&id);
        let seq = *seen.entry(id.clone()).or_insert(next);
        Some((id, seq, duplicate))
    }

    fn serve_websocket(&self, reader: &mut impl Read, writer: &mut TcpStream) {
        // A ping first: the generator must cope with it at any time.
        writer.write_all(&[0x89, 2, b'h', b'i']).unwrap();
        while let Some((opcode, payload)) = read_frame(reader) {
            if opcode != 1 {
                continue;
            }
            let text = String::from_utf8(payload).unwrap();
            let event = text.strip_prefix("{\"type\":\"cart_event\",\"payload\":").unwrap();
            let answer = match self.take(event.strip_suffix('}').unwrap().as_bytes()) {
                Some((id, seq, duplicate)) => format!(
                    "{{\"type\":\"event_ack\",\"eventId\":\"{id}\",\"status\":\"received\",\"seq\":{seq}{}}}",
                    if duplicate { ",\"duplicate\":true" } else { "" }
                ),
                None => match string_after(event.as_bytes(), b"\"eventId\":") {
                    Some(id) => format!(
                        "{{\"type\":\"event_error\",\"eventId\":\"{}\",\"code\":\"bad\"}}",
                        String::from_utf8_lossy(id)
                    ),
                    None => "{\"type\":\"event_error\",\"code\":\"bad\"}".to_owned(),
                },
            };
            let mut frame = vec![0x81];
            if answer.len() < 126 {
                frame.push(answer.len() as u8);
            } else {
                frame.push(126);
                frame.extend_from_slice(&(answer.len() as u16).to_be_bytes());
            }
            frame.extend_from_slice(answer.as_bytes());
            if writer.write_all(&frame).is_err() {
                return;
            }
        }
    }
}

fn read_request(reader: &mut impl BufRead) -> Option<(String, Vec<u8>)> {
    let mut head = String::new();
    while !head.ends_with("\r\n\r\n") {
        if reader.read_line(&mut head).ok()? == 0 {
            return None;
        }
    }
    let lower = head.to_ascii_lowercase();
    let length = number_after(lower.as_bytes(), b"content-length:").unwrap_or(0);
    let mut body = vec![0; length as usize];
    reader.read_exact(&mut body).ok()?;
    Some((head.lines().next()?.to_owned(), body))
}

fn read_frame(reader: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut head = [0u8; 2];
    reader.read_exact(&mut head).ok()?;
    let length = match head[1] & 0x7F {
        126 => {
            let mut more = [0u8; 2];
            reader.read_exact(&mut more).ok()?;
            usize::from(u16::from_be_bytes(more))
        }
        short => usize::from(short),
    };
    let mut mask = [0u8; 4];
    reader.read_exact(&mut mask).ok()?;
    let mut payload = vec![0; length];
    reader.read_exact(&mut payload).ok()?;
    payload.iter_mut().enumerate().for_each(|(at, byte)| *byte ^= mask[at & 3]);
    Some((head[0] & 15, payload))
}
