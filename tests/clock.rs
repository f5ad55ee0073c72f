//! A wall clock that is set back or jumps ahead: order, duplicates and remembered answers do not care.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use parquet_sink::{Config, Folder};
use serde_json::Value;
use support::{Answer, Daemon, Place, Shim, event, eventually};

/// A daemon whose wall clock is wrong by what a file says.
struct Wrong {
    shim: Shim,
    daemon: Daemon,
}

impl Wrong {
    fn start() -> Self {
        Wrong::start_with_clock(0)
    }

    fn start_with_clock(seconds: i64) -> Self {
        let shim = Shim::compiled();
        std::fs::write(shim.file("clock"), seconds.to_string()).unwrap();
        let file = shim.file("clock").to_str().unwrap().to_owned();
        let place = Place::with(&[("INGESTD_PARQUET_ENABLED", "false"), ("FAULT_CLOCK", &file)]);
        let daemon = place.and("LD_PRELOAD", shim.library().to_str().unwrap()).start();
        Wrong { shim, daemon }
    }

    /// Sets the clock so many seconds off, in one step.
    fn set(&self, seconds: i64) {
        let part = self.shim.file("clock.part");
        std::fs::write(&part, seconds.to_string()).unwrap();
        std::fs::rename(&part, self.shim.file("clock")).unwrap();
    }

    #[track_caller]
    fn post(&self, id: &str) -> Value {
        self.daemon.post("/events", event(id).to_string()).with_status(202)
    }

    fn post_with_key(&self, id: &str) -> Answer {
        let headers = [("Content-Type", "application/json"), ("Idempotency-Key", "key")];
        self.daemon.request("POST", "/events", &headers, event(id).to_string().as_bytes())
    }

    /// How many dead letters are kept; `None` where the log cannot be read at this moment.
    fn letters(&self) -> Option<u64> {
        let (reader, _) = wal::open_read_only(&self.daemon.data()).ok()?;
        let mut letters = 0;
        let count = |_: &[u8], _: &[u8]| {
            letters += 1;
            std::ops::ControlFlow::Continue(())
        };
        reader.scan(wal::Family::Dead, &[], count).ok()?;
        Some(letters)
    }

    #[track_caller]
    fn says(&self, words: &str) {
        eventually("the log says it", || self.daemon.log().contains(words));
    }

    fn restarted(self) -> Self {
        Wrong { daemon: self.daemon.stop().start(), shim: self.shim }
    }
}

#[track_caller]
fn assert_time_never_runs_back(answers: &[Value]) {
    let times: Vec<_> = answers.iter().map(|answer| answer["timestamp"].as_str().unwrap()).collect();
    assert!(times.is_sorted(), "{times:?}");
}

#[test]
fn a_clock_that_is_set_back_is_told_and_changes_neither_order_nor_duplicates() {
    let wrong = Wrong::start();
    let mut answers = vec![wrong.post("a")];
    wrong.set(-7200);
    answers.push(wrong.post("b"));
    wrong.says("the clock went back");
    let line = wrong.daemon.log();
    assert!(line.contains("by_s=7200") || line.contains("by_s=7199"), "{line}");
    answers.push(wrong.post("c"));
    assert_time_never_runs_back(&answers);
    for (id, seq) in [("a", 1), ("b", 2), ("c", 3)] {
        let again = wrong.post(id);
        assert_eq!((&again["duplicate"], &again["seq"]), (&true.into(), &seq.into()), "{id}");
    }
    // A start with that clock, and one with a right one.
    let wrong = wrong.restarted();
    wrong.says("the clock stands behind");
    answers.push(wrong.post("d"));
    for id in ["a", "b", "c", "d"] {
        assert_eq!(wrong.post(id)["duplicate"], true, "{id}");
    }
    wrong.set(0);
    let wrong = wrong.restarted();
    answers.push(wrong.post("e"));
    for id in ["a", "b", "c", "d", "e"] {
        assert_eq!(wrong.post(id)["duplicate"], true, "{id}");
    }
    assert_time_never_runs_back(&answers);
    let ids: Vec<_> = wrong.daemon.stop().stored().into_iter().map(|event| event.id).collect();
    assert_eq!(ids, ["a", "b", "c", "d", "e"]);
}

