//! Erasing a person's data, or one event: every copy that the daemon itself holds, while it runs; and what is to be run
//! where it has delivered to. What is left then, and why it is done so: `docs/decisions/0012-erasure.md`.
//!
//! ```text
//! log        read ──► blocks rewritten ──► commit::Control ──► the writer (synced) ──► Tail, which sinks read first
//! sinks      let go of what they have read and not delivered
//! letters    removed; those that a sink still has to get, emptied
//! files      what is in memory is flushed, tables of what was rewritten are merged
//! ```

mod letters;
mod places;
mod progress;
mod statements;
mod subject;
mod unsettled;

pub use subject::{Of, Subject};

use super::Pipeline;
use super::config::Config;
use super::dead_letters::Letters;
use crate::commit::Control;
use crate::deliver::Handle;
use event::Seq;
use letters::InLetters;
use places::Places;
use prepare::processed::Extractor;
use progress::{Progress, Stage};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;
use subject::Match;
use tokio::sync::Mutex;
use wal::{Eraser, Family, ReadError, Write};

/// Bytes of blocks that are looked through, or rewritten, at once.
const STEP_BYTES: usize = 1 << 20;
/// How often the log is looked through up to its end before replays have to wait: so little is left then.
const PASSES: usize = 2;
/// How long a sink may take to let go of what it holds.
const SINK_PATIENCE: Duration = Duration::from_secs(30);
/// What helps a log that cannot be read.
const ADVICE: &str = "stop the daemon, `ingestd wal verify`, `ingestd wal repair`, then run this again";
/// Session ids that are named.
const SESSIONS_MAX: usize = 100;

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Whose data.
    pub subject: Subject,
    /// Whether it is only looked what there is.
    pub dry_run: bool,
    /// Whether what only mentions the id goes, too.
    pub also_mentions: bool,
}

/// Erases, one subject at a time.
pub struct Erasure {
    pipeline: Pipeline,
    control: Control,
    letters: Arc<Letters>,
    eraser: Eraser,
    disk_reserve_bytes: Box<dyn Fn() -> u64 + Send + Sync>,
    turn: Mutex<()>,
    progress: Progress,
}

/// What was found in the log.
#[derive(Debug, Default)]
struct InLog {
    events: u64,
    mentions: u64,
    erased: u64,
    first: Option<Seq>,
    last: Seq,
    sessions: BTreeSet<String>,
}

/// A part of the log that was looked through.
struct Part {
    /// Blocks with something that is meant, and where.
    blocks: Vec<(Seq, BTreeSet<Seq>)>,
    next: Seq,
    /// Why it goes no further.
    damage: Option<String>,
}

/// Blocks without what is meant, by the position of their first event, and what puts them in their places.
#[derive(Debug, Default)]
struct Rewritten {
    blocks: Vec<(Seq, Vec<u8>)>,
    events: u64,
    writes: Vec<Write>,
}

impl Erasure {
    /// Of the daemon that `pipeline` is of; so many bytes of its disk stay free, by the configuration of the moment.
    pub fn new(
        pipeline: Pipeline,
        control: Control,
        letters: Arc<Letters>,
        eraser: Eraser,
        disk_reserve_bytes: impl Fn() -> u64 + Send + Sync + 'static,
    ) -> Self {
        let (disk_reserve_bytes, turn) = (Box::new(disk_reserve_bytes), Mutex::default());
        Erasure { pipeline, control, letters, eraser, disk_reserve_bytes, turn, progress: Progress::default() }
    }

    /// Erases what was committed before the call; the report says what was found and done where.
    ///
    /// # Errors
    /// Why it was broken off, for a person; what was erased by then stays so, and another run goes on.
    pub async fn run(self: &Arc<Self>, wanted: &Wanted, config: Config) -> Result<Value, String> {
        let _turn = self.turn.try_lock().map_err(|_| "another erasure is under way: wait for it".to_owned())?;
        let _shown = self.progress.begin();
        let mut log = InLog::default();
        let passed = self.pass(wanted, &mut log).await;
        // Also where it was broken off: what is erased by then must not be delivered out of memory.
        self.let_go(wanted).await;
        let erased = match passed {
            Ok(next) => self.erase_rest(wanted, &mut log, next).await,
            Err(error) => Err(error),
        };
        // Once more, for the rest, and for dead letters that were being sent.
        let troubles = self.let_go(wanted).await;
        let (until, letters) = erased?;
        let settled = if wanted.dry_run { Value::Null } else { self.settle().await };
        let sinks = self.places(wanted, config, log.sessions, troubles).await?;
        Ok(json!({
            "dryRun": wanted.dry_run,
            "upTo": until.get(),
            "log": {
                "found": log.events,
                "mentions": log.mentions,
                "erased": log.erased,
                "first": log.first.map(Seq::get),
                "last": log.first.map(|_| log.last.get()),
            },
            "deadLetters": {"found": letters.letters, "mentions": letters.mentions, "erased": letters.erased},
            "files": settled,
            "sinks": sinks,
        }))
    }

