//! `ingestd admin dead-letters`.

use super::exit::{USAGE, code_of};
use super::render::{self, text};
use crate::cli::{DeadLetters, LetterFilter, WhichLetters};
use ingestd::control::admin::{AskError, ask};
use ingestd::control::{complain, printable, say};
use serde_json::{Value, json};
use std::io::Read;
use std::path::Path;
use std::process::ExitCode;

/// Letters of one question; the answer says where to go on.
const PAGE: u64 = 1000;

/// Runs one command; what was not done to every letter has failed.
pub(crate) fn run(socket: &Path, what: &DeadLetters, json: bool) -> ExitCode {
    let asking = Asking { socket, json };
    let done = match what {
        DeadLetters::List { filter, limit } => asking.list(filter, *limit),
        DeadLetters::Show { id } => asking.one(&json!({"command": "dead_letter", "id": id})),
        DeadLetters::Edit { id, file } => asking.edit(id, file),
        DeadLetters::Replay { which } => asking.many(which, "replay"),
        DeadLetters::Purge { which } => asking.many(which, "purge"),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(Failed::Asked(error)) => {
            complain(&error);
            code_of(&error)
        }
        Err(Failed::Read(error)) => {
            complain(error);
            ExitCode::FAILURE
        }
        Err(Failed::Mistake(mistake)) => {
            complain(mistake);
            USAGE.into()
        }
    }
}

/// Why nothing was done.
#[derive(Debug, thiserror::Error)]
enum Failed {
    #[error(transparent)]
    Asked(#[from] AskError),
    /// The file with the mended event.
    #[error("{0}")]
    Read(String),
    /// What was asked for makes no sense.
    #[error("{0}")]
    Mistake(String),
}

/// Whom to ask, and how to tell the answer.
struct Asking<'a> {
    socket: &'a Path,
    json: bool,
}

/// Whether it was done to every letter, or why to none.
type Done = Result<bool, Failed>;

impl Asking<'_> {
    fn ask(&self, request: &Value) -> Result<Value, AskError> {
        ask(self.socket, request)
    }

    fn list(&self, filter: &LetterFilter, limit: u64) -> Done {
        let mut request = asked("dead_letters", filter);
        let mut items = Vec::new();
        loop {
            request["limit"] = (limit.saturating_sub(items.len() as u64)).clamp(1, PAGE).into();
            let mut page = self.ask(&request)?;
            items.extend(page["items"].as_array_mut().into_iter().flat_map(std::mem::take));
            request["cursor"] = page["nextCursor"].take();
            if request["cursor"].is_null() || items.len() as u64 >= limit {
                break;
            }
        }
        if self.json {
            say(render::json(&json!({"items": items, "nextCursor": request["cursor"]})));
            return Ok(true);
        }
        say(format_args!(
            "{:>8}  {:<9} {:<20} {:<11} {:<27} {:>7}  EVENT",
            "ID", "STATE", "CODE", "SINK", "RECEIVED", "BYTES"
        ));
        items.iter().for_each(|item| say(line(item)));
        if !request["cursor"].is_null() {
            say("there are more: --limit");
        }
        Ok(true)
    }

    fn one(&self, request: &Value) -> Done {
        let result = self.ask(request)?;
        match self.json {
            true => say(render::json(&result)),
            false => say(render::pretty(&result).trim_end()),
        }
        Ok(true)
    }

    fn edit(&self, id: &str, file: &Path) -> Done {
        let mut raw = String::new();
        let read = match file.to_str() {
            Some("-") => std::io::stdin().read_to_string(&mut raw).map(drop),
            _ => std::fs::read_to_string(file).map(|text| raw = text),
        };
        read.map_err(|error| Failed::Read(format!("cannot read {}: {error}", file.display())))?;
        self.one(&json!({"command": "dead_letter_edit", "id": id, "raw": raw.trim_end()}))
    }

    fn many(&self, which: &WhichLetters, what: &str) -> Done {
        if !which.ids.is_empty() {
            return self.each(&which.ids, what);
        }
        let mut request = asked(&format!("dead_letters_{what}"), &which.filter);
        (request["all"], request["limit"]) = (which.all.into(), PAGE.into());
        let mut total = json!({});
        loop {
            let asked = self.ask(&request);
            if asked.is_err() && !request["cursor"].is_null() {
                // What the pages before have done is told all the same.
                self.sum_up(&total);
            }
            let mut page = asked?;
            add(&mut total, &page);
            request["cursor"] = page["nextCursor"].take();
            if request["cursor"].is_null() || !page["refused"].is_null() || !page["failed"].is_null() {
                break;
            }
        }
        let is_done = ["rejected", "skipped", "refused", "failed", "kept"].iter().all(|name| is_nothing(&total[*name]));
        self.sum_up(&total);
        Ok(is_done)
    }

    fn sum_up(&self, total: &Value) {
        match self.json {
            true => say(render::json(total)),
            false => say(told(total)),
        }
    }

    fn each(&self, ids: &[String], what: &str) -> Done {
        // Before anything is done to the others.
        if let Some(id) = ids.iter().find(|id| id.parse::<u64>().is_err()) {
            return Err(Failed::Mistake(format!("`{id}`: the id of a dead letter is a number")));
        }
        let (mut is_done, mut results) = (true, Vec::new());
        for id in ids {
            match self.ask(&json!({"command": format!("dead_letter_{what}"), "id": id})) {
                Ok(result) => {
                    is_done &= result["status"] != "rejected";
                    if !self.json {
                        say(outcome(&result));
                    }
                    results.push(result);
                }
                Err(error @ AskError::Reach { .. }) => {
                    // Nobody will answer for the others; what was done before is told all the same.
                    if ids.len() > 1 {
                        results.push(untold(id, &error));
                    }
                    self.tell_all(results, ids.len());
                    return Err(error.into());
                }
                // What is to be said of one is its complaint; a program that has asked for several can tell which it was.
                Err(error) => {
                    is_done = false;
                    if ids.len() > 1 {
                        results.push(untold(id, &error));
                    }
                    complain(error);
                }
            }
        }
        self.tell_all(results, ids.len());
        Ok(is_done)
    }

    /// With `--json` one value: what came of the letter, or of several in their order.
    fn tell_all(&self, mut results: Vec<Value>, asked: usize) {
        match (self.json, asked) {
            (false, _) => {}
            (true, 1) => results.pop().iter().for_each(|result| say(render::json(result))),
            (true, _) => say(render::json(&results.into())),
        }
    }
}

