//! Power cuts: the daemon and its clients live in a guest whose memory is gone from one moment to the next.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::daemon::{Target, last_lines, wait_until};
use crate::guest::{GuestPlan, Step, steps};
use crate::ledger::Ledger;
use crate::report::{Kind, Report};
use crate::rng::Rng;
use crate::scenario::stage::Work;
use crate::uml::{Guest, installed, make_image};

/// How long a boot may take until its load runs; recovery and an audit are part of it.
const STEP_WITHIN: Duration = Duration::from_secs(180);

/// How long a kernel may take to run its process 1, and how often it may try.
const BOOT_WITHIN: Duration = Duration::from_secs(60);
const BOOT_TRIES: u32 = 3;

/// The first cut comes after a load of at least so many milliseconds.
const FIRST_LOAD_MS: u64 = 500;

/// How a run of power cuts is laid out.
#[derive(Clone, Debug)]
pub struct PowerPlan {
    /// The `rig` binary: the guest's process 1.
    pub guest: PathBuf,
    /// Boots that end with a cut; one more checks everything.
    pub rounds: u32,
    /// The longest load before a cut, in milliseconds.
    pub load_ms_max: u64,
    /// The guest's memory.
    pub memory_mb: u32,
    /// The guest's disk.
    pub disk_mb: u64,
}

impl PowerPlan {
    /// The usual sizes.
    pub fn new(guest: impl Into<PathBuf>, rounds: u32) -> Self {
        Self { guest: guest.into(), rounds, load_ms_max: 2_000, memory_mb: 1_024, disk_mb: 4_096 }
    }
}

/// When the power goes.
enum Cut {
    /// So many milliseconds after the load began.
    Load(u64),
    /// So many milliseconds after the disk was mounted: in recovery, in an audit, or early in the load.
    Start(u64),
    /// So many milliseconds into a drain.
    Drain(u64),
}

/// Cuts the power of one machine again and again and checks what its disk kept.
pub fn powercut_rounds(target: &Target, work: &Work, plan: &PowerPlan) -> io::Result<Report> {
    if !installed() {
        let why = "user-mode-linux is not installed; tests/rig/setup.sh installs it";
        return Ok(Report::skipped("powercut", work.seed, why));
    }
    let dir = tempfile::Builder::new().prefix("rig-powercut-").tempdir_in(&work.parent)?.keep();
    let mut report = Report::new("powercut", work.seed);
    let image = dir.join("disk.img");
    make_image(&image, plan.disk_mb << 20)?;
    let mut rng = Rng::new(work.seed);
    for round in 1..=plan.rounds + 1 {
        let last = round > plan.rounds;
        let cut = match rng.below(100) {
            // A run whose every cut came before the load would prove nothing.
            _ if round == 1 => Cut::Load(rng.between(FIRST_LOAD_MS.min(plan.load_ms_max), plan.load_ms_max)),
            0..65 => Cut::Load(rng.between(5, plan.load_ms_max)),
            65..85 => Cut::Start(rng.below(1_500)),
            _ => Cut::Drain(rng.below(300)),
        };
        let guest_plan = GuestPlan {
            binary: std::path::absolute(&target.binary)?,
            env: target.env.clone(),
            shared: dir.clone(),
            seed: work.seed,
            round,
            clients: work.clients,
            sockets: work.sockets,
            parquet: work.parquet,
            verify: rng.percent(30),
            audit: rng.percent(60),
            drain_after_ms: matches!(cut, Cut::Drain(_)).then(|| rng.between(5, plan.load_ms_max)),
            last,
            resent: if last { 300 } else { 20 },
        };
        let plan_path = dir.join("plan.json");
        std::fs::write(&plan_path, serde_json::to_vec(&guest_plan)?)?;
        let boot = || Guest::boot(&plan.guest, &plan_path, &image, plan.memory_mb, &dir);
        let progress = guest_plan.progress();
        let guest = booted(boot, &progress, &mut report)?;
        let found = one_boot(guest, &progress, if last { None } else { Some(cut) })?;
        report.rounds = round.min(plan.rounds);
        report.kills += u32::from(!last);
        merge(&mut report, found, round, &dir);
        // What follows a broken promise proves nothing, and would blur what broke it.
        if !report.sound() {
            break;
        }
    }
    conclude(report, &dir)
}

/// Boots until the guest has come to its first step: on a busy host a kernel now and then hangs before its process 1
/// runs. Nothing has touched the disk by then, so that another boot changes nothing in the experiment.
fn booted(boot: impl Fn() -> io::Result<Guest>, progress: &Path, report: &mut Report) -> io::Result<Guest> {
    let mut guest = boot()?;
    for _ in 1..BOOT_TRIES {
        if wait_until(BOOT_WITHIN, || !steps(progress).is_empty() || guest.ended()) || progress.exists() {
            break;
        }
        report.note("a guest hung before its process 1 ran, and was booted again");
        guest.cut()?;
        guest = boot()?;
    }
    Ok(guest)
}

/// Waits for the moment, cuts, and returns the last that the guest had to say. Without a cut the guest runs to its end.
fn one_boot(mut guest: Guest, progress: &Path, cut: Option<Cut>) -> io::Result<Result<Step, String>> {
    let (step, after_ms) = match cut {
        Some(Cut::Load(after_ms)) => ("loading", after_ms),
        Some(Cut::Start(after_ms)) => ("mounted", after_ms),
        Some(Cut::Drain(after_ms)) => ("draining", after_ms),
        None => ("done", 0),
    };
    // "done" also ends a boot in which the daemon would not start.
    let reached = |name: &str| steps(progress).iter().any(|seen| seen.name == name || seen.name == "done");
    wait_until(STEP_WITHIN, || reached(step) || guest.ended());
    if !reached(step) {
        let last = steps(progress).pop().map_or_else(|| "nothing".to_owned(), |step| step.name);
        return Ok(Err(format!("the guest never came to {step:?}, the last was {last:?}")));
    }
    std::thread::sleep(Duration::from_millis(after_ms));
    guest.cut()?;
    Ok(steps(progress).pop().ok_or_else(|| "no step".to_owned()))
}

fn merge(report: &mut Report, found: Result<Step, String>, round: u32, dir: &Path) {
    match found {
        Ok(step) => {
            report.audits += step.report.audits;
            report.resent += step.report.resent;
            report.stored = report.stored.max(step.report.stored);
            for violation in step.report.violations {
                report.violation(violation.kind, format!("boot {round}: {}", violation.detail));
            }
        }
        Err(why) => {
            let console = std::fs::read(dir.join("console.log")).unwrap_or_default();
            let console = last_lines(&String::from_utf8_lossy(&console), 5);
            report.violation(Kind::Rig, format!("boot {round}: {why}; console: {console}"));
        }
    }
}

fn conclude(mut report: Report, dir: &Path) -> io::Result<Report> {
    let mut ledger = Ledger::load(dir)?;
    report.violations.append(&mut ledger.violations);
    report.sent = ledger.events.len() as u64;
    report.acked = ledger.acked_total();
    if report.acked == 0 {
        report.violation(Kind::Rig, "nothing was ever acknowledged");
    }
    if report.sound() {
        std::fs::remove_dir_all(dir)?;
    } else {
        report.kept = Some(dir.to_owned());
    }
    Ok(report)
}
