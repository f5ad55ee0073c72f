//! A small WebSocket client (RFC 6455) for `/events/stream`: text frames out, acknowledgements in.
//!
//! Events are pipelined, and each acknowledgement stands for itself: whatever is without one when the connection ends
//! has an unknown outcome.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use serde_json::Value;

/// Longest frame that is read.
const FRAME_BYTES_MAX: u64 = 1 << 20;
const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// An open stream.
#[derive(Debug)]
pub struct Socket {
    reader: BufReader<TcpStream>,
}

impl Socket {
    /// Connects and upgrades; no single read or write waits longer than `timeout`.
    pub fn connect(address: SocketAddr, timeout: Duration) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, timeout)?;
        stream.set_read_timeout(Some(timeout))?;
        stream.set_write_timeout(Some(timeout))?;
        stream.set_nodelay(true)?;
        stream.write_all(
            b"GET /events/stream HTTP/1.1\r\nHost: rig\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
              Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        )?;
        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line)?;
        let upgraded = line.contains(" 101 ");
        let status = line.trim_end().to_owned();
        while line != "\r\n" {
            line.clear();
            if reader.read_line(&mut line)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        if upgraded { Ok(Self { reader }) } else { Err(io::Error::new(io::ErrorKind::Unsupported, status)) }
    }

    /// Sends several messages in one write.
    pub fn send(&mut self, texts: &[String]) -> io::Result<()> {
        let frames: Vec<u8> = texts.iter().flat_map(|text| frame(TEXT, text.as_bytes())).collect();
        self.reader.get_mut().write_all(&frames)
    }

    /// The next message, as JSON; pings are answered on the way.
    pub fn receive(&mut self) -> io::Result<Value> {
        loop {
            let mut head = [0; 2];
            self.reader.read_exact(&mut head)?;
            let length = match head[1] & 0x7f {
                126 => u64::from(u16::from_be_bytes(self.bytes()?)),
                127 => u64::from_be_bytes(self.bytes()?),
                short => u64::from(short),
            };
            if length > FRAME_BYTES_MAX || head[0] & 0x80 == 0 || head[1] & 0x80 != 0 {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "unexpected frame"));
            }
            let mut payload = vec![0; length as usize];
            self.reader.read_exact(&mut payload)?;
            match head[0] & 0x0f {
                TEXT => return serde_json::from_slice(&payload).map_err(io::Error::from),
                PING => self.reader.get_mut().write_all(&frame(PONG, &payload))?,
                CLOSE => return Err(io::ErrorKind::ConnectionAborted.into()),
                _ => {}
            }
        }
    }

    /// True if more was already read than was asked for.
    pub fn has_more(&self) -> bool {
        !self.reader.buffer().is_empty()
    }

    fn bytes<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.reader.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

/// A whole masked frame; the mask is fixed, since nothing between us and the loopback needs to be confused.
fn frame(kind: u8, payload: &[u8]) -> Vec<u8> {
    const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];
    let mut out = vec![0x80 | kind];
    match payload.len() {
        short @ 0..126 => out.push(0x80 | short as u8),
        long @ 126..0x1_0000 => {
            out.push(0x80 | 126);
            out.extend_from_slice(&(long as u16).to_be_bytes());
        }
        huge => {
            out.push(0x80 | 127);
            out.extend_from_slice(&(huge as u64).to_be_bytes());
        }
    }
    out.extend_from_slice(&MASK);
    out.extend(payload.iter().zip(MASK.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    out
}

/// What one message of the server says about the events in flight.
#[derive(Debug)]
pub enum Told<T> {
    /// Acknowledged.
    Acked {
        /// The event.
        event: T,
        /// Its sequence number.
        seq: Option<u64>,
        /// It was known before.
        duplicate: bool,
    },
    /// An error for this event, with its code.
    Failed {
        /// The event.
        event: T,
        /// The code.
        code: String,
    },
    /// Concerns no event in flight.
    Other,
}

/// Reads a message of the server against what is in flight, by event id.
pub fn told<T>(message: &Value, in_flight: &mut HashMap<String, T>) -> Told<T> {
    let event = message["eventId"].as_str().and_then(|id| in_flight.remove(id));
    match (message["type"].as_str(), event) {
        (Some("event_ack"), Some(event)) => {
            let (seq, duplicate) = (message["seq"].as_u64(), message["duplicate"] == true);
            Told::Acked { event, seq, duplicate }
        }
        (Some("event_error"), Some(event)) => {
            Told::Failed { event, code: message["code"].as_str().unwrap_or("").to_owned() }
        }
        _ => Told::Other,
    }
}