/// In the place of what came of a letter.
fn untold(id: &str, error: &AskError) -> Value {
    json!({"id": id, "error": error.to_string()})
}

fn asked(command: &str, filter: &LetterFilter) -> Value {
    let LetterFilter { code, sink, tenant, state, since } = filter;
    json!({"command": command, "code": code, "sink": sink, "tenant": tenant, "state": state, "since": since})
}

/// Adds the counts of a page, and what it names.
fn add(total: &mut Value, page: &Value) {
    for (name, value) in page.as_object().into_iter().flatten() {
        let held = &mut total[name.as_str()];
        match (value, held.as_array_mut()) {
            (Value::Array(more), Some(items)) => items.extend(more.iter().cloned()),
            (Value::Number(more), _) => {
                *held = (held.as_u64().unwrap_or_default() + more.as_u64().unwrap_or_default()).into();
            }
            _ => *held = value.clone(),
        }
    }
    if let Some(members) = total.as_object_mut() {
        members.remove("nextCursor");
    }
}

fn is_nothing(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Number(number) => number.as_u64() == Some(0),
        Value::Array(items) => items.is_empty(),
        _ => false,
    }
}

fn told(total: &Value) -> String {
    let mut parts = Vec::new();
    for (name, value) in total.as_object().into_iter().flatten() {
        match value {
            Value::Number(number) => parts.push(format!("{number} {name}")),
            Value::Array(items) if name == "kept" && !items.is_empty() => {
                parts.push(format!("{} stay: a sink has not got them yet", items.len()));
            }
            Value::String(reason) => parts.push(format!("the rest {name}: {reason}")),
            _ => {}
        }
    }
    let results = total["results"].as_array().into_iter().flatten().filter(|result| result["status"] == "rejected");
    results.map(|result| outcome(result) + "\n").collect::<String>() + &parts.join(", ")
}

fn outcome(result: &Value) -> String {
    let (id, status) = (text(&result["id"]), text(&result["status"]));
    let before = if result["repeated"] == true { " (replayed before)" } else { "" };
    match result["seq"].as_u64() {
        Some(seq) => format!("{id}: {status}, event {seq}{before}"),
        None if status == "rejected" => {
            let (code, pointer, detail) = (text(&result["code"]), text(&result["pointer"]), text(&result["detail"]));
            format!("{id}: rejected again, {code} {pointer}: {detail}")
        }
        None => format!("{id}: {status}"),
    }
}

fn line(item: &Value) -> String {
    format!(
        "{:>8}  {:<9} {:<20} {:<11} {:<27} {:>7}  {}",
        text(&item["id"]),
        text(&item["state"]),
        text(&item["code"]),
        printable(item["sink"].as_str().unwrap_or("-")),
        text(&item["receivedAt"]),
        item["bytes"].to_string(),
        // A client's own words: nothing in them is to reach the terminal as it is.
        item["eventId"].as_str().map_or_else(|| "-".to_owned(), |id| id.escape_debug().to_string()),
    )
}
