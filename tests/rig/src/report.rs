//! What a scenario found: figures, notes and every broken promise.

use std::fmt;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// How many violations of one kind are printed; the rest are counted.
const SHOWN_PER_KIND: usize = 10;

/// The promise that was broken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Kind {
    /// An acknowledged event is in no log and no file.
    Lost,
    /// An event that an earlier audit found stored is gone.
    Vanished,
    /// One id is stored twice.
    Doubled,
    /// An event has another sequence number than it was given.
    Moved,
    /// The sequence numbers are not dense from 1.
    Gap,
    /// Something is stored that nobody sent.
    Phantom,
    /// A rejected event is stored.
    RejectedStored,
    /// A part of an all-or-nothing batch is stored.
    TornBatch,
    /// An accepted event that was sent again is not answered as a duplicate with its first seq.
    NotDuplicate,
    /// An answer that no correct server gives to this request.
    WrongAnswer,
    /// A sink does not hold each accepted event exactly once after a clean drain.
    Sink,
    /// An event was acknowledged although the disk refused to make it durable.
    AckedDespiteFault,
    /// The daemon did not start, stop or exit as it should.
    Lifecycle,
    /// `wal verify` or `wal dump` refused a sound data folder, or failed in another way.
    Offline,
    /// Damage lost events and nothing said so.
    Silent,
    /// An operator is not told what happened in one clear line, or not exactly enough.
    Unclear,
    /// The rig itself could not do what it meant to do; nothing is proven.
    Rig,
}

/// One broken promise.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Violation {
    /// Which promise.
    pub kind: Kind,
    /// Where and what, in figures.
    pub detail: String,
}

impl Violation {
    /// A violation of `kind`.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        Self { kind, detail: detail.into() }
    }
}

/// The result of one scenario.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Report {
    /// The scenario's name.
    pub scenario: String,
    /// The seed that repeats its plan.
    pub seed: u64,
    /// Rounds that were run.
    pub rounds: u32,
    /// Times that the daemon was killed or the power cut.
    pub kills: u32,
    /// Who was killed how often, and what else was done to them, where that is not the daemon alone.
    #[serde(default)]
    pub deeds: String,
    /// Events sent.
    pub sent: u64,
    /// Events acknowledged.
    pub acked: u64,
    /// Events found stored at the last audit.
    pub stored: u64,
    /// Audits of everything that is stored.
    pub audits: u32,
    /// Accepted events that were sent again to see whether they are known.
    pub resent: u64,
    /// What an engineer wants to know beside the figures.
    pub notes: Vec<String>,
    /// Every broken promise.
    pub violations: Vec<Violation>,
    /// Why the scenario could not be run at all.
    pub skipped: Option<String>,
    /// Where the data folder and the ledgers were left, if something was wrong.
    pub kept: Option<PathBuf>,
}

impl Report {
    /// An empty report of `scenario`.
    pub fn new(scenario: &str, seed: u64) -> Self {
        Self { scenario: scenario.to_owned(), seed, ..Self::default() }
    }

    /// A report that says why there is nothing to report.
    pub fn skipped(scenario: &str, seed: u64, why: impl Into<String>) -> Self {
        Self { skipped: Some(why.into()), ..Self::new(scenario, seed) }
    }

    /// True if no promise was broken.
    pub fn sound(&self) -> bool {
        self.violations.is_empty()
    }

    /// True if acknowledged events were found to be gone, or unknown to the daemon when they were sent again.
    pub fn found_losses(&self) -> bool {
        [Kind::Lost, Kind::Vanished, Kind::NotDuplicate].iter().any(|kind| self.count(*kind) > 0)
    }

    /// How many violations are of `kind`.
    pub fn count(&self, kind: Kind) -> usize {
        self.violations.iter().filter(|violation| violation.kind == kind).count()
    }

    /// Adds a violation.
    pub fn violation(&mut self, kind: Kind, detail: impl Into<String>) {
        self.violations.push(Violation::new(kind, detail));
    }

    /// Adds a note.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(why) = &self.skipped {
            return writeln!(f, "{}: SKIPPED: {why}", self.scenario);
        }
        let lost = self.count(Kind::Lost) + self.count(Kind::Vanished);
        writeln!(
            f,
            "{}: {} | rounds {} kills {}{} sent {} acked {} stored {} lost {lost} doubled {} | audits {} resent {} | seed {}",
            self.scenario,
            if self.sound() { "ok" } else { "VIOLATED" },
            self.rounds,
            self.kills,
            self.deeds,
            self.sent,
            self.acked,
            self.stored,
            self.count(Kind::Doubled),
            self.audits,
            self.resent,
            self.seed,
        )?;
        for note in &self.notes {
            writeln!(f, "  note: {note}")?;
        }
        let mut kinds: Vec<Kind> = self.violations.iter().map(|violation| violation.kind).collect();
        kinds.sort_unstable();
        kinds.dedup();
        for kind in kinds {
            writeln!(f, "  {kind:?}: {}", self.count(kind))?;
            let shown = self.violations.iter().filter(|violation| violation.kind == kind).take(SHOWN_PER_KIND);
            for violation in shown {
                writeln!(f, "    {}", violation.detail)?;
            }
        }
        match &self.kept {
            Some(path) => writeln!(f, "  kept: {}   repeat with --seed {}", path.display(), self.seed),
            None => Ok(()),
        }
    }
}
