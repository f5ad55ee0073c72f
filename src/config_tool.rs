//! `ingestd check`, `ingestd config`: the configuration before a daemon runs with it. And how changes of one are told.

use crate::cli::{Check, Printed, Serve};
use ingestd::control::config::{self, Finding, Level, Mistake, Sources};
use ingestd::control::{complain, escaped, printable, say};
use serde_json::{Value, json};
use std::ffi::OsString;
use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;

/// Mistakes in the configuration (EX_USAGE).
pub(crate) const MISTAKEN: u8 = 64;

/// The layers that the command line names.
pub(crate) fn sources(arguments: &Serve) -> Sources {
    let mut sources = Sources::new(arguments.config.as_deref(), std::env::vars_os().map(lossy));
    if let Some(data) = &arguments.data_dir {
        sources = sources.flag("--data-dir", "data_dir", data);
    }
    if let Some(listen) = arguments.listen {
        sources = sources.flag("--listen", "server.listen", listen);
    }
    sources
}

/// A variable as text: whatever is no UTF-8 is none of ours, and a value that should be is found wrong where it is read.
fn lossy((name, value): (OsString, OsString)) -> (String, String) {
    (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
}

/// Says everything that is wrong. Exit codes: 0 nothing, 64 mistakes in the configuration, 1 something outside.
pub(crate) fn check(arguments: &Check) -> ExitCode {
    let (loaded, mistakes) = sources(&arguments.layers).read();
    // What is mistaken cannot be tried.
    let is_sound = |beginning: &str| {
        let is_about = |mistake: &Mistake| mistake.key.as_ref().is_some_and(|key| key.starts_with(beginning));
        !mistakes.iter().any(is_about)
    };
    let findings = match arguments.config_only {
        true => Vec::new(),
        false => config::probe(loaded.config(), is_sound),
    };
    let fails = findings.iter().any(|finding| finding.level == Level::Error);
    if arguments.json {
        let report = json!({
            "ok": mistakes.is_empty() && !fails,
            "mistakes": mistakes.iter().map(Mistake::to_json).collect::<Vec<_>>(),
            "findings": findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        });
        say(escaped(&report.to_string()));
    } else {
        mistakes.iter().for_each(complain);
        findings.iter().for_each(say);
        match mistakes.len() {
            0 => say("configuration is valid"),
            count => say(format_args!("mistakes in the configuration: {count}")),
        }
    }
    match (mistakes.is_empty(), fails) {
        (false, _) => ExitCode::from(MISTAKEN),
        (true, true) => ExitCode::FAILURE,
        (true, false) => ExitCode::SUCCESS,
    }
}

/// Prints the configuration, or what can be configured.
pub(crate) fn show(what: &Printed) -> ExitCode {
    let text = match what {
        Printed::Default => config::config_file(),
        Printed::Reference => config::reference(),
        Printed::Show { layers, json } => match sources(layers).load() {
            Ok(loaded) if *json => format!("{}\n", config::settings_json(&loaded.settings())),
            Ok(loaded) => config::settings_text(&loaded.settings()),
            Err(mistakes) => {
                mistakes.0.iter().for_each(complain);
                return ExitCode::from(MISTAKEN);
            }
        },
    };
    // Whoever reads may have seen enough.
    std::io::stdout().write_all(escaped(&text).as_bytes()).ok();
    ExitCode::SUCCESS
}

/// A running daemon's values, for people.
pub(crate) fn settings(settings: &Value) -> String {
    let line = |setting: &Value| {
        let from = match setting["layer"].as_str() {
            Some("file") => format!("{}:{}", text(&setting["file"]), setting["line"]),
            Some("environment") => text(&setting["variable"]),
            Some("flag") => text(&setting["flag"]),
            Some("socket") => "the socket that was handed in".to_owned(),
            _ => "default".to_owned(),
        };
        format!("{:<60}  # {from}\n", format!("{} = {}", text(&setting["key"]), json_of(&setting["value"])))
    };
    settings.as_array().into_iter().flatten().map(line).collect()
}

/// What a reload has changed, for people.
pub(crate) fn changed(reloaded: &Value) -> String {
    told(reloaded, "changed", "nothing has changed\n")
}

/// What a reload would change, for people.
pub(crate) fn would_change(reloaded: &Value) -> String {
    told(reloaded, "would change", "a reload would change nothing\n")
}

fn told(reloaded: &Value, verb: &str, nothing: &str) -> String {
    let mut out = String::new();
    for (list, what) in [("changed", verb), ("restart", "wants a restart")] {
        for change in reloaded[list].as_array().into_iter().flatten() {
            let (key, from, to) = (text(&change["key"]), json_of(&change["from"]), json_of(&change["to"]));
            // Writing to a string does not fail.
            writeln!(out, "{what}: {key}: {from} -> {to}").ok();
        }
    }
    if out.is_empty() { nothing.to_owned() } else { out }
}

/// A text without what a terminal would obey.
fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// A value as JSON, without the same.
fn json_of(value: &Value) -> String {
    escaped(&value.to_string())
}
