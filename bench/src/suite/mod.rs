//! The runner: measures each promise beside the machine's limit in the same run, and writes the table.
//!
//! [`rows`] is the list of promises; each starts what it needs ([`children`]), loads both sides in turn ([`load`]) in a
//! folder of its own ([`place`]), and returns a [`results::Outcome`]; [`results`] keeps the table.

pub mod children;
pub mod image;
pub mod load;
pub mod options;
pub mod place;
pub mod results;
pub mod rows;
pub mod ship;
pub mod threads;
pub mod witness;

use crate::pool::Pools;
use crate::prefill::{self, Prefill};
use anyhow::{Context, Result, ensure};
use children::{Launcher, Server, free_port};
use options::Options;
use place::Place;
use results::Results;
use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use witness::Processors;

/// A server that has to read many ids, or much of the log, gets this long.
const READY_LIMIT: Duration = Duration::from_secs(120);
/// Preparing a folder takes this long at most.
const PREFILL_LIMIT: Duration = Duration::from_secs(900);
/// Servers that end by themselves do so after this long.
const SERVER_LIMIT_S: f64 = 7200.0;

/// What every row has at hand.
#[derive(Debug)]
pub struct Bench {
    /// The command line.
    pub options: Options,
    /// How programs are started.
    pub launcher: Launcher,
    /// Where the run works.
    pub place: Place,
    pools: Pools,
    raw: Mutex<File>,
}

/// Measures the rows asked for.
pub fn run(options: Options) -> Result<()> {
    for name in ["ingestd", "loadgen", "raw-server", "raw-log", "wal-commit", "bare-hyper", "bare-ws"] {
        let program = options.bins.join(name);
        ensure!(program.exists(), "{} is missing: make bench builds it", program.display());
    }
    let raw_folder = std::env::temp_dir().join(format!("ingestd-bench-{}", std::process::id()));
    std::fs::create_dir_all(&raw_folder)?;
    let raw_path = raw_folder.join("raw.jsonl");
    let launcher = Launcher::new(options.realtime, options.background);
    let place = Place::new(&options.cache)?;
    let raw = Mutex::new(File::create(&raw_path)?);
    let bench = Bench { options, launcher, place, pools: Pools::default(), raw };
    let out = match (&bench.options.out, bench.options.short) {
        (Some(out), _) => out.clone(),
        (None, true) => raw_folder.join("RESULTS.md"),
        (None, false) => PathBuf::from("bench/RESULTS.md"),
    };
    let mut results = Results::read(&out)?;
    let mut failed = Vec::new();
    for number in bench.options.only.clone() {
        let Some(row) = rows::ROWS.iter().find(|row| row.number == number) else { continue };
        eprintln!("row {number}: {}", row.work);
        let processors = Processors::now()?;
        let measured = (row.measure)(&bench);
        let pools = bench.pools.end();
        match measured {
            Ok(mut outcome) => {
                outcome.notes.extend(pools);
                outcome.notes.push(format!("the host took {:.1} % of the cores", processors.stolen_since()? * 100.0));
                eprintln!("{}", results.put(&bench, row, &outcome));
                results.write(&bench, &out)?;
            }
            // One row's failure is no reason to lose the others.
            Err(error) => {
                eprintln!("row {number} failed: {error:#}");
                failed.push(number.to_string());
            }
        }
    }
    eprintln!("table: {}\nraw figures: {}", out.display(), raw_path.display());
    ensure!(failed.is_empty(), "rows that could not be measured: {}", failed.join(", "));
    Ok(())
}

impl Bench {
    /// A program of the workspace.
    pub fn program(&self, name: &str) -> PathBuf {
        self.options.bins.join(name)
    }

    /// Adds a line to the raw figures.
    pub fn note_raw(&self, row: u8, round: usize, who: &str, json: &str) -> Result<()> {
        let figures: serde_json::Value = serde_json::from_str(json).with_context(|| format!("{who}: {json}"))?;
        let line = serde_json::json!({"row": row, "round": round, "who": who, "figures": figures});
        writeln!(self.raw.lock().unwrap_or_else(PoisonError::into_inner), "{line}")?;
        Ok(())
    }

    /// A folder with a past, to be used up.
    pub fn prefilled(&self, name: &str, pending: bool) -> Result<PathBuf> {
        let what = Prefill { ids: self.options.ids, pending };
        let from = prefill::cached(&self.options.cache, what, |folder| {
            eprintln!("  writing {} known ids{}", what.ids, if pending { " with their events" } else { "" });
            let mut command = self.launcher.plain_command(&std::env::current_exe()?);
            command.arg("prefill").arg("--dir").arg(folder).arg("--ids").arg(what.ids.to_string());
            if pending {
                command.arg("--pending");
            }
            let log = self.place.folder().join("prefill.log");
            self.launcher.start(command, &log)?.finish(PREFILL_LIMIT).map(drop)
        })?;
        let folder = self.place.fresh(name)?;
        prefill::copy(&from, &folder)?;
        Ok(folder)
    }

    /// The daemon on a data folder, ready; `settings` are its variables without `INGESTD_`.
    pub fn daemon(&self, data: &Path, settings: &[(&str, &str)]) -> Result<Server> {
        let mut server = self.start_daemon(data, settings)?;
        server.wait_ready(READY_LIMIT)?;
        Ok(server)
    }

    /// The daemon, just started.
    pub fn start_daemon(&self, data: &Path, settings: &[(&str, &str)]) -> Result<Server> {
        let port = free_port()?;
        let mut command = self.launcher.command(&self.program("ingestd"));
        command.arg("serve").env("INGESTD_DATA_DIR", data).env("INGESTD_LOG_LEVEL", "info");
        command.env("INGESTD_SERVER_LISTEN", format!("127.0.0.1:{port}"));
        for (name, value) in settings {
            command.env(format!("INGESTD_{name}"), value);
        }
        let log = self.place.folder().join("ingestd.log");
        self.pools.watch(data);
        Ok(Server { process: self.launcher.start(command, &log)?, port })
    }

    /// A yardstick server, ready if it can say so.
    pub fn yardstick(&self, name: &str, args: &[&str]) -> Result<Server> {
        let port = free_port()?;
        let mut command = self.launcher.command(&self.program(name));
        command.args(args).args(["--port", &port.to_string(), "--time-limit", &SERVER_LIMIT_S.to_string()]);
        let log = self.place.folder().join(format!("{name}.log"));
        let mut server = Server { process: self.launcher.start(command, &log)?, port };
        match name {
            "bare-ws" => server.wait_listening(READY_LIMIT)?,
            _ => server.wait_ready(READY_LIMIT)?,
        }
        Ok(server)
    }

    /// The daemon's intake over a plain file, with as many known ids.
    pub fn raw_server(&self) -> Result<Server> {
        let data = self.prefilled("raw-data", false)?;
        let data = data.to_str().context("the cache's path is not text")?;
        self.yardstick("raw-server", &["--data", data])
    }
}
