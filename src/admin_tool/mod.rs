//! `ingestd admin`: asks the running daemon and prints what it says.
//!
//! `render` tells answers to people, `exit` says how it ends; commands that are more than one question and its answer have
//! a file of their own.

mod audit_log;
mod checkpoint;
mod dead_letters;
mod erase;
mod exit;
mod render;
mod support;
mod tokens;
mod top;
mod verify;
mod waiting;
mod wal;

use crate::cli::{Admin, AdminCommand, AdminConfig, AdminWal, SinksCommand};
use crate::config_tool;
pub(crate) use exit::USAGE;
use exit::code_of;
use ingestd::control::admin::{AskError, ask};
use ingestd::control::complain;
use serde_json::{Value, json};
use std::io::Write;
use std::process::ExitCode;

/// Runs one command.
pub(crate) fn run(admin: &Admin) -> ExitCode {
    let socket = admin.socket.clone().unwrap_or_else(|| admin.data_dir.join("admin.sock"));
    let (request, render): Question = match &admin.command {
        AdminCommand::Top(how) => return top::run(&socket, how, admin.json),
        AdminCommand::Verify { sink, from, to } => return verify::run(&socket, sink, *from, *to, admin.json),
        AdminCommand::Support { output, force } => return support::run(&socket, output.as_deref(), *force, admin.json),
        AdminCommand::AuditLog(asked) => return audit_log::run(&socket, asked, admin.json),
        AdminCommand::Wal(AdminWal::Tail { from, raw, count }) => {
            return wal::tail(&socket, *from, *raw, *count, admin.json);
        }
        AdminCommand::Wal(AdminWal::Verify { from, to }) => return wal::verify(&socket, *from, *to, admin.json),
        AdminCommand::Wal(AdminWal::Inspect) => (json!({"command": "wal_inspect"}), render::pretty),
        AdminCommand::Wal(AdminWal::Trim) => (json!({"command": "wal_trim"}), render::trimmed),
        AdminCommand::Tokens(command) => tokens::question(command),
        AdminCommand::DeadLetters(what) => return dead_letters::run(&socket, what, admin.json),
        AdminCommand::Erase(whom) => return erase::run(&socket, whom, admin.json),
        AdminCommand::Checkpoint { dir } => return checkpoint::run(&socket, dir, admin.json),
        AdminCommand::Hello => (json!({"command": "hello"}), render::hello),
        AdminCommand::Drain => (json!({"command": "drain"}), render::draining),
        AdminCommand::LogLevel { level } => (json!({"command": "log_level", "level": level}), render::log_level),
        AdminCommand::Status => (json!({"command": "status"}), render::status),
        AdminCommand::Audit => (json!({"command": "audit"}), render::audit),
        AdminCommand::Sinks(asked) => match &asked.command {
            None | Some(SinksCommand::List) => (json!({"command": "sinks"}), render::sinks),
            Some(SinksCommand::Flush { sink }) => flush(sink.as_deref()),
            Some(SinksCommand::Pause { sink }) => pause(sink),
            Some(SinksCommand::Resume { sink }) => resume(sink),
            Some(SinksCommand::Skip { sink, until }) => skip(sink, *until),
            Some(SinksCommand::Reconcile { sink, from }) => reconcile(sink, *from),
        },
        AdminCommand::Config(AdminConfig::Show) => (json!({"command": "config_show"}), config_tool::settings),
        AdminCommand::Config(AdminConfig::Check) => (json!({"command": "config_check"}), config_tool::would_change),
        AdminCommand::Config(AdminConfig::Reload) => (json!({"command": "config_reload"}), config_tool::changed),
        AdminCommand::Flush { sink } => flush(sink.as_deref()),
        AdminCommand::Pause { sink } => pause(sink),
        AdminCommand::Resume { sink } => resume(sink),
        AdminCommand::Skip { sink, until } => skip(sink, *until),
    };
    match ask(&socket, &request) {
        Ok(result) => {
            print(&if admin.json { render::json_line(&result) } else { render(&result) });
            if result["balanced"] == false { exit::FAILED.into() } else { ExitCode::SUCCESS }
        }
        Err(error) => failed(&error),
    }
}

/// What to ask, and how to tell the answer.
type Question = (Value, fn(&Value) -> String);

fn flush(sink: Option<&str>) -> Question {
    (json!({"command": "flush", "sink": sink}), render::flushed)
}

fn pause(sink: &str) -> Question {
    (json!({"command": "pause", "sink": sink}), render::paused)
}

fn resume(sink: &str) -> Question {
    (json!({"command": "resume", "sink": sink}), render::resumed)
}

fn skip(sink: &str, until: u64) -> Question {
    (json!({"command": "skip", "sink": sink, "until": until}), render::skipped)
}

fn reconcile(sink: &str, from: u64) -> Question {
    (json!({"command": "reconcile", "sink": sink, "from": from}), render::reconciled)
}

/// Says why there is no answer.
fn failed(error: &AskError) -> ExitCode {
    complain(error);
    code_of(error)
}

/// Prints, if somebody reads it; whether somebody does.
fn print(text: &str) -> bool {
    let mut out = std::io::stdout().lock();
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).is_ok()
}
