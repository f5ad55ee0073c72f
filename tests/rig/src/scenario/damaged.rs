//! Damaged files: whatever was lost must be told, exactly, by `wal verify` and by the next start.
//!
//! Each case damages a fresh copy of one stopped data folder. What is missing is found by comparing dumps, so that the
//! verdict does not depend on the daemon's own opinion; that opinion is then held against it.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::audit::Stored;
use crate::daemon::{Target, last_lines, last_words};
use crate::damage::{Damage, files, inflict, missing_ranges, names_ranges};
use crate::http::Client;
use crate::load::{Mix, lock};
use crate::report::{Kind, Report};
use crate::resend::resend;
use crate::scenario::failing_disk::copy_folder;
use crate::scenario::stage::{Stage, Work, dump};

/// Long enough that a high-water mark beside the log covers everything acknowledged before.
const MARK_SETTLES: Duration = Duration::from_millis(400);

/// How many stored events are sent again after the damage.
const RESENT: usize = 100;

/// Which files are damaged, and how.
#[derive(Clone, Copy, Debug)]
pub struct DamagePlan {
    /// The scenario's name.
    pub name: &'static str,
    /// The kinds of damage, in turn.
    pub kinds: &'static [Damage],
    /// Beginning and end of the file names in the log folder.
    pub files: (&'static str, &'static str),
    /// Only the newest of these files.
    pub newest: bool,
    /// The daemon is drained and started several times first, so that tables exist; otherwise it is killed.
    pub restarts: u32,
    /// These files are tables: every byte of them is checksummed, so that any damage must be noticed by `wal verify`
    /// even if no event is missing; and a start does not read all of them, so that it need not know.
    pub tables: bool,
    /// How many copies are damaged.
    pub cases: u32,
}

/// The newest log file ends early, as if its last writes had never happened.
pub const TRUNCATED_WAL_TAIL: DamagePlan = DamagePlan {
    name: "truncated-wal-tail",
    kinds: &[Damage::Truncate],
    files: ("", ".log"),
    newest: true,
    restarts: 0,
    tables: false,
    cases: 8,
};

/// A bit or a sector in the middle of a log file changes.
pub const BIT_FLIPPED_WAL: DamagePlan = DamagePlan {
    name: "bit-flipped-wal",
    kinds: &[Damage::FlipBit, Damage::FlipBit, Damage::ZeroSector],
    newest: false,
    ..TRUNCATED_WAL_TAIL
};

/// A bit or a sector of a table changes, or a table is cut or gone.
pub const BIT_FLIPPED_SST: DamagePlan = DamagePlan {
    name: "bit-flipped-sst",
    kinds: &[Damage::FlipBit, Damage::FlipBit, Damage::ZeroSector, Damage::Truncate, Damage::Delete],
    files: ("", ".sst"),
    newest: false,
    restarts: 3,
    tables: true,
    cases: 10,
};

/// The list of tables is damaged or gone.
pub const DAMAGED_MANIFEST: DamagePlan = DamagePlan {
    name: "damaged-manifest",
    kinds: &[Damage::FlipBit, Damage::Truncate, Damage::Delete],
    files: ("MANIFEST", ""),
    newest: true,
    restarts: 2,
    tables: false,
    cases: 6,
};

/// A log file is gone as a whole.
pub const DELETED_WAL: DamagePlan =
    DamagePlan { name: "deleted-wal", kinds: &[Damage::Delete], newest: false, cases: 2, ..TRUNCATED_WAL_TAIL };

/// Runs one plan of damage.
pub fn damaged(target: &Target, work: &Work, plan: DamagePlan) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, plan.name)?;
    let Some(whole) = prepare(&mut stage, plan.restarts)? else { return stage.finish() };
    let mut tally = [0_u32; 4];
    for case in 0..plan.cases {
        let mut candidates = files(&stage.data, plan.files.0, plan.files.1)?;
        if plan.newest {
            candidates.drain(..candidates.len().saturating_sub(1));
        }
        if candidates.is_empty() {
            stage.report.violation(Kind::Rig, format!("no file {}…{} to damage", plan.files.0, plan.files.1));
            break;
        }
        let file = &candidates[stage.rng.below(candidates.len() as u64) as usize];
        let copy = stage.dir.join(format!("case-{case}"));
        copy_folder(&stage.data, &copy)?;
        let file = copy.join(file.strip_prefix(&stage.data).unwrap_or(file));
        let done = inflict(plan.kinds[case as usize % plan.kinds.len()], &copy, &file, &mut stage.rng)?;
        let before = stage.report.violations.len();
        let outcome =
            Case { stage: &mut stage, whole: &whole, copy: &copy, done: done.to_string() }.run(plan.tables)?;
        tally[outcome as usize] += 1;
        if stage.report.violations.len() == before {
            std::fs::remove_dir_all(&copy)?;
        }
    }
    let [reported, noticed, harmless, bad] = tally;
    stage.report.note(format!(
        "{reported} losses told exactly, {noticed} damages noticed that lost nothing, {harmless} that concern nobody, {bad} bad"
    ));
    stage.finish()
}

