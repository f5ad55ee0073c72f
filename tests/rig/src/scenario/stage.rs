//! What every story needs: a data folder, a ledger, the dice, and a report that is filled as it goes.

use std::io::{self, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::audit::{Files, Stored, audit};
use crate::daemon::{Daemon, Target, last_lines};
use crate::event::Tag;
use crate::http::Client;
use crate::ledger::Ledger;
use crate::load::{Load, Mix, Plan, SharedLedger, Tally, lock};
use crate::report::{Kind, Report};
use crate::resend::resend;
use crate::rng::Rng;

/// Events older than this may leave the dedup window (an hour) before they are sent again.
const RESEND_AGE_MAX: Duration = Duration::from_secs(50 * 60);

/// Where a run works, and what it checks.
#[derive(Clone, Debug)]
pub struct Work {
    /// Folder in which each scenario makes its own.
    pub parent: PathBuf,
    /// The seed of everything random.
    pub seed: u64,
    /// Client threads that post.
    pub clients: u16,
    /// Client threads that stream over WebSockets.
    pub sockets: u16,
    /// Whether the daemon writes parquet files.
    pub parquet: bool,
    /// How long a client rests between two requests.
    pub pause: Duration,
}

impl Work {
    /// Work in the system's temporary folder with a given seed, four posting and one streaming client, and parquet files.
    pub fn new(seed: u64) -> Self {
        Self { parent: std::env::temp_dir(), seed, clients: 4, sockets: 1, parquet: true, pause: Duration::ZERO }
    }

    /// What an audit in the middle of a run may expect of the parquet files.
    pub fn lagging(&self) -> Files {
        if self.parquet { Files::Lagging } else { Files::None }
    }

    /// What an audit after a clean drain may expect of them.
    pub fn complete(&self) -> Files {
        if self.parquet { Files::Complete } else { Files::None }
    }
}

/// One scenario under way.
#[derive(Debug)]
pub struct Stage {
    /// The program under test.
    pub target: Target,
    /// The run's settings.
    pub work: Work,
    /// The scenario's folder; holds the data folder, the ledgers and the daemon's output.
    pub dir: PathBuf,
    /// The daemon's data folder.
    pub data: PathBuf,
    /// The dice of the plan.
    pub rng: Rng,
    /// The run's mark.
    pub tag: Tag,
    /// What was promised.
    pub ledger: SharedLedger,
    /// What was found so far.
    pub report: Report,
    round_starts: Vec<Instant>,
    longest_start: Duration,
    longest_drain: Duration,
}

impl Stage {
    /// An empty stage for `scenario`.
    pub fn new(target: &Target, work: &Work, scenario: &str) -> io::Result<Self> {
        let dir = tempfile::Builder::new().prefix(&format!("rig-{scenario}-")).tempdir_in(&work.parent)?.keep();
        let data = dir.join("data");
        std::fs::create_dir(&data)?;
        Ok(Self {
            target: target.clone(),
            work: work.clone(),
            data,
            dir,
            rng: Rng::new(work.seed),
            tag: Tag::of_seed(work.seed),
            ledger: Arc::new(Mutex::new(Ledger::default())),
            report: Report::new(scenario, work.seed),
            round_starts: Vec::new(),
            longest_start: Duration::ZERO,
            longest_drain: Duration::ZERO,
        })
    }

    /// A stage that goes on with the data folder and the ledgers of another; its next load is round `round`.
    pub fn resume(target: &Target, work: &Work, dir: &Path, data: &Path, round: u32) -> io::Result<Self> {
        // Each round has its own dice, or every boot would choose the same.
        let rng = Rng::new(work.seed).fork(u64::from(round));
        let mut ledger = Ledger::load(dir)?;
        ledger.violations.clear();
        Ok(Self {
            target: target.clone(),
            work: work.clone(),
            data: data.to_owned(),
            dir: dir.to_owned(),
            rng,
            tag: Tag::of_seed(work.seed),
            ledger: Arc::new(Mutex::new(ledger)),
            report: Report { rounds: round.saturating_sub(1), ..Report::new("resumed", work.seed) },
            round_starts: vec![Instant::now(); round as usize - 1],
            longest_start: Duration::ZERO,
            longest_drain: Duration::ZERO,
        })
    }

    /// The file that collects what the daemon prints.
    pub fn output(&self) -> PathBuf {
        self.dir.join("daemon.log")
    }

    /// Starts the daemon and waits until it is ready; a failure is a violation.
    pub fn start(&mut self) -> Option<Daemon> {
        let from = Instant::now();
        let started = self.target.serve_ready(&self.data, &self.output());
        self.longest_start = self.longest_start.max(from.elapsed());
        started.map_err(|why| self.report.violation(Kind::Lifecycle, format!("start: {why}"))).ok()
    }

    /// Starts a load on a ready daemon: one more round.
    pub fn load(&mut self, daemon: &Daemon, mix: Mix) -> io::Result<Load> {
        self.report.rounds += 1;
        let round = self.report.rounds;
        self.round_starts.push(Instant::now());
        lock(&self.ledger).write_to(&self.dir, round)?;
        let address = daemon.address().ok_or_else(|| io::Error::other("the daemon is not ready"))?;
        let rng = self.rng.fork(0x10ad_0000 + u64::from(round));
        let Work { clients, sockets, pause, .. } = self.work;
        let plan = Plan { address, tag: self.tag.clone(), round, clients, sockets, rng, mix, pause };
        Ok(Load::start(&plan, &self.ledger))
    }

    /// A load of a certain length that nothing disturbs.
    pub fn load_for(&mut self, daemon: &Daemon, mix: Mix, length: Duration) -> io::Result<Arc<Tally>> {
        let load = self.load(daemon, mix)?;
        std::thread::sleep(length);
        load.stop()
    }

    /// Re-sends `count` accepted events.
    pub fn resend(&mut self, daemon: &Daemon, count: usize) {
        let Some(address) = daemon.address() else { return };
        let young = self.round_starts.iter().position(|start| start.elapsed() < RESEND_AGE_MAX);
        let round_first = young.map_or(u32::MAX, |index| index as u32 + 1);
        let mut http = Client::new(address, Duration::from_secs(10));
        let mut ledger = lock(&self.ledger);
        let (sent, violations) = resend(&mut http, &mut ledger, &self.tag, &mut self.rng, count, round_first);
        self.report.resent += sent;
        self.report.violations.extend(violations);
    }

    /// Drains the daemon; anything but a clean exit is a violation.
    pub fn drain(&mut self, daemon: Daemon) {
        let from = Instant::now();
        let drained = daemon.drain(self.target.drain_within);
        self.longest_drain = self.longest_drain.max(from.elapsed());
        if let Err(why) = drained {
            self.report.violation(Kind::Lifecycle, why);
        }
    }

    /// Audits the data folder of a stopped daemon.
    pub fn audit(&mut self, files: Files) -> io::Result<()> {
        let log = dump(&self.target, &self.data, &self.tag, &self.dir.join("dump.err"), &mut self.report)?;
        let parquet = match files {
            Files::None => Stored::default(),
            Files::Lagging | Files::Complete => Stored::from_files(&self.tag, &self.data),
        };
        let (stored, violations) = audit(&mut lock(&self.ledger), log, parquet, files)?;
        self.report.audits += 1;
        self.report.stored = stored;
        self.report.violations.extend(violations);
        Ok(())
    }

    /// `wal verify` must find nothing wrong.
    pub fn verify_sound(&mut self) -> io::Result<()> {
        let output = self.target.wal("verify", &self.data, &[])?;
        if !output.status.success() {
            let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
            let detail = format!("wal verify of a sound folder: {}: {}", output.status, last_lines(&text, 3));
            self.report.violation(Kind::Offline, detail);
        }
        Ok(())
    }

    /// True while neither the audits nor the clients have seen a broken promise.
    pub fn sound_so_far(&self) -> bool {
        self.report.sound() && lock(&self.ledger).violations.is_empty()
    }

    /// Ends the scenario: fills in the figures, and keeps the folder only if something was wrong.
    pub fn finish(mut self) -> io::Result<Report> {
        let mut ledger = lock(&self.ledger);
        self.report.violations.append(&mut ledger.violations);
        let (start_ms, drain_ms) = (self.longest_start.as_millis(), self.longest_drain.as_millis());
        self.report.note(format!("longest start {start_ms} ms, longest drain {drain_ms} ms"));
        self.report.sent = ledger.events.len() as u64;
        self.report.acked = ledger.acked_total();
        if self.report.acked == 0 {
            self.report.violation(Kind::Rig, "nothing was acknowledged: nothing is proven");
        }
        if self.report.sound() {
            std::fs::remove_dir_all(&self.dir)?;
        } else {
            self.report.kept = Some(self.dir.clone());
        }
        drop(ledger);
        Ok(self.report)
    }
}

/// What `wal dump` prints for a stopped data folder; a failure of the command itself is a violation.
pub(super) fn dump(target: &Target, data: &Path, tag: &Tag, errors: &Path, report: &mut Report) -> io::Result<Stored> {
    let mut command = target.wal_command("dump", data);
    let mut child = command.stdout(Stdio::piped()).stderr(std::fs::File::create(errors)?).spawn()?;
    let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
    let log = Stored::from_dump(tag, BufReader::with_capacity(1 << 16, stdout));
    let status = child.wait()?;
    if !status.success() {
        let said = std::fs::read_to_string(errors).unwrap_or_default();
        report.violation(Kind::Offline, format!("wal dump: {status}: {}", last_lines(&said, 3)));
    }
    Ok(log)
}
