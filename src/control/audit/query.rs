//! Finding entries.

use super::files;
use event::UnixMicros;
use serde_json::Value;
use std::fs::File;
use std::io;

/// What is asked for; everything that is set must hold.
#[derive(Debug, Clone, Default)]
pub struct Query {
    /// Not before that.
    pub since: Option<UnixMicros>,
    /// Only this action.
    pub action: Option<String>,
    /// So many of the newest at most.
    pub limit: usize,
}

impl Query {
    fn takes(&self, entry: &Value, since: Option<&str>) -> bool {
        // Times are all of one form, so that they stand in order as texts.
        since.is_none_or(|since| entry["time"].as_str().is_some_and(|time| time >= since))
            && self.action.as_ref().is_none_or(|action| entry["action"] == action.as_str())
    }
}

/// The newest entries that are asked for, in order; lines that are no entries are left to [`super::verify`].
pub(super) fn select(there: &[(String, File, u64)], query: &Query) -> io::Result<Vec<Value>> {
    let since = query.since.map(|since| since.to_string());
    let mut out = Vec::new();
    for (_, file, bytes) in there.iter().rev() {
        let text = files::contents(file, *bytes)?;
        let entries = files::lines(&text).rev().filter_map(|line| serde_json::from_slice(line).ok());
        let wanted = entries.filter(|entry| query.takes(entry, since.as_deref()));
        out.extend(wanted.take(query.limit - out.len()));
        if out.len() == query.limit {
            break;
        }
    }
    out.reverse();
    Ok(out)
}
