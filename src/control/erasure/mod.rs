//! Erasing a person's data, or one event: every copy that the daemon itself holds, while it runs; and what is to be run
//! where it has delivered to. What is left then, and why it is done so: `docs/decisions/0012-erasure.md`.
//!
//! ```text
//! log        read ──► blocks rewritten ──► commit::Control ──► the writer (synced) ──► Tail, which sinks read first
//! sinks      let go of what they have read and not delivered
//! letters    removed; those that a sink still has to get, emptied
//! files      what is in memory is flushed, tables of what was rewritten are merged
//! ```

mod statements;
mod subject;
mod unsettled;

pub use subject::{Of, Subject};

use super::Pipeline;
use super::config::Config;
use super::dead_letters::Letters;
use crate::commit::{Beside, Control, LetterOrder, decode_dead_letter};
use crate::deliver::{Handle, Manifest};
use event::Seq;
use prepare::processed::Extractor;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};
use std::sync::Arc;
use std::time::Duration;
use subject::Match;
use tokio::sync::Mutex;
use wal::{Eraser, Family, ReadError, Reader, Write};

/// Bytes of blocks that are looked through, or rewritten, at once.
const STEP_BYTES: usize = 1 << 20;
/// Dead letters that are removed at once.
const LETTERS_MAX: usize = 256;
/// How long a sink may take to let go of what it holds.
const SINK_PATIENCE: Duration = Duration::from_secs(30);
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
}

/// Blocks without what is meant, by the position of their first event.
#[derive(Debug, Default)]
struct Rewritten {
    blocks: Vec<(Seq, Vec<u8>)>,
    events: u64,
}

