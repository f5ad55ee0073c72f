//! `ingestd admin verify`: a sink beside the log.

use super::exit::FAILED;
use super::render::{json_line, text};
use super::{failed, print};
use indicatif::{ProgressBar, ProgressStyle};
use ingestd::control::admin::ask;
use serde_json::{Value, json};
use std::path::Path;
use std::process::ExitCode;

/// Compares piece by piece, so that it can be seen to go on.
pub(super) fn run(socket: &Path, sink: &str, from: Option<u64>, to: Option<u64>, json: bool) -> ExitCode {
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
                return failed(&error);
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
        true => json_line(&json!({"sink": sink, "equal": equal, "pieces": pieces})),
        false => pieces.iter().map(piece).collect::<String>() + if equal { "equal\n" } else { "NOT equal\n" },
    };
    print(&text);
    if equal { ExitCode::SUCCESS } else { FAILED.into() }
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
