//! The one writer thread: gather, drop duplicates, build one block, commit it, answer. No timer: while one group is
//! being synced the next one gathers, so batching comes from load.

use super::clock::Clock;
use super::dead_letter::{DeadDraft, DeadLetterLimits, DeadLetters, Moment};
use super::desk::{DeskSeed, Mailbox, seeds};
use super::hub::{Confirmation, ConfirmationStatus, Hub};
use super::idempotency::Idempotency;
use super::probe::Probe;
use super::submission::Submission;
use super::tail::Tail;
use super::timeline::Timeline;
use crate::metrics::{Metrics, Recorder, Stage};
use arc_swap::ArcSwap;
use crossbeam_channel::{Receiver, Sender};
use dedup::Dedup;
use event::{Durability, Receipt, Refusal, Seq, UnixMicros, Verdict};
use record::{BlockWriter, IdListWriter, SegmentMeta};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::oneshot;
use wal::{CommitError, Group, Reader, Write};

/// Where groups become durable: the log, or a bench's stand-in for it.
pub trait Store: Send + 'static {
    /// The position the next event gets.
    fn next(&self) -> Seq;
    /// Makes a group durable.
    ///
    /// # Errors
    /// The first failure, which is final.
    fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError>;
    /// What a returned commit promises.
    fn durability(&self) -> Durability;
    /// Ends cleanly.
    ///
    /// # Errors
    /// The first failure.
    fn close(self) -> Result<(), CommitError>;
}

impl Store for wal::Writer {
    fn next(&self) -> Seq {
        wal::Writer::next(self)
    }

    fn commit(&mut self, group: &Group<'_>) -> Result<(), CommitError> {
        wal::Writer::commit(self, group)
    }

    fn durability(&self) -> Durability {
        wal::Writer::durability(self)
    }

    fn close(self) -> Result<(), CommitError> {
        wal::Writer::close(self)
    }
}

/// Requests of one group; an acceptor's round more may come on top, which still fits a block.
const REQUESTS_MAX: usize = BlockWriter::SEGMENTS_MAX / 2;

/// How much one group may gather.
#[derive(Debug, Clone, Copy)]
pub struct GroupLimits {
    /// Events; one acceptor's round more may come on top.
    pub events_max: usize,
    /// Bytes of records; one acceptor's round more may come on top.
    pub bytes_max: usize,
    /// Rounds of acceptors that wait in the ring.
    pub ring_slots: usize,
}

impl Default for GroupLimits {
    fn default() -> Self {
        GroupLimits { events_max: 4096, bytes_max: 2 << 20, ring_slots: 4096 }
    }
}

/// What travels in the ring.
#[derive(Debug)]
pub(crate) enum Item {
    /// What one acceptor gathered, each request with its slot there.
    Requests { desk: u16, requests: Vec<(u32, Box<Submission>)> },
    /// The acceptor's probe, to be sent back.
    Probe { desk: u16, round: u64 },
    /// Something else is to be looked at: a control write, or the stop flag.
    Nudge,
}

struct ControlWrite {
    writes: Vec<Write>,
    dead: Vec<DeadDraft>,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

/// The way for everything durable that is not an event: cursors, manifests, keys. It goes ahead of the ring.
#[derive(Clone)]
pub struct Control {
    writes: Sender<ControlWrite>,
    ring: Sender<Item>,
}

impl Control {
    /// Makes the writes durable, all or none.
    ///
    /// # Errors
    /// [`Refusal::StorageFailed`] or [`Refusal::ShuttingDown`]; after the first the outcome is unknown.
    pub async fn write(&self, writes: Vec<Write>) -> Result<(), Refusal> {
        self.write_with(writes, Vec::new()).await
    }

