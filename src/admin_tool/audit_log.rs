//! `ingestd admin audit-log`: who has changed what.

use super::exit::{FAILED, USAGE};
use super::render::{self, json_line, text};
use super::{failed, print};
use crate::cli::AuditLog;
use event::UnixMicros;
use ingestd::control::admin::ask;
use ingestd::control::complain;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Shows entries, or checks all of them.
pub(super) fn run(socket: &Path, asked: &AuditLog, json: bool) -> ExitCode {
    if asked.verify {
        return verify(socket, json);
    }
    let since = match asked.since.as_deref().map(moment).transpose() {
        Ok(since) => since,
        Err(error) => {
            complain(error);
            return USAGE.into();
        }
    };
    let request = json!({"command": "audit_log", "since": since, "action": asked.action, "limit": asked.limit});
    match ask(socket, &request) {
        Ok(entries) => {
            print(&if json { json_line(&entries) } else { table(&entries) });
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error),
    }
}

fn verify(socket: &Path, json: bool) -> ExitCode {
    let verdict = match ask(socket, &json!({"command": "audit_verify"})) {
        Ok(verdict) => verdict,
        Err(error) => return failed(&error),
    };
    let is_intact = verdict["intact"] == true;
    if json {
        print(&json_line(&verdict));
    } else {
        let wrong = verdict["wrong"].as_array().into_iter().flatten().map(|line| format!("WRONG {}\n", text(line)));
        let head = format!(
            "{} entries, {}..={}; the newest line's SHA-256: {}\n",
            verdict["entries"],
            verdict["first"],
            verdict["last"],
            text(&verdict["head"])
        );
        let end = if is_intact { "intact\n" } else { "NOT intact\n" };
        print(&(head + &beginning(&verdict) + &wrong.collect::<String>() + end));
    }
    if is_intact { ExitCode::SUCCESS } else { FAILED.into() }
}

/// Where the log begins, and what has become of what was before.
fn beginning(verdict: &Value) -> String {
    let Some(first) = verdict["first"].as_u64() else { return String::new() };
    let dropped = match verdict["droppedUntil"].as_u64() {
        Some(until) => {
            format!("; entries 1 to {until} were dropped by the bound (audit.file_bytes_max, audit.files_max)")
        }
        None => String::new(),
    };
    format!("begins with entry {first} of {}{dropped}\n", text(&verdict["firstTime"]))
}

fn table(entries: &Value) -> String {
    let mut out = format!("{:>6}  {:<27}  {:<24}  {:<14}  WHAT\n", "SEQ", "TIME", "WHO", "OUTCOME");
    for entry in entries.as_array().into_iter().flatten() {
        let outcome = match entry["of"].as_u64() {
            Some(of) => format!("{} ({of})", text(&entry["outcome"])),
            None => text(&entry["outcome"]),
        };
        let what = [text(&entry["action"]), text(&entry["target"])].join(" ");
        let details = match entry["details"].as_object().is_none_or(serde_json::Map::is_empty) {
            true => String::new(),
            false => format!(" {}", render::json(&entry["details"])),
        };
        out += &format!(
            "{:>6}  {:<27}  {:<24}  {outcome:<14}  {}{details}\n",
            entry["seq"].to_string(),
            text(&entry["time"]),
            who(&entry["actor"]),
            what.trim_end(),
        );
    }
    out
}

fn who(actor: &Value) -> String {
    let ids = ["uid", "pid"].map(|id| actor[id].as_u64().map(|number| format!(" {id} {number}")).unwrap_or_default());
    text(&actor["via"]) + &ids.concat()
}

/// A time, or how long ago, as a time.
fn moment(text: &str) -> Result<String, String> {
    let wrong = || format!("--since {text}: neither a time such as 2026-11-29T01:00:00Z nor how long ago, such as 15m");
    let unit = match text.chars().next_back().ok_or_else(wrong)? {
        's' => 1,
        'm' => 60,
        'h' => 3600,
        'd' => 24 * 3600,
        _ => return Ok(text.to_owned()),
    };
    let count: u64 = text[..text.len() - 1].parse().map_err(|_| wrong())?;
    let ago = Duration::from_secs(count.checked_mul(unit).ok_or_else(wrong)?);
    Ok(UnixMicros::now().minus(ago).to_string())
}