    /// How far the one that is under way has got; null while none is.
    #[must_use]
    pub fn progress(&self) -> Value {
        self.progress.tell()
    }

    /// Erases from the log what is there, while everything else goes on; returns where it ended.
    async fn pass(self: &Arc<Self>, wanted: &Wanted, log: &mut InLog) -> Result<Seq, String> {
        let mut next = self.pipeline.reader().start().max(Seq::FIRST);
        for _ in 0..PASSES {
            let until = self.pipeline.tail().committed();
            next = self.log(wanted, next, until, log).await?;
        }
        Ok(next)
    }

    /// Erases what has come in meanwhile, and the dead letters. No letter is replayed in between: it would be in the log
    /// behind our back, and gone from where it was.
    async fn erase_rest(
        self: &Arc<Self>,
        wanted: &Wanted,
        log: &mut InLog,
        next: Seq,
    ) -> Result<(Seq, InLetters), String> {
        let _replays = self.letters.hold().await;
        // One whose asker has left may be with the writer still. This is behind it.
        self.control.write(Vec::new()).await.map_err(text)?;
        let until = self.pipeline.tail().committed();
        self.log(wanted, next, until, log).await?;
        self.progress.is_at(Stage::Letters);
        Ok((until, self.dead_letters(wanted).await?))
    }

    /// Erases from the log what lies from `next` up to `until`; returns where it ended.
    async fn log(
        self: &Arc<Self>,
        wanted: &Wanted,
        mut next: Seq,
        until: Seq,
        found: &mut InLog,
    ) -> Result<Seq, String> {
        while next <= until {
            self.progress.is_at(Stage::Log { next, until });
            let (erasure, of, before) = (Arc::clone(self), wanted.clone(), std::mem::take(found));
            let (part, with) = aside(move || erasure.look(&of, next, until, before)).await?;
            (*found, next) = (with, part.next);
            if !wanted.dry_run {
                found.erased += self.rewrite(part.blocks).await?;
            }
            if let Some(damage) = part.damage {
                return Err(format!("{damage}; nothing behind it was looked at: {ADVICE}"));
            }
        }
        Ok(next)
    }

