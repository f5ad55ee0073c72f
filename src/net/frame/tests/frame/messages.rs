use crate::client::*;
use frame::Event;
use std::ops::ControlFlow;

fn words(texts: &[&str]) -> Vec<Seen> {
    texts.iter().map(|text| Seen::Text((*text).to_owned())).collect()
}

#[test]
fn the_examples_of_the_rfc_are_understood() {
    // RFC 6455 §5.7: a masked "Hello" in one frame, and a masked Pong of "Hello".
    let hello = vec![0x81, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    let pong = vec![0x8a, 0x85, 0x37, 0xfa, 0x21, 0x3d, 0x7f, 0x9f, 0x4d, 0x51, 0x58];
    assert_eq!(events(&[hello, pong]), [Seen::Text("Hello".into()), Seen::Pong(b"Hello".to_vec())]);
}

#[test]
fn each_form_of_length_is_understood() {
    for len in [0, 1, 124, 125, 126, 127, 128, 255, 256, 65_534, 65_535, 65_536, 65_537, 200_000] {
        let payload: Vec<u8> = (0..len).map(|i| (i * 31) as u8).collect();
        assert_eq!(events(&[last(BINARY, &payload)]), [Seen::Binary(payload)]);
    }
}

#[test]
fn many_frames_in_one_read_come_in_order() {
    let texts: Vec<String> = (0..500).map(|i| format!("{{\"n\":{i}}}")).collect();
    let frames: Vec<Vec<u8>> = texts.iter().map(|text| crate::client::text(text)).collect();
    assert_eq!(events(&frames), texts.into_iter().map(Seen::Text).collect::<Vec<_>>());
}

#[test]
fn a_stream_may_be_cut_at_each_byte() {
    let frames = [
        text("short"),
        last(PING, "ping"),
        last(BINARY, vec![7; 300]),
        more(TEXT, "one "),
        last(PONG, "pong"),
        last(CONTINUATION, "two"),
        last(BINARY, vec![9; 66_000]),
        text(""),
        close(1000, "bye"),
    ];
    let expected = events(&frames);
    assert_eq!(expected.len(), 8);
    let stream = frames.concat();
    for cut in (0..500).chain(stream.len() - 100..=stream.len()) {
        let mut decoder = decoder(1 << 20);
        let mut seen = Vec::new();
        for read in [&stream[..cut], &stream[cut..]] {
            feed(&mut decoder, read, &mut seen).unwrap();
        }
        assert_eq!(seen, expected, "cut at {cut}");
    }
}

#[test]
fn a_head_may_come_in_three_reads() {
    let frame = last(BINARY, vec![1; 70_000]);
    for first in 0..14 {
        for second in first..14 {
            let mut decoder = decoder(1 << 20);
            let mut seen = Vec::new();
            for read in [&frame[..first], &frame[first..second], &frame[second..]] {
                feed(&mut decoder, read, &mut seen).unwrap();
            }
            assert_eq!(seen, [Seen::Binary(vec![1; 70_000])], "cut at {first} and {second}");
        }
    }
}

#[test]
fn an_empty_message_is_a_message() {
    assert_eq!(
        events(&[text(""), last(BINARY, ""), text("")]),
        [Seen::Text(String::new()), Seen::Binary(vec![]), Seen::Text(String::new())]
    );
}

#[test]
fn fragments_make_one_message() {
    assert_eq!(events(&[more(TEXT, "a"), more(CONTINUATION, "bc"), last(CONTINUATION, "d")]), words(&["abcd"]));
    let binary = [more(BINARY, [0xff]), last(CONTINUATION, [0xfe])];
    assert_eq!(events(&binary), [Seen::Binary(vec![0xff, 0xfe])]);
}

#[test]
fn empty_fragments_are_fine() {
    assert_eq!(events(&[more(TEXT, ""), more(CONTINUATION, ""), last(CONTINUATION, "")]), words(&[""]));
    assert_eq!(events(&[more(TEXT, ""), more(CONTINUATION, "x"), last(CONTINUATION, "")]), words(&["x"]));
}

#[test]
fn each_fragment_has_its_own_mask() {
    let frames = [
        frame_with_key(TEXT, b"abcde", [1, 2, 3, 4]),
        frame_with_key(CONTINUATION, b"fgh", [0, 0, 0, 0]),
        frame_with_key(FIN | CONTINUATION, b"ijklmn", [255, 0, 128, 7]),
    ];
    assert_eq!(events(&frames), words(&["abcdefghijklmn"]));
}

#[test]
fn a_code_point_may_be_cut_by_fragments() {
    let snowman = "☃".as_bytes();
    let frames = [more(TEXT, &snowman[..1]), more(CONTINUATION, &snowman[1..2]), last(CONTINUATION, &snowman[2..])];
    assert_eq!(events(&frames), words(&["☃"]));
}

#[test]
fn control_frames_between_fragments_are_handed_out_at_once() {
    let mut decoder = decoder(1000);
    let mut seen = Vec::new();
    feed(&mut decoder, &more(TEXT, "a"), &mut seen).unwrap();
    feed(&mut decoder, &last(PING, "1"), &mut seen).unwrap();
    assert_eq!(seen, [Seen::Ping(b"1".to_vec())], "the message is not waited for");
    feed(&mut decoder, &[last(PONG, "2"), more(CONTINUATION, "b"), last(PING, "3")].concat(), &mut seen).unwrap();
    assert_eq!(seen[1..], [Seen::Pong(b"2".to_vec()), Seen::Ping(b"3".to_vec())]);
    feed(&mut decoder, &last(CONTINUATION, "c"), &mut seen).unwrap();
    assert_eq!(seen[3..], words(&["abc"]));
}

#[test]
fn a_control_frame_cut_between_fragments_is_put_together() {
    let ping = last(PING, [7; 125]);
    for cut in 1..ping.len() {
        let mut decoder = decoder(1000);
        let mut seen = Vec::new();
        feed(&mut decoder, &[&more(TEXT, "a")[..], &ping[..cut]].concat(), &mut seen).unwrap();
        assert_eq!(seen, []);
        feed(&mut decoder, &[&ping[cut..], &last(CONTINUATION, "b")[..]].concat(), &mut seen).unwrap();
        assert_eq!(seen, [Seen::Ping(vec![7; 125]), Seen::Text("ab".into())], "cut at {cut}");
    }
}

#[test]
fn a_fragmented_message_over_several_reads_mixes_with_whole_ones() {
    let mut decoder = decoder(1000);
    let mut seen = Vec::new();
    for read in [
        [text("1"), more(TEXT, "2a")].concat(),
        more(CONTINUATION, "2b"),
        [last(CONTINUATION, "2c"), text("3"), more(BINARY, "4a")].concat(),
        [last(CONTINUATION, "4b"), text("5")].concat(),
    ] {
        feed(&mut decoder, &read, &mut seen).unwrap();
    }
    let mut expected = words(&["1", "2a2b2c", "3", "5"]);
    expected.insert(3, Seen::Binary(b"4a4b".to_vec()));
    assert_eq!(seen, expected);
    assert_eq!(decoder.buffered(), 0);
}

#[test]
fn control_frames_may_be_empty_or_of_125_bytes() {
    for opcode in [PING, PONG] {
        for len in [0, 1, 125] {
            let payload = vec![0xee; len];
            let expected = if opcode == PING { Seen::Ping(payload.clone()) } else { Seen::Pong(payload.clone()) };
            assert_eq!(events(&[last(opcode, payload)]), [expected]);
        }
    }
}

#[test]
fn a_close_has_a_code_and_a_reason_or_nothing() {
    assert_eq!(events(&[last(CLOSE, "")]), [Seen::Close(None, String::new())]);
    assert_eq!(events(&[close(1000, "")]), [Seen::Close(Some(1000), String::new())]);
    assert_eq!(events(&[close(4999, "tschüß")]), [Seen::Close(Some(4999), "tschüß".into())]);
    assert_eq!(events(&[close(1001, "r".repeat(123))]), [Seen::Close(Some(1001), "r".repeat(123))]);
}

#[test]
fn nothing_follows_a_close() {
    let seen = events(&[more(TEXT, "never whole"), close(1000, ""), last(3, ""), text("late")]);
    assert_eq!(seen, [Seen::Close(Some(1000), String::new())]);
}

#[test]
fn nothing_follows_once_the_caller_breaks() {
    let mut decoder = decoder(1000);
    let mut count = 0;
    let mut each = |_: Event<'_>| {
        count += 1;
        if count == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let mut read = [text("a"), text("b"), text("c"), more(TEXT, "d")].concat();
    assert_eq!(decoder.feed(&mut read, &mut each), Ok(()));
    assert_eq!(decoder.feed(&mut text("e"), &mut each), Ok(()));
    assert_eq!(decoder.buffered(), 0);
    assert_eq!(count, 2);
}

#[test]
fn a_message_may_be_changed_in_place_without_harm_to_the_next() {
    for step in [1, 5, 1000] {
        let mut decoder = decoder(1000);
        let mut count = 0;
        for read in [text("first"), more(TEXT, "sec"), last(CONTINUATION, "ond"), text("third")].concat().chunks(step) {
            let fed = decoder.feed(&mut read.to_vec(), |event| {
                if let Event::Text(bytes) = event {
                    assert_eq!(bytes, [&b"first"[..], b"second", b"third"][count]);
                    bytes.fill(0xff);
                    count += 1;
                }
                ControlFlow::Continue(())
            });
            assert_eq!(fed, Ok(()));
        }
        assert_eq!(count, 3);
    }
}

#[test]
fn an_empty_read_changes_nothing() {
    let mut decoder = decoder(1000);
    let mut seen = Vec::new();
    let frame = more(TEXT, "ab");
    for read in [&[][..], &frame[..1], &[], &frame[1..7], &[], &frame[7..], &[], &last(CONTINUATION, "c")] {
        feed(&mut decoder, read, &mut seen).unwrap();
    }
    assert_eq!(seen, words(&["abc"]));
}