    /// The same, and keeps dead letters with them.
    ///
    /// # Errors
    /// As [`Control::write`].
    pub async fn write_with(&self, writes: Vec<Write>, dead: Vec<DeadDraft>) -> Result<(), Refusal> {
        let (reply, answer) = oneshot::channel();
        // The channel is far larger than the number of shippers, each of which has one write under way.
        self.writes.try_send(ControlWrite { writes, dead, reply }).map_err(|_| Refusal::ShuttingDown)?;
        // A full ring means that the writer is awake and will look at the control writes first.
        self.ring.try_send(Item::Nudge).ok();
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Has the writer remove what is too old, though nothing comes in; does not wait for it.
    pub fn tidy(&self) {
        let (reply, _) = oneshot::channel();
        let (writes, dead) = (Vec::new(), Vec::new());
        // Where there is no room there is traffic, too.
        if self.writes.try_send(ControlWrite { writes, dead, reply }).is_ok() {
            self.ring.try_send(Item::Nudge).ok();
        }
    }
}

/// Ends the writer once everything handed in before is durable.
#[derive(Clone)]
pub struct StopHandle {
    stop: Arc<AtomicBool>,
    ring: Sender<Item>,
}

impl StopHandle {
    /// Asks the writer to empty the ring, close the log and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring.try_send(Item::Nudge).ok();
    }
}

/// What the writer needs besides its store.
pub struct EngineParts {
    /// The duplicate filter, loaded.
    pub dedup: Dedup,
    /// The table of idempotency keys, loaded.
    pub idempotency: Idempotency,
    /// For counting stored dead letters.
    pub reader: Reader,
    /// How many are kept.
    pub dead_letters: Arc<ArcSwap<DeadLetterLimits>>,
    /// How much one group may gather.
    pub limits: GroupLimits,
    /// This start of the daemon.
    pub incarnation: u64,
    /// How much time has passed since earlier commits.
    pub timeline: Timeline,
    /// Where commits are announced.
    pub tail: Tail,
    /// Where outcomes are announced.
    pub hub: Hub,
    /// Counters.
    pub metrics: Arc<Metrics>,
}

/// The writer, to be run in its own thread.
pub struct Engine<S> {
    store: S,
    parts: EngineParts,
    clock: Clock,
    dead: DeadLetters,
    ring: Receiver<Item>,
    control: Receiver<ControlWrite>,
    mailboxes: Vec<Arc<Mailbox>>,
    stop: Arc<AtomicBool>,
    recorder: Arc<Recorder>,
    // Reused from group to group.
    group: Vec<(u16, u32, Box<Submission>)>,
    controls: Vec<ControlWrite>,
    probes: Vec<(u16, u64)>,
    finished: Vec<Vec<(u32, Box<Submission>)>>,
    writes: Vec<Write>,
    block: BlockWriter,
    ids: IdListWriter,
    keep: Vec<std::ops::Range<usize>>,
}

impl<S: Store> Engine<S> {
    /// Builds the writer with a desk for each of `acceptors`.
    ///
    /// # Errors
    /// When stored dead letters cannot be read.
    pub fn new(
        store: S,
        parts: EngineParts,
        acceptors: usize,
    ) -> Result<(Self, Vec<DeskSeed>, Control, StopHandle), wal::ReadError> {
        let (ring_in, ring) = crossbeam_channel::bounded(parts.limits.ring_slots);
        let (control_in, control) = crossbeam_channel::bounded(1024);
        let (desks, mailboxes) = seeds(acceptors, &ring_in, &parts.metrics);
        let stop = Arc::new(AtomicBool::new(false));
        let engine = Engine {
            clock: Clock::start(parts.timeline.clone()),
            dead: load_dead(&parts)?,
            recorder: parts.metrics.recorder(),
            finished: mailboxes.iter().map(|_| Vec::new()).collect(),
            store,
            parts,
            ring,
            control,
            mailboxes,
            stop: Arc::clone(&stop),
            group: Vec::new(),
            controls: Vec::new(),
            probes: Vec::new(),
            writes: Vec::new(),
            block: BlockWriter::default(),
            ids: IdListWriter::default(),
            keep: Vec::new(),
        };
        let control = Control { writes: control_in, ring: ring_in.clone() };
        Ok((engine, desks, control, StopHandle { stop, ring: ring_in }))
    }

