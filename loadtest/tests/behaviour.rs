//! The generator against a server that keeps its own books.

#![allow(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod fake;

use fake::{Fake, Fault};
use loadtest::ids::Ids;
use loadtest::options::Options;
use loadtest::plan::Planned;
use loadtest::report::{Report, Verdict};
use std::collections::HashSet;
use std::time::{Duration, Instant};

fn options(server: &Fake, line: &str) -> Options {
    let address = server.address.to_string();
    let words = line.split_whitespace().map(str::to_owned).chain(["--address".to_owned(), address]);
    Options::parse(words).unwrap().unwrap()
}

fn run(server: &Fake, line: &str) -> Report {
    loadtest::run::run(&options(server, line)).unwrap()
}

/// The ids that must have been accepted, computed without asking the run.
fn expected_ids(options: &Options) -> HashSet<String> {
    let (ids, plan) = (Ids::new(options.seed), options.plan());
    (options.first..options.first + options.events.unwrap())
        .map(|number| plan.of(number))
        .filter(|planned| !matches!(planned, Planned::Bad(_)))
        .map(|planned| String::from_utf8(ids.text(planned.counter()).to_vec()).unwrap())
        .collect()
}

#[test]
fn every_planned_event_arrives_once_and_the_counts_balance() {
    for line in [
        "http --events 2000 --connections 8 --duplicates 0.2 --bad 0.1 --seed 5 --verify",
        "http --events 2000 --connections 8 --pipeline 4 --duplicates 0.2 --bad 0.1 --seed 6 --verify",
        "http --events 2000 --connections 4 --threads 2 --batch 20 --duplicates 0.2 --bad 0.1 --seed 7",
        "http --events 1000 --connections 8 --rate 5000 --duplicates 0.2 --bad 0.1 --seed 8 --verify",
        "http --events 1000 --connections 8 --rate 5000 --tick 300us --poisson --duplicates 0.2 --bad 0.1 --seed 12 --verify",
        "ws --events 2000 --connections 8 --window 4 --duplicates 0.2 --bad 0.1 --seed 9",
    ] {
        let server = Fake::start(Fault::None);
        let options = options(&server, line);
        let report = loadtest::run::run(&options).unwrap();
        let accepted: HashSet<String> = server.accepted().into_keys().collect();
        assert!(accepted == expected_ids(&options), "{line}: {report}");
        let total = report.total;
        assert_eq!(total.events, options.events.unwrap(), "{line}: {report}");
        assert_eq!(total.accepted as usize, accepted.len(), "{line}: {report}");
        assert_eq!(total.accepted + total.duplicates + total.rejected, total.events, "{line}: {report}");
        assert!(total.duplicates > 0 && total.rejected > 0, "{line}: {report}");
        assert_eq!(report.errors, loadtest::figures::Errors::default(), "{line}: {report}");
        assert_eq!(report.counts.answers, report.counts.requests);
    }
}

#[test]
fn the_ledger_holds_what_was_acknowledged() {
    for line in ["http --connections 4", "http --batch 10 --connections 4 --bad 0.1", "ws --connections 4"] {
        let server = Fake::start(Fault::None);
        let ledger = std::env::temp_dir().join(format!("ledger-{}-{}", std::process::id(), server.address.port()));
        let report = run(&server, &format!("{line} --events 500 --seed 3 --ledger {}", ledger.display()));
        let text = std::fs::read_to_string(&ledger).unwrap();
        std::fs::remove_file(&ledger).unwrap();
        let accepted = server.accepted();
        assert_eq!(text.lines().count(), accepted.len(), "{line}");
        for entry in text.lines() {
            let words: Vec<&str> = entry.split(' ').collect();
            let seq = accepted[words[0]];
            assert!(words[1] == "-" || words[1] == seq.to_string(), "{entry}");
        }
        assert_eq!(report.total.acknowledged() as usize, accepted.len());
    }
}

#[test]
fn lost_and_refused_requests_are_sent_again_when_asked() {
    for fault in [Fault::Hangup(50), Fault::Busy(7), Fault::CloseAfter(20)] {
        let server = Fake::start(fault);
        let line = "http --events 1000 --connections 4 --seed 11 --retry --verify";
        let report = run(&server, line);
        let accepted: HashSet<String> = server.accepted().into_keys().collect();
        assert!(accepted == expected_ids(&options(&server, line)), "{fault:?}: {report}");
        assert_eq!(report.verdict, Verdict::Ok, "{fault:?}: {report}");
        match fault {
            Fault::Hangup(_) => assert!(report.errors.lost >= 15 && report.errors.closed >= 15, "{report}"),
            Fault::Busy(_) => assert!(report.total.refused >= 100, "{report}"),
            _ => assert_eq!(report.errors.closed, 0, "{report}"),
        }
    }
}

#[test]
fn a_wrong_answer_is_not_passed_over() {
    let server = Fake::start(Fault::WrongId);
    let report = run(&server, "http --events 50 --connections 2 --verify");
    assert_eq!((report.verdict, report.errors.unexpected), (Verdict::Wrong, 50), "{report}");
}