/// What was found among the dead letters.
#[derive(Debug, Default)]
struct InLetters {
    letters: u64,
    mentions: u64,
    erased: u64,
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
        Erasure { pipeline, control, letters, eraser, disk_reserve_bytes, turn }
    }

    /// Erases what was committed before the call; the report says what was found and done where.
    ///
    /// # Errors
    /// Why it was broken off, for a person; what was erased by then stays so, and another run goes on.
    pub async fn run(self: &Arc<Self>, wanted: &Wanted, config: &Config) -> Result<Value, String> {
        let _turn = self.turn.try_lock().map_err(|_| "another erasure is under way: wait for it".to_owned())?;
        // A letter that is replayed meanwhile would be in the log behind our back.
        let replays = self.letters.hold().await;
        let until = self.pipeline.tail().committed();
        let log = self.log(wanted, until).await?;
        let mut held = Vec::new();
        for sink in self.pipeline.sinks() {
            held.push(if wanted.dry_run { None } else { let_go(sink).await });
        }
        let letters = self.dead_letters(wanted).await?;
        drop(replays);
        let settled = if wanted.dry_run { Value::Null } else { self.settle().await };
        let mut sinks = Vec::new();
        for (sink, trouble) in self.pipeline.sinks().iter().zip(held) {
            sinks.push(self.sink(sink, trouble, wanted, config, &log).await?);
        }
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

    /// The events of the log.
    async fn log(self: &Arc<Self>, wanted: &Wanted, until: Seq) -> Result<InLog, String> {
        let mut found = InLog::default();
        let mut next = self.pipeline.reader().start().max(Seq::FIRST);
        while next <= until {
            let (erasure, of) = (Arc::clone(self), wanted.clone());
            let (part, with) = aside(move || erasure.look(&of, next, until, found)).await?;
            found = with;
            next = part.next;
            if !wanted.dry_run {
                found.erased += self.rewrite(part.blocks).await?;
            }
        }
        Ok(found)
    }

    /// Looks through some of the log from `from` on.
    fn look(&self, wanted: &Wanted, from: Seq, until: Seq, mut found: InLog) -> Result<(Part, InLog), String> {
        let reader = self.pipeline.reader();
        // What is trimmed meanwhile is gone.
        let from = from.max(reader.start());
        let (mut extractor, mut scratch) = (Extractor::new(), Vec::new());
        let mut part = Part { blocks: Vec::new(), next: from };
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
            if !meant.is_empty() {
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
            Err(error) => return Err(error.to_string()),
        }
        damaged.map(|()| (part, found))
    }

    /// Puts blocks without what is meant in their places, durably and all at once; returns how many events that were.
    async fn rewrite(self: &Arc<Self>, blocks: Vec<(Seq, BTreeSet<Seq>)>) -> Result<u64, String> {
        let erasure = Arc::clone(self);
        let Rewritten { blocks, events } = aside(move || erasure.without_all(&blocks)).await?;
        if blocks.is_empty() {
            return Ok(0);
        }
        let bytes: usize = blocks.iter().map(|(_, block)| block.len()).sum();
        // Once into the WAL, once into a table.
        self.eraser.check_room(2 * bytes as u64, (self.disk_reserve_bytes)()).map_err(text)?;
        self.eraser.begin().map_err(text)?;
        let puts = blocks.iter().map(|(first, block)| Write::Put(Family::Log, key(*first), block.clone()));
        let firsts = blocks.iter().map(|(first, _)| *first);
        let unsettled = unsettled::widen(self.pipeline.reader(), firsts).map_err(text)?;
        self.control.write(puts.chain([unsettled]).collect()).await.map_err(text)?;
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
        Ok(rewritten)
    }

    /// `None` where the block is gone, or nothing of that is in it any more.
    fn without(&self, first: Seq, meant: &BTreeSet<Seq>) -> Result<Option<Vec<u8>>, String> {
        let stored = self.pipeline.reader().get(Family::Log, &key(first)).map_err(text)?;
        let Some(stored) = stored else { return Ok(None) };
        record::erase(first, &stored, |seq| meant.contains(&seq)).map_err(text)
    }

    async fn dead_letters(self: &Arc<Self>, wanted: &Wanted) -> Result<InLetters, String> {
        let (reader, of) = (self.pipeline.reader().clone(), wanted.clone());
        let (ids, mut found) = aside(move || letters_of(&reader, &of)).await?;
        if !wanted.dry_run {
            for ids in ids.chunks(LETTERS_MAX) {
                let ordered = self.control.order(LetterOrder::Erase { ids: ids.to_vec() }).await.map_err(text)?;
                found.erased += ordered.done.len() as u64;
            }
        }
        Ok(found)
    }

    /// Has the files of the log forget.
    async fn settle(self: &Arc<Self>) -> Value {
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
        let reader = self.pipeline.reader();
        let mut range = unsettled::load(reader).map_err(text)?;
        if let Some(kept) = self.first_kept()? {
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
        let start = self.pipeline.reader().start();
        let mut kept = None;
        if start > Seq::FIRST {
            let read = self.pipeline.reader().read(start, |block, _| {
                kept = Some(block.first().min(start));
                ControlFlow::Break(())
            });
            read.map_err(text)?;
        }
        Ok(kept)
    }

    /// What is to be done about a sink.
    async fn sink(
        &self,
        sink: &Handle,
        trouble: Option<String>,
        wanted: &Wanted,
        config: &Config,
        log: &InLog,
    ) -> Result<Value, String> {
        let snapshot = sink.status().snapshot();
        let under_way = Manifest::load(self.pipeline.reader(), snapshot.sink).map_err(text)?;
        let under_way: Vec<_> = under_way
            .iter()
            .flatten()
            .filter(|batch| !batch.dead)
            .map(|batch| json!([batch.first.get(), batch.last.get()]))
            .collect();
        let mut told = json!({
            "sink": snapshot.sink,
            "state": snapshot.state.as_str(),
            "next": snapshot.cursor.get(),
            "underWay": under_way,
            "trouble": trouble,
        });
        match snapshot.sink {
            "clickhouse" => told["statements"] = statements::clickhouse(config, &wanted.subject).into(),
            "kafka" => {
                told["topics"] = config.kafka.topics().into();
                told["keys"] = log.sessions.iter().cloned().collect::<Vec<_>>().into();
            }
            _ => {
                let (census, subject) = (Arc::clone(sink.census()), wanted.subject.clone());
                let held =
                    aside(move || census.holding(&|tenant, event_id, user_id| subject.owns(tenant, event_id, user_id)))
                        .await?;
                told["files"] = held
                    .iter()
                    .map(|file| {
                        json!({
                            "path": file.path.display().to_string(),
                            "events": file.events,
                            "statement": statements::duckdb(&file.path, &file.mark, &wanted.subject),
                        })
                    })
                    .collect();
            }
        }
        Ok(told)
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

/// The dead letters that are meant.
fn letters_of(reader: &Reader, wanted: &Wanted) -> Result<(Vec<u64>, InLetters), String> {
    let (mut ids, mut found, mut failed) = (Vec::new(), InLetters::default(), None);
    let read = reader.scan(Family::Dead, &[], |key, value| {
        let Ok(id) = key.try_into().map(u64::from_be_bytes) else { return ControlFlow::Continue(()) };
        let matched = match decode_dead_letter(value) {
            Some((head, raw)) => {
                let of = |bytes: &[u8]| wanted.subject.letter(&head.tenant, head.event_id.as_deref(), bytes);
                let edit = match Beside::load(reader, id) {
                    Ok(beside) => beside.edit,
                    Err(error) => {
                        failed = Some(error.to_string());
                        return ControlFlow::Break(());
                    }
                };
                match (of(raw), edit.map_or(Match::No, |edit| of(&edit))) {
                    (Match::Is, _) | (_, Match::Is) => Match::Is,
                    (Match::No, Match::No) => Match::No,
                    _ => Match::Mentions,
                }
            }
            None => wanted.subject.unreadable(value),
        };
        match matched {
            Match::Is => found.letters += 1,
            Match::Mentions => found.mentions += 1,
            Match::No => return ControlFlow::Continue(()),
        }
        if matched == Match::Is || wanted.also_mentions {
            ids.push(id);
        }
        ControlFlow::Continue(())
    });
    read.map_err(text)?;
    failed.map_or(Ok((ids, found)), Err)
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