/// Fills a data folder, stops the daemon, and returns every seq that it holds.
fn prepare(stage: &mut Stage, restarts: u32) -> io::Result<Option<Vec<u64>>> {
    for left in (0..=restarts).rev() {
        let Some(daemon) = stage.start() else { return Ok(None) };
        stage.load_for(&daemon, Mix::Everything, Duration::from_millis(400))?;
        if left > 0 {
            stage.drain(daemon);
            continue;
        }
        std::thread::sleep(MARK_SETTLES);
        daemon.kill()?;
        stage.report.kills += 1;
    }
    // The audit runs on a copy: reading must not be what tidies up the folder that the cases start from.
    let original = std::mem::replace(&mut stage.data, stage.dir.join("sound"));
    copy_folder(&original, &stage.data)?;
    let files = stage.work.lagging();
    stage.verify_sound()?;
    stage.audit(files)?;
    let log = read(stage, &stage.data.clone())?;
    stage.data = original;
    Ok(stage.sound_so_far().then_some(log))
}

/// The seqs in a folder; a failing dump is no violation here, but what it printed before counts.
fn read(stage: &Stage, data: &Path) -> io::Result<Vec<u64>> {
    let mut aside = Report::default();
    let log: Stored = dump(&stage.target, data, &stage.tag, &stage.dir.join("dump.err"), &mut aside)?;
    Ok(log.seqs().to_vec())
}

/// How a damaged copy ended.
enum Outcome {
    /// Events are gone and both verify and start said which.
    Reported = 0,
    /// Nothing is gone, and it was noticed.
    Noticed = 1,
    /// Nothing is gone, and nothing was said: the place held nothing that matters.
    Harmless = 2,
    /// A promise was broken.
    Bad = 3,
}

struct Case<'a> {
    stage: &'a mut Stage,
    whole: &'a [u64],
    copy: &'a Path,
    done: String,
}

