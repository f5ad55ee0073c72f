//! A client's frames, written from the RFC's picture (§5.2) and not from this crate's code; and what a decoder made
//! of them, as owned values.

use frame::{Decoder, Event, Limits, Violation};
use std::ops::ControlFlow;

pub(crate) const CONTINUATION: u8 = 0;
pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
pub(crate) const CLOSE: u8 = 8;
pub(crate) const PING: u8 = 9;
pub(crate) const PONG: u8 = 10;

pub(crate) const FIN: u8 = 0x80;
pub(crate) const KEY: [u8; 4] = [0xa1, 0x5c, 0x07, 0xf3];

/// An event, owned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    Text(String),
    Binary(Vec<u8>),
    Ping(Vec<u8>),
    Pong(Vec<u8>),
    Close(Option<u16>, String),
}

/// A whole frame: `first` is FIN, reserved bits and opcode.
pub(crate) fn frame_with_key(first: u8, payload: &[u8], key: [u8; 4]) -> Vec<u8> {
    let mut out = vec![first];
    match payload.len() {
        len @ 0..=125 => out.push(0x80 | len as u8),
        len @ 126..=0xffff => {
            out.push(0x80 | 126);
            out.extend((len as u16).to_be_bytes());
        }
        len => {
            out.push(0x80 | 127);
            out.extend((len as u64).to_be_bytes());
        }
    }
    out.extend(key);
    out.extend(payload.iter().enumerate().map(|(i, byte)| byte ^ key[i % 4]));
    out
}

/// The last, or only, frame of something.
pub(crate) fn last(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_with_key(FIN | opcode, payload.as_ref(), KEY)
}

/// A frame that more of the same message will follow.
pub(crate) fn more(opcode: u8, payload: impl AsRef<[u8]>) -> Vec<u8> {
    frame_with_key(opcode, payload.as_ref(), KEY)
}

pub(crate) fn text(payload: &str) -> Vec<u8> {
    last(TEXT, payload)
}

pub(crate) fn close(code: u16, reason: impl AsRef<[u8]>) -> Vec<u8> {
    last(CLOSE, [&code.to_be_bytes(), reason.as_ref()].concat())
}

pub(crate) fn decoder(message_bytes_max: usize) -> Decoder {
    Decoder::new(Limits { message_bytes_max })
}

/// Feeds one read and collects what comes of it.
pub(crate) fn feed(decoder: &mut Decoder, read: &[u8], seen: &mut Vec<Seen>) -> Result<(), Violation> {
    decoder.feed(&mut read.to_vec(), |event| {
        seen.push(match event {
            Event::Text(bytes) => Seen::Text(String::from_utf8(bytes.to_vec()).expect("text is UTF-8")),
            Event::Binary(bytes) => Seen::Binary(bytes.to_vec()),
            Event::Ping(bytes) => Seen::Ping(bytes.to_vec()),
            Event::Pong(bytes) => Seen::Pong(bytes.to_vec()),
            Event::Close { code, reason } => Seen::Close(code, reason.to_owned()),
        });
        ControlFlow::Continue(())
    })
}

/// What a stream gives when it is read in pieces of `step` bytes.
pub(crate) fn decode_in_steps(stream: &[u8], step: usize, limit: usize) -> (Vec<Seen>, Result<(), Violation>) {
    let mut decoder = decoder(limit);
    let mut seen = Vec::new();
    for read in stream.chunks(step) {
        if let Err(violation) = feed(&mut decoder, read, &mut seen) {
            return (seen, Err(violation));
        }
    }
    (seen, Ok(()))
}

/// What frames give, whether they come in one read, byte by byte, or anything between.
pub(crate) fn decode(frames: &[Vec<u8>]) -> (Vec<Seen>, Result<(), Violation>) {
    let stream = frames.concat();
    let whole = decode_in_steps(&stream, stream.len().max(1), 1 << 20);
    for step in [1, 2, 3, 7, 64] {
        assert_eq!(decode_in_steps(&stream, step, 1 << 20), whole, "in steps of {step}");
    }
    whole
}

/// What good frames give.
pub(crate) fn events(frames: &[Vec<u8>]) -> Vec<Seen> {
    let (seen, outcome) = decode(frames);
    assert_eq!(outcome, Ok(()));
    seen
}

/// How the last of the frames breaks the protocol; all before it must be good.
pub(crate) fn violation(frames: &[Vec<u8>]) -> Violation {
    let good = &frames[..frames.len() - 1];
    assert_eq!(decode(good).1, Ok(()), "only the last frame is bad");
    let (seen, outcome) = decode(frames);
    assert_eq!(seen, decode(good).0, "nothing of the bad frame is handed out");
    outcome.expect_err("the last frame is bad")
}
