//! `ingestd admin checkpoint`: asks for a copy and shows how it grows.

use super::exit::code_of;
use super::render::{json_line, text};
use super::waiting::ask_and_show;
use indicatif::{HumanBytes, ProgressBar, ProgressStyle};
use ingestd::control::admin::{AskError, ask};
use ingestd::control::complain;
use serde_json::{Value, json};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

/// Has a copy made.
pub(crate) fn run(socket: &Path, dir: &Path, json: bool) -> ExitCode {
    // The daemon stands elsewhere.
    let made = match std::path::absolute(dir) {
        Ok(path) => make(socket, &path),
        Err(error) => {
            complain(format_args!("cannot tell where {} is: {error}", dir.display()));
            return ExitCode::FAILURE;
        }
    };
    match made {
        Ok(made) => {
            let text = if json { json_line(&made) } else { told(&made) };
            // Whoever reads may have seen enough.
            std::io::stdout().write_all(text.as_bytes()).ok();
            ExitCode::SUCCESS
        }
        Err(error) => {
            complain(&error);
            code_of(&error)
        }
    }
}

fn make(socket: &Path, path: &Path) -> Result<Value, AskError> {
    let request = json!({"command": "checkpoint", "path": path.to_string_lossy()});
    let bar = ProgressBar::new(0).with_style(
        ProgressStyle::with_template("{bar:24} {percent:>3}% {bytes}/{total_bytes}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    ask_and_show(socket, request, &bar, |bar| show(socket, bar))
}

/// Shows how far it has got, where that can be told.
fn show(socket: &Path, bar: &ProgressBar) {
    let Ok(progress) = ask(socket, &json!({"command": "checkpoint_progress"})) else { return };
    let (Some(bytes), Some(of)) = (progress["bytes"].as_u64(), progress["of"].as_u64()) else { return };
    bar.set_length(of.max(bytes));
    bar.set_position(bytes);
}

fn told(made: &Value) -> String {
    let (path, bytes) = (text(&made["path"]), made["bytes"].as_u64().unwrap_or_default());
    let shared = if made["linked"] == true { ", its tables shared with the log" } else { "" };
    format!(
        "{path}: events up to {}, {}{shared}; it starts with --as-new-node or --replace\n",
        made["end"],
        HumanBytes(bytes)
    )
}
