//! `ingestd admin erase`: has a person's data erased, shows how far that has got, and tells what is left to do elsewhere.

use super::exit::FAILED;
use super::render::{json_line, text};
use super::waiting::ask_and_show;
use super::{failed, print};
use crate::cli::Erase;
use indicatif::{ProgressBar, ProgressStyle};
use ingestd::control::admin::ask;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Has it erased.
pub(super) fn run(socket: &Path, whom: &Erase, json: bool) -> ExitCode {
    let Erase { user, event, tenant, dry_run, also_mentions } = whom;
    let request = json!({
        "command": "erase", "user": user, "event": event, "tenant": tenant, "dry_run": dry_run,
        "also_mentions": also_mentions,
    });
    let bar = ProgressBar::new(0)
        .with_style(ProgressStyle::with_template("{bar:24} {msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
    match ask_and_show(socket, request, &bar, |bar| show(socket, bar)) {
        Ok(report) => {
            print(&if json { json_line(&report) } else { told(&report) });
            if is_done(&report) { ExitCode::SUCCESS } else { FAILED.into() }
        }
        Err(error) => failed(&error),
    }
}

/// Whether the daemon has let go of everything that it holds itself.
fn is_done(report: &Value) -> bool {
    let mut sinks = report["sinks"].as_array().into_iter().flatten();
    report["files"]["rewritten"] != false && sinks.all(|sink| sink["trouble"].is_null())
}

/// Shows how far it has got, where that can be told.
fn show(socket: &Path, bar: &ProgressBar) {
    let Ok(progress) = ask(socket, &json!({"command": "erase_progress"})) else { return };
    let Some(stage) = progress["stage"].as_str() else { return };
    let (event, of) = (progress["event"].as_u64(), progress["of"].as_u64());
    if let (Some(event), Some(of)) = (event, of) {
        bar.set_length(of.max(event));
        bar.set_position(event);
    }
    bar.set_message(stage_of(stage, event, of));
}

fn stage_of(stage: &str, event: Option<u64>, of: Option<u64>) -> String {
    match (stage, event, of) {
        ("log", Some(event), Some(of)) => format!("log: event {event} of {of}"),
        ("sinks", ..) => "sinks let go of what they have read".to_owned(),
        ("files", ..) => "files of the log are rewritten".to_owned(),
        ("places", ..) => "looking where it was delivered to".to_owned(),
        _ => stage.to_owned(),
    }
}

fn told(report: &Value) -> String {
    let is_dry = report["dryRun"] == true;
    let place = |name: &str, found: &Value| {
        let done = if is_dry {
            "nothing erased, for this was a dry run".to_owned()
        } else {
            format!("{} erased", found["erased"])
        };
        let mentions = match found["mentions"].as_u64() {
            None | Some(0) => String::new(),
            Some(count) => format!("; {count} more mention the id (--also-mentions)"),
        };
        format!("{name}: {} found, {done}{mentions}\n", found["found"])
    };
    let head = format!("up to event {}\n", report["upTo"]);
    let files = match report["files"]["reason"].as_str() {
        None => String::new(),
        Some(_) => {
            let reason = text(&report["files"]["reason"]);
            format!("files of the log: NOT rewritten, old bytes may lie in them: {reason}\n")
        }
    };
    let sinks: String = report["sinks"].as_array().into_iter().flatten().map(sink).collect();
    head + &place("log", &report["log"]) + &place("dead letters", &report["deadLetters"]) + &files + &sinks
}

fn sink(sink: &Value) -> String {
    let name = text(&sink["sink"]);
    let mut out = format!("\n{name}: {}, next event {}\n", text(&sink["state"]), sink["next"]);
    if sink["state"] == "off" {
        out += "  it is switched off: this is where it wrote to if the configuration has not been changed since\n";
    }
    if !sink["trouble"].is_null() {
        out += &format!("  NOT told: {}\n", text(&sink["trouble"]));
    }
    if !sink["unknown"].is_null() {
        out += &format!("  NOT known what it holds: {}\n", text(&sink["unknown"]));
    }
    for (key, what) in [("underWay", "events"), ("lettersUnderWay", "dead letters")] {
        for batch in sink[key].as_array().into_iter().flatten() {
            out += &format!(
                "  {what} {}..={} are on their way: run this again once they are through\n",
                batch[0], batch[1]
            );
        }
    }
    for statement in sink["statements"].as_array().into_iter().flatten() {
        out += &format!("  {}\n", text(statement));
    }
    for file in sink["files"].as_array().into_iter().flatten() {
        out += &held(file);
    }
    if let Some(topics) = sink["topics"].as_array() {
        let names: Vec<_> = topics.iter().map(text).collect();
        out += &format!(
            "  Kafka deletes no single record: what was sent stays in {} until retention.ms has passed\n",
            names.join(", ")
        );
        let keys: Vec<_> = sink["keys"].as_array().into_iter().flatten().map(|key| key.to_string()).collect();
        if !keys.is_empty() {
            out += &format!("  keys (session ids) of those that were in the log: {}\n", keys.join(", "));
        }
    }
    out
}

/// A file that has such events, or may have some.
fn held(file: &Value) -> String {
    let path = text(&file["path"]);
    if !file["unread"].is_null() {
        return format!("  {path}: cannot be read, so it may hold some: {}\n", text(&file["unread"]));
    }
    let statement = text(&file["statement"]);
    format!("  {path}: {} events; in DuckDB, then move it over the file:\n    {statement}\n", file["events"])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_to_do_is_told_of_every_sink() {
        let report = json!({
            "dryRun": false, "upTo": 9,
            "log": {"found": 3, "mentions": 1, "erased": 3},
            "deadLetters": {"found": 0, "mentions": 0, "erased": 0},
            "files": {"rewritten": false, "reason": "no room"},
            "sinks": [
                {"sink": "parquet", "state": "running", "next": 10, "trouble": "it\u{1b} hangs",
                 "files": [{"path": "a", "events": 2, "statement": "COPY"}, {"path": "b", "unread": "cut off"}]},
                {"sink": "clickhouse", "state": "off", "next": 5, "underWay": [[3, 4]], "lettersUnderWay": [[1, 1]],
                 "trouble": null, "statements": ["ALTER"]},
                {"sink": "else", "state": "off", "next": 1, "unknown": "this release has no such sink"},
            ],
        });
        let told = told(&report);
        for part in [
            "log: 3 found, 3 erased; 1 more mention the id",
            "NOT rewritten, old bytes may lie in them: no room",
            "NOT told: it\u{fffd} hangs",
            "a: 2 events; in DuckDB",
            "b: cannot be read, so it may hold some: cut off",
            "it is switched off",
            "events 3..=4 are on their way",
            "dead letters 1..=1 are on their way",
            "  ALTER\n",
            "NOT known what it holds: this release has no such sink",
        ] {
            assert!(told.contains(part), "{part} is not in {told}");
        }
    }

    #[test]
    fn it_is_done_when_nothing_of_it_is_left_here() {
        let report = |files: Value, trouble: Value| {
            is_done(&json!({"files": files, "sinks": [{"trouble": null, "unknown": "?"}, {"trouble": trouble}]}))
        };
        assert!(report(json!({"rewritten": true}), Value::Null));
        assert!(report(Value::Null, Value::Null), "of a dry run nothing is wanted");
        assert!(!report(json!({"rewritten": false}), Value::Null) && !report(Value::Null, "it hangs".into()));
    }
}
