//! Steering a running daemon over its socket: what is asked, and what is answered, whatever else it does.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::{Talk, json_of, outcomes, recorded, refused, says};
use ingestd::control::admin::{COMMANDS, Recorded};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use support::{Daemon, Stopped, event, events, eventually, request};

#[test]
fn one_line_asks_and_one_line_answers_and_what_makes_no_sense_is_named() {
    let daemon = Daemon::start();
    let mut talk = Talk::with(&daemon);
    let hello = talk.say(r#"{"command": "hello"}"#);
    assert_eq!((&hello["ok"], &hello["result"]["protocol"]), (&true.into(), &1.into()));
    let wrong = [
        ("nonsense", "bad_request", "one JSON object"),
        ("[1]", "bad_request", "one JSON object"),
        ("{}", "bad_request", "`command` is missing"),
        (r#"{"command": "pause"}"#, "bad_request", "`pause` wants `sink`"),
        (r#"{"command": "pause", "sink": 1}"#, "bad_request", "`sink` must be a text, is 1"),
        (r#"{"command": "status", "sink": "x"}"#, "bad_request", "`status` takes no field `sink`"),
        (r#"{"command": "explode"}"#, "unknown_command", "there is no command `explode`"),
        (r#"{"command": "pause", "sink": "x"}"#, "refused", "there is no sink `x`; there are: parquet"),
        (r#"{"command": "log_level", "level": "loud"}"#, "bad_request", "`loud` is none of"),
        (r#"{"command": "audit_log", "since": "yesterday"}"#, "bad_request", "`yesterday` is no time"),
    ];
    for (line, code, text) in wrong {
        let answer = talk.say(line);
        assert_eq!((&answer["ok"], &answer["code"]), (&false.into(), &code.into()), "{line}: {answer}");
        assert!(answer["error"].as_str().unwrap().contains(text), "{line}: {answer}");
    }
    assert_eq!(talk.say(r#"{"command": "status", "sink": null}"#)["ok"], true, "null is as if it were not there");
    let answer = talk.say(&format!(r#"{{"command": "{}"}}"#, "x".repeat(2 << 20)));
    assert_eq!(answer["code"], "bad_request");
    let mut rest = Vec::new();
    // The connection ends; that may reset it, for not everything was read.
    talk.0.read_to_end(&mut rest).ok();
    assert!(rest.is_empty());
}

#[test]
fn every_command_is_carried_out_and_documented() {
    let daemon = Daemon::start();
    let reference = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/admin.md")).unwrap();
    let hello = json_of(&daemon, &["hello"]);
    for command in COMMANDS {
        assert!(hello["commands"].as_array().unwrap().contains(&command.name.into()));
        let row = reference.lines().find(|line| line.starts_with(&format!("| `{}` |", command.name)));
        let row = row.unwrap_or_else(|| panic!("docs/admin.md has no row for {}", command.name));
        for field in command.fields {
            assert!(row.contains(&format!("`{}`", field.name)), "{}: {} is not documented", command.name, field.name);
        }
        assert_eq!(row.contains("recorded"), command.recorded != Recorded::No, "{row}");
        // What is on record is asked for below, in its own tests.
        if command.recorded == Recorded::No && command.fields.iter().all(|field| !field.needed) {
            let answer = Talk::with(&daemon).say(&json!({"command": command.name}).to_string());
            assert_eq!(answer["ok"], true, "{}: {answer}", command.name);
        }
    }
}

/// Admin commands that have no others beneath them, as their man pages are called.
fn commands_of_the_program() -> BTreeSet<String> {
    let dir = tempfile::tempdir().unwrap();
    let made = Command::new(support::PROGRAM).env_clear().arg("man").arg(dir.path()).output().unwrap();
    assert!(made.status.success(), "{made:?}");
    let pages = dir.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
    let last = pages.filter(|page| !std::fs::read_to_string(page).unwrap().contains(".SH SUBCOMMANDS"));
    last.filter_map(|page| Some(page.file_stem()?.to_str()?.strip_prefix("ingestd-admin-")?.to_owned())).collect()
}

#[test]
fn every_command_prints_json_where_that_is_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name).to_str().unwrap().to_owned();
    let (mended, archive, copy) = (path("mended.json"), path("support.tar.gz"), path("copy"));
    std::fs::write(&mended, event("mended").to_string()).unwrap();
    let daemon = Daemon::start();
    // Files skip nothing; nobody listens where this sink wants to go.
    let env = [("INGESTD_PARQUET_ENABLED", "false"), ("INGESTD_CLICKHOUSE_ENABLED", "true")];
    let away = Daemon::with(&[&env[..], &[("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9")]].concat());
    for daemon in [&daemon, &away] {
        daemon.post("/events/batch", Value::Array(events("e", 3)).to_string()).with_status(202);
    }
    let letter = || daemon.post("/events", "{}").with_status(400)["deadLetterId"].as_str().unwrap().to_owned();
    let (first, second) = (letter(), letter());
    let key = json_of(&daemon, &["tokens", "add", "--tenant", "t", "--scope", "intake"])["id"].clone();
    let rows: [(&Daemon, &str, &[&str]); 39] = [
        (&daemon, "hello", &[]),
        (&daemon, "status", &[]),
        (&daemon, "top", &["--interval", "0.1", "--count", "1"]),
        (&daemon, "sinks", &[]),
        (&daemon, "sinks list", &[]),
        (&daemon, "flush", &["parquet"]),
        (&daemon, "sinks flush", &[]),
        (&daemon, "verify", &["parquet"]),
        (&daemon, "pause", &["parquet"]),
        (&daemon, "resume", &["parquet"]),
        (&daemon, "sinks pause", &["parquet"]),
        (&daemon, "sinks resume", &["parquet"]),
        (&away, "skip", &["clickhouse", "--until", "2"]),
        (&away, "sinks skip", &["clickhouse", "--until", "3"]),
        (&away, "sinks reconcile", &["clickhouse", "--from", "1"]),
        (&daemon, "audit", &[]),
        (&daemon, "audit-log", &[]),
        (&daemon, "audit-log", &["--verify"]),
        (&daemon, "config show", &[]),
        (&daemon, "config check", &[]),
        (&daemon, "config reload", &[]),
        (&daemon, "log-level", &[]),
        (&daemon, "log-level", &["warn"]),
        (&daemon, "tokens add", &["--tenant", "t", "--scope", "read"]),
        (&daemon, "tokens list", &[]),
        (&daemon, "tokens revoke", &[key.as_str().unwrap()]),
        (&daemon, "dead-letters list", &[]),
        (&daemon, "dead-letters show", &[&first]),
        (&daemon, "dead-letters edit", &[&first, &mended]),
        (&daemon, "dead-letters replay", &[&first]),
        (&daemon, "dead-letters purge", &[&second]),
        (&daemon, "wal inspect", &[]),
        (&daemon, "wal verify", &[]),
        (&daemon, "wal tail", &["--from", "1", "-n", "1"]),
        (&daemon, "wal trim", &[]),
        (&daemon, "erase", &["--event", "e-0"]),
        (&daemon, "checkpoint", &[&copy]),
        (&daemon, "support", &["--output", &archive]),
        (&daemon, "drain", &[]),
    ];
    for (daemon, command, arguments) in rows {
        let words: Vec<&str> = command.split(' ').chain(arguments.iter().copied()).chain(["--json"]).collect();
        let said = says(daemon, &words);
        let values: Result<Vec<Value>, _> = serde_json::Deserializer::from_str(&said).into_iter().collect();
        assert!(values.is_ok_and(|values| !values.is_empty()), "{words:?}: {said}");
    }
    let tried: BTreeSet<String> = rows.iter().map(|(_, command, _)| command.replace(' ', "-")).collect();
    let untried: Vec<_> = commands_of_the_program().difference(&tried).cloned().collect();
    assert!(untried.is_empty(), "{untried:?}");
}

#[test]
fn exit_codes_tell_a_refusal_a_mistake_and_a_daemon_that_is_away_apart() {
    let daemon = Daemon::start();
    assert_eq!(refused(&daemon.admin(&["pause", "nothing"])).0, Some(1));
    for mistake in [
        &["pause"][..],
        &["explode"],
        &["status", "--nonsense"],
        &["log-level", "loud"],
        &["audit-log", "--since", "yesterday"],
        &["audit-log", "--since", "5x"],
        &["audit-log", "--limit", "0"],
        &["top", "--interval", "0"],
    ] {
        assert_eq!(refused(&daemon.admin(mistake)).0, Some(64), "{mistake:?}");
    }
    let (code, text) = refused(&daemon.admin(&["top"]));
    assert!(code == Some(64) && text.contains("no terminal") && text.contains("--json"), "{text}");
    assert!(daemon.admin(&["--help"]).status.success());
    let place = daemon.stop();
    for away in
        [&["status"][..], &["top", "--json"], &["support"], &["wal", "tail"], &["audit-log"], &["verify", "parquet"]]
    {
        let output = place.command(&[&["admin"], away].concat()).output().unwrap();
        let (code, text) = refused(&output);
        assert!(code == Some(69) && text.contains("cannot reach the daemon at"), "{away:?}: {code:?} {text}");
    }
}

#[test]
fn the_log_level_is_set_until_the_next_reload() {
    let daemon = Daemon::start();
    assert_eq!(says(&daemon, &["log-level"]), "info, as configured\n");
    assert_eq!(says(&daemon, &["log-level", "warn"]), "warn (it was info), configured is info\n");
    let quiet = daemon.log().len();
    says(&daemon, &["status"]);
    assert_eq!(daemon.log().len(), quiet, "{}", daemon.log());
    assert_eq!(json_of(&daemon, &["log-level"]), json!({"level": "warn", "before": "warn", "configured": "info"}));
    says(&daemon, &["config", "reload"]);
    assert_eq!(says(&daemon, &["log-level"]), "info, as configured\n");
    let entries = recorded(&daemon, "log_level");
    assert_eq!(outcomes(&entries), ["begun", "done"], "to look is no change");
    assert_eq!((&entries[1]["target"], &entries[1]["details"]["before"]), (&"warn".into(), &"info".into()));
}

#[test]
fn drain_does_what_sigterm_does() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    connection.send(request("POST", "/events", &[], event("e").to_string().as_bytes()));
    connection.answer().with_status(202);
    assert_eq!(says(&daemon, &["drain"]), "the daemon stops: it finishes what is under way\n");
    let place = daemon.drained();
    assert_eq!(place.stored().len(), 1);
    let daemon = place.start();
    assert_eq!(outcomes(&recorded(&daemon, "drain")), ["begun", "done"]);
    assert_eq!(recorded(&daemon, "stop")[0]["details"]["cause"], "admin drain");
    daemon.stop();
}

#[test]
fn the_log_of_a_running_daemon_is_looked_at_and_followed_without_what_is_in_it() {
    let daemon = Daemon::start();
    let secret = "what-a-shopper-has-bought";
    let mut first = event("e-1");
    first["data"]["secret"] = secret.into();
    daemon.post("/events", first.to_string()).with_status(202);
    let facts = json_of(&daemon, &["wal", "inspect"]);
    assert_eq!((&facts["next"], facts["starts"].as_array().unwrap().len()), (&2.into(), 1), "{facts}");

    let mut command = support_command(&daemon, &["admin", "wal", "tail", "--from", "1", "-n", "3", "--json"]);
    let mut tail = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(tail.stdout.take().unwrap()).lines();
    let mut next = || serde_json::from_str::<Value>(&lines.next().unwrap().unwrap()).unwrap();
    let told = next();
    assert_eq!((&told["seq"], &told["eventId"], &told["tenant"]), (&1.into(), &"e-1".into(), &"default".into()));
    assert_eq!(told["bytes"], first.to_string().len());
    assert!(told.get("raw").is_none() && !told.to_string().contains(secret), "{told}");
    // It waits for those that come.
    daemon.post("/events", event("e-2").to_string()).with_status(202);
    assert_eq!(next()["eventId"], "e-2");
    daemon.post("/events", event("e\u{1b}[2J-3").to_string()).with_status(202);
    assert_eq!(next()["seq"], 3);
    assert!(tail.wait().unwrap().success());

    let table = says(&daemon, &["wal", "tail", "--from", "1", "-n", "3"]);
    assert!(table.lines().count() == 3 && !table.contains('\u{1b}') && !table.contains(secret), "{table}");
    let raw = json_of(&daemon, &["wal", "tail", "--from", "1", "-n", "1", "--raw"]);
    assert_eq!(raw["raw"], first.to_string());
    let (code, text) = refused(&daemon.admin(&["wal", "tail", "--from", "0", "-n", "1"]));
    assert!(code == Some(1) && !text.is_empty(), "{text}");
    let verified = json_of(&daemon, &["wal", "verify"]);
    let wanted = json!({"from": 1, "to": 3, "events": 3, "blocks": 3, "intact": true, "error": null});
    assert_eq!(verified, wanted);
    assert!(says(&daemon, &["wal", "verify", "--from", "2"]).ends_with("intact\n"));
}

fn support_command(daemon: &Daemon, arguments: &[&str]) -> Command {
    let mut command = Command::new(support::PROGRAM);
    command.env_clear().args(arguments).arg("--data-dir").arg(daemon.data()).stdin(Stdio::null());
    command
}

/// Of events that the log no longer holds it is known that they were there, and where, for as long as the window is.
#[track_caller]
fn assert_remembered(daemon: &Daemon) {
    let again = daemon.post("/events/batch", Value::Array(events("b0", 50)).to_string()).with_status(202);
    assert_eq!((&again["successful"], &again["duplicates"]), (&50.into(), &50.into()), "{again}");
    let again = daemon.post("/events", event("b1-7").to_string()).with_status(202);
    assert_eq!((&again["duplicate"], &again["seq"]), (&true.into(), &58.into()), "{again}");
}

#[test]
fn trim_lets_go_at_once_of_what_every_sink_has_and_of_nothing_else() {
    let daemon = Daemon::with(&[("INGESTD_PARQUET_ROLL_S", "3600")]);
    for batch in 0..4 {
        let body = Value::Array(events(&format!("b{batch}"), 50)).to_string();
        daemon.post("/events/batch", body).with_status(202);
    }
    says(&daemon, &["wal", "trim"]);
    assert_eq!(json_of(&daemon, &["wal", "inspect"])["start"], 1, "the files have nothing of it yet");
    says(&daemon, &["flush"]);
    let trimmed = json_of(&daemon, &["wal", "trim"]);
    // The newest position stays, so that the log knows where it goes on.
    assert_eq!((&trimmed["from"], &trimmed["start"], &trimmed["events"]), (&1.into(), &200.into(), &199.into()));
    assert!(daemon.admin(&["audit"]).status.success());
    assert_eq!(outcomes(&recorded(&daemon, "wal_trim")), ["begun", "done", "begun", "done"]);
    assert_remembered(&daemon);
    let daemon = daemon.stop().start();
    assert_eq!(json_of(&daemon, &["wal", "inspect"])["start"], 200);
    assert_remembered(&daemon);
    let daemon = daemon.kill().start();
    assert_remembered(&daemon);
    daemon.stop();
}

#[test]
fn figures_come_as_one_object_a_line() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    let text = says(&daemon, &["top", "--json", "--interval", "0.1", "--count", "3"]);
    let looks: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(looks.len(), 3);
    let look = &looks[2];
    assert_eq!((&look["pid"], &look["totals"]["accepted"]), (&daemon.pid().into(), &1.into()), "{look}");
    assert_eq!((&look["log"]["committed"], &look["sinks"][0]["sink"]), (&1.into(), &"parquet".into()));
    for (pointer, is_right) in [
        ("/rates/s60", Value::is_number as fn(&Value) -> bool),
        ("/latency/seconds", Value::is_number),
        ("/latency/stages/commit/p99", Value::is_number),
        ("/intake/ring/max", Value::is_u64),
        ("/intake/requests/max", Value::is_u64),
        ("/connections/max", Value::is_u64),
        ("/disk/freeBytes", Value::is_u64),
        ("/disk/reserveBytes", Value::is_u64),
        ("/process/residentBytes", Value::is_u64),
        ("/deadLetters/next", Value::is_u64),
        ("/health/status", Value::is_string),
    ] {
        assert!(look.pointer(pointer).is_some_and(is_right), "{pointer}: {look}");
    }
}

#[test]
fn it_answers_while_nothing_gets_through_to_the_log() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "8")]);
    let stuck = Stopped::thread(&daemon, "writer");
    let waiting: Vec<_> = (0..8)
        .map(|number| {
            let mut connection = daemon.connect();
            connection.send(request("POST", "/events", &[], event(&format!("e-{number}")).to_string().as_bytes()));
            connection
        })
        .collect();
    let mut talk = Talk::with(&daemon);
    let mut in_use = || talk.say(r#"{"command": "figures"}"#)["result"]["intake"]["requests"]["used"].clone();
    eventually("no request is let in", || in_use() == 8);
    assert_eq!(daemon.post("/events", event("one-too-many").to_string()).problem(503)["reason"], "overloaded");
    for command in [
        &["status"][..],
        &["sinks"],
        &["audit"],
        &["config", "show"],
        &["wal", "inspect"],
        &["wal", "verify"],
        &["log-level", "debug"],
        &["audit-log", "--verify"],
    ] {
        says(&daemon, command);
    }
    drop(stuck);
    for mut connection in waiting {
        connection.answer().with_status(202);
    }
    daemon.stop();
}

#[test]
fn it_answers_while_more_comes_in_than_is_let_in() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "2")]);
    let (stop, refusals) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (daemon, stop, refusals) = (&daemon, &stop, &refusals);
            scope.spawn(move || {
                let mut round = 0;
                let mut connection = daemon.connect();
                while !stop.load(SeqCst) {
                    round += 1;
                    let body = Value::Array(events(&format!("c{client}-{round}"), 100)).to_string();
                    connection.send(request("POST", "/events/batch", &[], body.as_bytes()));
                    let answer = connection.answer();
                    assert!(matches!(answer.status, 202 | 503), "{answer:?}");
                    if answer.status == 503 {
                        refusals.fetch_add(1, SeqCst);
                        connection = daemon.connect();
                    }
                }
            });
        }
        // Whatever happens in here, the clients are to end.
        let asking = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("some are refused", || refusals.load(SeqCst) > 0);
            let mut talk = Talk::with(&daemon);
            let (before, mut asked) = (refusals.load(SeqCst), 0);
            // Answered each time, while still more is refused.
            while asked < 200 || refusals.load(SeqCst) == before {
                assert_eq!(talk.say(r#"{"command": "status"}"#)["ok"], true);
                assert_eq!(talk.say(r#"{"command": "figures"}"#)["ok"], true);
                asked += 1;
            }
        }));
        stop.store(true, SeqCst);
        if let Err(panic) = asking {
            std::panic::resume_unwind(panic);
        }
    });
    assert!(daemon.admin(&["audit"]).status.success());
    daemon.stop();
}