    /// Finds out whether acceptors and writer still turn.
    #[must_use]
    pub fn probe(&self) -> Probe {
        Probe::new(&self.mailboxes)
    }

    /// Runs until stopped or until the first failure.
    ///
    /// # Errors
    /// The first write or sync failure; everything that was waiting has been answered 503.
    pub fn run(mut self) -> Result<(), CommitError> {
        let result = self.serve();
        self.refuse_rest();
        for mailbox in &self.mailboxes {
            mailbox.close();
        }
        result.and_then(|()| self.store.close())
    }

    fn serve(&mut self) -> Result<(), CommitError> {
        while self.gather() {
            let committed = self.commit_group();
            self.resolve(committed.is_err());
            committed?;
        }
        Ok(())
    }

    /// Waits for work and takes what is there, up to the limits. False when it is time to stop and nothing is left.
    fn gather(&mut self) -> bool {
        loop {
            // Once it is to stop nobody wakes it any more: the nudge may have come with the last of the work.
            let mut item = match self.stop.load(Ordering::Acquire) {
                true => self.ring.try_recv().ok(),
                false => self.ring.recv().ok(),
            };
            let (mut events, mut bytes) = (0, 0);
            while let Some(next) = item.take() {
                match next {
                    Item::Requests { desk, requests } => {
                        for (slot, submission) in requests {
                            events += submission.batch.entries.len();
                            bytes += submission.batch.records.len();
                            self.group.push((desk, slot, submission));
                        }
                    }
                    Item::Probe { desk, round } => self.probes.push((desk, round)),
                    Item::Nudge => {}
                }
                let limits = &self.parts.limits;
                if events < limits.events_max && bytes < limits.bytes_max && self.group.len() < REQUESTS_MAX {
                    item = self.ring.try_recv().ok();
                }
            }
            // Behind the ring, where their nudges may have been among the rest.
            self.controls.extend(self.control.try_iter());
            if !self.group.is_empty() || !self.controls.is_empty() {
                return true;
            }
            self.answer_probes();
            if self.stop.load(Ordering::Acquire) && self.ring.is_empty() {
                return false;
            }
        }
    }

    /// Makes the gathered group durable and fills in the outcomes.
    fn commit_group(&mut self) -> Result<(), CommitError> {
        let started = Instant::now();
        let time = self.clock.now();
        let now = time.commit;
        let first = self.store.next();
        self.writes.clear();
        self.block.begin();
        self.ids.begin();
        self.parts.dedup.begin_group(time.age).map_err(fatal)?;
        for (_, _, submission) in &mut self.group {
            let receipt = decide(&mut self.parts.dedup, submission, now)?;
            encode(submission, &receipt, &mut self.block, &mut self.ids, &mut self.keep);
            submission.outcome = Ok(receipt);
        }
        let incarnation = self.parts.incarnation;
        self.add_small_writes(Moment { now, age: time.age, after: first.prev(), incarnation });
        let events = self.block.events();
        let bears_time = events > 0 || !self.writes.is_empty();
        self.clock.note(bears_time.then_some(now), &mut self.writes);
        if events > 0 || !self.writes.is_empty() {
            let (block, ids) = match events {
                0 => (&[][..], &[][..]),
                _ => (self.block.finish(first, now), self.ids.finish(first, now)),
            };
            let bytes = block.len();
            let group = Group { events: (events > 0).then_some((events, block, ids)), writes: &self.writes };
            let encoded = Instant::now();
            self.store.commit(&group)?;
            if bears_time {
                self.clock.committed(now);
            }
            self.recorder.record(Stage::Encode, encoded - started);
            self.recorder.record(Stage::Commit, encoded.elapsed());
            self.parts.metrics.group(events, bytes, self.group.len());
            if events > 0 {
                self.parts.tail.commit(first, events, block);
            }
        }
        assert_eq!(self.store.next(), self.parts.dedup.next_seq(), "log and dedup count the same events");
        self.parts.tail.set_next_dead(self.dead.next());
        self.parts.tail.set_oldest_id(self.parts.dedup.oldest());
        for (_, _, submission) in &mut self.group {
            if let Some(claim) = &mut submission.claim {
                claim.complete(now, time.age);
            }
        }
        self.count();
        self.announce(now);
        Ok(())
    }

