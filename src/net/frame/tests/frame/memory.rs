use crate::client::*;
use frame::{Decoder, Event};
use std::ops::ControlFlow;

const MIB: usize = 1 << 20;

/// What a decoder needs besides the message.
const SLACK: usize = 256;

#[test]
fn a_decoder_is_small_and_keeps_nothing_between_messages() {
    assert!(size_of::<Decoder>() <= 24);
    let mut decoder = decoder(MIB);
    let mut seen = Vec::new();
    assert_eq!(decoder.buffered(), 0);
    for frame in [text("a"), last(BINARY, vec![0; 100_000]), last(PING, "p")] {
        feed(&mut decoder, &frame, &mut seen).unwrap();
        assert_eq!(decoder.buffered(), 0);
        for cut in [1, 3, frame.len() - 1] {
            feed(&mut decoder, &frame[..cut], &mut seen).unwrap();
            assert!(decoder.buffered() > 0);
            feed(&mut decoder, &frame[cut..], &mut seen).unwrap();
            assert_eq!(decoder.buffered(), 0);
        }
    }
    feed(&mut decoder, &[more(TEXT, "a"), last(CONTINUATION, "b")].concat(), &mut seen).unwrap();
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn what_lies_whole_in_a_read_is_handed_out_in_place() {
    let mut decoder = decoder(MIB);
    for mut read in [text("a"), [text("a"), last(BINARY, [7; 300]), last(PING, "p")].concat(), last(CLOSE, "")] {
        let place = read.as_ptr_range();
        let fed = decoder.feed(&mut read, |event| {
            if let Event::Text(bytes) | Event::Binary(bytes) = event {
                assert!(place.contains(&bytes.as_ptr()));
            }
            ControlFlow::Continue(())
        });
        assert_eq!(fed, Ok(()));
    }
}

#[test]
fn a_cut_frame_takes_exactly_its_length() {
    let mut decoder = decoder(MIB);
    let frame = last(BINARY, [0; 480]);
    feed(&mut decoder, &frame[..100], &mut Vec::new()).unwrap();
    assert!(decoder.buffered() <= 480 + SLACK, "{}", decoder.buffered());
}

#[test]
fn memory_follows_what_arrives_and_not_what_is_announced() {
    let mut decoder = decoder(8 * MIB);
    let frame = last(BINARY, vec![0; 8 * MIB]);
    feed(&mut decoder, &frame[..14], &mut Vec::new()).unwrap();
    assert!(decoder.buffered() <= SLACK, "{}", decoder.buffered());
    feed(&mut decoder, &frame[14..24], &mut Vec::new()).unwrap();
    assert!(decoder.buffered() <= 1024 + SLACK, "{}", decoder.buffered());
    feed(&mut decoder, &frame[24..100_000], &mut Vec::new()).unwrap();
    assert!(decoder.buffered() <= 200_000, "{}", decoder.buffered());
}

#[test]
fn what_a_client_sends_does_not_show_in_debug_output() {
    let mut decoder = decoder(1000);
    feed(&mut decoder, &more(TEXT, "secret"), &mut Vec::new()).unwrap();
    let shown = format!("{decoder:?}");
    assert!(shown.starts_with("Decoder { message_bytes_max: 1000, buffered: "), "{shown}");
    assert!(!shown.contains("secret") && !shown.contains("115, 101"), "{shown}");
}

#[test]
fn a_refused_message_is_not_kept() {
    let mut decoder = decoder(1000);
    let mut seen = Vec::new();
    assert!(feed(&mut decoder, &last(BINARY, vec![0; 1001])[..500], &mut seen).is_err());
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn a_message_never_takes_more_than_the_limit() {
    for limit in [0, 1, 100, 1000, 1024, 5000] {
        let mut decoder = decoder(limit);
        let mut seen = Vec::new();
        feed(&mut decoder, &more(BINARY, ""), &mut seen).unwrap();
        for _ in 0..limit {
            feed(&mut decoder, &more(CONTINUATION, "x"), &mut seen).unwrap();
            assert!(decoder.buffered() <= limit + SLACK);
        }
        assert!(feed(&mut decoder, &more(CONTINUATION, "x"), &mut seen).is_err());
    }
}

/// How often the memory is moved while a message of `bytes` arrives in fragments, and in reads of `step` bytes.
fn growths(bytes: usize, step: usize, fragment: usize) -> usize {
    let mut stream = more(BINARY, "");
    for payload in vec![7; bytes].chunks(fragment) {
        stream.extend(more(CONTINUATION, payload));
    }
    stream.extend(last(CONTINUATION, ""));
    let mut seen = Vec::new();
    let mut decoder = decoder(bytes);
    let mut held = vec![0];
    for read in stream.chunks(step) {
        feed(&mut decoder, read, &mut seen).unwrap();
        held.push(decoder.buffered());
    }
    assert_eq!(seen, [Seen::Binary(vec![7; bytes])]);
    held.dedup();
    held.len() - 1
}

/// Counted and not timed, so that it holds on a busy machine too; the time is what `examples/speed.rs` shows.
#[test]
fn a_large_message_is_moved_a_few_times_however_it_is_cut() {
    for step in [200, 1000, 64 << 10] {
        for fragment in [150, 5000, 4 * MIB] {
            let growths = growths(4 * MIB, step, fragment);
            assert!(growths <= 16, "{growths} with reads of {step}, fragments of {fragment}");
        }
    }
}
