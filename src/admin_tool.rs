//! `ingestd admin`: asks the running daemon and prints what it says.

use crate::cli::{Admin, AdminCommand, AdminConfig, SinksCommand};
use crate::{checkpoint_tool, config_tool, letters_tool};
use indicatif::{ProgressBar, ProgressStyle};
use ingestd::control::admin::ask;
use ingestd::control::complain;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Runs one command. Exit codes: 0 done, 1 refused, unreachable, or an audit that does not balance.
pub(crate) fn run(admin: &Admin) -> ExitCode {
    let socket = admin.socket.clone().unwrap_or_else(|| admin.data_dir.join("admin.sock"));
    let (request, render): Question = match &admin.command {
        AdminCommand::Status => (json!({"command": "status"}), status),
        AdminCommand::Audit => (json!({"command": "audit"}), audit),
        AdminCommand::Sinks(asked) => match &asked.command {
            None | Some(SinksCommand::List) => (json!({"command": "sinks"}), sinks),
            Some(SinksCommand::Flush { sink }) => flush(sink.as_deref()),
            Some(SinksCommand::Pause { sink }) => pause(sink),
            Some(SinksCommand::Resume { sink }) => resume(sink),
            Some(SinksCommand::Skip { sink, until }) => skip(sink, *until),
            Some(SinksCommand::Reconcile { sink, from }) => reconcile(sink, *from),
        },
        AdminCommand::DeadLetters(what) => return letters_tool::run(&socket, what, admin.json),
        AdminCommand::Checkpoint { dir } => return checkpoint_tool::run(&socket, dir, admin.json),
        AdminCommand::Config(AdminConfig::Show) => (json!({"command": "config_show"}), config_tool::settings),
        AdminCommand::Config(AdminConfig::Check) => (json!({"command": "config_check"}), config_tool::would_change),
        AdminCommand::Config(AdminConfig::Reload) => (json!({"command": "config_reload"}), config_tool::changed),
        AdminCommand::Flush { sink } => flush(sink.as_deref()),
        AdminCommand::Pause { sink } => pause(sink),
        AdminCommand::Resume { sink } => resume(sink),
        AdminCommand::Skip { sink, until } => skip(sink, *until),
        AdminCommand::Verify { sink, from, to } => return verify(&socket, sink, *from, *to, admin.json),
    };
    let result = match ask(&socket, &request) {
        Ok(result) => result,
        Err(error) => {
            complain(error);
            return ExitCode::FAILURE;
        }
    };
    let text = if admin.json { format!("{result}\n") } else { render(&result) };
    // Whoever reads may have seen enough.
    std::io::stdout().write_all(text.as_bytes()).ok();
    if result["balanced"] == false { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

/// What to ask, and how to tell the answer.
type Question = (Value, fn(&Value) -> String);

fn flush(sink: Option<&str>) -> Question {
    (json!({"command": "flush", "sink": sink}), flushed)
}

fn pause(sink: &str) -> Question {
    (json!({"command": "pause", "sink": sink}), |done| format!("{} is paused\n", text(&done["sink"])))
}

fn resume(sink: &str) -> Question {
    (json!({"command": "resume", "sink": sink}), |done| format!("{} goes on\n", text(&done["sink"])))
}

fn skip(sink: &str, until: u64) -> Question {
    (json!({"command": "skip", "sink": sink, "until": until}), |done| {
        format!("{} will go on with event {}\n", text(&done["sink"]), done["until"])
    })
}

fn reconcile(sink: &str, from: u64) -> Question {
    (json!({"command": "reconcile", "sink": sink, "from": from}), |done| {
        format!("{} begins again with event {}\n", text(&done["sink"]), done["from"])
    })
}

/// Compares piece by piece, so that it can be seen to go on. Exit codes: 0 equal, 1 not equal or not found out.
fn verify(socket: &Path, sink: &str, from: Option<u64>, to: Option<u64>, json: bool) -> ExitCode {
    let bar = ProgressBar::new_spinner().with_style(
        ProgressStyle::with_template("{bar:24} {percent:>3}% {human_pos}/{human_len} events")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    let (mut from, mut to, mut pieces) = (from, to, Vec::new());
    loop {
        let request = json!({"command": "verify", "sink": sink, "from": from, "to": to});
        let piece = match ask(socket, &request) {
            Ok(piece) => piece,
            Err(error) => {
                bar.finish_and_clear();
                complain(error);
                return ExitCode::FAILURE;
            }
        };
        let [first, last, until] = ["from", "to", "until"].map(|key| piece["range"][key].as_u64().unwrap_or_default());
        // What comes in meanwhile is not waited for.
        to = Some(until);
        bar.set_length(bar.length().unwrap_or_default().max(until.saturating_sub(first) + 1));
        bar.inc((last + 1).saturating_sub(first));
        pieces.push(piece);
        if last >= until {
            break;
        }
        from = Some(last + 1);
    }
    bar.finish_and_clear();
    let equal = pieces.iter().all(|piece| piece["equal"] == true);
    let text = match json {
        true => format!("{}\n", json!({"sink": sink, "equal": equal, "pieces": pieces})),
        false => pieces.iter().map(piece).collect::<String>() + if equal { "equal\n" } else { "NOT equal\n" },
    };
    std::io::stdout().write_all(text.as_bytes()).ok();
    if equal { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn piece(piece: &Value) -> String {
    let (range, dead) = (&piece["range"], piece["dead"].as_u64().unwrap_or_default());
    let head = format!(
        "events {}..={}: {} in the log, {dead} of them dead letters\n",
        range["from"], range["to"], piece["events"]
    );
    let expired = match piece["expired"].as_u64() {
        None | Some(0) => String::new(),
        Some(events) => format!("  {events} events were given up, and are missing where they are in this range\n"),
    };
    let places = piece["places"].as_array().into_iter().flatten();
    let lines = places.map(|place| {
        let wrong = ["missing", "doubled"].map(|what| {
            let (events, ranges) = (place[what]["events"].as_u64().unwrap_or_default(), &place[what]["ranges"]);
            if events == 0 { String::new() } else { format!(", {events} {what}: {ranges}") }
        });
        format!("  {}: {} there{}\n", text(&place["place"]), place["present"], wrong.concat())
    });
    head + &expired + &lines.collect::<String>()
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

fn flushed(positions: &Value) -> String {
    let positions = positions.as_object().into_iter().flatten();
    positions.map(|(sink, position)| format!("{sink}: has everything before event {position}\n")).collect()
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
