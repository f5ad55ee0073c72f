//! A configuration that is read again while the daemon runs: all of it or nothing, and no request notices.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use rustix::process::Signal;
use serde_json::Value;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use support::{Daemon, Place, event, events, eventually, request};

/// A configuration file that is replaced as editors do.
struct File {
    dir: tempfile::TempDir,
}

impl File {
    fn new(text: &str) -> Self {
        let file = File { dir: tempfile::tempdir().unwrap() };
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("config.toml")
    }

    fn write(&self, text: &str) {
        let new = self.dir.path().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.path()).unwrap();
    }

    fn place(&self) -> Place {
        Place::with(&[("INGESTD_CONFIG", self.path().to_str().unwrap())])
    }

    fn daemon(&self) -> Daemon {
        self.place().start()
    }
}

/// What `admin config WHAT` answers.
#[track_caller]
fn asked(daemon: &Daemon, what: &str) -> Value {
    let output = daemon.admin(&["config", what, "--json"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn keys(changes: &Value) -> Vec<&str> {
    changes.as_array().unwrap().iter().map(|change| change["key"].as_str().unwrap()).collect()
}

/// The answer to a batch of so many events: 202, or 400 where that is over the limit.
fn batch_of(daemon: &Daemon, count: usize) -> u16 {
    daemon.post("/events/batch", Value::Array(events("e", count)).to_string()).status
}

#[test]
fn what_can_be_taken_over_is_and_the_rest_is_named() {
    let file = File::new("[limits]\nbatch_events_max = 3\n");
    let daemon = file.daemon();
    assert_eq!((batch_of(&daemon, 3), batch_of(&daemon, 4)), (202, 400));
    file.write("[limits]\nbatch_events_max = 4\n[log]\ngroup_events_max = 100\n");
    assert_eq!(keys(&asked(&daemon, "check")["changed"]), ["limits.batch_events_max"]);
    assert_eq!(batch_of(&daemon, 4), 400, "a check changes nothing");

    let reloaded = asked(&daemon, "reload");
    assert_eq!(keys(&reloaded["changed"]), ["limits.batch_events_max"]);
    assert_eq!((&reloaded["changed"][0]["from"], &reloaded["changed"][0]["to"]), (&3.into(), &4.into()));
    assert_eq!(keys(&reloaded["restart"]), ["log.group_events_max"]);
    assert_eq!((batch_of(&daemon, 4), batch_of(&daemon, 5)), (202, 400));
    let shown = asked(&daemon, "show");
    let value =
        |key: &str| shown.as_array().unwrap().iter().find(|setting| setting["key"] == key).unwrap()["value"].clone();
    assert_eq!((value("limits.batch_events_max"), value("log.group_events_max")), (4.into(), 4096.into()));
    let text = daemon.admin(&["config", "reload"]).stdout;
    assert_eq!(String::from_utf8(text).unwrap(), "wants a restart: log.group_events_max: 4096 -> 100\n");
    daemon.stop();
}

#[test]
fn a_file_with_a_mistake_changes_nothing_and_the_answer_says_why() {
    let file = File::new("[limits]\nbatch_events_max = 3\n");
    let daemon = file.daemon();
    file.write("[limits]\nbatch_events_max = 4\nevent_bytes_max = 0\n[lgo]\n");
    let refused = daemon.admin(&["config", "reload"]);
    assert_eq!(refused.status.code(), Some(1));
    let text = String::from_utf8(refused.stderr).unwrap();
    assert!(
        text.contains("config.toml:3:1: `limits.event_bytes_max` must be") && text.contains("unknown section [lgo]")
    );
    assert_eq!((batch_of(&daemon, 3), batch_of(&daemon, 4)), (202, 400));
    daemon.signal(Signal::HUP);
    eventually("it says so", || daemon.log().contains("nothing was changed"));
    std::fs::remove_file(file.path()).unwrap();
    let gone = daemon.admin(&["config", "reload"]);
    assert!(String::from_utf8(gone.stderr).unwrap().contains("cannot be read"));
    assert_eq!((batch_of(&daemon, 3), batch_of(&daemon, 4)), (202, 400));
    daemon.stop();
}

#[test]
fn a_file_that_a_key_names_is_told_with_that_key() {
    let file = File::new("");
    let daemon = file.daemon();
    let jwt = "[auth]\nintake = \"jwt\"\nissuer = \"i\"\naudience = \"a\"\n";
    for (key, value) in [("hs256_secret_file", "\"/nowhere/secret\""), ("jwks_files", "[\"/nowhere/keys\"]")] {
        file.write(&format!("{jwt}{key} = {value}\n"));
        let refused = daemon.admin(&["config", "reload"]);
        let text = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{text}");
        assert!(text.contains(&format!("config.toml:5:1: `auth.{key}`: ")) && text.contains("/nowhere/"), "{text}");
    }
    daemon.stop();
}

#[test]
fn a_reload_opens_to_nobody_what_a_start_would_not() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        let held = TcpListener::bind(address).unwrap();
        let file = File::new("[auth]\nintake = \"key\"\n");
        let daemon = file.place().start_on(&held);
        let is_closed = || daemon.post("/events", event("nobody").to_string()).status == 401;
        assert!(is_closed(), "{address}");
        // The second is said to be meant, but that is heard at a start only.
        for text in ["", "[server]\nallow_unauthenticated = true\n"] {
            file.write(text);
            for what in ["check", "reload"] {
                let output = daemon.admin(&["config", what]);
                let said = String::from_utf8_lossy(&output.stderr).into_owned();
                assert_eq!(output.status.code(), Some(1), "{address} {what}: {output:?}");
                assert!(said.contains("allow_unauthenticated") && said.contains("socket that was handed in"), "{said}");
                assert_eq!(said.contains("as long as the daemon is not restarted"), !text.is_empty(), "{said}");
                assert!(is_closed(), "{address} {what}");
            }
        }
        let told = || daemon.log().matches("nothing was changed").count();
        let before = told();
        daemon.signal(Signal::HUP);
        eventually("it says so", || told() > before);
        assert!(is_closed(), "{address}");
        daemon.stop();
    }
}

#[test]
fn a_hangup_reloads_the_log_level_too() {
    let file = File::new("log_level = \"error\"\n");
    let daemon = file.daemon();
    assert!(!daemon.log().contains("INFO"), "{}", daemon.log());
    file.write("log_level = \"info\"\n[limits]\nbatch_events_max = 4\n");
    daemon.signal(Signal::HUP);
    eventually("the limit holds", || batch_of(&daemon, 5) == 400);
    eventually("it says so", || daemon.log().contains("limits.batch_events_max"));
    daemon.stop();
}

#[test]
fn a_reloaded_deadline_holds_for_the_stop_that_follows() {
    let file = File::new("[server]\ndrain_timeout_s = 86400\nbody_timeout_s = 86400\n");
    let daemon = file.daemon();
    let mut under_way = daemon.connect();
    let bytes = request("POST", "/events", &[("Expect", "100-continue")], event("under-way").to_string().as_bytes());
    let head = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap() + 4;
    under_way.send(&bytes[..head]);
    // Its head has been read once it is told to go on.
    assert_eq!(under_way.answer().status, 100);
    file.write("[server]\ndrain_timeout_s = 1\nbody_timeout_s = 86400\n");
    asked(&daemon, "reload");
    daemon.stop();
}

#[test]
fn reloads_under_load_fail_no_request() {
    let reloads = std::env::var("RELOADS").ok().and_then(|count| count.parse().ok()).unwrap_or(200);
    let texts = [
        "log_level = \"warn\"\n[limits]\nbatch_events_max = 10\nevent_bytes_max = 9000\nbody_bytes_max = 90000\n",
        "log_level = \"warn\"\n[server]\nhead_timeout_s = 60\nconnections_max = 1000\n[limits]\nbatch_events_max = 20\n\
         inflight_requests_max = 1000\ninflight_bytes_max = 20000000\n",
        "log_level = \"warn\"\n[limits]\nbatch_events_max = 0\n",
    ];
    let file = File::new(texts[0]);
    let daemon = file.daemon();
    let (stop, answered) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (daemon, stop, answered) = (&daemon, &stop, &answered);
            scope.spawn(move || {
                let mut connection = daemon.connect();
                for round in 0.. {
                    if stop.load(SeqCst) {
                        break;
                    }
                    let batch = Value::Array(events(&format!("c{client}-{round}"), 10)).to_string();
                    let answer = connection.post("/events/batch", &[], batch.as_bytes()).with_status(202);
                    assert_eq!(answer["successful"], 10, "{answer}");
                    answered.fetch_add(1, SeqCst);
                    if round % 20 == 0 {
                        connection = daemon.connect();
                    }
                }
            });
        }
        // Whatever happens in here, the clients are to end.
        let reloading = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for round in 0..reloads {
                let before = answered.load(SeqCst);
                file.write(texts[round % texts.len()]);
                if round % 7 == 6 {
                    daemon.signal(Signal::HUP);
                }
                let output = daemon.admin(&["config", "reload"]);
                assert_eq!(output.status.success(), round % texts.len() != 2, "{output:?}");
                eventually("requests go on", || answered.load(SeqCst) > before);
            }
        }));
        stop.store(true, SeqCst);
        if let Err(panic) = reloading {
            std::panic::resume_unwind(panic);
        }
    });
    let accepted = answered.load(SeqCst) as u64 * 10;
    assert_eq!(daemon.totals(), [accepted, 0, 0, 0]);
    file.write(texts[1]);
    asked(&daemon, "reload");
    assert_eq!((batch_of(&daemon, 20), batch_of(&daemon, 21)), (202, 400));
    daemon.stop();
}

#[test]
fn a_reload_that_hangs_holds_no_stop_up() {
    let file = File::new("");
    let daemon = file.daemon();
    // Whoever reads a pipe waits for somebody who writes.
    let pipe = file.dir.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &pipe, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    std::fs::rename(pipe, file.path()).unwrap();
    daemon.signal(Signal::HUP);
    eventually("it reads", || daemon.log().contains("SIGHUP: reading the configuration again"));
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.term();
    let place = daemon.drained();
    file.write("");
    assert_eq!(place.stored().len(), 1);
}
