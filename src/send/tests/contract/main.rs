//! The engine and the command against a server that behaves as ingestd does, and one that does not.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on may panic")]

mod anything;
mod command;
mod daemon;
mod delivery;
mod inputs;
mod refusals;

use clap::Parser;
use daemon::Daemon;
use send::{Observer, Options, Silent, Stop, Summary, Tuning, UsageError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tempfile::TempDir;

#[derive(Parser)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) options: Options,
}

/// A place for files, and runs that read them.
pub(crate) struct Desk {
    dir: TempDir,
}

impl Desk {
    pub(crate) fn new() -> Self {
        Desk { dir: tempfile::tempdir().unwrap() }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        std::fs::write(&path, content).unwrap();
        path
    }
}

/// A good event on a line.
pub(crate) fn event(id: &str) -> String {
    serde_json::json!({
        "eventId": id, "eventType": "cart_created", "timestamp": "2026-01-01T00:00:00Z",
        "sessionId": "s", "storeId": "shop", "data": {}
    })
    .to_string()
}

/// Good events, one per line, with ids `PREFIX-1` and so on.
pub(crate) fn events(prefix: &str, count: usize) -> String {
    (1..=count).map(|number| event(&format!("{prefix}-{number}")) + "\n").collect()
}

pub(crate) fn options(url: &str, file: &Path, more: &[&str]) -> Options {
    let file = file.to_str().unwrap();
    Cli::try_parse_from(["send", "--url", url, file].iter().chain(more)).unwrap().options
}

/// Waits as short as a test wants them.
pub(crate) fn quick() -> Tuning {
    Tuning { backoff_first: Duration::from_millis(2), backoff_longest: Duration::from_millis(20), ..Tuning::default() }
}

pub(crate) fn try_send(daemon: &Daemon, file: &Path, more: &[&str]) -> Result<Summary, UsageError> {
    send::send(&options(&daemon.url(), file, more), quick(), Arc::new(Silent), Stop::default())
}

/// Sends `file`, and sees to it that the summary balances.
pub(crate) fn send(daemon: &Daemon, file: &Path, more: &[&str]) -> Summary {
    let summary = try_send(daemon, file, more).unwrap();
    assert!(summary.balances(), "{summary:?}");
    summary
}

pub(crate) fn send_observed(
    daemon: &str,
    file: &Path,
    more: &[&str],
    observer: Arc<dyn Observer>,
    stop: Stop,
) -> Summary {
    let summary = send::send(&options(daemon, file, more), quick(), observer, stop).unwrap();
    assert!(summary.balances(), "{summary:?}");
    summary
}
