use super::daemon::{Act, Reserved};
use super::*;
use send::{Counts, Exit, Trouble};
use serde_json::json;
use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::Mutex;
use std::time::Instant;

fn refuse(status: u16, retry_after: Option<u32>) -> Act {
    Act::Answer { status, retry_after, body: json!({"title": "refused", "status": status, "detail": "not now"}) }
}

#[test]
fn what_is_refused_for_now_is_sent_again_and_stored_once() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 20));
    daemon.script([429, 503, 408, 500, 502, 504].map(|status| refuse(status, None)));
    let summary = send(&daemon, &file, &["--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.requests, summary.retries), (20, 7, 6));
    assert_eq!(summary.exit(), Exit::Complete);
}

#[test]
fn retry_after_is_heeded_by_all_requests() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 400));
    daemon.script([refuse(503, Some(1))]);
    let summary = send(&daemon, &file, &["--batch", "1", "--concurrency", "2"]);
    assert_eq!((summary.accepted, summary.retries), (400, 1));
    let seen = daemon.seen();
    let silence = seen.windows(2).position(|pair| pair[1].at - pair[0].at >= Duration::from_secs(1));
    assert!(silence.is_some_and(|requests| requests < 10), "only what was in flight is not held back: {silence:?}");
}

#[test]
fn a_connection_that_breaks_before_the_answer_costs_nothing() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 500));
    daemon.script([Act::Drop, Act::Obey, Act::Drop, Act::Drop]);
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.duplicates, summary.retries), (500, 0, 3));
    assert_eq!(daemon.stored(), 500);
}

#[test]
fn a_connection_that_breaks_within_the_answer_makes_duplicates_that_are_told_apart() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 300));
    daemon.script([Act::Obey, Act::StoreAndDropMidAnswer]);
    let summary = send(&daemon, &file, &["--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.duplicates, summary.duplicates_after_retry), (200, 100, 100));
    assert_eq!(daemon.stored(), 300);
    assert_eq!(summary.exit(), Exit::Complete);
}

#[test]
fn a_request_that_is_never_answered_is_repeated() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 5));
    daemon.script([Act::Hang]);
    let tuning = Tuning { attempt_timeout: Duration::from_millis(200), ..quick() };
    let summary = send::send(&options(&daemon.url(), &file, &[]), tuning, Arc::new(Silent), Stop::default()).unwrap();
    assert_eq!((summary.accepted, summary.retries), (5, 1));
}

#[test]
fn a_batch_limit_of_the_server_is_learnt() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 1000));
    daemon.rules().batch_events_max = 30;
    let summary = send(&daemon, &file, &["--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.rejected), (1000, 0));
    let seen = daemon.seen();
    assert_eq!(seen.iter().filter(|request| request.events() > 30).count(), 1, "only the first was too large");
}

#[test]
fn a_batch_limit_that_makes_no_sense_is_approached_by_halving() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 100));
    let body = json!({"title": "Bad Request", "detail": "Batch size 100 exceeds limit 5000", "status": 400});
    daemon.script([Act::Answer { status: 400, retry_after: None, body }]);
    let summary = send(&daemon, &file, &["--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.requests), (100, 3));
}

#[test]
fn bodies_that_are_too_large_are_halved_down_to_the_event_that_is() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let large = format!("{{\"eventId\":\"large\",\"data\":\"{}\"}}\n", "x".repeat(3000));
    let file = desk.file("a.ndjson", format!("{}{large}{}", events("a", 20), events("b", 20)));
    daemon.rules().body_bytes_max = 2000;
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.rejected, summary.unsent), (40, 1, 0));
    let rejection = &summary.rejections[0];
    assert_eq!((rejection.line, rejection.code.as_str()), (21, "http_413"));
}

#[test]
fn rejected_events_that_the_answer_does_not_name_are_still_counted() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 10));
    daemon
        .script([Act::Claim(json!({"batchId": "b", "totalEvents": 10, "successful": 6, "failed": 4, "duplicates": 1,
        "details": [{"index": 99, "code": "x"}, {"index": -3, "code": "x"}, {"index": 2, "code": "too_deep"}]}))]);
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.duplicates, summary.rejected), (5, 1, 4));
    assert_eq!(summary.rejected_by_code, [("too_deep".to_owned(), 1), ("unattributed".to_owned(), 3)].into());
    assert_eq!(summary.rejections.iter().map(|rejection| rejection.line).collect::<Vec<_>>(), [1, 3]);
}

