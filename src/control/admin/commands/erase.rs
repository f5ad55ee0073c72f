//! Erasing a person's data, or one event.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use crate::control::erasure::{Of, Subject, Wanted};
use serde_json::{Value, json};

/// Erases what the daemon holds of a subject and tells what is to be run elsewhere.
pub(super) async fn run(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let wanted = wanted(request)?;
    Ok(parts.erasure.run(&wanted, parts.reloader.config()).await?)
}

/// Of a result, what names nobody.
pub(super) fn recordable(result: &Value) -> Value {
    let named = |key: &str| result[key].clone();
    json!({
        "dryRun": named("dryRun"), "upTo": named("upTo"), "log": named("log"),
        "deadLetters": named("deadLetters"), "files": named("files"),
    })
}

fn wanted(request: &Request) -> Result<Wanted, Refusal> {
    let (of, id) = match (request.text("user"), request.text("event")) {
        (Some(id), None) => (Of::User, id),
        (None, Some(id)) => (Of::Event, id),
        _ => return Err(Refusal::bad_request("`erase` wants `user` or `event`, one of them")),
    };
    if id.is_empty() {
        return Err(Refusal::bad_request("an empty id names nobody"));
    }
    let tenant = request.text("tenant").map(str::to_owned);
    Ok(Wanted {
        subject: Subject { of, id: id.to_owned(), tenant },
        dry_run: request.flag("dry_run"),
        also_mentions: request.flag("also_mentions"),
    })
}
