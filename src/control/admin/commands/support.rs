//! What somebody who helps from afar wants to see, as files by name; nothing in it is secret or a client's.

use super::super::request::Refusal;
use super::super::server::AdminParts;
use super::aside;
use crate::control::audit::Query;
use crate::control::redact::redact;
use crate::control::{log_level, log_view, recent_log};
use event::UnixMicros;
use serde_json::{Map, Value, json};
use std::fmt::Write as _;
use std::path::Path;
use std::sync::Arc;

/// Entries of the audit log that go along.
const AUDIT_ENTRIES: usize = 1000;
/// What the system says of the process, as it says it. The machine is told of by whoever asks: the unit's sandbox hides it
/// from the daemon.
const PROCESS_FILES: [&str; 3] = ["/proc/self/limits", "/proc/self/status", "/proc/self/cgroup"];
/// What of a filter of dead letters is whatever its asker has written, a shopper's id perhaps.
const FILTERS: [&str; 6] = ["code", "sink", "tenant", "state", "since", "cursor"];
/// As the audit log says it.
const LEFT_OUT: &str = "(left out)";
const README: &str = "\
What an ingestd daemon said of itself when `ingestd admin support` was asked.

version.json    versions, and when this was made
figures.json    rates, latency, intake, disk, sinks: what `ingestd admin top` shows
status.json     health, log, sinks: what `ingestd admin status --json` shows
ledger.json     whether the counts balance: `ingestd admin audit --json`
config.json     the values in effect and where each was set, secrets left out; files that values come from were not read
log.txt         the newest lines of the log, as far as they are in memory
metrics.txt     the metrics, in Prometheus' text format
wal.json        where the log begins and ends, its room, every start
audit-log.jsonl the newest entries of the audit log: who has changed what
audit-log.json  whether its chain is whole
data.txt        the files of the data folder's first level, with their sizes
process.txt     limits, memory and control group of the process, free disk space
system.txt      kernel, processor, memory and load of the machine, as the program that asked has found them

Passwords in addresses and values behind names such as password, secret or token are replaced by (secret), wherever they
stand. No event, and no bytes of one, are in here; event ids may be in log.txt where an error speaks of one. What dead letters
were filtered by is left out of audit-log.jsonl, so that a line of it no longer fits the hash in the next one.
";

/// All of it.
pub(super) async fn support(parts: &AdminParts) -> Result<Value, Refusal> {
    let (figures, pipeline) = (Arc::clone(&parts.figures), parts.pipeline.clone());
    let (reloader, audit, health) = (Arc::clone(&parts.reloader), Arc::clone(&parts.audit), Arc::clone(&parts.health));
    aside(move || {
        let mut files = Files(Map::new());
        let config = reloader.config();
        files.put("README", README.to_owned());
        files.json("version.json", &version());
        files.json("figures.json", &figures.read());
        let mut status = pipeline.status();
        status["health"] = json!({"status": health.status(), "services": health.services()});
        files.json("status.json", &status);
        let wrong = pipeline.audit();
        files.json("ledger.json", &json!({"balanced": wrong.is_empty(), "wrong": wrong}));
        files.json("config.json", &reloader.settings());
        files.put("log.txt", recent_log::text());
        files.put("metrics.txt", figures.prometheus());
        files.json("wal.json", &log_view::facts(pipeline.reader()).unwrap_or_else(|error| error.to_string().into()));
        let entries = audit.query(&Query { limit: AUDIT_ENTRIES, ..Query::default() }).unwrap_or_default();
        files.put("audit-log.jsonl", entries.into_iter().map(|entry| format!("{}\n", without_filter(entry))).collect());
        let verdict = audit.verify().map(|verdict| verdict.to_json());
        files.json("audit-log.json", &verdict.unwrap_or_else(|error| error.to_string().into()));
        files.put("data.txt", listing(&config.data_dir));
        files.put("process.txt", process(&config.data_dir));
        json!({"files": files.0})
    })
    .await
}

struct Files(Map<String, Value>);

