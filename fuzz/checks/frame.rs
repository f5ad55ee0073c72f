//! Any bytes in any reads: no panic, bounded memory, and the same events and violation however the stream is cut.
//! The first byte is the limit, the second the size of a read; the rest is the stream.
use frame::{Decoder, Event, Limits, Violation};
use std::ops::ControlFlow;

/// Each event as its kind and bytes, and how the stream ended.
type Seen = (Vec<(u8, Vec<u8>)>, Result<(), Violation>);

fn decode(stream: &[u8], step: usize, limit: usize) -> Seen {
    let mut decoder = Decoder::new(Limits { message_bytes_max: limit });
    let mut seen = Vec::new();
    for read in stream.chunks(step) {
        let fed = decoder.feed(&mut read.to_vec(), |event| {
            seen.push(match event {
                Event::Text(bytes) => {
                    assert!(bytes.len() <= limit && std::str::from_utf8(bytes).is_ok());
                    (1, bytes.to_vec())
                }
                Event::Binary(bytes) => {
                    assert!(bytes.len() <= limit);
                    (2, bytes.to_vec())
                }
                Event::Ping(bytes) => (9, bytes.to_vec()),
                Event::Pong(bytes) => (10, bytes.to_vec()),
                Event::Close { code, reason } => (8, format!("{code:?} {reason}").into_bytes()),
            });
            ControlFlow::Continue(())
        });
        assert!(decoder.buffered() <= limit + 256, "{} bytes held", decoder.buffered());
        if fed.is_err() {
            assert_eq!(decoder.buffered(), 0);
            return (seen, fed);
        }
    }
    (seen, Ok(()))
}

pub fn check(input: &[u8]) {
    let [limit, step, stream @ ..] = input else { return };
    let limit = usize::from(*limit) * 8;
    let whole = decode(stream, stream.len().max(1), limit);
    assert_eq!(decode(stream, usize::from(*step).max(1), limit), whole);
    assert_eq!(decode(stream, 1, limit), whole);
}