impl Case<'_> {
    fn run(mut self, tables: bool) -> io::Result<Outcome> {
        let verify = self.stage.target.wal("verify", self.copy, &["--json"])?;
        let verified = String::from_utf8_lossy(&verify.stdout) + String::from_utf8_lossy(&verify.stderr);
        if verify.status.code().is_none() || verified.contains("panicked at") {
            return Ok(self.bad(Kind::Offline, &format!("wal verify: {}: {}", verify.status, last_lines(&verified, 3))));
        }
        self.done += match verify.status.success() {
            true => " (wal verify: nothing wrong)",
            false => " (wal verify: noticed)",
        };
        let (said, repaired) = match self.start_and_drain()? {
            Ok(said) => (said, false),
            Err(said) => match self.repair(&said)? {
                Some(said) => (said, true),
                None => return Ok(Outcome::Bad),
            },
        };
        let left = read(self.stage, self.copy)?;
        let missing = missing_ranges(self.whole, &left);
        let forgotten = self.forgotten(&left)?;
        if missing.is_empty() {
            return Ok(match (verify.status.success(), tables) {
                _ if forgotten => Outcome::Bad,
                (false, _) => Outcome::Noticed,
                (true, false) => Outcome::Harmless,
                (true, true) => self.bad(Kind::Silent, "wal verify finds nothing wrong"),
            });
        }
        let ranges: Vec<String> = missing.iter().map(|(first, last)| format!("{first}..={last}")).collect();
        let ranges = ranges.join(", ");
        if verify.status.success() {
            return Ok(self.bad(Kind::Silent, &format!("seq {ranges} are gone, and wal verify finds nothing wrong")));
        }
        if !names_ranges(&verified, &missing) {
            let detail = format!("seq {ranges} are gone, wal verify says: {}", last_lines(&verified, 5));
            return Ok(self.bad(Kind::Unclear, &detail));
        }
        if !repaired && self.passed_over(&missing) {
            return Ok(self.bad(Kind::Sink, &format!("seq {ranges} are gone, and the parquet files go on behind them")));
        }
        if (repaired || !tables) && !names_ranges(&said, &missing) {
            let detail = format!("seq {ranges} are gone, the start says: {}", last_lines(&said, 5));
            return Ok(self.bad(Kind::Unclear, &detail));
        }
        Ok(if forgotten { Outcome::Bad } else { Outcome::Reported })
    }

    /// Whether the sink went on behind a hole that nobody has recorded: it must stop in front of it.
    fn passed_over(&self, missing: &[(u64, u64)]) -> bool {
        let files = Stored::from_files(&self.stage.tag, self.copy);
        let last = files.seqs().last().copied().unwrap_or(0);
        missing.iter().any(|(first, end)| last > *end && files.seqs().binary_search(first).is_err())
    }

    /// Whether events that are still in the log are taken as new when they are sent again.
    fn forgotten(&mut self, left: &[u64]) -> io::Result<bool> {
        let output = self.output();
        let daemon = match self.stage.target.serve_ready(self.copy, &output) {
            Ok(daemon) => daemon,
            Err(why) => {
                self.bad(Kind::Lifecycle, &format!("does not start a second time: {why}"));
                return Ok(true);
            }
        };
        let Some(address) = daemon.address() else { return Ok(true) };
        // Events that are gone may well be taken as new; the question is about those that are there.
        let mut ledger = lock(&self.stage.ledger).clone_without_journal();
        ledger.events.retain(|_, entry| entry.seq.is_some_and(|seq| left.binary_search(&seq).is_ok()));
        let mut http = Client::new(address, Duration::from_secs(10));
        let (_, found) = resend(&mut http, &mut ledger, &self.stage.tag, &mut self.stage.rng.clone(), RESENT, 0);
        if let Some(broken) = found.iter().find(|violation| violation.kind != Kind::NotDuplicate) {
            let detail = format!("{}: {}", broken.detail, last_words(&daemon.said()));
            self.bad(Kind::Lifecycle, &detail);
        } else if let Some(first) = found.first() {
            let detail = format!("{} of {RESENT} stored events are taken as new: {}", found.len(), first.detail);
            self.bad(Kind::NotDuplicate, &detail);
        }
        daemon.kill()?;
        Ok(!found.is_empty())
    }

    /// Starts the daemon on the copy: what it said, as an error if it would not start.
    fn start_and_drain(&mut self) -> io::Result<Result<String, String>> {
        let output = self.output();
        let mut daemon = self.stage.target.serve(self.copy, &output)?;
        if daemon.wait_ready(self.stage.target.start_within).is_err() {
            return Ok(Err(last_words(&daemon.said())));
        }
        let drained = daemon.drain(self.stage.target.drain_within);
        let said = std::fs::read_to_string(&output)?;
        if let Err(why) = drained {
            self.bad(Kind::Lifecycle, &why);
        }
        Ok(Ok(said))
    }

    /// A refused start is sound if it says why in a line; `wal repair` must then make a start possible.
    fn repair(&mut self, said: &str) -> io::Result<Option<String>> {
        if said.trim().is_empty() || said.contains("panicked at") {
            self.bad(Kind::Unclear, &format!("does not start: {:?}", last_lines(said, 3)));
            return Ok(None);
        }
        let repair = self.stage.target.wal("repair", self.copy, &[])?;
        let text = String::from_utf8_lossy(&repair.stdout) + String::from_utf8_lossy(&repair.stderr);
        match self.start_and_drain()? {
            Ok(said) => Ok(Some(format!("{text}\n{said}"))),
            Err(again) => {
                let detail = format!(
                    "does not start ({}), and not after wal repair ({}: {}) either: {}",
                    last_lines(said, 1),
                    repair.status,
                    last_lines(&text, 2),
                    last_lines(&again, 1)
                );
                self.bad(Kind::Lifecycle, &detail);
                Ok(None)
            }
        }
    }

    fn output(&self) -> PathBuf {
        self.copy.with_extension("log")
    }

    fn bad(&mut self, kind: Kind, detail: &str) -> Outcome {
        // The case's own long path says nothing.
        let detail = detail.replace(&format!("{}/", self.copy.display()), "");
        self.stage.report.violation(kind, format!("{}: {detail}", self.done));
        Outcome::Bad
    }
}
