//! Copies of the data folder.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::aside;
use serde_json::Value;
use std::path::PathBuf;
use std::sync::Arc;

/// Makes a copy.
pub(super) async fn make(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let (backups, path) = (Arc::clone(&parts.backups), PathBuf::from(request.needed_text("path")?));
    Ok(aside(move || backups.make(&path)).await??)
}

/// How far the one that is being made has got.
pub(super) async fn progress(parts: &AdminParts) -> Result<Value, Refusal> {
    let backups = Arc::clone(&parts.backups);
    aside(move || backups.progress()).await
}
