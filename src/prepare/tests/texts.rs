use super::*;
use RejectCode::*;

#[track_caller]
fn assert_taken(body: impl AsRef<[u8]>) {
    let body = body.as_ref();
    let out = single(body).unwrap_or_else(|rejection| panic!("{}: {rejection:?}", String::from_utf8_lossy(body)));
    assert_eq!(stored(&out), [body]);
}

#[track_caller]
fn detail(body: impl AsRef<[u8]>) -> String {
    let rejection = single(body).unwrap_err();
    assert_eq!(rejection.code, InvalidJson);
    assert_eq!(rejection.errors.len(), 1);
    rejection.errors[0].detail.clone()
}

#[test]
fn any_number_of_rfc_8259_is_taken() {
    for number in [
        "0",
        "-0",
        "1e400",
        "-1e400",
        "1E+400",
        "1e-400",
        "0e99999999999999999999",
        "1e99999999999999999999",
        "-1.5e-99999999999999999999",
        "123456789012345678901234567890",
        "18446744073709551615",
        "18446744073709551616",
        "-9223372036854775808",
        "-9223372036854775809",
        "1.7976931348623157e308",
        "1.7976931348623159e308",
        "2.2250738585072011e-308",
        "0.1234567890123456789012345678901234567890",
    ] {
        assert_taken(with(&format!("\"data\":{{\"n\":{number}}}")));
        assert_taken(with(&format!("\"data\":{{\"n\":[{number} , {number},{number} ]}}")));
    }
    for digits in [40, 308, 309, 400, 100_000] {
        assert_taken(with(&format!("\"data\":{{\"n\":{}}}", "9".repeat(digits))));
        assert_taken(with(&format!("\"data\":{{\"n\":-{}.5e3}}", "9".repeat(digits))));
    }
}

#[test]
fn what_is_no_number_is_not_taken_even_beside_a_huge_one() {
    for number in [
        "01",
        "-",
        "+1",
        ".5",
        "1.",
        "1e",
        "1e+",
        "0x10",
        "NaN",
        "Infinity",
        "-Infinity",
        "1e400x",
        "1_0",
        "--1",
        "1.e1",
        "00",
    ] {
        detail(with(&format!("\"data\":{{\"n\":{number}}}")));
        detail(with(&format!("\"data\":{{\"n\":1e400,\"m\":{number}}}")));
        detail(with(&format!("\"data\":{{\"n\":{number},\"m\":1e400}}")));
    }
}

#[test]
fn half_a_surrogate_pair_rejects_its_own_event_only() {
    for half in
        [r"\ud800", r"\udfff", r"x\udbffx", r"\ud83d\ud83d\ude00", r"\ude00\ud83d", r"\uD83D\u0041", r"\\\ud83d"]
    {
        let bad = with(&format!("\"data\":{{\"s\":\"{half}\"}}"));
        assert_eq!(detail(&bad), "has a \\u escape that is half of a surrogate pair");
        // In the id it is not told, for nobody has sent what it would be then.
        let id = with(&format!("\"eventId\":\"{half}\""));
        assert_eq!((detail(&id).contains("half"), single(&id).unwrap_err().event_id), (true, None));
        let key = with(&format!("\"data\":{{\"{half}\":1}}"));
        assert_eq!(detail(&key), "has a \\u escape that is half of a surrogate pair");
        let read = batch(format!("[{GOOD},{bad},{GOOD},{key}]"));
        assert_eq!(read.failed(), [(1, InvalidJson), (3, InvalidJson)]);
        assert_eq!(stored(&read.out), [GOOD.as_bytes(), GOOD.as_bytes()]);
        assert_eq!(single(&bad).unwrap_err().event_id.as_deref(), Some("e-1"));
    }
}

#[test]
fn a_whole_surrogate_pair_and_an_escaped_backslash_are_taken() {
    for text in [r"\ud83d\ude00", r"\uD83D\uDE00", r"\\ud800", r"\\\\ud800", r"\\\\\ud83d\ude00"] {
        assert_taken(with(&format!("\"data\":{{\"s\":\"{text}\"}}")));
        // Beside something that has to be mended, which looks at every escape.
        assert_taken(with(&format!("\"data\":{{\"s\":\"{text}\",\"n\":1e999}}")));
    }
}

#[test]
fn a_broken_escape_is_not_mended() {
    for escape in [r"\u12", r"\uzzzz", r"\x", r"\ud800\u12", r"\ud800\x", r"\'", r"\u", r"\ud800\u00zz"] {
        detail(with(&format!("\"data\":{{\"s\":\"{escape}\"}}")));
    }
}

