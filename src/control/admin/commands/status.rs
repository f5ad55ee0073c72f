//! How the daemon is.

use super::super::request::Refusal;
use super::super::server::AdminParts;
use super::aside;
use serde_json::{Value, json};
use std::sync::Arc;

/// Version, health, log and sinks.
pub(super) async fn status(parts: &AdminParts) -> Result<Value, Refusal> {
    let (pipeline, health) = (parts.pipeline.clone(), Arc::clone(&parts.health));
    // It looks up in the log how old what a sink lacks is.
    aside(move || {
        let mut status = pipeline.status();
        status["version"] = env!("CARGO_PKG_VERSION").into();
        status["health"] = json!({"status": health.status(), "services": health.services()});
        status
    })
    .await
}

/// The daemon in numbers.
pub(super) async fn figures(parts: &AdminParts) -> Result<Value, Refusal> {
    let figures = Arc::clone(&parts.figures);
    aside(move || figures.read()).await
}

/// One object per sink.
pub(super) async fn sinks(parts: &AdminParts) -> Result<Value, Refusal> {
    let pipeline = parts.pipeline.clone();
    aside(move || pipeline.status()["sinks"].take()).await
}

/// Whether the counts balance.
pub(super) async fn audit(parts: &AdminParts) -> Result<Value, Refusal> {
    let pipeline = parts.pipeline.clone();
    aside(move || {
        let wrong = pipeline.audit();
        json!({"balanced": wrong.is_empty(), "wrong": wrong, "sinks": pipeline.status()["sinks"].take()})
    })
    .await
}
