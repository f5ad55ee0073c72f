//! `ingestd admin wal`: the running daemon's log, checked and followed.

use super::exit::FAILED;
use super::render::{json_line, text};
use super::{failed, print};
use ingestd::control::admin::{AskError, Connection, ask};
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// How long the daemon waits for an event before it answers that there is none.
const WAIT_MS: u64 = 10_000;

/// Checks piece by piece, so that the daemon is busy with none for long.
pub(super) fn verify(socket: &Path, from: Option<u64>, to: Option<u64>, json: bool) -> ExitCode {
    let (mut from, mut to, mut events, mut blocks) = (from, to, 0, 0);
    let (mut first, mut error) = (None, None);
    while error.is_none() {
        let piece = match ask(socket, &json!({"command": "wal_verify", "from": from, "to": to})) {
            Ok(piece) => piece,
            Err(error) => return failed(&error),
        };
        let [begun, next, until] = ["from", "next", "until"].map(|key| piece[key].as_u64().unwrap_or_default());
        first = first.or(Some(begun));
        events += piece["events"].as_u64().unwrap_or_default();
        blocks += piece["blocks"].as_u64().unwrap_or_default();
        // What comes in meanwhile is not waited for.
        (from, to) = (Some(next), Some(until));
        error = (piece["intact"] != true).then(|| text(&piece["error"]));
        if next > until {
            break;
        }
    }
    let out = json!({
        "from": first, "to": to, "events": events, "blocks": blocks, "intact": error.is_none(), "error": error,
    });
    if json {
        print(&json_line(&out));
    } else {
        let verdict = error.as_ref().map_or("intact".to_owned(), |error| format!("NOT intact: {error}"));
        print(&format!("{events} events in {blocks} blocks, {}..={}\n{verdict}\n", out["from"], out["to"]));
    }
    if error.is_none() { ExitCode::SUCCESS } else { FAILED.into() }
}

/// Prints events until nobody reads them any more, or there were enough.
pub(super) fn tail(socket: &Path, from: Option<u64>, raw: bool, count: Option<u64>, json: bool) -> ExitCode {
    match follow(socket, from, raw, count.unwrap_or(u64::MAX), json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn follow(socket: &Path, mut from: Option<u64>, raw: bool, mut wanted: u64, json: bool) -> Result<(), AskError> {
    let mut connection = Connection::open(socket, None)?;
    while wanted > 0 {
        let limit = wanted.min(1000);
        let request = json!({"command": "wal_tail", "from": from, "limit": limit, "wait_ms": WAIT_MS, "raw": raw});
        let answer = connection.ask(&request)?;
        from = answer["next"].as_u64();
        for event in answer["events"].as_array().into_iter().flatten() {
            let line = if json { json_line(event) } else { line(event) };
            if !print(&line) {
                return Ok(());
            }
            wanted -= 1;
        }
    }
    Ok(())
}

fn line(event: &Value) -> String {
    let [at, tenant, kind, id] = ["committedAt", "tenant", "eventType", "eventId"].map(|key| text(&event[key]));
    let end = match &event["raw"] {
        Value::String(_) => format!("  {}", text(&event["raw"])),
        _ => String::new(),
    };
    let trouble = event["unreadable"].as_str().map(|_| format!("  unreadable: {}", text(&event["unreadable"])));
    format!(
        "{:>12}  {at}  {tenant:<10}  {kind:<18}  {id:<36}  {} bytes{}{end}\n",
        event["seq"].to_string(),
        event["bytes"],
        trouble.unwrap_or_default(),
    )
}