#[test]
fn nul_is_taken_escaped_and_never_raw() {
    assert_taken(with(r#""data":{"s":"\u0000"}"#));
    let out = single(with(r#""eventId":"\u0000""#)).unwrap();
    assert_eq!(out.id_json(&out.entries[0]), br"\u0000");
    for raw in ["\0", "\x01", "\n", "\t", "\x1f"] {
        detail(with(&format!("\"data\":{{\"s\":\"{raw}\"}}")));
    }
    assert_taken(with("\"data\":{\"s\":\"\x7f\"}"));
    for body in [format!("{GOOD}\0"), format!("\0{GOOD}"), GOOD.replace(':', "\0:"), GOOD.replace(',', ",\0")] {
        detail(body);
    }
}

#[test]
fn what_is_not_utf8_is_told() {
    for bytes in [&b"\xff"[..], b"\xc0\x80", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc3"] {
        let body = [br#"{"eventId":""#.as_slice(), bytes, b"\"}"].concat();
        assert_eq!(detail(body), "is not UTF-8");
    }
}

#[test]
fn a_byte_order_mark_is_told() {
    assert_eq!(
        detail(format!("\u{feff}{GOOD}")),
        "starts with a byte order mark, which JSON text does not have, near byte 0"
    );
}

#[test]
fn nothing_is_told() {
    assert_eq!(detail(""), "is empty");
    for space in [" ", "\r\n\t ", &" ".repeat(1_000)] {
        assert_eq!(detail(space), "is not JSON: nothing but white space");
    }
}

#[test]
fn something_after_the_value_is_not_taken() {
    for more in ["x", "{}", ",", "]", "}", "\"", "1", "null", GOOD, "\u{feff}", "//", "\u{a0}"] {
        detail(format!("{GOOD}{more}"));
        detail(format!("{GOOD} {more}"));
    }
}

#[test]
fn white_space_around_an_event_is_not_stored() {
    let out = single(format!(" \t\r\n{GOOD}\n \r\t")).unwrap();
    assert_eq!(stored(&out), [GOOD.as_bytes()]);
    let inside = GOOD.replace(':', " :\t").replace(',', "\r\n, ").replacen('{', "{ ", 1);
    let inside = inside.replace("11 :\t59 :\t00", "11:59:00");
    assert_eq!(stored(&single(format!("  {inside}  ")).unwrap()), [inside.as_bytes()]);
}

#[test]
fn a_value_that_is_no_object_is_no_event() {
    for body in ["[]", "[{}]", "1", "-1.5", "\"x\"", "null", "true", " false "] {
        assert_eq!(rejected(body), (NotAnObject, vec![String::new()]), "{body}");
    }
    assert_eq!(rejected("{}").0, MissingField);
}

#[test]
fn absurd_depth_fails_the_whole_body() {
    for levels in [1_025, 100_000, 1_000_000] {
        let deep = format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(rejected(&deep), (TooDeep, vec![String::new()]));
        assert_eq!(rejected("[".repeat(levels)).0, TooDeep);
        assert_eq!(rejected("{\"a\":".repeat(levels)).0, TooDeep);
        let error = try_batch(format!("[{GOOD},{deep}]"), BatchOptions::default()).unwrap_err();
        assert_eq!(error.code(), Some(TooDeep));
        assert_eq!(error.to_string(), "body is nested deeper than 1024 levels");
        assert_eq!(ndjson(format!("{GOOD}\n{deep}\n{GOOD}\n")).failed(), [(1, TooDeep)]);
    }
}

#[test]
fn the_place_of_an_error_is_told() {
    assert_eq!(detail(r#"{"a":1,"b":tru}"#), "is not JSON, near byte 11");
    assert_eq!(detail(r#"{"a":01}"#), "is not JSON: not a number, near byte 6");
    assert_eq!(detail(r#"{"a":"\x"}"#), "is not JSON: not an escape sequence");
}

#[test]
fn texts_of_every_length_end_where_they_end() {
    // The parser works in blocks of 32 and 64 bytes: every place of the end in a block is tried.
    for len in 0..300 {
        let body = with(&format!("\"data\":{{\"s\":\"{}\"}}", "x".repeat(len)));
        assert_taken(&body);
        for cut in 1..4 {
            detail(&body[..body.len() - cut]);
        }
        let escaped = with(&format!("\"data\":{{\"s\":\"{}\\n\\\"{}\"}}", "x".repeat(len), "y".repeat(40)));
        assert_taken(&escaped);
        assert_taken(with(&format!("\"data\":{{\"{}\":1e500,\"s\":\"\\\\\"}}", "k".repeat(len))));
    }
}
