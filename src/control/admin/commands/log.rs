//! The log of the running daemon: looked at, followed, trimmed.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::aside;
use crate::control::log_view;
use event::Seq;
use serde_json::{Value, json};
use std::time::Duration;
use tokio::sync::oneshot;
use wal::Reader;

/// Events of one answer to `wal_tail`, without a `limit` and at most.
const TAIL_EVENTS: u64 = 100;
const TAIL_EVENTS_MAX: u64 = 1000;
/// How long an answer to `wal_tail` waits for an event at most.
const TAIL_WAIT_MAX: Duration = Duration::from_secs(60);

/// What is there.
pub(super) async fn inspect(parts: &AdminParts) -> Result<Value, Refusal> {
    let reader = parts.pipeline.reader().clone();
    Ok(aside(move || log_view::facts(&reader)).await?.map_err(|error| error.to_string())?)
}

/// Reads a part of the log and checks it.
pub(super) async fn verify(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let reader = parts.pipeline.reader().clone();
    let (from, to) = request.range()?;
    let (from, to) = (from.map(Seq::new), to.map(Seq::new));
    is_there(&reader, from, to)?;
    aside(move || log_view::verify(&reader, from, to)).await
}

/// Refuses a range of which there can be no event: that nothing in it is wrong would be no answer.
fn is_there(reader: &Reader, from: Option<Seq>, to: Option<Seq>) -> Result<(), Refusal> {
    let (oldest, newest) = (reader.start().max(Seq::FIRST), reader.committed());
    match (from, to) {
        // Whoever goes on behind what he has seen may find that nothing has come.
        (Some(from), _) if from > newest.next() => {
            Err(Refusal::bad_request(format!("there is no event {from} yet: the newest is {newest}")))
        }
        (None, Some(to)) if to < oldest => {
            Err(Refusal::bad_request(format!("there is no event up to {to} any more: the oldest is {oldest}")))
        }
        _ => Ok(()),
    }
}

/// The events from a position on; where there is none yet, waits for one.
pub(super) async fn tail(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let reader = parts.pipeline.reader().clone();
    let from = request.number("from").map_or_else(|| reader.committed().next(), Seq::new);
    let limit = request.number("limit").unwrap_or(TAIL_EVENTS).clamp(1, TAIL_EVENTS_MAX) as usize;
    let wait = Duration::from_millis(request.number("wait_ms").unwrap_or_default()).min(TAIL_WAIT_MAX);
    if !wait.is_zero() {
        // Where none comes, there is none to tell.
        tokio::time::timeout(wait, parts.pipeline.tail().reaches(from)).await.ok();
    }
    let raw = request.flag("raw");
    let read = aside(move || log_view::events(&reader, from, limit, raw)).await?;
    let (events, next) = read.map_err(|error| error.to_string())?;
    Ok(json!({"events": events, "next": next.get()}))
}

/// Lets go of what every sink has, without waiting for it to be old enough.
pub(super) async fn trim(parts: &AdminParts) -> Result<Value, Refusal> {
    let reader = parts.pipeline.reader();
    let (before, bytes_before) = (reader.start(), parts.pipeline.log_bytes());
    let (done, is_done) = oneshot::channel();
    let stopping = || "the daemon stops: nothing is trimmed any more".to_owned();
    parts.trims.send(done).await.map_err(|_| stopping())?;
    is_done.await.map_err(|_| stopping())?;
    let after = reader.start();
    Ok(json!({
        "from": before.get(),
        "start": after.get(),
        "events": after.since(before),
        "bytesBefore": bytes_before,
        "bytes": parts.pipeline.log_bytes(),
    }))
}