    /// Counts the group's outcomes, once per group.
    fn count(&self) {
        let metrics = &self.parts.metrics;
        let (mut accepted, mut duplicate, mut differs, mut by_type) = (0, 0, 0, [0; 7]);
        for (_, _, submission) in &self.group {
            let Ok(receipt) = &submission.outcome else { continue };
            for (entry, verdict) in submission.batch.entries.iter().zip(&receipt.verdicts) {
                match verdict {
                    Verdict::Accepted(_) => {
                        accepted += 1;
                        by_type[usize::from(entry.event_type).min(6)] += 1;
                    }
                    Verdict::Duplicate { differs: other, .. } => {
                        duplicate += 1;
                        differs += u64::from(*other);
                    }
                }
            }
            for reject in &submission.rejects {
                metrics.reject(reject.rejection.code, 1);
            }
        }
        metrics.accepted.fetch_add(accepted, Ordering::Relaxed);
        metrics.duplicate.fetch_add(duplicate, Ordering::Relaxed);
        metrics.duplicate_differs.fetch_add(differs, Ordering::Relaxed);
        for (total, group) in metrics.by_type.iter().zip(by_type) {
            total.fetch_add(group, Ordering::Relaxed);
        }
    }

    /// Dead letters, idempotency records and control writes of the group.
    fn add_small_writes(&mut self, moment: Moment) {
        let needed = self.parts.tail.dead_delivered();
        // First, for it makes room. What cannot be read is not removed; whoever lists the dead letters is told.
        self.dead.expire(&self.parts.reader, self.clock.timeline(), needed, &mut self.writes).ok();
        for (_, _, submission) in &mut self.group {
            let Submission { batch, rejects, claim, outcome, .. } = &mut **submission;
            let Ok(receipt) = outcome else { continue };
            for reject in &*rejects {
                receipt.dead_letters.push(self.dead.keep(batch, reject, moment, &mut self.writes));
            }
            if let Some(claim) = claim {
                claim.store(batch, rejects, receipt, &mut self.writes);
            }
        }
        for control in &mut self.controls {
            self.writes.append(&mut control.writes);
            for draft in control.dead.drain(..) {
                self.dead.keep_accepted(&draft, moment, &mut self.writes);
            }
        }
        if !self.writes.is_empty() || !self.controls.is_empty() || self.block.events() > 0 {
            self.parts.idempotency.expire(moment.age, self.group.len(), &mut self.writes);
        }
    }

    /// Tells listeners what became of the group's events.
    fn announce(&self, at: UnixMicros) {
        if !self.parts.hub.has_listeners() {
            return;
        }
        let mut out = Vec::new();
        for (_, _, submission) in &self.group {
            let Ok(receipt) = &submission.outcome else { continue };
            let tenant: Arc<str> = Arc::from(&*submission.batch.tenant);
            for (entry, verdict) in submission.batch.entries.iter().zip(&receipt.verdicts) {
                let status = match verdict {
                    Verdict::Accepted(_) => ConfirmationStatus::Accepted,
                    Verdict::Duplicate { .. } => ConfirmationStatus::Duplicate,
                };
                let id_json = submission.batch.id_json(entry).into();
                out.push(Confirmation { tenant: Arc::clone(&tenant), id_json, seq: Some(verdict.seq()), status, at });
            }
            for reject in &submission.rejects {
                let id = reject.rejection.event_id.as_deref().unwrap_or_default();
                let text = serde_json::to_vec(id).unwrap_or_default();
                let id_json = text.get(1..text.len().saturating_sub(1)).unwrap_or_default().into();
                let status = ConfirmationStatus::Rejected;
                out.push(Confirmation { tenant: Arc::clone(&tenant), id_json, seq: None, status, at });
            }
        }
        self.parts.hub.announce(out);
    }

