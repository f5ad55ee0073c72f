//! One entry, and the line that it becomes.

use event::UnixMicros;
use serde::Serialize;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};
use std::borrow::Cow;
use std::fmt::Write as _;

/// Longest `details`, bytes; what does not fit is left out, and that is said.
const DETAILS_BYTES_MAX: usize = 32 << 10;

/// By which way an action came.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Via {
    /// The admin socket.
    Socket,
    /// A signal.
    Signal,
    /// A request.
    Http,
    /// The daemon's start.
    Start,
    /// The daemon by itself.
    Daemon,
}

/// Who acts, as far as it is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Actor {
    /// By which way.
    pub via: Via,
    /// The user.
    pub uid: Option<u32>,
    /// The user's group.
    pub gid: Option<u32>,
    /// The process.
    pub pid: Option<u32>,
}

impl Actor {
    /// Somebody of whom only the way is known.
    #[must_use]
    pub const fn unknown(via: Via) -> Self {
        Actor { via, uid: None, gid: None, pid: None }
    }

    /// This process.
    #[must_use]
    pub fn own(via: Via) -> Self {
        let (uid, gid) = (rustix::process::geteuid().as_raw(), rustix::process::getegid().as_raw());
        Actor { via, uid: Some(uid), gid: Some(gid), pid: Some(std::process::id()) }
    }
}

/// How far an action has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is about to be done.
    Begun,
    /// It is done.
    Done,
    /// It was refused, or it failed.
    Failed,
}

/// What is recorded of an action.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Who.
    pub actor: Actor,
    /// What: the name of an admin command, or one like it.
    pub action: String,
    /// To what: a sink, a key.
    pub target: Option<String>,
    /// How far it has come.
    pub outcome: Outcome,
    /// The `begun` entry that this one ends.
    pub of: Option<u64>,
    /// What else there is to say; no secrets and no payload.
    pub details: Value,
}

impl Entry {
    /// An action that is done.
    #[must_use]
    pub fn new(actor: Actor, action: impl Into<String>) -> Self {
        let (action, details) = (action.into(), json!({}));
        Entry { actor, action, target: None, outcome: Outcome::Done, of: None, details }
    }

    /// The same, done to something.
    #[must_use]
    pub fn on(mut self, target: Option<impl Into<String>>) -> Self {
        self.target = target.map(Into::into);
        self
    }

    /// The same, with what else there is to say.
    #[must_use]
    pub fn with(mut self, details: Value) -> Self {
        self.details = details;
        self
    }

    /// The same, as far as that.
    #[must_use]
    pub fn outcome(mut self, outcome: Outcome) -> Self {
        self.outcome = outcome;
        self
    }

    /// The line, without its line feed.
    pub(super) fn line(&self, seq: u64, previous: &str) -> String {
        let line = Line {
            seq,
            time: UnixMicros::now().to_string(),
            actor: self.actor,
            action: &self.action,
            target: self.target.as_deref(),
            outcome: self.outcome,
            of: self.of,
            details: &cut(&self.details),
            previous,
        };
        // Texts and numbers always have a JSON form.
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// Details that fit. The largest members give way: who has asked is among the small ones, and stays.
fn cut(details: &Value) -> Cow<'_, Value> {
    let bytes = details.to_string().len();
    if bytes <= DETAILS_BYTES_MAX {
        return Cow::Borrowed(details);
    }
    let members = details.as_object().into_iter().flatten();
    // With quotes, colon and comma; names are the daemon's own and hold nothing to escape.
    let mut members: Vec<_> =
        members.map(|(name, value)| (name.len() + value.to_string().len() + 4, name, value)).collect();
    members.sort_by_key(|(bytes, ..)| *bytes);
    let (mut kept, mut kept_bytes) = (Map::new(), 0);
    for (bytes, name, value) in members {
        if kept_bytes + bytes > DETAILS_BYTES_MAX {
            break;
        }
        kept_bytes += bytes;
        kept.insert(name.clone(), value.clone());
    }
    kept.insert("omittedBytes".into(), (bytes - kept_bytes).into());
    Cow::Owned(kept.into())
}

#[derive(Serialize)]
struct Line<'a> {
    seq: u64,
    time: String,
    actor: Actor,
    action: &'a str,
    target: Option<&'a str>,
    outcome: Outcome,
    of: Option<u64>,
    details: &'a Value,
    previous: &'a str,
}

/// The SHA-256 of a line, in hexadecimal digits.
pub(super) fn hash(line: &[u8]) -> String {
    let mut out = String::with_capacity(64);
    for byte in Sha256::digest(line) {
        // Writing to a string does not fail.
        write!(out, "{byte:02x}").ok();
    }
    out
}