    /// Looks through some of the log from `from` on.
    fn look(&self, wanted: &Wanted, from: Seq, until: Seq, mut found: InLog) -> Result<(Part, InLog), String> {
        let reader = self.pipeline.reader();
        // What is trimmed meanwhile is gone.
        let from = from.max(reader.start());
        let (mut extractor, mut scratch) = (Extractor::new(), Vec::new());
        let mut part = Part { blocks: Vec::new(), next: from, damage: None };
        let (mut bytes, mut damaged) = (0, Ok(()));
        let read = reader.read(from, |block, len| {
            let mut meant = BTreeSet::new();
            let visited = block.visit(&mut scratch, |event| {
                let matched = wanted.subject.event(&event, &mut extractor);
                match matched {
                    Match::Is => found.events += 1,
                    Match::Mentions => found.mentions += 1,
                    Match::No => return,
                }
                if matched == Match::Is || wanted.also_mentions {
                    meant.insert(event.seq);
                    found.first.get_or_insert(event.seq);
                    found.last = event.seq;
                }
                if found.sessions.len() < SESSIONS_MAX
                    && let Ok(parts) = extractor.extract(&event)
                {
                    found.sessions.insert(parts.session_id.to_owned());
                }
            });
            damaged = visited.map_err(|cause| ReadError::Corrupt { first: block.first(), cause }.to_string());
            if damaged.is_ok() && !meant.is_empty() {
                part.blocks.push((block.first(), meant));
            }
            part.next = block.last().next();
            bytes += len;
            let is_enough = damaged.is_err() || bytes >= STEP_BYTES || part.next > until;
            if is_enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        match read {
            // A known gap may reach to the end.
            Ok(next) => part.next = part.next.max(next),
            Err(ReadError::Trimmed { start, .. }) => part.next = start,
            Err(error) => damaged = Err(error.to_string()),
        }
        part.damage = damaged.err();
        Ok((part, found))
    }

    /// Puts blocks without what is meant in their places, durably and all at once; returns how many events that were.
    async fn rewrite(self: &Arc<Self>, blocks: Vec<(Seq, BTreeSet<Seq>)>) -> Result<u64, String> {
        let erasure = Arc::clone(self);
        let Rewritten { blocks, events, writes } = aside(move || erasure.without_all(&blocks)).await?;
        if !blocks.is_empty() {
            self.control.write(writes).await.map_err(text)?;
        }
        blocks.iter().for_each(|(first, block)| self.pipeline.tail().replace(*first, block));
        Ok(events)
    }

    fn without_all(&self, blocks: &[(Seq, BTreeSet<Seq>)]) -> Result<Rewritten, String> {
        let mut rewritten = Rewritten::default();
        for (first, meant) in blocks {
            if let Some(block) = self.without(*first, meant)? {
                rewritten.blocks.push((*first, block));
                rewritten.events += meant.len() as u64;
            }
        }
        if rewritten.blocks.is_empty() {
            return Ok(rewritten);
        }
        let bytes: usize = rewritten.blocks.iter().map(|(_, block)| block.len()).sum();
        // Once into the WAL, once into a table.
        self.eraser.check_room(2 * bytes as u64, (self.disk_reserve_bytes)()).map_err(text)?;
        self.eraser.begin().map_err(text)?;
        let puts = rewritten.blocks.iter().map(|(first, block)| Write::Put(Family::Log, key(*first), block.clone()));
        let firsts = rewritten.blocks.iter().map(|(first, _)| *first);
        let unsettled = unsettled::widen(self.pipeline.reader(), firsts).map_err(text)?;
        rewritten.writes = puts.chain([unsettled]).collect();
        Ok(rewritten)
    }

    /// `None` where the block is gone, or nothing of that is in it any more.
    fn without(&self, first: Seq, meant: &BTreeSet<Seq>) -> Result<Option<Vec<u8>>, String> {
        let stored = self.pipeline.reader().get(Family::Log, &key(first)).map_err(text)?;
        let Some(stored) = stored else { return Ok(None) };
        record::erase(first, &stored, |seq| meant.contains(&seq)).map_err(text)
    }

    /// Has the sinks let go of what they have read; why one has not, for a person.
    async fn let_go(&self, wanted: &Wanted) -> Vec<Option<String>> {
        let mut troubles = Vec::new();
        if wanted.dry_run {
            return troubles;
        }
        self.progress.is_at(Stage::Sinks);
        for sink in self.pipeline.sinks() {
            troubles.push(let_go(sink).await);
        }
        troubles
    }

    /// Has the files of the log forget.
    async fn settle(self: &Arc<Self>) -> Value {
        self.progress.is_at(Stage::Files);
        match self.settle_all().await {
            Ok(None) => json!({"rewritten": true}),
            Ok(Some(range)) => json!({"rewritten": true, "first": range.start().get(), "last": range.end().get()}),
            // It is erased for everybody who reads; only files may have it until they are merged anyway.
            Err(reason) => json!({"rewritten": false, "reason": reason}),
        }
    }

    /// Merges what holds blocks that were rewritten, also those of a run that was broken off. What was trimmed goes first:
    /// tables that hold younger events, too, still have it.
    async fn settle_all(self: &Arc<Self>) -> Result<Option<RangeInclusive<Seq>>, String> {
        let erasure = Arc::clone(self);
        let (mut range, kept) = aside(move || {
            let unsettled = unsettled::load(erasure.pipeline.reader()).map_err(text)?;
            Ok((unsettled, erasure.first_kept()?))
        })
        .await?;
        if let Some(kept) = kept {
            let trimmed = Write::DeleteRange(Family::Log, key(Seq::ZERO), key(kept));
            self.control.write(vec![trimmed]).await.map_err(text)?;
            range = Some(Seq::ZERO..=range.map_or(kept, |range| kept.max(*range.end())));
        }
        let (erasure, of) = (Arc::clone(self), range.clone());
        aside(move || erasure.eraser.settle(of, (erasure.disk_reserve_bytes)()).map_err(text)).await?;
        self.control.write(vec![unsettled::forget()]).await.map_err(text)?;
        Ok(range)
    }

    /// The first block that is still promised; `None` in a log that was never trimmed.
    fn first_kept(&self) -> Result<Option<Seq>, String> {
        loop {
            let (start, mut kept) = (self.pipeline.reader().start(), None);
            if start <= Seq::FIRST {
                return Ok(None);
            }
            let read = self.pipeline.reader().read(start, |block, _| {
                kept = Some(block.first().min(start));
                ControlFlow::Break(())
            });
            match read {
                Ok(_) => return Ok(kept),
                // In this very moment: it begins elsewhere now.
                Err(ReadError::Trimmed { .. }) => {}
                Err(error) => return Err(text(error)),
            }
        }
    }

    /// What is to be done where events were delivered to.
    async fn places(
        &self,
        wanted: &Wanted,
        config: Config,
        sessions: BTreeSet<String>,
        troubles: Vec<Option<String>>,
    ) -> Result<Vec<Value>, String> {
        self.progress.is_at(Stage::Places);
        let places = Places { pipeline: self.pipeline.clone(), config, subject: wanted.subject.clone(), sessions };
        aside(move || places.tell(troubles)).await
    }
}

/// Has a sink let go of what it has read; why it has not, for a person.
async fn let_go(sink: &Handle) -> Option<String> {
    match tokio::time::timeout(SINK_PATIENCE, sink.reread()).await {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error.to_string()),
        Err(_) => Some("it has not let go of what it had read: run this again once it answers".to_owned()),
    }
}

fn key(first: Seq) -> Vec<u8> {
    first.get().to_be_bytes().to_vec()
}

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// Reads much, or waits for a disk, on a thread where that holds up nobody.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> Result<T, String> + Send + 'static) -> Result<T, String> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(error.to_string()))
}