#[test]
fn events_refused_within_an_answer_are_sent_again_without_the_others() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 3));
    daemon.script([Act::Answer {
        status: 202,
        retry_after: None,
        body: json!({"batchId": "b", "totalEvents": 3,
        "successful": 1, "failed": 2, "duplicates": 0,
        "details": [{"index": 0, "code": "overloaded"}, {"index": 2, "code": "overloaded"}]}),
    }]);
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.accepted, summary.rejected, summary.requests), (3, 0, 2));
    let again = daemon.seen()[1].body.clone();
    assert_eq!(again, format!("{}\n{}\n", event("a-1"), event("a-3")));
}

#[test]
fn a_batch_that_is_rejected_whole_is_final_and_each_of_its_lines_is_named() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 20));
    daemon.script([Act::Obey, Act::Answer { status: 422, retry_after: None, body: json!({"detail": "no"}) }]);
    let summary = send(&daemon, &file, &["--batch", "5", "--concurrency", "1"]);
    assert_eq!((summary.accepted, summary.rejected, summary.requests), (15, 5, 4));
    assert!(summary.rejections.iter().map(|rejection| rejection.line).eq(6..=10));
    assert_eq!((summary.rejections[0].code.as_str(), summary.rejections[0].message.as_str()), ("http_422", "no"));
}

#[test]
fn a_server_that_does_not_know_the_sender_ends_the_run_and_rejects_nothing() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 5000));
    daemon.rules().poison = Some((String::new(), refuse(401, None)));
    let summary = send(&daemon, &file, &["--concurrency", "2"]);
    assert_eq!((summary.accepted, summary.rejected), (0, 0));
    assert!(summary.requests <= 2, "{}", summary.requests);
    assert!(summary.unsent > 0 && summary.unsent < 5000, "it stops reading: {}", summary.unsent);
    assert!(summary.stopped.as_ref().unwrap().contains("401"), "{:?}", summary.stopped);
    assert_eq!(summary.exit(), Exit::Unsent);
}

#[test]
fn something_else_than_a_daemon_ends_the_run() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 50));
    daemon.rules().poison =
        Some((String::new(), Act::Answer { status: 200, retry_after: None, body: json!("welcome") }));
    let summary = send(&daemon, &file, &[]);
    assert_eq!((summary.unsent, summary.exit()), (50, Exit::Unsent));
}

#[test]
fn an_unreachable_server_is_given_up_after_the_time_allowed() {
    let desk = Desk::new();
    let file = desk.file("a.ndjson", events("a", 50_000));
    let nobody = Reserved::new();
    let url = nobody.url();
    let begun = Instant::now();
    let summary = send_observed(&url, &file, &["--retry-for", "300ms"], Arc::new(Silent), Stop::default());
    assert!(begun.elapsed() >= Duration::from_millis(300));
    assert_eq!((summary.accepted, summary.exit()), (0, Exit::Unsent));
    assert!(summary.unsent > 0 && summary.unsent < 50_000, "it stops reading: {}", summary.unsent);
    let stopped = summary.stopped.unwrap();
    assert!(stopped.starts_with("gave up after") && stopped.contains(&url["http://".len()..]), "{stopped}");
    assert_eq!(summary.unsent_lines[0].line, 1);
}

#[test]
fn a_wait_longer_than_the_time_allowed_ends_with_it_and_one_more_attempt() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    for (answers, accepted, unsent) in [(1, 5, 0), (2, 0, 5)] {
        daemon.script(vec![refuse(503, Some(3600)); answers]);
        let file = desk.file("a.ndjson", events(&format!("a{answers}"), 5));
        let begun = Instant::now();
        let summary = send(&daemon, &file, &["--retry-for", "300ms"]);
        assert!(begun.elapsed() >= Duration::from_millis(300), "it gives up no earlier");
        assert_eq!((summary.accepted, summary.unsent, summary.requests), (accepted, unsent, 2));
    }
}

#[test]
fn a_server_that_takes_few_requests_at_once_gets_no_more_and_takes_all() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 400));
    daemon.script(vec![refuse(429, None); 40]);
    let summary = send(&daemon, &file, &["--batch", "10", "--concurrency", "32"]);
    assert_eq!((summary.accepted, summary.retries), (400, 40));
    assert_eq!(summary.exit(), Exit::Complete);
}

#[test]
fn one_batch_that_always_fails_is_left_while_the_others_go_on() {
    let (daemon, desk) = (Daemon::start(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 300));
    daemon.rules().poison = Some(("\"a-15\"".to_owned(), refuse(500, None)));
    let summary = send(&daemon, &file, &["--batch", "10", "--retry-for", "300ms"]);
    assert_eq!((summary.accepted, summary.unsent, summary.stopped.clone()), (290, 10, None));
    let unsent = &summary.unsent_lines[0];
    assert_eq!((unsent.line, unsent.last_line, unsent.lines), (11, 20, 10));
    assert!(unsent.reason.contains("gave up"), "{}", unsent.reason);
    assert_eq!(summary.exit(), Exit::Unsent);
}

