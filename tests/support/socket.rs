//! A WebSocket client that can also break every rule.

use super::http::Connection;
use super::{Daemon, request};
use serde_json::{Value, json};
use std::io::{self, Read, Write};
use std::net::TcpStream;

pub const CONTINUATION: u8 = 0;
pub const TEXT: u8 = 1;
pub const BINARY: u8 = 2;
pub const CLOSE: u8 = 8;
pub const PING: u8 = 9;
pub const PONG: u8 = 10;

const FIN: u8 = 0x80;
const MASK: [u8; 4] = [0x5a, 0x17, 0xc3, 0x88];

/// A frame of the daemon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    pub opcode: u8,
    pub payload: Vec<u8>,
}

/// A client's frame, complete and masked.
pub fn masked(opcode: u8, payload: &[u8]) -> Vec<u8> {
    frame(FIN | opcode, payload)
}

/// A masked frame with this first byte.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
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

/// The message that carries one event, or an array of them.
pub fn cart_event(payload: &Value) -> String {
    json!({"type": "cart_event", "payload": payload}).to_string()
}

/// An open WebSocket.
pub struct Socket {
    connection: Connection,
}

impl Socket {
    #[track_caller]
    pub fn open(daemon: &Daemon) -> Self {
        Socket::on(daemon.connect())
    }

    /// As [`Socket::open`], over [`Connection::narrow`].
    #[track_caller]
    pub fn narrow(daemon: &Daemon) -> Self {
        Socket::on(Connection::narrow(daemon.address))
    }

    #[track_caller]
    pub fn on(mut connection: Connection) -> Self {
        connection.send(request(
            "GET",
            "/events/stream",
            &[
                ("Connection", "Upgrade"),
                ("Upgrade", "websocket"),
                ("Sec-WebSocket-Version", "13"),
                ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
            ],
            b"",
        ));
        let answer = connection.answer();
        assert_eq!(answer.status, 101, "{answer:?}");
        Socket { connection }
    }

    /// Takes over a connection whose handshake is done.
    pub fn over(connection: Connection) -> Self {
        Socket { connection }
    }

    pub fn stream(&self) -> &TcpStream {
        self.connection.stream()
    }

    #[track_caller]
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.connection.send(bytes);
    }

    pub fn try_send_raw(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.connection.try_send(bytes)
    }

    #[track_caller]
    pub fn send(&mut self, opcode: u8, payload: &[u8]) {
        self.send_raw(&masked(opcode, payload));
    }

    #[track_caller]
    pub fn text(&mut self, text: impl AsRef<str>) {
        self.send(TEXT, text.as_ref().as_bytes());
    }

    /// Sends a `cart_event` message.
    #[track_caller]
    pub fn cart(&mut self, payload: &Value) {
        self.text(cart_event(payload));
    }

    /// The next frame but a Ping, each of which is answered.
    #[track_caller]
    pub fn frame(&mut self) -> Frame {
        self.next_frame().unwrap()
    }

    /// As [`Socket::frame`].
    pub fn next_frame(&mut self) -> io::Result<Frame> {
        loop {
            let frame = self.try_frame()?;
            if frame.opcode != PING {
                return Ok(frame);
            }
            // A daemon that closes does not wait for it.
            self.try_send_raw(&masked(PONG, &frame.payload)).ok();
        }
    }

    /// The next frame, whatever it is.
    pub fn try_frame(&mut self) -> io::Result<Frame> {
        let mut head = [0; 2];
        self.connection.read_exact(&mut head)?;
        assert_eq!(head[0] & 0x70, 0, "no extension was agreed on");
        assert_eq!(head[0] & FIN, FIN, "the daemon does not fragment");
        assert_eq!(head[1] & 0x80, 0, "a server does not mask");
        let length = match head[1] {
            126 => u64::from(u16::from_be_bytes(self.array()?)),
            127 => u64::from_be_bytes(self.array()?),
            short => u64::from(short),
        };
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        self.connection.read_exact(&mut payload)?;
        Ok(Frame { opcode: head[0] & 0x0f, payload })
    }

    /// The next message, which must be text.
    #[track_caller]
    pub fn json(&mut self) -> Value {
        let frame = self.frame();
        assert_eq!(frame.opcode, TEXT, "{frame:?}");
        serde_json::from_slice(&frame.payload).unwrap()
    }

    /// The next message, which must be of this type.
    #[track_caller]
    pub fn message(&mut self, kind: &str) -> Value {
        let message = self.json();
        assert_eq!(message["type"], kind, "{message}");
        message
    }

    /// The code of the Close that must come next, and then the end of the connection.
    #[track_caller]
    pub fn close_code(&mut self) -> Option<u16> {
        let frame = self.frame();
        assert_eq!(frame.opcode, CLOSE, "{frame:?}");
        // Only now may a client end the connection too.
        self.connection.finish();
        assert!(self.connection.is_closed(), "something came after the Close");
        frame.payload.first_chunk().map(|code| u16::from_be_bytes(*code))
    }

    /// Whether the daemon has ended the connection; waits for it.
    pub fn is_closed(&mut self) -> bool {
        self.connection.is_closed()
    }

    fn array<const N: usize>(&mut self) -> io::Result<[u8; N]> {
        let mut bytes = [0; N];
        self.connection.read_exact(&mut bytes)?;
        Ok(bytes)
    }
}

impl Read for Connection {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        self.reader().read(out)
    }
}
