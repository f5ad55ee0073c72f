use crate::client::*;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const LIMIT: usize = 300_000;

/// A message and the places to cut it into fragments, a control frame after each of them or none.
#[derive(Debug, Clone)]
struct Sent {
    message: Seen,
    cuts: Vec<(Index, Option<Seen>)>,
    key: [u8; 4],
}

/// Mostly small, sometimes across the borders of the length's forms.
fn length() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0..300usize, 2 => 0..5_000usize, 1 => 65_000..66_000usize]
}

fn message() -> impl Strategy<Value = Seen> {
    prop_oneof![
        3 => ".{0,200}".prop_map(Seen::Text),
        1 => length().prop_map(|len| Seen::Text("aé☃𝄞".chars().cycle().take(len).collect())),
        2 => (length(), any::<u8>())
            .prop_map(|(len, salt)| Seen::Binary((0..len).map(|i| (i as u8).wrapping_mul(31) ^ salt).collect())),
    ]
}

fn control() -> impl Strategy<Value = Seen> {
    (any::<bool>(), vec(any::<u8>(), 0..=125))
        .prop_map(|(ping, payload)| if ping { Seen::Ping(payload) } else { Seen::Pong(payload) })
}

fn sent() -> impl Strategy<Value = Sent> {
    let cuts = vec((any::<Index>(), proptest::option::of(control())), 0..4);
    (message(), cuts, any::<[u8; 4]>()).prop_map(|(message, cuts, key)| Sent { message, cuts, key })
}

fn put_control(stream: &mut Vec<u8>, control: &Seen, key: [u8; 4]) {
    match control {
        Seen::Ping(payload) => stream.extend(frame_with_key(FIN | PING, payload, key)),
        Seen::Pong(payload) => stream.extend(frame_with_key(FIN | PONG, payload, key)),
        other => unreachable!("{other:?} is no ping or pong"),
    }
}

impl Sent {
    /// Appends the frames, and the events to expect in their order.
    fn put(&self, stream: &mut Vec<u8>, expected: &mut Vec<Seen>) {
        let (opcode, payload) = match &self.message {
            Seen::Text(text) => (TEXT, text.as_bytes()),
            Seen::Binary(bytes) => (BINARY, &bytes[..]),
            other => unreachable!("{other:?} is no message"),
        };
        let mut places: Vec<_> = self.cuts.iter().map(|(at, control)| (at.index(payload.len() + 1), control)).collect();
        places.sort_by_key(|(at, _)| *at);
        let mut start = 0;
        let mut opcode = opcode;
        for (at, control) in places {
            stream.extend(frame_with_key(opcode, &payload[start..at], self.key));
            (start, opcode) = (at, CONTINUATION);
            if let Some(control) = control {
                put_control(stream, control, self.key);
                expected.push(control.clone());
            }
        }
        stream.extend(frame_with_key(FIN | opcode, &payload[start..], self.key));
        expected.push(self.message.clone());
    }
}

/// Feeds `stream` in reads of the given sizes, over and over, and checks after each that memory is bounded.
fn feed_in_reads(stream: &[u8], sizes: &[usize], limit: usize) -> (Vec<Seen>, Result<(), frame::Violation>, usize) {
    let mut decoder = decoder(limit);
    let mut seen = Vec::new();
    let mut at = 0;
    for size in sizes.iter().cycle() {
        let end = (at + size).min(stream.len());
        let outcome = feed(&mut decoder, &stream[at..end], &mut seen);
        assert!(decoder.buffered() <= limit + 256, "{} bytes held", decoder.buffered());
        at = end;
        if outcome.is_err() || at == stream.len() {
            return (seen, outcome, decoder.buffered());
        }
    }
    unreachable!("there is at least one size");
}

fn reads() -> impl Strategy<Value = Vec<usize>> {
    prop_oneof![vec(1..20usize, 1..20), vec(1..2_000usize, 1..20), Just(vec![64 << 10])]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_messages_in_any_fragments_and_reads_come_out_as_they_were_sent(
        messages in vec(sent(), 0..12),
        sizes in reads(),
    ) {
        let (mut stream, mut expected) = (Vec::new(), Vec::new());
        for message in &messages {
            message.put(&mut stream, &mut expected);
        }
        let (seen, outcome, buffered) = feed_in_reads(&stream, &sizes, LIMIT);
        prop_assert_eq!(outcome, Ok(()));
        prop_assert_eq!(seen, expected);
        prop_assert_eq!(buffered, 0, "nothing is kept at the end of a message");
    }

    #[test]
    fn garbage_neither_panics_nor_takes_memory(
        garbage in vec(any::<u8>(), 0..2_000),
        sizes in reads(),
        limit in 0..500usize,
    ) {
        let (_, outcome, buffered) = feed_in_reads(&garbage, &sizes, limit);
        prop_assert!(outcome.is_ok() || buffered == 0, "nothing is kept after a violation");
    }

    /// Garbage that mostly passes the first checks, so that the later ones meet it too.
    #[test]
    fn plausible_garbage_gives_the_same_events_and_violation_however_it_is_read(
        frames in vec((prop::sample::select(&[0, 1, 2, 8, 9, 10, 3][..]), any::<[bool; 2]>(), vec(any::<u8>(), 0..200)), 0..20),
        flips in vec((any::<Index>(), any::<u8>()), 0..3),
        sizes in reads(),
        limit in 0..500usize,
    ) {
        let mut stream: Vec<u8> = Vec::new();
        for (opcode, [fin, ascii], payload) in frames {
            let payload: Vec<u8> = payload.iter().map(|byte| if ascii { byte & 0x7f } else { *byte }).collect();
            stream.extend(frame_with_key(if fin { FIN | opcode } else { opcode }, &payload, KEY));
        }
        for (at, bits) in flips {
            if !stream.is_empty() {
                let at = at.index(stream.len());
                stream[at] ^= bits;
            }
        }
        let in_reads = feed_in_reads(&stream, &sizes, limit);
        prop_assert_eq!(in_reads, feed_in_reads(&stream, &[usize::MAX >> 1], limit));
    }
}
