//! Real servers to ship to, and what the rows about sinks ask of the daemon.

pub mod bare;
pub mod clickhouse;
#[allow(clippy::unwrap_used, reason = "the tests' own broker: what fails there ends the run")]
#[path = "../../../../tests/support/kafka/mod.rs"]
pub mod kafka;
pub mod visible;

use super::Bench;
use super::children::{Server, get};
use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// A sink that has not caught up by then never will.
const CATCH_UP_LIMIT: Duration = Duration::from_secs(1800);

/// The daemon with some sinks, on a folder of its own.
#[derive(Debug)]
pub struct Shipping {
    /// The daemon.
    pub server: Server,
    /// Its data.
    pub data: PathBuf,
    program: PathBuf,
}

impl Shipping {
    /// Starts it on an empty folder.
    pub fn start(bench: &Bench, settings: &[(&str, &str)]) -> Result<Self> {
        // The servers beside it have to get their share.
        ensure!(!bench.options.realtime, "the rows about sinks share the cores with two servers: give --no-realtime");
        let data = bench.place.fresh("shipping")?;
        let settings = [settings, &[("PARQUET_ENABLED", "false")]].concat();
        Ok(Shipping { server: bench.daemon(&data, &settings)?, data, program: bench.program("ingestd") })
    }

    /// `ingestd admin` with these words.
    pub fn admin(&self, words: &[&str]) -> Result<()> {
        let output = Command::new(&self.program).arg("admin").arg("--data-dir").arg(&self.data).args(words).output()?;
        ensure!(output.status.success(), "admin {words:?}: {}", String::from_utf8_lossy(&output.stderr));
        Ok(())
    }

    /// `/pipeline/status`.
    pub fn status(&self) -> Result<Value> {
        let (_, text) = get(self.server.port, "/pipeline/status").context("the daemon does not answer")?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Events that a sink does not have yet.
    pub fn lag(&self, sink: &str) -> Result<u64> {
        let status = self.status()?;
        let sinks = status["sinks"].as_array().context("no sinks")?;
        let found = sinks.iter().find(|found| found["sink"] == sink).with_context(|| format!("no sink {sink}"))?;
        if found["state"] == "failed" {
            bail!("{sink} has failed: {}", found["reason"]);
        }
        found["lagEvents"].as_u64().context("no lag")
    }

    /// Waits until a sink lacks at most so many events; how long that took.
    pub fn catch_up(&self, sink: &str, lag_max: u64) -> Result<Duration> {
        let started = Instant::now();
        while self.lag(sink)? > lag_max {
            ensure!(started.elapsed() < CATCH_UP_LIMIT, "{sink} does not catch up");
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(started.elapsed())
    }
}

/// Starts servers that yield the cores to all that is measured (nice 19): in production they are on machines of their own.
///
/// # Errors
/// No thread, or no permission to be nice.
pub fn modest<T: Send>(start: impl FnOnce() -> T + Send) -> Result<T> {
    std::thread::scope(|scope| {
        // On Linux it is the thread that is nice, and whom it starts.
        let starting = scope.spawn(|| rustix::process::nice(19).map(|_| start()));
        Ok(starting.join().map_err(|_| anyhow::anyhow!("a server does not start"))??)
    })
}

/// The project's folder.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
