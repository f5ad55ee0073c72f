//! The command line: which scenarios, against which binary, how often.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use lexopt::prelude::{Long, Short, Value, ValueExt};

use crate::daemon::Target;
use crate::report::{Kind, Report};
use crate::rng::fresh_seed;
use crate::scenario::{
    BIT_FLIPPED_SST, BIT_FLIPPED_WAL, CrashPlan, DAMAGED_MANIFEST, DELETED_WAL, DISK_FAULTS, PowerPlan,
    TRUNCATED_WAL_TAIL, TormentPlan, Work, damaged, enospc_small_fs, fails_under_load, fails_when_quiet,
    filled_by_others, kill_rounds, powercut_rounds, read_only_dir, short_writes, torment,
};

/// The help text.
pub const USAGE: &str = "\
rig SCENARIO… [options]     proves ingestd from outside; exits with 1 if a promise was broken

scenarios
  crash         kill -9 under load, during start-up and during drains
  powercut      power cuts of a user-mode-linux guest (see setup.sh)
  disk          failing system calls: EIO, ENOSPC, short writes
  space         a small disk fills up; a disk is read-only (needs root)
  damage        truncated and bit-flipped files
  torment       daemon, a real ClickHouse and a real Kafka are killed, frozen and restarted (needs Java and Python)
  all           every one of them but torment

