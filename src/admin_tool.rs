//! `ingestd admin`: asks the running daemon and prints what it says.

use crate::cli::{Admin, AdminCommand};
use ingestd::control::admin::ask;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Runs one command. Exit codes: 0 done, 1 refused, unreachable, or an audit that does not balance.
pub(crate) fn run(admin: &Admin) -> ExitCode {
    let socket = admin.socket.clone().unwrap_or_else(|| admin.data_dir.join("admin.sock"));
    let request = match &admin.command {
        AdminCommand::Status => json!({"command": "status"}),
        AdminCommand::Sinks => json!({"command": "sinks"}),
        AdminCommand::Flush { sink } => json!({"command": "flush", "sink": sink}),
        AdminCommand::Pause { sink } => json!({"command": "pause", "sink": sink}),
        AdminCommand::Resume { sink } => json!({"command": "resume", "sink": sink}),
        AdminCommand::Audit => json!({"command": "audit"}),
    };
    let result = match ask(&socket, &request) {
        Ok(result) => result,
        Err(error) => {
            eprintln!("ingestd: {error}");
            return ExitCode::FAILURE;
        }
    };
    let text = match (&admin.command, admin.json) {
        (_, true) => format!("{result}\n"),
        (AdminCommand::Sinks, false) => sinks(&result),
        (AdminCommand::Status, false) => status(&result),
        (AdminCommand::Audit, false) => audit(&result),
        (AdminCommand::Flush { .. }, false) => {
            let positions = result.as_object().into_iter().flatten();
            positions.map(|(sink, position)| format!("{sink}: has everything before event {position}\n")).collect()
        }
        (AdminCommand::Pause { sink }, false) => format!("{sink} is paused\n"),
        (AdminCommand::Resume { sink }, false) => format!("{sink} goes on\n"),
    };
    // Whoever reads may have seen enough.
    std::io::stdout().write_all(text.as_bytes()).ok();
    let balanced = matches!(admin.command, AdminCommand::Audit).then(|| result["balanced"] == true);
    if balanced == Some(false) { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn status(status: &Value) -> String {
    let log = &status["log"];
    let (version, health) = (text(&status["version"]), text(&status["health"]["status"]));
    let head = format!(
        "ingestd {version}, {health}\nlog: events {}..={}, {} bytes\n",
        log["start"], log["committed"], log["bytes"]
    );
    head + &sinks(&status["sinks"])
}

fn sinks(sinks: &Value) -> String {
    let head =
        format!("{:<12} {:<13} {:>14} {:>12} {:>9}  LAST ERROR\n", "SINK", "STATE", "CURSOR", "LAG EVENTS", "LAG S");
    let line = |sink: &Value| {
        format!(
            "{:<12} {:<13} {:>14} {:>12} {:>9.1}  {}\n",
            text(&sink["sink"]),
            text(&sink["state"]),
            sink["cursor"].to_string(),
            sink["lagEvents"].to_string(),
            sink["lagSeconds"].as_f64().unwrap_or_default(),
            text(&sink["lastError"]["text"]),
        )
    };
    head + &sinks.as_array().into_iter().flatten().map(line).collect::<String>()
}

fn audit(audit: &Value) -> String {
    let sinks = audit["sinks"].as_array().into_iter().flatten().map(|sink| {
        let (name, ledger) = (text(&sink["sink"]), &sink["ledger"]);
        let [delivered, pending, dead, expired, lost] =
            ["delivered", "pending", "dead", "expired", "lost"].map(|key| &ledger[key]);
        format!("{name}: delivered {delivered}, pending {pending}, dead {dead}, expired {expired}, lost {lost}\n")
    });
    let wrong = audit["wrong"].as_array().into_iter().flatten().map(|line| format!("WRONG {}\n", text(line)));
    let verdict = if audit["balanced"] == true { "balanced\n" } else { "NOT balanced\n" };
    sinks.chain(wrong).chain([verdict.to_owned()]).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}
