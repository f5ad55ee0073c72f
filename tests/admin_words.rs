//! What `ingestd admin` is told and what it prints: values that make no sense, and words that are not its own.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
#[path = "support/letters.rs"]
mod letters;
#[cfg(test)]
mod support;

use asked::{Talk, outcomes, recorded, refused, says};
use serde_json::{Value, json};
use support::{Daemon, event, eventually};

#[test]
fn values_that_make_no_sense_are_mistakes_of_the_command_line() {
    let daemon = Daemon::start();
    for id in ["e-1", "e-2", "e-3"] {
        daemon.post("/events", event(id).to_string()).with_status(202);
    }
    let beyond = u64::MAX.to_string();
    for mistake in [
        &["dead-letters", "list", "--since", "yesterday"][..],
        &["dead-letters", "list", "--state", "foo"],
        &["dead-letters", "list", "--sink", &"x".repeat(300)],
        &["dead-letters", "show", "abc"],
        &["dead-letters", "replay"],
        &["dead-letters", "purge"],
        &["tokens", "add", "--tenant", "A B", "--scope", "read"],
        &["tokens", "add", "--tenant", "t", "--scope", "read", "--expires", "tomorrow"],
        &["wal", "verify", "--from", &beyond],
        &["wal", "verify", "--from", &beyond, "--to", &beyond],
        &["wal", "verify", "--from", "5"],
        &["wal", "verify", "--from", "3", "--to", "1"],
        &["wal", "verify", "--to", "0"],
        &["verify", "parquet", "--from", "3", "--to", "1"],
    ] {
        let output = daemon.admin(mistake);
        let (code, said) = refused(&output);
        assert!(code == Some(64) && !said.is_empty() && output.stdout.is_empty(), "{mistake:?}: {output:?}");
    }
    let answer = Talk::with(&daemon).say(r#"{"command": "wal_verify", "from": 3, "to": 1}"#);
    assert_eq!(answer["code"], "bad_request", "{answer}");
    // Nothing has come since: whoever goes on behind what he has seen asks for no nonsense.
    assert!(says(&daemon, &["wal", "verify", "--from", "4"]).starts_with("0 events"));
    assert!(says(&daemon, &["wal", "verify", "--from", "3", "--to", &beyond]).starts_with("1 events"));
    // What makes sense and is not there is another matter.
    assert_eq!(refused(&daemon.admin(&["dead-letters", "show", "999"])).0, Some(1));
    assert_eq!(refused(&daemon.admin(&["tokens", "revoke", "0123456789abcdef"])).0, Some(1));
    assert_eq!(refused(&daemon.admin(&["verify", "parquet", "--from", "99"])).0, Some(1));
    daemon.stop();
}

#[test]
fn of_several_letters_of_which_one_is_none_nothing_is_done() {
    let daemon = Daemon::start();
    let id = letters::reject(&daemon, "{}");
    let (code, said) = refused(&daemon.admin(&["dead-letters", "purge", &id, "abc"]));
    assert!(code == Some(64) && said.contains("`abc`"), "{said}");
    letters::show(&daemon, &id);
    assert!(outcomes(&recorded(&daemon, "dead_letter_purge")).is_empty());
    daemon.stop();
}

#[test]
fn one_json_value_is_printed_however_many_letters_are_named() {
    let daemon = Daemon::start();
    let [first, second] = [(), ()].map(|()| letters::reject(&daemon, "{}"));
    let printed = |arguments: &[&str]| {
        let output = daemon.admin(&[&["dead-letters"], arguments, &["--json"]].concat());
        (output.status.code(), serde_json::from_slice::<Value>(&output.stdout).unwrap())
    };
    // It is rejected again.
    let (code, one) = printed(&["replay", &first]);
    assert_eq!((code, &one["id"], &one["status"]), (Some(1), &first.as_str().into(), &"rejected".into()), "{one}");
    let (code, two) = printed(&["replay", &first, &second]);
    let ids: Vec<_> = two.as_array().unwrap().iter().map(|result| result["id"].clone()).collect();
    assert_eq!((code, ids), (Some(1), vec![Value::from(first.as_str()), second.as_str().into()]), "{two}");
    let (code, mixed) = printed(&["purge", &first, "999", &second]);
    assert_eq!((code, &mixed[0]["id"], &mixed[1]["id"]), (Some(1), &first.as_str().into(), &"999".into()), "{mixed}");
    assert!(mixed[1]["error"].as_str().unwrap().contains("no dead letter 999") && mixed[2]["error"].is_null());
    daemon.stop();
}

#[test]
fn letters_that_nobody_can_be_asked_about_are_complained_of_once() {
    let place = Daemon::start().stop();
    for what in ["replay", "purge"] {
        for (ids, printed) in [(&["1"][..], 0), (&["1", "2", "3"][..], 1)] {
            let arguments = [&["admin", "dead-letters", what], ids].concat();
            let output = place.command(&arguments).output().unwrap();
            let (code, said) = refused(&output);
            assert!(code == Some(69) && said.lines().count() == 1 && output.stdout.is_empty(), "{output:?}");
            let output = place.command(&[&arguments[..], &["--json"]].concat()).output().unwrap();
            let (code, said) = refused(&output);
            assert!(code == Some(69) && said.lines().count() == 1, "{output:?}");
            let values = serde_json::Deserializer::from_slice(&output.stdout).into_iter::<Value>();
            let values: Vec<Value> = values.map(Result::unwrap).collect();
            assert_eq!(values.len(), printed, "{values:?}");
            assert!(
                values.iter().all(|value| value.as_array().unwrap().len() == 1 && value[0]["id"] == "1"),
                "{values:?}"
            );
        }
    }
}

#[test]
fn the_name_of_a_checkpoint_begins_no_line_of_the_log() {
    let daemon = Daemon::start();
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("copy\nforged ERROR line");
    says(&daemon, &["checkpoint", target.to_str().unwrap()]);
    eventually("it is said", || daemon.log().contains("checkpoint made"));
    assert!(!daemon.log().lines().any(|line| line.starts_with("forged")), "{}", daemon.log());
    daemon.stop();
}

#[test]
fn what_a_client_has_sent_does_not_steer_the_terminal() {
    let daemon = Daemon::start();
    // CSI as one character, and one that turns round what follows.
    let steering = ['\u{9b}', '\u{202e}', '\u{7f}'];
    let sent = format!("a{}b", steering.iter().collect::<String>());
    let mut bad = event(&sent);
    bad["eventType"] = sent.as_str().into();
    let id = letters::reject(&daemon, bad.to_string());
    daemon.post("/events", event(&sent).to_string()).with_status(202);
    for command in [
        &["dead-letters", "list"][..],
        &["dead-letters", "show", &id],
        &["dead-letters", "show", &id, "--json"],
        &["wal", "tail", "--from", "1", "-n", "1", "--raw"],
        &["wal", "tail", "--from", "1", "-n", "1", "--raw", "--json"],
    ] {
        let said = says(&daemon, command);
        assert!(!said.contains(steering), "{command:?}: {said:?}");
    }
    // Nor does what is refused.
    let (code, complaint) = refused(&daemon.admin(&["pause", &sent]));
    assert!(code.is_some_and(|code| code != 0) && !complaint.contains(steering), "{complaint:?}");
    let shown: Value = serde_json::from_str(&says(&daemon, &["dead-letters", "show", &id])).unwrap();
    assert_eq!(
        (&shown["eventId"], &shown["raw"]),
        (&sent.as_str().into(), &bad.to_string().into()),
        "the same to a program"
    );
    daemon.stop();
}

#[test]
fn of_made_up_commands_the_log_has_little() {
    let daemon = Daemon::start();
    let mut talk = Talk::with(&daemon);
    let before = daemon.log().len();
    for number in 0..5 {
        let answer = talk.say(&json!({"command": format!("{number}{}", "ä".repeat(500_000))}).to_string());
        assert_eq!(answer["code"], "unknown_command");
        assert!(answer.to_string().len() < 500, "{answer}");
    }
    let answer = talk.say(&json!({"command": "verify", "sink": "x".repeat(1_000_000)}).to_string());
    assert_eq!(answer["ok"], false);
    let log = daemon.log();
    assert_eq!(log.matches("admin command command=").count(), 2, "once for those that are none");
    assert!(log.len() - before < 2000, "{} bytes", log.len() - before);
    daemon.stop();
}