/// Starts a server when it hears that there is none.
struct StartsOnTrouble {
    address: Mutex<Option<Reserved>>,
    daemon: Mutex<Option<Daemon>>,
}

impl Observer for StartsOnTrouble {
    fn begin(&self, _: Option<u64>) {}
    fn progress(&self, _: &Counts) {}
    fn trouble(&self, _: &Trouble) {
        if let Some(address) = self.address.lock().unwrap().take() {
            *self.daemon.lock().unwrap() = Some(Daemon::start_on(address));
        }
    }
    fn end(&self) {}
}

#[test]
fn a_server_that_comes_up_later_gets_everything() {
    let desk = Desk::new();
    let file = desk.file("a.ndjson", events("a", 1000));
    let address = Reserved::new();
    let url = address.url();
    let observer = Arc::new(StartsOnTrouble { address: Mutex::new(Some(address)), daemon: Mutex::default() });
    let summary = send_observed(&url, &file, &["--retry-for", "0"], Arc::clone(&observer) as _, Stop::default());
    assert_eq!((summary.accepted, summary.exit()), (1000, Exit::Complete));
    assert_eq!(observer.daemon.lock().unwrap().as_ref().unwrap().stored(), 1000);
}

/// Stops the run, as often as told, when it hears of trouble.
struct StopsOnTrouble(Stop);

impl Observer for StopsOnTrouble {
    fn begin(&self, _: Option<u64>) {}
    fn progress(&self, _: &Counts) {}
    fn trouble(&self, _: &Trouble) {
        self.0.stop();
    }
    fn end(&self) {}
}

#[test]
fn stopping_ends_a_wait_for_ever_at_once() {
    let desk = Desk::new();
    let file = desk.file("a.ndjson", events("a", 10));
    let stop = Stop::default();
    let nobody = Reserved::new();
    let url = nobody.url();
    let tuning =
        Tuning { backoff_first: Duration::from_secs(3600), backoff_longest: Duration::from_secs(3600), ..quick() };
    let options = options(&url, &file, &["--retry-for", "0"]);
    let summary = send::send(&options, tuning, Arc::new(StopsOnTrouble(stop.clone())), stop).unwrap();
    assert_eq!((summary.unsent, summary.interrupted, summary.exit()), (10, true, Exit::Interrupted));
}

#[test]
fn stopping_finishes_what_is_in_flight_and_sends_no_more() {
    let (daemon, desk) = (Daemon::gated(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 10_000));
    let stop = Stop::default();
    let url = daemon.url();
    let run = std::thread::spawn({
        let stop = stop.clone();
        move || send_observed(&url, &file, &["--concurrency", "2"], Arc::new(Silent), stop)
    });
    daemon.wait_for_request();
    daemon.wait_for_request();
    stop.stop();
    daemon.release(2);
    let summary = run.join().unwrap();
    assert_eq!((summary.accepted, summary.requests, summary.exit()), (200, 2, Exit::Interrupted));
    assert_eq!(daemon.stored(), 200);
}

#[test]
fn stopping_twice_waits_for_no_answer() {
    let (daemon, desk) = (Daemon::gated(), Desk::new());
    let file = desk.file("a.ndjson", events("a", 10));
    let stop = Stop::default();
    let url = daemon.url();
    let run = std::thread::spawn({
        let stop = stop.clone();
        move || send_observed(&url, &file, &[], Arc::new(Silent), stop)
    });
    daemon.wait_for_request();
    stop.stop();
    stop.stop();
    let summary = run.join().unwrap();
    assert_eq!((summary.unsent, summary.exit()), (10, Exit::Interrupted));
}

#[test]
fn an_answer_that_comes_before_the_body_was_read_is_heeded() {
    let desk = Desk::new();
    let large = format!("{{\"eventId\":\"large\",\"data\":\"{}\"}}\n", "x".repeat(7 << 20));
    let file = desk.file("a.ndjson", large);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let server = std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let mut head = [0; 64];
        assert!(stream.read(&mut head).unwrap() > 0);
        stream.write_all(b"HTTP/1.1 413 Payload Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n").unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        // Reads on, as a server must whose answer is to arrive: closing at once would reset the connection.
        std::io::copy(&mut stream, &mut std::io::sink()).unwrap_or_default();
    });
    let summary = send_observed(&url, &file, &["--retry-for", "1s"], Arc::new(Silent), Stop::default());
    server.join().unwrap();
    assert_eq!((summary.rejected, summary.requests), (1, 1), "{summary:?}");
}
