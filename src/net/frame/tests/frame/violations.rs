use crate::client::*;
use frame::Violation;

#[track_caller]
fn fails(frames: &[Vec<u8>], code: u16, expected: Violation) {
    let found = violation(frames);
    assert_eq!(found, expected);
    assert_eq!(found.close_code(), code);
}

#[test]
fn an_unmasked_frame_is_refused() {
    for opcode in [CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG] {
        fails(&[vec![FIN | opcode, 2, b'h', b'i']], 1002, Violation::Unmasked);
    }
}

#[test]
fn each_reserved_bit_is_refused_as_no_extension_is_negotiated() {
    for bit in [0x40, 0x20, 0x10] {
        fails(&[frame_with_key(FIN | bit | TEXT, b"hi", KEY)], 1002, Violation::ReservedBits);
        fails(&[frame_with_key(FIN | bit | PING, b"hi", KEY)], 1002, Violation::ReservedBits);
    }
}

#[test]
fn each_reserved_opcode_is_refused() {
    for opcode in (3..=7).chain(11..=15) {
        fails(&[text("a"), last(opcode, "")], 1002, Violation::UnknownOpcode(opcode));
    }
}

#[test]
fn a_fragmented_control_frame_is_refused() {
    for opcode in [CLOSE, PING, PONG] {
        fails(&[more(opcode, "")], 1002, Violation::FragmentedControl);
    }
}

#[test]
fn a_control_frame_of_more_than_125_bytes_is_refused() {
    for opcode in [CLOSE, PING, PONG] {
        fails(&[last(opcode, vec![b'a'; 126])], 1002, Violation::LongControl);
        fails(&[last(opcode, vec![b'a'; 70_000])], 1002, Violation::LongControl);
        // Nor may a short one use a long form.
        fails(&[vec![FIN | opcode, 0xfe, 0, 2, 0, 0, 0, 0, 3, 232]], 1002, Violation::LongControl);
    }
}

#[test]
fn a_continuation_of_nothing_is_refused() {
    fails(&[last(CONTINUATION, "a")], 1002, Violation::OrphanContinuation);
    fails(&[more(CONTINUATION, "")], 1002, Violation::OrphanContinuation);
    fails(&[text("a"), last(CONTINUATION, "a")], 1002, Violation::OrphanContinuation);
    fails(&[more(TEXT, "a"), last(CONTINUATION, "b"), last(CONTINUATION, "c")], 1002, Violation::OrphanContinuation);
}

#[test]
fn a_new_message_inside_a_fragmented_one_is_refused() {
    for opcode in [TEXT, BINARY] {
        fails(&[more(TEXT, "a"), last(opcode, "b")], 1002, Violation::InterleavedMessage);
        fails(&[more(BINARY, ""), more(opcode, "")], 1002, Violation::InterleavedMessage);
        fails(&[more(TEXT, "a"), last(PING, ""), last(opcode, "b")], 1002, Violation::InterleavedMessage);
    }
}

#[test]
fn a_length_not_in_its_shortest_form_is_refused() {
    for len in [0u16, 1, 125] {
        let head = [&[FIN | TEXT, 0xfe], &len.to_be_bytes()[..], &KEY].concat();
        fails(&[head], 1002, Violation::PaddedLength);
    }
    for len in [0u64, 125, 126, 0xffff] {
        let head = [&[FIN | TEXT, 0xff], &len.to_be_bytes()[..], &KEY].concat();
        fails(&[head], 1002, Violation::PaddedLength);
    }
}

#[test]
fn a_length_with_its_highest_bit_set_is_refused() {
    for len in [1u64 << 63, u64::MAX] {
        let head = [&[FIN | TEXT, 0xff], &len.to_be_bytes()[..], &KEY].concat();
        fails(&[head], 1002, Violation::LengthHighBit);
    }
}

#[test]
fn text_that_is_not_utf8_is_refused() {
    let bad: [&[u8]; 9] = [
        b"\xff",
        b"ok\xc0\xaf",       // overlong
        b"\xed\xa0\x80",     // a surrogate
        b"\xf4\x90\x80\x80", // beyond U+10FFFF
        b"\x80",             // a continuation byte alone
        b"cut \xe2\x82",     // ends inside a code point
        b"\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5\xed\xa0\x80edited",
        &[b'a'; 200].map(|_| 0xf8),
        b"0123456789012345678901234567890123456789012345678901234567890123456789\xc3(",
    ];
    for payload in bad {
        fails(&[last(TEXT, payload)], 1007, Violation::InvalidText);
        assert_eq!(events(&[last(BINARY, payload)]), [Seen::Binary(payload.to_vec())]);
    }
}

#[test]
fn text_that_is_not_utf8_over_its_fragments_is_refused() {
    fails(&[more(TEXT, b"\xe2\x82"), last(CONTINUATION, b"\x28")], 1007, Violation::InvalidText);
    fails(&[more(TEXT, b"\xe2"), more(CONTINUATION, b""), last(CONTINUATION, b"")], 1007, Violation::InvalidText);
    fails(&[more(TEXT, b"fine"), last(CONTINUATION, b"\xbf")], 1007, Violation::InvalidText);
}