impl Files {
    fn put(&mut self, name: &str, text: String) {
        // Whatever it is, and whoever has put it there.
        self.0.insert(name.to_owned(), redact(&text).into());
    }

    fn json(&mut self, name: &str, value: &Value) {
        self.put(name, serde_json::to_string_pretty(value).unwrap_or_default() + "\n");
    }
}

/// An entry of the audit log without what dead letters were filtered by, and without pointers into them.
fn without_filter(mut entry: Value) -> Value {
    if !entry["action"].as_str().is_some_and(|action| action.starts_with("dead_letters_")) {
        return entry;
    }
    // Over HTTP it stands beside who has asked.
    let place = if entry["actor"]["via"] == "http" { "/details/filter" } else { "/details" };
    let filter = entry.pointer_mut(place).and_then(Value::as_object_mut).into_iter().flatten();
    for (_, value) in filter.filter(|(name, value)| FILTERS.contains(&name.as_str()) && !value.is_null()) {
        *value = LEFT_OUT.into();
    }
    let results = entry.pointer_mut("/details/results").and_then(Value::as_array_mut).into_iter().flatten();
    for pointer in results.filter_map(|result| result.get_mut("pointer")) {
        *pointer = LEFT_OUT.into();
    }
    entry
}

fn version() -> Value {
    json!({
        "ingestd": env!("CARGO_PKG_VERSION"),
        "protocol": super::super::PROTOCOL,
        "build": if cfg!(debug_assertions) { "with assertions" } else { "release" },
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "logLevel": log_level(),
        "made": UnixMicros::now().to_string(),
    })
}

fn listing(data: &Path) -> String {
    let mut lines: Vec<String> = match std::fs::read_dir(data) {
        Ok(entries) => entries.filter_map(|entry| line(&entry.ok()?)).collect(),
        Err(error) => vec![format!("cannot be listed: {error}\n")],
    };
    lines.sort();
    lines.concat()
}

fn line(entry: &std::fs::DirEntry) -> Option<String> {
    let found = entry.metadata().ok()?;
    let end = if found.is_dir() { "/" } else { "" };
    Some(format!("{}{end}  {} bytes\n", entry.file_name().to_string_lossy(), found.len()))
}

fn process(data: &Path) -> String {
    let mut out = String::new();
    if let Ok(stat) = rustix::fs::statvfs(data) {
        let [free, total] = [stat.f_bavail, stat.f_blocks].map(|blocks| blocks * stat.f_frsize);
        // Writing to a string does not fail.
        writeln!(out, "disk of the data folder: {free} of {total} bytes free, {} inodes free\n", stat.f_favail).ok();
    }
    for path in PROCESS_FILES {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| format!("{error}\n"));
        writeln!(out, "--- {path}\n{text}").ok();
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_keeps_who_asked_and_loses_what_was_looked_for() {
        let http = json!({
            "actor": {"via": "http"},
            "action": "dead_letters_purge",
            "details": {"tenant": "one", "key": "k", "filter": {"code": "anna", "tenant": 7, "all": true, "since": null}},
        });
        let mut wanted = http.clone();
        wanted["details"]["filter"] = json!({"code": LEFT_OUT, "tenant": LEFT_OUT, "all": true, "since": null});
        assert_eq!(without_filter(http), wanted);
        let details = json!({"sink": "anna", "limit": 7, "results": [{"id": "1", "pointer": "/data/anna", "seq": 2}]});
        let socket = json!({"actor": {"via": "socket"}, "action": "dead_letters_replay", "details": details});
        let details = &without_filter(socket)["details"];
        let results = json!([{"id": "1", "pointer": LEFT_OUT, "seq": 2}]);
        assert_eq!(details, &json!({"sink": LEFT_OUT, "limit": 7, "results": results}));
        // What others are about is for whoever helps.
        let pause = json!({"actor": {"via": "socket"}, "action": "pause", "details": {"sink": "kafka"}});
        assert_eq!(without_filter(pause.clone()), pause);
    }
}