    /// Sends the probes back. Those that came with a group wait for its commit.
    fn answer_probes(&mut self) {
        for (desk, round) in self.probes.drain(..) {
            let mailbox = &self.mailboxes[usize::from(desk)];
            mailbox.probe.written(round);
            mailbox.ring_bell();
        }
    }

    /// Hands every request of the group back, with one wake per acceptor.
    fn resolve(&mut self, failed: bool) {
        self.answer_probes();
        for (desk, slot, mut submission) in self.group.drain(..) {
            if failed {
                submission.outcome = Err(Refusal::StorageFailed);
            }
            self.recorder.record(Stage::Queue, submission.entered.elapsed());
            self.finished[usize::from(desk)].push((slot, submission));
        }
        for (mailbox, finished) in self.mailboxes.iter().zip(&mut self.finished) {
            mailbox.deliver(finished);
        }
        for control in self.controls.drain(..) {
            // The shipper may have been stopped meanwhile.
            control.reply.send(if failed { Err(Refusal::StorageFailed) } else { Ok(()) }).ok();
        }
    }

    /// After a failure or the stop: nothing that is still in the ring was stored.
    fn refuse_rest(&mut self) {
        while let Ok(item) = self.ring.try_recv() {
            if let Item::Requests { desk, requests } = item {
                for (slot, mut submission) in requests {
                    submission.outcome = Err(Refusal::ShuttingDown);
                    self.finished[usize::from(desk)].push((slot, submission));
                }
            }
        }
        for (mailbox, finished) in self.mailboxes.iter().zip(&mut self.finished) {
            mailbox.deliver(finished);
        }
        for control in self.control.try_iter() {
            control.reply.send(Err(Refusal::ShuttingDown)).ok();
        }
    }
}

fn load_dead(parts: &EngineParts) -> Result<DeadLetters, wal::ReadError> {
    let dead = DeadLetters::load(&parts.reader, Arc::clone(&parts.dead_letters))?;
    parts.tail.set_next_dead(dead.next());
    Ok(dead)
}

/// Asks the duplicate filter about each event of a request.
fn decide(dedup: &mut Dedup, submission: &Submission, now: UnixMicros) -> Result<Receipt, CommitError> {
    let mut verdicts = Vec::with_capacity(submission.batch.entries.len());
    dedup.check(&submission.batch.entries, &mut verdicts).map_err(fatal)?;
    Ok(Receipt { committed_at: now, verdicts, dead_letters: Vec::new() })
}

/// Adds a request's new events to the block and the id list.
fn encode(
    submission: &Submission,
    receipt: &Receipt,
    block: &mut BlockWriter,
    ids: &mut IdListWriter,
    keep: &mut Vec<std::ops::Range<usize>>,
) {
    let batch = &submission.batch;
    keep.clear();
    for (entry, verdict) in batch.entries.iter().zip(&receipt.verdicts) {
        if let Verdict::Accepted(_) = verdict {
            ids.push(entry.fingerprint, entry.content);
            keep.push(entry.range());
        }
    }
    let meta = SegmentMeta {
        tenant: &batch.tenant,
        source: batch.source as u8,
        received_at: batch.received_at,
        traceparent: batch.traceparent.as_deref(),
    };
    match &batch.packed {
        _ if keep.is_empty() => {}
        _ if keep.len() < batch.entries.len() => block.some(&meta, &batch.records, keep),
        Some(packed) => block.packed(&meta, packed, batch.records.len(), keep.len() as u32),
        None => block.whole(&meta, &batch.records, keep.len() as u32),
    }
}

fn fatal(error: dedup::Error) -> CommitError {
    CommitError { reason: format!("duplicate filter failed: {error}").into() }
}