#[test]
fn a_close_of_one_byte_is_refused() {
    fails(&[last(CLOSE, [3])], 1002, Violation::CutCloseCode);
}

#[test]
fn a_close_code_that_must_not_be_sent_is_refused() {
    let forbidden = (0..=999).chain(1004..=1006).chain(1015..=2999).chain(5000..=u16::MAX);
    for code in forbidden.filter(|code| *code < 3100 || code % 97 == 0 || *code == 5000 || *code == u16::MAX) {
        fails(&[close(code, "")], 1002, Violation::InvalidCloseCode(code));
        assert!(!frame::close::is_sendable(code));
    }
}

#[test]
fn every_close_code_that_may_be_sent_is_taken() {
    for code in (1000..=1003).chain(1007..=1014).chain(3000..=4999) {
        assert!(frame::close::is_sendable(code));
        let (seen, outcome) = decode_in_steps(&close(code, ""), 200, 0);
        assert_eq!((seen, outcome), (vec![Seen::Close(Some(code), String::new())], Ok(())));
    }
}

#[test]
fn a_close_reason_that_is_not_utf8_is_refused() {
    fails(&[close(1000, b"\xc3\x28")], 1007, Violation::InvalidReason);
    fails(&[close(1000, b"cut \xe2\x82")], 1007, Violation::InvalidReason);
}

#[test]
fn a_message_over_the_limit_is_refused_by_its_head() {
    for len in [101u64, 125] {
        let head = [&[FIN | TEXT, 0x80 | len as u8][..], &KEY].concat();
        assert_eq!(decode_in_steps(&head, 1, 100), (vec![], Err(Violation::TooBig { limit: 100 })));
    }
    for len in [126u16, u16::MAX] {
        let head = [&[BINARY, 0xfe], &len.to_be_bytes()[..], &KEY].concat();
        assert_eq!(decode_in_steps(&head, 1, 100), (vec![], Err(Violation::TooBig { limit: 100 })));
    }
    for len in [1u64 << 16, (1 << 32) + 1, (1 << 63) - 1] {
        let head = [&[FIN | TEXT, 0xff], &len.to_be_bytes()[..], &KEY].concat();
        assert_eq!(decode_in_steps(&head, 14, 100), (vec![], Err(Violation::TooBig { limit: 100 })));
    }
    assert_eq!(Violation::TooBig { limit: 100 }.close_code(), 1009);
    assert_eq!(decode_in_steps(&last(TEXT, [b'a'; 100]), 7, 100).1, Ok(()), "the limit itself is allowed");
}

#[test]
fn fragments_that_are_over_the_limit_together_are_refused_by_the_head_that_shows_it() {
    let fits = [more(TEXT, [b'a'; 60]), more(CONTINUATION, [b'a'; 40]), last(CONTINUATION, "")].concat();
    assert_eq!(decode_in_steps(&fits, 9, 100).0, [Seen::Text("a".repeat(100))]);
    let head = [&[FIN | CONTINUATION, 0x80 | 41][..], &KEY].concat();
    let over = [more(TEXT, [b'a'; 60]), last(PING, "!"), head].concat();
    for step in [1, 10, 1000] {
        let outcome = (vec![Seen::Ping(b"!".to_vec())], Err(Violation::TooBig { limit: 100 }));
        assert_eq!(decode_in_steps(&over, step, 100), outcome);
    }
}

#[test]
fn what_came_before_a_violation_is_handed_out() {
    let (seen, outcome) = decode(&[text("a"), last(PING, "p"), text("b"), last(3, ""), text("c")]);
    assert_eq!(seen, [Seen::Text("a".into()), Seen::Ping(b"p".to_vec()), Seen::Text("b".into())]);
    assert_eq!(outcome, Err(Violation::UnknownOpcode(3)));
}

#[test]
fn after_a_violation_everything_is_dropped() {
    let mut decoder = decoder(1000);
    let mut seen = Vec::new();
    assert_eq!(feed(&mut decoder, &more(TEXT, "a"), &mut seen), Ok(()));
    assert_eq!(feed(&mut decoder, &text("b"), &mut seen), Err(Violation::InterleavedMessage));
    assert_eq!(decoder.buffered(), 0);
    assert_eq!(feed(&mut decoder, &text("c"), &mut seen), Ok(()));
    assert_eq!(feed(&mut decoder, &last(3, ""), &mut seen), Ok(()));
    assert_eq!(seen, []);
}

#[test]
fn each_violation_says_what_is_wrong_within_a_close_frame() {
    let all = [
        Violation::Unmasked,
        Violation::ReservedBits,
        Violation::UnknownOpcode(15),
        Violation::FragmentedControl,
        Violation::LongControl,
        Violation::OrphanContinuation,
        Violation::InterleavedMessage,
        Violation::PaddedLength,
        Violation::LengthHighBit,
        Violation::TooBig { limit: usize::MAX },
        Violation::InvalidText,
        Violation::CutCloseCode,
        Violation::InvalidCloseCode(u16::MAX),
        Violation::InvalidReason,
    ];
    for violation in all {
        assert!(violation.to_string().len() <= 123, "{violation}");
        assert!(frame::close::is_sendable(violation.close_code()));
    }
}
