//! Nanoseconds per 480-byte masked text message, in batches of 1, 16 and 128 per read, and what the check for UTF-8
//! is of that. `cargo run --release -p frame --example speed`
//!
//! Each round copies the masked bytes into the read buffer first, as `read` would; that copy is timed alone and taken
//! off. The figure is the best of many rounds: the machine's other work only ever adds.

use frame::{Decoder, Event, Limits, put_text_with};
use std::hint::black_box;
use std::ops::ControlFlow;
use std::time::Instant;

const MESSAGE_BYTES: usize = 480;
const ROUNDS: usize = 400;

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let key = [0x37, 0xfa, 0x21, 0x3d];
    let mut out = vec![0x80 | opcode];
    match payload.len() {
        len @ 0..126 => out.push(0x80 | len as u8),
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

/// Best nanoseconds per message of `work`, which handles `messages` of them and is repeated to be long enough to time.
fn best(messages: usize, mut work: impl FnMut()) -> f64 {
    let repeats = 4096 / messages;
    let round = |_| {
        let start = Instant::now();
        for _ in 0..repeats {
            work();
        }
        start.elapsed().as_nanos() as f64 / (repeats * messages) as f64
    };
    (0..ROUNDS).map(round).fold(f64::INFINITY, f64::min)
}

fn decode(stream: &[u8], messages: usize, step: usize) -> f64 {
    let mut decoder = Decoder::new(Limits { message_bytes_max: 16 << 20 });
    let mut buffer = vec![0; step.min(stream.len())];
    let copy = best(messages, || {
        for read in stream.chunks(step) {
            black_box(&mut buffer)[..read.len()].copy_from_slice(black_box(read));
        }
    });
    let all = best(messages, || {
        let mut bytes = 0;
        for read in stream.chunks(step) {
            black_box(&mut buffer)[..read.len()].copy_from_slice(black_box(read));
            let fed = decoder.feed(&mut buffer[..read.len()], |event| {
                if let Event::Text(payload) | Event::Binary(payload) = event {
                    bytes += payload.len();
                }
                ControlFlow::Continue(())
            });
            assert_eq!(fed, Ok(()));
        }
        black_box(bytes);
    });
    all - copy
}

fn main() {
    let ascii = "{\"eventId\":\"0191e7c2\",\"eventType\":\"item_added\",\"storeId\":\"s-1\"}".repeat(8);
    let ascii = &ascii.as_bytes()[..MESSAGE_BYTES];
    let mixed = "{\"name\":\"Grüße, größe 42, naïve café\",\"city\":\"Zürich\",\"q\":1}".repeat(8);
    let mixed = &mixed.as_bytes()[..mixed.floor_char_boundary(MESSAGE_BYTES)];

    println!("{MESSAGE_BYTES}-byte messages, ns each");
    println!("{:>12} {:>12} {:>12} {:>12}", "per read", "binary", "ASCII text", "other text");
    for batch in [1, 16, 128] {
        let [binary, ascii, mixed] =
            [(2, ascii), (1, ascii), (1, mixed)].map(|(op, m)| decode(&frame(op, m).repeat(batch), batch, 64 << 10));
        println!("{batch:>12} {binary:>12.1} {ascii:>12.1} {mixed:>12.1}");
    }
    let stream = frame(1, ascii).repeat(128);
    println!("each message cut by the end of a read: {:.1}", decode(&stream, 128, MESSAGE_BYTES));
    println!(
        "UTF-8 check alone: std {:.1} ASCII, {:.1} other; simdutf8 {:.1}, {:.1}",
        best(1, || assert!(std::str::from_utf8(black_box(ascii)).is_ok())),
        best(1, || assert!(std::str::from_utf8(black_box(mixed)).is_ok())),
        best(1, || assert!(simdutf8::basic::from_utf8(black_box(ascii)).is_ok())),
        best(1, || assert!(simdutf8::basic::from_utf8(black_box(mixed)).is_ok()))
    );
    let mut out = Vec::with_capacity(1 << 10);
    let put = best(1, || {
        out.clear();
        put_text_with(&mut out, |out| out.extend_from_slice(black_box(&ascii[..150])));
        black_box(&out);
    });
    println!("put_text_with of 150 bytes: {put:.1}");
    let large = frame(1, &ascii.repeat((8 << 20) / MESSAGE_BYTES));
    let start = Instant::now();
    let per_message = decode(&large, 4096, 64 << 10) * 4096.0;
    println!("8 MiB in reads of 64 KiB: {:.2} ms ({:.1} s for all)", per_message / 1e6, start.elapsed().as_secs_f64());
}