#[test]
fn a_silent_server_does_not_hang_the_run() {
    let server = Fake::start(Fault::Silence(20));
    let start = Instant::now();
    let report = run(&server, "http --events 1000 --connections 4 --time-limit 0.6");
    assert!(start.elapsed() < Duration::from_secs(3));
    assert_eq!(report.errors.lost, 4, "{report}");
    let report = run(&server, "http --rate 100 --connections 4 --warmup 0 --duration 0.3 --drain 0.1");
    assert!(start.elapsed() < Duration::from_secs(6));
    assert!(!report.is_usable() && report.unsent > 0 && report.latency_us.max > 100_000.0, "{report}");
}

#[test]
fn a_dying_server_ends_the_run_when_told_to_give_up() {
    let server = Fake::start(Fault::None);
    let options = options(&server, "http --connections 4 --duration 20 --give-up 0.3 --warmup 0");
    let start = Instant::now();
    let running = std::thread::spawn(move || loadtest::run::run(&options).unwrap());
    std::thread::sleep(Duration::from_millis(200));
    server.die();
    let report = running.join().unwrap();
    assert!(start.elapsed() < Duration::from_secs(3), "{report}");
    assert!(report.total.accepted > 0 && report.errors.connect > 0, "{report}");
    assert_eq!(report.connections_up, 0, "{report}");
    assert_eq!(report.total.requests, report.total.answers + report.errors.lost, "{report}");
}

#[test]
fn no_server_at_all_is_an_error_within_the_connect_timeout() {
    let server = Fake::start(Fault::None);
    server.die();
    std::thread::sleep(Duration::from_millis(50));
    let start = Instant::now();
    assert!(loadtest::run::run(&options(&server, "http --connect-timeout 0.3")).is_err());
    assert!(start.elapsed() < Duration::from_secs(3));
}

#[test]
fn an_open_loop_counts_waiting_from_the_intended_time() {
    let server = Fake::start(Fault::Slow(20));
    // Two connections at 20 ms an answer do 100 requests/s; 300 are asked for.
    let report = run(&server, "http --rate 300 --connections 2 --warmup 0 --duration 0.5 --drain 20");
    // Whose fault it was depends on how busy the machine is; the report's own tests see to that.
    assert!(matches!(report.verdict, Verdict::NotSustained | Verdict::Inconclusive), "{report}");
    assert!(report.latency_us.max > 500_000.0 && report.lag_us.unwrap().p99 > 300_000.0, "{report}");
    assert_eq!((report.unsent, report.errors.lost), (0, 0), "{report}");
}

#[test]
fn all_duplicates_repeat_the_window() {
    let server = Fake::start(Fault::None);
    let report = run(&server, "http --events 500 --connections 2 --all-duplicates --duplicate-window 50 --verify");
    assert_eq!((report.total.accepted, report.total.duplicates), (50, 450), "{report}");
}

#[test]
fn idle_websockets_are_held_and_pings_answered() {
    let server = Fake::start(Fault::None);
    let report = run(&server, "ws-idle --connections 20 --hold 0.2");
    assert_eq!((report.connections_up, report.verdict), (20, Verdict::Ok), "{report}");
    assert_eq!(report.errors, loadtest::figures::Errors::default(), "{report}");
}

#[test]
fn the_series_has_a_line_per_second() {
    let server = Fake::start(Fault::None);
    let series = std::env::temp_dir().join(format!("series-{}.csv", std::process::id()));
    let line = format!("http --connections 4 --threads 2 --warmup 0 --duration 2.2 --series {}", series.display());
    let report = run(&server, &line);
    let text = std::fs::read_to_string(&series).unwrap();
    std::fs::remove_file(&series).unwrap();
    assert!(text.starts_with("second,requests,events,errors,p50_us,p99_us,max_us\n0,"), "{text}");
    assert!((4..=5).contains(&text.lines().count()), "{text}");
    let requests: u64 = text.lines().skip(1).map(|l| l.split(',').nth(1).unwrap().parse::<u64>().unwrap()).sum();
    assert_eq!(requests, report.total.answers, "{text}");
}

#[test]
fn a_token_comes_from_a_file_and_from_no_command_line() {
    let server = Fake::start(Fault::None);
    let file = std::env::temp_dir().join(format!("loadgen-token-{}", std::process::id()));
    std::fs::write(&file, "ing_0_secret\n").unwrap();
    let options = options(&server, &format!("http --token-file {}", file.display()));
    assert_eq!(options.headers, ["Authorization: Bearer ing_0_secret"]);
    for bad in ["", "two words", "\u{e4}"] {
        std::fs::write(&file, bad).unwrap();
        let words = ["http", "--token-file", file.to_str().unwrap()].map(str::to_owned);
        let error = Options::parse(words).unwrap_err();
        assert!(format!("{error:#}").contains("holds no token"), "{bad}: {error:#}");
    }
    std::fs::remove_file(&file).unwrap();
    assert!(Options::parse(["http", "--token", "secret"].map(str::to_owned)).is_err());
}
