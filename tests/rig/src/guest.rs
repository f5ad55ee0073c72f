//! The rig inside the guest: process 1 of a machine that will lose its power at any moment.
//!
//! Its steps and findings go to a file of the host, one line each, because nothing else survives:
//!
//! ```text
//! mounted {report}     ready {report}     loading {report}     draining {report}     done {report}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::Duration;

use rustix::mount::{MountFlags, mount};
use serde::{Deserialize, Serialize};

use crate::daemon::Target;
use crate::load::{Mix, lock};
use crate::report::Report;
use crate::scenario::{Stage, Work};

/// Where the guest's own disk is mounted.
const DISK: &str = "/run/disk";
/// A load that nobody cuts ends by itself after this long.
const LOAD_MAX: Duration = Duration::from_secs(60);

/// What one boot has to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GuestPlan {
    /// The daemon's binary, on the host's file system.
    pub binary: PathBuf,
    /// Its environment.
    pub env: Vec<(String, String)>,
    /// Folder of the host for the ledgers and the lines of progress.
    pub shared: PathBuf,
    /// The run's seed.
    pub seed: u64,
    /// This boot's number, from 1.
    pub round: u32,
    /// Client threads that post.
    pub clients: u16,
    /// Client threads that stream.
    pub sockets: u16,
    /// Whether the daemon writes parquet files.
    pub parquet: bool,
    /// `wal verify` before the daemon starts.
    pub verify: bool,
    /// Drain and audit everything stored before the load.
    pub audit: bool,
    /// Drain after so many milliseconds of load; otherwise the load runs until the power goes.
    pub drain_after_ms: Option<u64>,
    /// The last boot: no load, a clean drain and a full audit instead.
    pub last: bool,
    /// How many accepted events are sent again.
    pub resent: usize,
}

impl GuestPlan {
    /// The file with this boot's lines of progress.
    pub fn progress(&self) -> PathBuf {
        self.shared.join(format!("progress-{:06}.txt", self.round))
    }
}

/// A step as read back by the host.
#[derive(Clone, Debug)]
pub struct Step {
    /// Its name.
    pub name: String,
    /// What this boot had found by then.
    pub report: Report,
}

/// The complete lines of progress so far; one that the cut tore is left out.
pub fn steps(path: &Path) -> Vec<Step> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let parse = |line: &str| {
        let (name, report) = line.strip_suffix('\n')?.split_once(' ')?;
        Some(Step { name: name.to_owned(), report: serde_json::from_str(report).ok()? })
    };
    text.split_inclusive('\n').filter_map(parse).collect()
}

/// Runs as process 1; returns only if something failed, and then the guest's kernel panics, which ends it.
pub fn run(plan_path: &Path) -> io::Result<()> {
    let plan: GuestPlan = serde_json::from_slice(&std::fs::read(plan_path)?)?;
    let mut progress = OpenOptions::new().create(true).append(true).open(plan.progress())?;
    let data = set_up()?;
    let target = Target { env: plan.env.clone(), ..Target::new(&plan.binary) };
    let GuestPlan { seed, clients, sockets, parquet, .. } = plan;
    let work = Work { parent: plan.shared.clone(), clients, sockets, parquet, ..Work::new(seed) };
    let mut stage = Stage::resume(&target, &work, &plan.shared, &data, plan.round)?;
    lock(&stage.ledger).write_to(&plan.shared, plan.round)?;
    tell(&mut progress, "mounted", &stage)?;
    // Before the first acknowledgement there may be no log at all, and nothing that could be missing.
    if plan.verify && lock(&stage.ledger).acked_total() > 0 {
        stage.verify_sound()?;
        tell(&mut progress, "verified", &stage)?;
    }
    live(&plan, &mut stage, &mut progress)?;
    tell(&mut progress, "done", &stage)?;
    // The host cuts the power once it has read that.
    std::thread::sleep(LOAD_MAX);
    Ok(())
}

fn live(plan: &GuestPlan, stage: &mut Stage, progress: &mut File) -> io::Result<()> {
    let Some(mut daemon) = stage.start() else { return Ok(()) };
    tell(progress, "ready", stage)?;
    // The audit comes before anything is sent again: a lost event that is sent again is no longer missing.
    if plan.audit || plan.last {
        stage.drain(daemon);
        stage.verify_sound()?;
        let files = if plan.last { stage.work.complete() } else { stage.work.lagging() };
        stage.audit(files)?;
        tell(progress, "audited", stage)?;
        let Some(again) = stage.start() else { return Ok(()) };
        daemon = again;
    }
    stage.resend(&daemon, plan.resent);
    tell(progress, "resent", stage)?;
    if plan.last {
        stage.drain(daemon);
        return Ok(());
    }
    let load = stage.load(&daemon, Mix::Everything)?;
    tell(progress, "loading", stage)?;
    std::thread::sleep(plan.drain_after_ms.map_or(LOAD_MAX, Duration::from_millis));
    tell(progress, "draining", stage)?;
    stage.drain(daemon);
    load.stop().map(drop)
}

/// Mounts what a daemon expects of a machine, and the disk; returns the data folder.
fn set_up() -> io::Result<PathBuf> {
    for (kind, place) in [("proc", "/proc"), ("sysfs", "/sys"), ("tmpfs", "/run")] {
        mount(kind, place, kind, MountFlags::empty(), None)?;
    }
    // IFF_UP and IFF_LOOPBACK: the kernel gives the loopback its address by itself.
    std::fs::write("/sys/class/net/lo/flags", "0x9")?;
    std::fs::create_dir_all(DISK)?;
    mount("/dev/ubda", DISK, "ext4", MountFlags::empty(), None)?;
    let data = Path::new(DISK).join("data");
    std::fs::create_dir_all(&data)?;
    File::open(DISK)?.sync_all()?;
    Ok(data)
}

fn tell(progress: &mut File, step: &str, stage: &Stage) -> io::Result<()> {
    let line = format!("{step} {}\n", serde_json::to_string(&stage.report)?);
    progress.write_all(line.as_bytes())
}
