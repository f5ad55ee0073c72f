//! The process itself: what it speaks, how much it says, its end.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::COMMANDS;
use crate::control::admin::PROTOCOL;
use crate::control::{log_level as level_now, set_log_level};
use serde_json::{Value, json};

/// What the daemon speaks.
pub(super) fn hello() -> Value {
    let commands: Vec<_> = COMMANDS.iter().map(|command| command.name).collect();
    json!({"protocol": PROTOCOL, "version": env!("CARGO_PKG_VERSION"), "commands": commands})
}

/// What is said of a drain; it begins once that is on record.
pub(super) fn drain(parts: &AdminParts) -> Value {
    let was_draining = parts.health.not_ready().contains(&"shutting_down");
    json!({"draining": true, "already": was_draining})
}

/// The level that is logged at, or another one from now on.
pub(super) fn log_level(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let before = level_now();
    if let Some(level) = request.text("level") {
        set_log_level(level).map_err(Refusal::bad_request)?;
    }
    Ok(json!({"level": level_now(), "before": before, "configured": parts.reloader.config().log_level}))
}
