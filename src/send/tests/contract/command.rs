//! The whole command in a process of its own: this test binary, started again.

use super::*;
use serde_json::Value;
use std::io::Write;
use std::process::{Child, ChildStdin, Command, Output, Stdio};

const ARGUMENTS: &str = "SEND_TEST_ARGUMENTS";
const STAND_IN: &str = "command::stands_in_for_the_command_when_another_test_starts_it";

#[test]
fn stands_in_for_the_command_when_another_test_starts_it() {
    let Ok(arguments) = std::env::var(ARGUMENTS) else { return };
    let arguments: Vec<String> = serde_json::from_str(&arguments).unwrap();
    let options = Cli::parse_from(["send".to_owned()].into_iter().chain(arguments)).options;
    std::process::exit(send::run(&options).code().into());
}

fn start(arguments: &[&str]) -> (Child, ChildStdin) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", STAND_IN, "--nocapture"])
        .env(ARGUMENTS, serde_json::to_string(arguments).unwrap())
        .env("INGESTD_TOKEN", "from-the-environment")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let stdin = child.stdin.take().unwrap();
    (child, stdin)
}

/// What it printed on standard output, without what the test harness prints before it.
fn printed(output: &Output) -> String {
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    text.split_once("running 1 test\n").map_or(text.clone(), |(_, printed)| printed.to_owned())
}

fn summary(output: &Output) -> Value {
    let text = printed(output);
    let start = text.find('{').unwrap_or_else(|| panic!("{output:?}"));
    serde_json::from_str(&text[start..]).unwrap()
}

#[test]
fn standard_input_is_sent_as_it_comes_and_to_its_end() {
    let daemon = Daemon::start();
    let (child, mut stdin) = start(&["--url", &daemon.url(), "--json", "-"]);
    stdin.write_all(events("a", 1).as_bytes()).unwrap();
    daemon.wait_for_request();
    stdin.write_all(events("b", 2000).as_bytes()).unwrap();
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let summary = summary(&output);
    assert_eq!((&summary["linesRead"], &summary["accepted"]), (&2001.into(), &2001.into()));
    assert_eq!(daemon.seen()[0].headers["authorization"], "Bearer from-the-environment");
    assert!(!String::from_utf8_lossy(&output.stderr).contains("from-the-environment"));
}

#[test]
fn an_interrupt_finishes_what_is_in_flight_and_prints_the_summary() {
    let daemon = Daemon::gated();
    let (child, mut stdin) = start(&["--url", &daemon.url(), "--json", "-"]);
    stdin.write_all(events("a", 50).as_bytes()).unwrap();
    daemon.wait_for_request();
    let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(killed.success());
    daemon.release(1000);
    // Standard input stays open: only the interrupt can end it.
    let output = child.wait_with_output().unwrap();
    drop(stdin);
    assert_eq!(output.status.code(), Some(130), "{output:?}");
    let summary = summary(&output);
    assert_eq!(summary["interrupted"], true);
    assert_eq!(summary["accepted"], daemon.stored());
    let answered = summary["accepted"].as_u64().unwrap() + summary["unsent"].as_u64().unwrap();
    assert_eq!(summary["linesRead"], answered);
}

#[test]
fn the_exit_code_and_the_text_tell_of_rejected_lines() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", "{}\n");
    let (child, stdin) = start(&["--url", &daemon.url(), file.to_str().unwrap()]);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let text = printed(&output);
    assert!(text.contains("a.ndjson:1: missing_field at /eventId: is missing"), "{text}");
    assert_eq!(output.stderr, b"", "no progress where there is no terminal");
}

#[test]
fn usage_errors_go_to_standard_error_and_exit_with_2() {
    let (child, stdin) = start(&["/nonexistent.ndjson"]);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("/nonexistent.ndjson"), "{output:?}");
}

#[test]
fn quiet_prints_nothing_but_why_it_gave_up() {
    let desk = Desk::new();
    let file = desk.file("a.ndjson", events("a", 1));
    let (child, stdin) =
        start(&["--url", "http://127.0.0.1:1", "--retry-for", "1ms", "--quiet", file.to_str().unwrap()]);
    drop(stdin);
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert_eq!(printed(&output).trim(), "");
    assert!(String::from_utf8_lossy(&output.stderr).contains("gave up"), "{output:?}");
}
