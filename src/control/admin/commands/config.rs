//! The configuration of the running daemon.

use super::super::request::Refusal;
use super::super::server::AdminParts;
use super::aside;
use serde_json::Value;
use std::sync::Arc;

/// What a reload would change.
pub(super) async fn check(parts: &AdminParts) -> Result<Value, Refusal> {
    let reloader = Arc::clone(&parts.reloader);
    told(aside(move || reloader.look()).await?)
}

/// Takes over what can be.
pub(super) async fn reload(parts: &AdminParts) -> Result<Value, Refusal> {
    let reloader = Arc::clone(&parts.reloader);
    told(aside(move || reloader.reload()).await?)
}

fn told(
    reloaded: Result<crate::control::config::Reloaded, crate::control::config::Mistakes>,
) -> Result<Value, Refusal> {
    reloaded.map(|reloaded| reloaded.to_json()).map_err(|mistakes| mistakes.to_string().into())
}
