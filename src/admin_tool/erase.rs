//! `ingestd admin erase`.

use super::Question;
use super::render::text;
use crate::cli::Erase;
use serde_json::{Value, json};

/// What to ask, and how to tell the answer.
pub(super) fn question(whom: &Erase) -> Question {
    let Erase { user, event, tenant, dry_run, also_mentions } = whom;
    let request = json!({
        "command": "erase", "user": user, "event": event, "tenant": tenant, "dry_run": dry_run,
        "also_mentions": also_mentions,
    });
    (request, told)
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
        Some(reason) => format!("files of the log: NOT rewritten, old bytes may lie in them: {reason}\n"),
    };
    let sinks: String = report["sinks"].as_array().into_iter().flatten().map(sink).collect();
    head + &place("log", &report["log"]) + &place("dead letters", &report["deadLetters"]) + &files + &sinks
}

fn sink(sink: &Value) -> String {
    let name = text(&sink["sink"]);
    let mut out = format!("\n{name}: {}, next event {}\n", text(&sink["state"]), sink["next"]);
    if let Some(trouble) = sink["trouble"].as_str() {
        out += &format!("  NOT told: {trouble}\n");
    }
    for batch in sink["underWay"].as_array().into_iter().flatten() {
        out += &format!("  events {}..={} are on their way: run this again once it is past them\n", batch[0], batch[1]);
    }
    for statement in sink["statements"].as_array().into_iter().flatten() {
        out += &format!("  {}\n", text(statement));
    }
    for file in sink["files"].as_array().into_iter().flatten() {
        let (path, statement) = (text(&file["path"]), text(&file["statement"]));
        out +=
            &format!("  {path}: {} events; in DuckDB, then move it over the file:\n    {statement}\n", file["events"]);
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
