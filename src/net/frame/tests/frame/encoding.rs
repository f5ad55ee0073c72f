use frame::{CONTROL_BYTES_MAX, close, put_close, put_ping, put_pong, put_text, put_text_with, text_header};

fn written(put: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut out = b"before".to_vec();
    put(&mut out);
    assert_eq!(&out[..6], b"before", "it only appends");
    out.split_off(6)
}

#[test]
fn the_examples_of_the_rfc_are_written() {
    // RFC 6455 §5.7: unmasked "Hello", a Ping of "Hello", the heads of 256 bytes and 64 KiB.
    assert_eq!(written(|out| put_text(out, b"Hello")), b"\x81\x05Hello");
    assert_eq!(written(|out| put_ping(out, b"Hello")), b"\x89\x05Hello");
    assert_eq!(text_header(256).as_bytes(), [0x81, 0x7e, 0x01, 0x00]);
    assert_eq!(text_header(65_536).as_bytes(), [0x81, 0x7f, 0, 0, 0, 0, 0, 1, 0, 0]);
}

#[test]
fn lengths_have_their_shortest_form() {
    assert_eq!(text_header(0).as_bytes(), [0x81, 0]);
    assert_eq!(text_header(125).as_bytes(), [0x81, 125]);
    assert_eq!(text_header(126).as_bytes(), [0x81, 126, 0, 126]);
    assert_eq!(text_header(65_535).as_bytes(), [0x81, 126, 0xff, 0xff]);
    assert_eq!(text_header(usize::MAX >> 1).as_bytes(), [0x81, 127, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]);
}

#[test]
fn a_text_written_in_place_is_the_same_as_one_that_is_copied() {
    for len in [0, 1, 125, 126, 127, 1000, 65_535, 65_536, 100_000] {
        let payload: Vec<u8> = (0..len).map(|i| b'a' + (i % 26) as u8).collect();
        let copied = written(|out| put_text(out, &payload));
        let in_place = written(|out| put_text_with(out, |out| out.extend_from_slice(&payload)));
        assert_eq!(in_place, copied, "length {len}");
    }
}

#[test]
fn a_pong_carries_what_the_ping_did() {
    let payload = [9; CONTROL_BYTES_MAX];
    assert_eq!(written(|out| put_pong(out, &payload)), [&[0x8a, 125][..], &payload].concat());
    assert_eq!(written(|out| put_pong(out, b"")), [0x8a, 0]);
}

#[test]
#[should_panic(expected = "control frame of 126 bytes")]
fn a_ping_that_is_too_long_is_the_callers_mistake() {
    put_ping(&mut Vec::new(), &[0; 126]);
}

#[test]
fn a_close_has_a_code_and_a_reason_or_nothing() {
    assert_eq!(written(|out| put_close(out, None, "not sent")), [0x88, 0]);
    assert_eq!(written(|out| put_close(out, Some(close::NORMAL), "")), [0x88, 2, 0x03, 0xe8]);
    assert_eq!(written(|out| put_close(out, Some(close::GOING_AWAY), "bye")), b"\x88\x05\x03\xe9bye");
}

#[test]
fn a_close_reason_that_is_too_long_is_cut_at_a_character() {
    let frame = written(|out| put_close(out, Some(close::POLICY), &"x".repeat(200)));
    assert_eq!(frame, [&[0x88, 125, 0x03, 0xf0][..], &[b'x'; 123]].concat());
    let frame = written(|out| put_close(out, Some(close::POLICY), &"é".repeat(100)));
    assert_eq!(frame, [&[0x88, 124, 0x03, 0xf0][..], "é".repeat(61).as_bytes()].concat());
}
