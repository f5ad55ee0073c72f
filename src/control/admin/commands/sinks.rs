//! Asking and steering the sinks.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::aside;
use crate::control::Pipeline;
use crate::deliver::Handle;
use serde_json::{Map, Value, json};
use std::time::Duration;

/// How long a flush may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a sink may take to carry out an order: a call to a sink's server is broken off or over by then.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

/// Waits until a sink, or each, has what is committed now.
pub(super) async fn flush(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let sinks = match request.text("sink") {
        Some(name) => std::slice::from_ref(find(&parts.pipeline, name)?),
        None => parts.pipeline.sinks(),
    };
    let mut positions = Map::new();
    for sink in sinks {
        let name = sink.status().snapshot().sink;
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, sink.flush()).await;
        let flushed = flushed.map_err(|_| format!("{name}: not within {} s", FLUSH_TIMEOUT.as_secs()))?;
        let position = flushed.map_err(|error| format!("{name}: {error}"))?;
        positions.insert(name.to_owned(), position.get().into());
    }
    Ok(Value::Object(positions))
}

/// Stops a sink, or has it go on.
pub(super) async fn pause_or_resume(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let sink = asked_for(&parts.pipeline, request)?;
    let order = async {
        let done = if request.command == "pause" { sink.pause().await } else { sink.resume().await };
        done.map_err(|error| error.to_string())
    };
    in_time(order).await?;
    Ok(json!({"sink": request.text("sink")}))
}

/// Has a sink give up what it has not got before a position.
pub(super) async fn skip(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let (sink, until) = (asked_for(&parts.pipeline, request)?, request.needed_number("until")?);
    let until = in_time(parts.pipeline.skip(sink, until)).await?;
    Ok(json!({"sink": request.text("sink"), "until": until.get()}))
}

/// Has a sink begin again with a position.
pub(super) async fn reconcile(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let (sink, from) = (asked_for(&parts.pipeline, request)?, request.needed_number("from")?);
    let from = in_time(parts.pipeline.reconcile(sink, from)).await?;
    Ok(json!({"sink": request.text("sink"), "from": from.get()}))
}

/// Compares what a sink holds with the log; reads much, from disk and from afar.
pub(super) async fn verify(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let sink = asked_for(&parts.pipeline, request)?.clone();
    let (pipeline, (from, to)) = (parts.pipeline.clone(), request.range()?);
    Ok(aside(move || pipeline.verify(&sink, from, to)).await??)
}

/// An order that is not carried out in time may still be.
async fn in_time<T>(order: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| format!("the sink is busy and has not answered within {} s: look again", ORDER_TIMEOUT.as_secs());
    tokio::time::timeout(ORDER_TIMEOUT, order).await.map_err(late)?
}

fn asked_for<'a>(pipeline: &'a Pipeline, request: &Request) -> Result<&'a Handle, Refusal> {
    Ok(find(pipeline, request.needed_text("sink")?)?)
}

fn find<'a>(pipeline: &'a Pipeline, name: &str) -> Result<&'a Handle, String> {
    pipeline.sinks().iter().find(|sink| sink.status().snapshot().sink == name).ok_or_else(|| {
        let known: Vec<_> = pipeline.sinks().iter().map(|sink| sink.status().snapshot().sink).collect();
        format!("there is no sink `{name}`; there are: {}", known.join(", "))
    })
}