#[test]
fn a_clock_that_jumps_ahead_and_returns_makes_nothing_be_forgotten() {
    let wrong = Wrong::start();
    wrong.post("a");
    wrong.post_with_key("k").with_status(202);
    let is_repeated = |wrong: &Wrong| wrong.post_with_key("k").header("idempotency-replayed") == Some("true");
    // Two days: far beyond the window of ids, and the time that answers are remembered.
    wrong.set(172_800);
    wrong.post("b");
    wrong.says("the clock jumped ahead");
    for id in ["a", "b"] {
        assert_eq!(wrong.post(id)["duplicate"], true, "{id}");
    }
    assert!(is_repeated(&wrong));
    wrong.set(0);
    wrong.post("c");
    assert!(is_repeated(&wrong));
    let wrong = wrong.restarted();
    for id in ["a", "b", "c"] {
        assert_eq!(wrong.post(id)["duplicate"], true, "{id}");
    }
    assert!(is_repeated(&wrong));
}

#[test]
fn a_jump_while_nothing_comes_in_leaves_no_trace() {
    let wrong = Wrong::start();
    let before = wrong.post("a");
    wrong.set(172_800);
    // The writer is woken now and then to tidy up, and finds nothing to commit.
    wrong.says("the clock jumped ahead");
    wrong.set(0);
    wrong.says("the clock went back");
    let after = wrong.post("b");
    assert_time_never_runs_back(&[before, after, wrong.daemon.get("/health").json()]);
}

#[test]
fn a_clock_that_was_slow_and_is_set_right_makes_nothing_be_forgotten_at_the_next_start() {
    let wrong = Wrong::start_with_clock(-172_800);
    wrong.post("a");
    wrong.set(0);
    wrong.says("the clock jumped ahead");
    wrong.post("b");
    // And once more, by a crash.
    for wrong_s in [-172_800, 0] {
        wrong.set(wrong_s);
        wrong.post(&format!("c{wrong_s}"));
    }
    let mut wrong = wrong.restarted();
    for _ in 0..2 {
        for (id, seq) in [("a", 1), ("b", 2), ("c-172800", 3), ("c0", 4)] {
            let again = wrong.post(id);
            assert_eq!((&again["duplicate"], &again["seq"]), (&true.into(), &seq.into()), "{id}");
        }
        wrong = Wrong { daemon: wrong.daemon.kill().start(), shim: wrong.shim };
    }
    // Also where it is set right while nobody looks.
    wrong.set(-172_800);
    let wrong = wrong.restarted();
    wrong.post("d");
    let (place, shim) = (wrong.daemon.stop(), wrong.shim);
    std::fs::remove_file(shim.file("clock")).unwrap();
    let wrong = Wrong { daemon: place.start(), shim };
    assert_eq!(wrong.post("d")["duplicate"], true);
}

#[test]
fn what_is_kept_after_a_start_far_ahead_is_kept_for_as_long_as_ever() {
    let wrong = Wrong::start_with_clock(40 * 86_400);
    wrong.set(0);
    wrong.says("the clock went back");
    wrong.post_with_key("k").with_status(202);
    let bad = wrong.daemon.post("/events", "{}").with_status(400);
    assert!(bad["deadLetterId"].is_string(), "{bad}");
    // Each group removes what is too old, and for dead letters that is looked for once a second.
    let begun = std::time::Instant::now();
    while begun.elapsed() < std::time::Duration::from_secs(3) {
        wrong.daemon.post("/events", event(&begun.elapsed().as_micros().to_string()).to_string()).with_status(202);
    }
    let is_kept = |wrong: &Wrong| {
        assert_eq!(wrong.post_with_key("k").header("idempotency-replayed"), Some("true"));
        eventually("the dead letters can be read", || wrong.letters().is_some());
        assert_eq!(wrong.letters(), Some(1));
    };
    is_kept(&wrong);
    is_kept(&wrong.restarted());
}

