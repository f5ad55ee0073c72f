//! Who has changed what.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::aside;
use crate::control::audit::Query;
use event::UnixMicros;
use serde_json::Value;
use std::io;
use std::sync::Arc;

/// Entries that are answered without a `limit`.
const LIMIT: u64 = 100;
/// Entries that are answered at most.
const LIMIT_MAX: u64 = 10_000;

/// The newest entries that are asked for.
pub(super) async fn query(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let since = request.text("since").map(moment).transpose()?;
    let limit = request.number("limit").unwrap_or(LIMIT).min(LIMIT_MAX) as usize;
    let query = Query { since, action: request.text("action").map(str::to_owned), limit };
    let audit = Arc::clone(&parts.audit);
    let entries = aside(move || audit.query(&query)).await?.map_err(unread)?;
    Ok(entries.into())
}

/// Whether all of it is there, as it was written.
pub(super) async fn verify(parts: &AdminParts) -> Result<Value, Refusal> {
    let audit = Arc::clone(&parts.audit);
    Ok(aside(move || audit.verify()).await?.map_err(unread)?.to_json())
}

fn moment(text: &str) -> Result<UnixMicros, Refusal> {
    let moment: Result<jiff::Timestamp, _> = text.parse();
    let wrong = |_| Refusal::bad_request(format!("`since` = `{text}` is no time such as 2026-11-29T01:00:00Z"));
    moment.map(|moment| UnixMicros::new(moment.as_microsecond())).map_err(wrong)
}

fn unread(error: io::Error) -> String {
    format!("the audit log cannot be read: {error}")
}
