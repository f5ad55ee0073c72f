use crate::parse_timestamp;
use jiff::civil::date;
use proptest::prelude::*;

fn micros(text: &str) -> Option<i64> {
    parse_timestamp(text).ok().map(event::UnixMicros::get)
}

#[test]
fn rfc_3339_examples_are_read() {
    for (text, expected) in [
        ("1970-01-01T00:00:00Z", 0),
        ("1985-04-12T23:20:50.52Z", 482_196_050_520_000),
        ("1996-12-19T16:39:57-08:00", 851_042_397_000_000),
        ("1937-01-01T12:00:27.87+00:20", -1_041_337_172_130_000),
        ("1990-12-31T23:59:60Z", 662_687_999_999_999),
        ("1990-12-31T15:59:60-08:00", 662_687_999_999_999),
        ("2024-05-01t12:00:00z", 1_714_564_800_000_000),
        ("2024-05-01T12:00:00-00:00", 1_714_564_800_000_000),
        ("2024-05-01T12:00:00.1234567890123456789Z", 1_714_564_800_123_456),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("0000-01-01T00:00:00Z", -62_167_219_200_000_000),
        ("9999-12-31T23:59:59.999999Z", 253_402_300_799_999_999),
        ("9999-12-31T23:59:59-23:59", 253_402_387_139_000_000),
        ("2016-12-31T23:59:60.5Z", 1_483_228_799_999_999),
        ("2017-01-01T05:29:60+05:30", 1_483_228_799_999_999),
    ] {
        assert_eq!(micros(text), Some(expected), "{text}");
    }
}

#[test]
fn anything_else_is_not() {
    for text in [
        "",
        "Z",
        "2024-05-01",
        "2024-05-01T12:00Z",
        "2024-05-01T12:00:00",
        "2024-05-01 12:00:00Z",
        "24-05-01T12:00:00Z",
        "2024-5-1T12:00:00Z",
        "2024-05-01T12:00:00.Z",
        "2024-05-01T12:00:00,5Z",
        "2024-05-01T12:00:00+0100",
        "2024-05-01T12:00:00+01",
        "2024-05-01T12:00:00+01:00Z",
        "2024-05-01T12:00:00ZZ",
        "2024-05-01T12:00:00Z ",
        " 2024-05-01T12:00:00Z",
        "2024-00-01T12:00:00Z",
        "2024-13-01T12:00:00Z",
        "2024-01-00T12:00:00Z",
        "2024-01-32T12:00:00Z",
        "2024-02-30T12:00:00Z",
        "2023-02-29T12:00:00Z",
        "1900-02-29T12:00:00Z",
        "2024-04-31T12:00:00Z",
        "2024-05-01T24:00:00Z",
        "2024-05-01T12:60:00Z",
        "2024-05-01T12:00:61Z",
        "2024-05-01T12:00:00+24:00",
        "2024-05-01T12:00:00+01:60",
        "2024-05-01T12:00:60Z",
        "2024-05-01T23:59:60Z",
        "2024-05-31T23:59:60+01:00",
        "+2024-05-01T12:00:00Z",
        "-2024-05-01T12:00:00Z",
        "2024-05-01T12:00:00 Z",
        "2024-05-01T12:00:00+1:000",
        "２024-05-01T12:00:00Z",
        "2024-05-01T12:00:00[UTC]",
        "20240501T120000Z",
        "2024-05-01T12:00:00é",
        "é024-05-01T12:00:00Z",
        "2024/05/01T12:00:00Z",
        "2024-05-01T12.00.00Z",
    ] {
        assert_eq!(micros(text), None, "{text}");
    }
    assert!(micros("2000-02-29T00:00:00Z").is_some());
    let digits = |len: usize| format!("2024-05-01T12:00:00.{}Z", "1".repeat(len));
    assert!(micros(&digits(107)).is_some());
    assert_eq!(micros(&digits(108)), None);
}

#[test]
fn every_day_of_ten_thousand_years_is_where_the_calendar_has_it() {
    let mut day = date(0, 1, 1);
    let mut expected = -719_528;
    loop {
        let text = format!("{:04}-{:02}-{:02}T00:00:00Z", day.year(), day.month(), day.day());
        assert_eq!(micros(&text), Some(expected * 86_400_000_000), "{text}");
        let leap = micros(&text.replace("00:00:00", "23:59:60"));
        let next = day.tomorrow();
        let ends_month = next.as_ref().map_or(true, |next| next.day() == 1);
        assert_eq!(leap.is_some(), ends_month, "{text}");
        let Ok(next) = next else { break };
        (day, expected) = (next, expected + 1);
    }
    assert_eq!(day, date(9999, 12, 31));
}

proptest! {
    #![proptest_config(super::cases(50_000))]

    #[test]
    fn moments_are_read_as_jiff_reads_them(
        second in -62_000_000_000i64..253_000_000_000, nanos in 0i32..1_000_000_000, east in -1_439i32..1_440, digits in 0usize..10,
    ) {
        let offset = jiff::tz::Offset::from_seconds(east * 60).unwrap();
        let moment = jiff::Timestamp::new(second, 0).unwrap();
        let local = offset.to_datetime(moment);
        let fraction = &format!("{nanos:09}")[..digits];
        let dot = if digits == 0 { "" } else { "." };
        let sign = if east < 0 { '-' } else { '+' };
        let text = format!("{}{dot}{fraction}{sign}{:02}:{:02}", local.strftime("%Y-%m-%dT%H:%M:%S"), east.abs() / 60, east.abs() % 60);
        prop_assume!((0..=9999).contains(&local.year()));
        let expected: i64 = second * 1_000_000 + format!("{fraction:0<6.6}").parse::<i64>().unwrap();
        prop_assert_eq!(micros(&text), Some(expected), "{}", text);
        prop_assert_eq!(text.parse::<jiff::Timestamp>().unwrap().as_nanosecond().div_euclid(1_000), i128::from(expected));
    }

    #[test]
    fn garbage_never_panics(text in "[0-9TZtz:.+ é-]{0,40}", cut in "\\PC{0,40}") {
        let _verdict = (micros(&text), micros(&cut));
    }

    #[test]
    fn a_changed_byte_is_read_as_jiff_reads_it_or_not_at_all(at in 0usize..29, to in "[0-9TZtz:.+ -]") {
        let mut text = String::from("2024-02-29T23:59:59.123+05:30");
        text.replace_range(at..=at, &to);
        if let Some(found) = micros(&text) && !text.contains(":60") {
            let expected = text.parse::<jiff::Timestamp>().unwrap();
            prop_assert_eq!(found, expected.as_microsecond(), "{}", text);
        }
    }
}