#[test]
fn a_clock_that_jumps_ahead_removes_no_parquet_files() {
    let shim = Shim::compiled();
    std::fs::write(shim.file("clock"), "0").unwrap();
    let clock = shim.file("clock").to_str().unwrap().to_owned();
    let place =
        Place::with(&[("INGESTD_PARQUET_KEEP_DAYS", "30"), ("INGESTD_PARQUET_ROLL_S", "1"), ("FAULT_CLOCK", &clock)]);
    let daemon = place.and("LD_PRELOAD", shim.library().to_str().unwrap()).start();
    let wrong = Wrong { shim, daemon };
    let files = |wrong: &Wrong| {
        let folder = Folder::new(Config::new(wrong.daemon.data().join("events")));
        folder.list().unwrap_or_default().len()
    };
    let post = |wrong: &Wrong, id: &str, count: usize| {
        wrong.post(id);
        // Each file is followed by a look at the old ones, before the next file: what that removes is missing here.
        eventually("it is in a file, and so are all before it", || files(wrong) == count);
    };
    post(&wrong, "a", 1);
    post(&wrong, "b", 2);
    wrong.set(40 * 86_400);
    post(&wrong, "c", 3);
    post(&wrong, "d", 4);
    // Nor does a start with that clock, nor one with a right one.
    let wrong = wrong.restarted();
    post(&wrong, "e", 5);
    wrong.set(0);
    let wrong = wrong.restarted();
    post(&wrong, "f", 6);
    post(&wrong, "g", 7);
}

/// What the unit calls the id of the boot that it hands in.
fn boot_variable() -> &'static str {
    let unit = include_str!("../systemd/ingestd.service");
    unit.lines().find_map(|line| line.strip_prefix("Environment=")?.strip_suffix("=%b")).unwrap()
}

/// What becomes of an event that was stored under a clock two days slow, which is right at the next start, with the
/// kernel's boot id out of sight as under the unit; and what was said about that.
fn sent_again_after_a_restart(env: &[(&str, &str)]) -> (Value, String) {
    let shim = Shim::compiled();
    std::fs::write(shim.file("clock"), "-172800").unwrap();
    let hidden = [
        ("LD_PRELOAD", shim.library().to_str().unwrap().to_owned()),
        ("FAULT_CALL", "open".into()),
        ("FAULT_PATH", "/proc/sys/kernel/random/boot_id".into()),
        ("FAULT_STICKY", "1".into()),
        ("FAULT_CLOCK", shim.file("clock").to_str().unwrap().to_owned()),
    ];
    let hidden = hidden.map(|(name, value)| (name.to_owned(), value));
    let env = [&[("INGESTD_PARQUET_ENABLED", "false")][..], env].concat();
    let place = Place::with(&env).and_all(hidden.into());
    let daemon = place.start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    let place = daemon.stop();
    std::fs::remove_file(shim.file("clock")).unwrap();
    let daemon = place.start();
    let again = daemon.post("/events", event("e").to_string()).with_status(202);
    (again, daemon.log())
}

#[test]
fn a_restart_goes_on_counting_where_only_the_service_manager_can_say_which_boot_it_is() {
    let warning = "says which boot of the system this is";
    let boot = "5f0c3e1a9b7d4c2e8f6a1b3c5d7e9f01";
    let (again, log) = sent_again_after_a_restart(&[(boot_variable(), boot)]);
    assert_eq!(again["duplicate"], true, "{log}");
    assert!(!log.contains(warning), "{log}");
    // Where nobody can, it is as over a reboot, and each of the two starts says so once.
    let (again, log) = sent_again_after_a_restart(&[]);
    assert_ne!(again["duplicate"], true, "{log}");
    assert_eq!(log.matches(warning).count(), 2, "{log}");
}
