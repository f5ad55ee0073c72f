use super::*;
use send::Exit;
use serde_json::Value;
use std::fs;

#[test]
fn every_line_of_every_file_is_stored_once() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let first = desk.file("a.ndjson", events("a", 1234));
    let second = desk.file("b.ndjson", events("b", 77));
    let summary = send(&daemon, &first, &[second.to_str().unwrap()]);
    assert_eq!((summary.lines_read, summary.accepted, summary.duplicates), (1311, 1311, 0));
    assert_eq!(daemon.stored(), 1311);
    assert_eq!(summary.exit(), Exit::Complete);
    assert_eq!(summary.requests, 14, "13 full batches and the rest, across the border of the files");
    assert_eq!(summary.bytes_read, fs::metadata(&first).unwrap().len() + fs::metadata(&second).unwrap().len());
}

#[test]
fn connections_are_kept_from_request_to_request() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 1000));
    let summary = send(&daemon, &file, &["--batch", "1", "--concurrency", "4"]);
    assert_eq!((summary.accepted, summary.requests), (1000, 1000));
    // A request that comes before the last one's connection is back may open another, but none is ever closed.
    assert!(daemon.connections() <= 2 * 4, "{}", daemon.connections());
}

#[test]
fn running_again_finds_only_duplicates_and_still_succeeds() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 250));
    send(&daemon, &file, &[]);
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.duplicates, summary.duplicates_after_retry), (0, 250, 0));
    assert_eq!(summary.exit(), Exit::Complete);
    assert_eq!(daemon.stored(), 250);
}

#[test]
fn a_malformed_line_is_named_by_its_file_and_line_and_its_neighbours_are_stored() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let good = desk.file("good.ndjson", events("a", 3));
    let text = format!("{}\n\n  \n{{\"eventId\": \n{}\r\n{{}}\n{}", event("x"), event("y"), event("z"));
    let bad = desk.file("bad.ndjson", text);
    let summary = send(&daemon, &good, &[bad.to_str().unwrap()]);
    assert_eq!((summary.accepted, summary.rejected, summary.lines_read, summary.blank_lines), (6, 2, 8, 2));
    let found: Vec<_> = summary
        .rejections
        .iter()
        .map(|r| (r.file.as_str(), r.line, r.code.as_str(), r.pointer.as_deref(), r.message.as_str()))
        .collect();
    let name = bad.to_str().unwrap();
    let expected = [
        (name, 4, "invalid_json", Some(""), "is not JSON"),
        (name, 6, "missing_field", Some("/eventId"), "is missing"),
    ];
    assert_eq!(found, expected);
    assert_eq!(summary.exit(), Exit::Rejected);
}

#[test]
fn all_rejects_go_to_the_file_of_rejects_and_only_the_first_into_the_summary() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("bad.ndjson", "{}\n".repeat(450) + "[\n");
    let rejects = desk.file("rejects.ndjson", "left from an earlier run\n".repeat(10_000));
    let summary = send(&daemon, &file, &["--rejects", rejects.to_str().unwrap()]);
    assert_eq!((summary.rejected, summary.rejections.len()), (451, Summary::REJECTIONS_MAX));
    assert!(summary.rejections.iter().map(|rejection| rejection.line).eq(1..=20));
    assert_eq!(summary.rejected_by_code, [("invalid_json".to_owned(), 1), ("missing_field".to_owned(), 450)].into());
    let text = fs::read_to_string(rejects).unwrap();
    let mut lines: Vec<_> = text
        .lines()
        .map(|line| {
            let value: Value = serde_json::from_str(line).unwrap();
            assert_eq!(value["file"], file.to_str().unwrap());
            assert!(value["code"].is_string() && value["pointer"].is_string() && value["message"].is_string());
            value["line"].as_u64().unwrap()
        })
        .collect();
    lines.sort_unstable();
    assert!(lines.into_iter().eq(1..=451));
}

#[test]
fn single_sends_one_event_per_request_and_reads_its_answer() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", format!("{}{{}}\n{}", events("a", 3), events("a", 1)));
    let summary = send(&daemon, &file, &["--single", "--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.duplicates, summary.rejected, summary.requests), (3, 1, 1, 5));
    let rejection = &summary.rejections[0];
    assert_eq!((rejection.line, rejection.code.as_str()), (4, "missing_field"));
    assert_eq!((rejection.pointer.as_deref(), rejection.message.as_str()), (Some("/eventId"), "is missing"));
    for request in daemon.seen() {
        assert_eq!(
            (request.path.as_str(), request.headers["content-type"].as_bytes()),
            ("/events", &b"application/json"[..])
        );
    }
}

#[test]
fn batches_are_ndjson_and_carry_the_token_of_the_file() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 30));
    let token = desk.file("token", "key-123\n");
    send(&daemon, &file, &["--batch", "7", "--token-file", token.to_str().unwrap()]);
    for request in daemon.seen() {
        assert_eq!(request.path, "/events/batch");
        assert_eq!(request.headers["content-type"], "application/x-ndjson");
        assert_eq!(request.headers["authorization"], "Bearer key-123");
        assert!(request.events() <= 7);
    }
}

#[test]
fn large_events_make_smaller_batches_and_no_body_exceeds_what_a_daemon_takes() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let large = |id: &str, bytes: usize| format!("{{\"eventId\":\"{id}\",\"data\":\"{}\"}}\n", "x".repeat(bytes));
    let mut text: String = (0..50).map(|number| large(&format!("e{number}"), 200_000)).collect();
    text += &large("beyond-any-limit", 7 << 20);
    text += &events("a", 1);
    let file = desk.file("a.ndjson", text);
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.rejected), (51, 1));
    assert_eq!((summary.rejections[0].line, summary.rejections[0].code.as_str()), (51, "event_too_large"));
    for request in daemon.seen() {
        assert!(request.body.len() <= 4 << 20 || request.events() == 1, "{} bytes", request.body.len());
    }
}

#[test]
fn a_line_that_no_body_can_carry_is_rejected_without_being_sent() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let text = format!("{}\n{}\n{}\n", event("a"), "x".repeat(9 << 20), event("b"));
    let summary = send(&daemon, &desk.file("a.ndjson", text), &[]);
    assert_eq!((summary.lines_read, summary.accepted, summary.rejected), (3, 2, 1));
    let rejection = &summary.rejections[0];
    assert_eq!((rejection.line, rejection.code.as_str(), &rejection.pointer), (2, "line_too_long", &None));
    assert_eq!(summary.exit(), Exit::Rejected);
}

#[test]
fn an_empty_file_is_sent_without_a_request() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let summary = send(&daemon, &desk.file("a.ndjson", "\n\n"), &[]);
    assert_eq!((summary.lines_read, summary.blank_lines, summary.requests), (0, 2, 0));
    assert_eq!(summary.exit(), Exit::Complete);
}