options
  --bin PATH          the daemon (default: $INGESTD_BIN)
  --env NAME=VALUE    for the daemon; may be repeated
  --rounds N          rounds of crash, powercut and torment (default 20), cases of damage (default: each plan's own)
  --seed N            repeats the plan of an earlier run
  --clients N         client threads that post (default 4)
  --sockets N         client threads that stream over WebSockets (default 1)
  --load-ms N         longest load before a kill or cut (default 1500; torment: 4000)
  --pause-ms N        how long a client rests between two requests (default 0; torment: 200)
  --audit-every N     crash, torment: audit after every so many rounds (default 1; torment: 5)
  --plant             torment: before the last audit deletes a row and doubles one; exits with 0 only if that is found
  --disk-mb N --left-mb N   space: size of the small disk, and what the ballast leaves of it (default 3072, 1200:
                      the daemon's reserve is 1024 unless --env INGESTD_LOG_DISK_RESERVE_BYTES says otherwise)
  --no-parquet        the daemon writes no parquet files: the log alone must hold everything
  --work-dir DIR      where the data folders are made (default: the system's temporary folder)
  --only NAME         disk, space and damage: only the scenario of this name
  --control-fsync     the target is the rig's own stand-in, which syncs before it answers
  --control-no-fsync  the same without a sync: exits with 0 only if the rig finds that acknowledged events are lost";

/// What was asked for.
#[derive(Debug)]
pub struct Options {
    scenarios: Vec<String>,
    target: Target,
    work: Work,
    rounds: Option<u32>,
    load_ms: Option<u64>,
    pause_ms: Option<u64>,
    audit_every: Option<u32>,
    disk_mb: u64,
    left_mb: u64,
    only: Option<String>,
    expect_loss: bool,
    plant: bool,
}

impl Options {
    /// Reads the command line; `None` if only the help text is wanted.
    pub fn parse(mut arguments: lexopt::Parser) -> Result<Option<Self>, lexopt::Error> {
        let binary = std::env::var_os("INGESTD_BIN").unwrap_or_default();
        let mut options = Self {
            scenarios: Vec::new(),
            target: Target::new(binary),
            work: Work::new(fresh_seed()),
            rounds: None,
            load_ms: None,
            pause_ms: None,
            audit_every: None,
            disk_mb: 3_072,
            left_mb: 1_200,
            only: None,
            expect_loss: false,
            plant: false,
        };
        while let Some(argument) = arguments.next()? {
            match argument {
                Value(name) => options.scenarios.push(name.string()?),
                Short('h') | Long("help") => return Ok(None),
                Long("bin") => options.target.binary = PathBuf::from(arguments.value()?),
                Long("env") => {
                    let pair = arguments.value()?.string()?;
                    let (name, value) = pair.split_once('=').ok_or("--env wants NAME=VALUE")?;
                    options.target = options.target.with_env(name, value);
                }
                Long("rounds") => options.rounds = Some(arguments.value()?.parse()?),
                Long("seed") => options.work.seed = arguments.value()?.parse()?,
                Long("clients") => options.work.clients = arguments.value()?.parse()?,
                Long("sockets") => options.work.sockets = arguments.value()?.parse()?,
                Long("load-ms") => options.load_ms = Some(arguments.value()?.parse()?),
                Long("pause-ms") => options.pause_ms = Some(arguments.value()?.parse()?),
                Long("audit-every") => options.audit_every = Some(arguments.value()?.parse()?),
                Long("plant") => options.plant = true,
                Long("disk-mb") => options.disk_mb = arguments.value()?.parse()?,
                Long("left-mb") => options.left_mb = arguments.value()?.parse()?,
                Long("no-parquet") => options.work.parquet = false,
                Long("work-dir") => options.work.parent = PathBuf::from(arguments.value()?),
                Long("only") => options.only = Some(arguments.value()?.string()?),
                Long("control-fsync") => options.control("")?,
                Long("control-no-fsync") => {
                    options.control("no-sync")?;
                    options.expect_loss = true;
                }
                other => return Err(other.unexpected()),
            }
        }
        if options.target.binary.as_os_str().is_empty() {
            return Err("no daemon: give --bin or set INGESTD_BIN".into());
        }
        if options.scenarios.is_empty() {
            return Err("no scenario".into());
        }
        Ok(Some(options))
    }

    /// The stand-in beside this binary is the target, with one of its bugs or none.
    fn control(&mut self, bug: &str) -> Result<(), lexopt::Error> {
        let own = std::env::current_exe().map_err(|error| lexopt::Error::Custom(error.into()))?;
        self.target = Target::new(own.with_file_name("rig-standin")).with_env("STANDIN_BUG", bug);
        self.work.parquet = false;
        Ok(())
    }
}

/// Runs what was asked for and prints each report as it comes; true if all is as it should be.
pub fn run(options: &Options) -> io::Result<bool> {
    let mut sound = true;
    for name in &options.scenarios {
        let names = match name.as_str() {
            "all" => vec!["crash", "powercut", "disk", "space", "damage"],
            one => vec![one],
        };
        for name in names {
            for report in scenario(name, options)? {
                print!("{report}");
                count_skipped(&report)?;
                if options.expect_loss && report.found_losses() {
                    println!("  the control lost what it acknowledged, as it must");
                    report.kept.as_ref().map_or(Ok(()), std::fs::remove_dir_all)?;
                }
                sound &= match (options.expect_loss, options.plant) {
                    (true, _) => report.found_losses(),
                    (_, true) => found_what_was_planted(&report)?,
                    _ => report.sound(),
                };
            }
        }
    }
    Ok(sound)
}

/// True if the row that was deleted and the one that was doubled were found, and nothing else.
fn found_what_was_planted(report: &Report) -> io::Result<bool> {
    let kinds: Vec<Kind> = report.violations.iter().map(|violation| violation.kind).collect();
    if kinds != [Kind::Lost, Kind::Doubled] {
        return Ok(false);
    }
    println!("  the row that was deleted and the one that was doubled were found, as they must be");
    report.kept.as_ref().map_or(Ok(()), std::fs::remove_dir_all)?;
    Ok(true)
}

/// Adds a scenario that could not be run to the list that the caller keeps in the file `SKIPPED_LIST`.
fn count_skipped(report: &Report) -> io::Result<()> {
    match (&report.skipped, std::env::var_os("SKIPPED_LIST")) {
        (Some(why), Some(list)) => {
            let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list)?;
            writeln!(list, "{}: {why}", report.scenario)
        }
        _ => Ok(()),
    }
}

fn scenario(name: &str, options: &Options) -> io::Result<Vec<Report>> {
    let target = &options.target;
    let rounds = options.rounds.unwrap_or(20);
    let pause_ms = options.pause_ms.unwrap_or(if name == "torment" { 200 } else { 0 });
    let work = &Work { pause: Duration::from_millis(pause_ms), ..options.work.clone() };
    let load_ms_max = options.load_ms.unwrap_or(if name == "torment" { 4_000 } else { 1_500 });
    match name {
        "crash" => {
            let plan = CrashPlan { rounds, load_ms_max, audit_every: options.audit_every.unwrap_or(1) };
            Ok(vec![kill_rounds(target, work, plan)?])
        }
        "torment" => {
            let audit_every = options.audit_every.unwrap_or(5);
            let plan = TormentPlan { rounds, load_ms_max, audit_every, plant: options.plant };
            Ok(vec![torment(target, work, plan)?])
        }
        "powercut" => {
            let guest = std::env::current_exe()?;
            let plan = PowerPlan { load_ms_max, ..PowerPlan::new(guest, rounds) };
            Ok(vec![powercut_rounds(target, work, &plan)?])
        }
        "disk" => disk(options),
        "space" => space(options),
        "damage" => damage(options),
        other => Err(io::Error::other(format!("no scenario {other:?}"))),
    }
}

fn wanted(options: &Options, name: &str) -> bool {
    options.only.as_ref().is_none_or(|only| only == name)
}

fn disk(options: &Options) -> io::Result<Vec<Report>> {
    let (target, work) = (&options.target, &options.work);
    let mut reports = Vec::new();
    for disk in DISK_FAULTS.into_iter().filter(|disk| wanted(options, disk.name)) {
        reports.push(fails_when_quiet(target, work, disk)?);
        reports.push(fails_under_load(target, work, disk)?);
    }
    if wanted(options, "short-writes") {
        reports.push(short_writes(target, work)?);
    }
    Ok(reports)
}

fn space(options: &Options) -> io::Result<Vec<Report>> {
    let (target, work, disk_bytes) = (&options.target, &options.work, options.disk_mb << 20);
    let mut reports = Vec::new();
    if wanted(options, "enospc-small-fs") {
        reports.push(enospc_small_fs(target, work, disk_bytes, options.left_mb << 20)?);
    }
    if wanted(options, "filled-by-others") {
        reports.push(filled_by_others(target, work, disk_bytes)?);
    }
    if wanted(options, "read-only-dir") {
        reports.push(read_only_dir(target, work)?);
    }
    Ok(reports)
}

fn damage(options: &Options) -> io::Result<Vec<Report>> {
    let mut reports = Vec::new();
    for mut plan in [TRUNCATED_WAL_TAIL, BIT_FLIPPED_WAL, DELETED_WAL, BIT_FLIPPED_SST, DAMAGED_MANIFEST] {
        if wanted(options, plan.name) {
            plan.cases = options.rounds.unwrap_or(plan.cases);
            reports.push(damaged(&options.target, &options.work, plan)?);
        }
    }
    Ok(reports)
}
