//! Answers, told to people. What comes from elsewhere (a sink's last words, an event's id) must not steer the terminal.

use ingestd::control::{escaped, printable};
use serde_json::Value;

/// A text without what a terminal would obey.
pub(super) fn text(value: &Value) -> String {
    printable(value.as_str().unwrap_or_default())
}

/// An answer as it is, without a line feed in it or behind it.
pub(super) fn json(value: &Value) -> String {
    escaped(&value.to_string())
}

/// The same for programs: on a line of its own.
pub(super) fn json_line(value: &Value) -> String {
    json(value) + "\n"
}

/// An answer as it is, one field a line.
pub(super) fn pretty(value: &Value) -> String {
    escaped(&serde_json::to_string_pretty(value).unwrap_or_default()) + "\n"
}

pub(super) fn paused(done: &Value) -> String {
    format!("{} is paused\n", text(&done["sink"]))
}

pub(super) fn resumed(done: &Value) -> String {
    format!("{} goes on\n", text(&done["sink"]))
}

pub(super) fn skipped(done: &Value) -> String {
    format!("{} will go on with event {}\n", text(&done["sink"]), done["until"])
}

pub(super) fn reconciled(done: &Value) -> String {
    format!("{} begins again with event {}\n", text(&done["sink"]), done["from"])
}

pub(super) fn hello(hello: &Value) -> String {
    let commands: Vec<_> = hello["commands"].as_array().into_iter().flatten().map(text).collect();
    format!("ingestd {}, protocol {}\n{}\n", text(&hello["version"]), hello["protocol"], commands.join("\n"))
}

pub(super) fn draining(done: &Value) -> String {
    let what = if done["already"] == true { "is stopping already" } else { "stops: it finishes what is under way" };
    format!("the daemon {what}\n")
}

pub(super) fn log_level(done: &Value) -> String {
    let [level, before, configured] = ["level", "before", "configured"].map(|key| text(&done[key]));
    let was = if level == before { String::new() } else { format!(" (it was {before})") };
    let until = if level == configured { "as configured".to_owned() } else { format!("configured is {configured}") };
    format!("{level}{was}, {until}\n")
}

pub(super) fn trimmed(done: &Value) -> String {
    format!("the log begins with event {}; {} events are let go\n", done["start"], done["events"])
}

pub(super) fn status(status: &Value) -> String {
    let log = &status["log"];
    let (version, health) = (text(&status["version"]), text(&status["health"]["status"]));
    let head = format!(
        "ingestd {version}, {health}\nlog: events {}..={}, {} bytes\n",
        log["start"], log["committed"], log["bytes"]
    );
    head + &sinks(&status["sinks"])
}

pub(super) fn flushed(positions: &Value) -> String {
    let positions = positions.as_object().into_iter().flatten();
    let line =
        |(sink, position): (&String, &Value)| format!("{}: has everything before event {position}\n", printable(sink));
    positions.map(line).collect()
}

pub(super) fn sinks(sinks: &Value) -> String {
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

pub(super) fn audit(audit: &Value) -> String {
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

#[cfg(test)]
mod tests {
    use super::*;
    use ingestd::control::steers;
    use serde_json::json;

    #[test]
    fn what_a_terminal_would_obey_is_not_printed_and_json_means_the_same() {
        let value = json!({"id": "a\u{1b}[2J\u{9b}2J\u{202e}b\u{2066}\u{7f}\nü"});
        for printed in [super::json(&value), json_line(&value), pretty(&value)] {
            assert!(!printed.contains(|letter: char| steers(letter) && letter != '\n'), "{printed:?}");
            assert_eq!(serde_json::from_str::<Value>(&printed).unwrap(), value);
        }
        assert_eq!(super::json(&value).lines().count(), 1);
        assert!(!text(&value["id"]).contains(steers) && text(&value["id"]).ends_with('ü'));
    }
}
