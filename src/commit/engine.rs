//! The one writer thread: gather, drop duplicates, build one block, commit it, answer. No timer: while one group is
//! being synced the next one gathers, so batching comes from load.

use super::assemble::{decide, encode, fatal};
use super::clock::Clock;
use super::control::{Control, ControlWrite, Inbox, StopHandle};
use super::dead_letter::{DeadLetterLimits, DeadLetters, Moment};
use super::desk::{DeskSeed, Mailbox, seeds};
use super::hub::Hub;
use super::idempotency::Idempotency;
use super::letter_order::drop_repeated;
use super::outcomes;
use super::probe::Probe;
use super::store::Store;
use super::submission::Submission;
use super::tail::Tail;
use super::timeline::Timeline;
use crate::metrics::{Metrics, Recorder, Stage};
use arc_swap::ArcSwap;
use crossbeam_channel::Receiver;
use dedup::Dedup;
use event::Refusal;
use record::{BlockWriter, IdListWriter};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;
use tokio::sync::oneshot;
use wal::{CommitError, Group, Reader, Write};

/// Requests with where they come from: an acceptor's desk, or [`HANDED`], and their slot there.
pub(super) type Requests = Vec<(u16, u32, Box<Submission>)>;

/// The place of submissions that no acceptor has handed in.
const HANDED: u16 = u16::MAX;

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
    inbox: Inbox,
    mailboxes: Vec<Arc<Mailbox>>,
    stop: Arc<AtomicBool>,
    recorder: Arc<Recorder>,
    // Reused from group to group.
    group: Requests,
    /// Who waits for those that no acceptor has handed in, in their order in the group.
    waiting: Vec<oneshot::Sender<Box<Submission>>>,
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
        let (control, inbox) = Control::new(ring_in.clone());
        let (desks, mailboxes) = seeds(acceptors, &ring_in, &parts.metrics);
        let stop = Arc::new(AtomicBool::new(false));
        parts.hub.begin(store.next());
        let engine = Engine {
            clock: Clock::start(parts.timeline.clone()),
            dead: load_dead(&parts)?,
            recorder: parts.metrics.recorder(),
            finished: mailboxes.iter().map(|_| Vec::new()).collect(),
            store,
            parts,
            ring,
            inbox,
            mailboxes,
            stop: Arc::clone(&stop),
            group: Vec::new(),
            waiting: Vec::new(),
            controls: Vec::new(),
            probes: Vec::new(),
            writes: Vec::new(),
            block: BlockWriter::default(),
            ids: IdListWriter::default(),
            keep: Vec::new(),
        };
        Ok((engine, desks, control, StopHandle::new(stop, ring_in)))
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
        let reason = if result.is_ok() { Refusal::ShuttingDown } else { Refusal::StorageFailed };
        self.refuse_rest(reason);
        for mailbox in &self.mailboxes {
            mailbox.close(reason);
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
            self.controls.extend(self.inbox.writes.try_iter());
            for (slot, handed) in (0..).zip(self.inbox.handed.try_iter()) {
                self.group.push((HANDED, slot, handed.submission));
                self.waiting.push(handed.reply);
            }
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
        let entered = self.group.iter().map(|(_, _, submission)| submission.entered);
        self.recorder.record_all(Stage::Enqueue, entered.map(|entered| started.saturating_duration_since(entered)));
        let time = self.clock.now();
        let now = time.commit;
        let first = self.store.next();
        self.writes.clear();
        self.block.begin();
        self.ids.begin();
        self.parts.dedup.begin_group(time.age).map_err(fatal)?;
        for (_, _, submission) in &mut self.group {
            drop_repeated(submission, &self.parts.reader);
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
            if let Some(took) = self.store.sync_took() {
                self.recorder.record(Stage::Fsync, took);
            }
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
        outcomes::count(&self.group, &self.parts.metrics);
        outcomes::announce(&self.group, &self.parts.hub, now, self.store.next());
        Ok(())
    }

    /// Dead letters, idempotency records and control writes of the group.
    fn add_small_writes(&mut self, moment: Moment) {
        let needed = self.parts.tail.dead_delivered();
        // First, for it makes room. What cannot be read is not removed; whoever lists the dead letters is told.
        self.dead.expire(&self.parts.reader, self.clock.timeline(), needed, &mut self.writes).ok();
        for (_, _, submission) in &mut self.group {
            let Submission { batch, rejects, claim, replays, outcome, .. } = &mut **submission;
            let Ok(receipt) = outcome else { continue };
            for reject in &*rejects {
                receipt.dead_letters.push(self.dead.keep(batch, reject, moment, &mut self.writes));
            }
            if let Some(letter) = replays {
                self.dead.replayed(*letter, receipt, moment, &mut self.writes);
            }
            if let Some(claim) = claim {
                claim.store(batch, rejects, receipt, &mut self.writes);
            }
        }
        for control in &mut self.controls {
            self.writes.append(&mut control.writes);
            if let Some(order) = control.order.take() {
                control.done = self.dead.carry_out(order, &self.parts.reader, needed, &mut self.writes);
            }
            for draft in control.dead.drain(..) {
                self.dead.keep_accepted(&draft, moment, &mut self.writes);
            }
        }
        if !self.writes.is_empty() || !self.controls.is_empty() || self.block.events() > 0 {
            self.parts.idempotency.expire(moment.age, self.group.len(), &mut self.writes);
        }
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
        let mut waiting = self.waiting.drain(..);
        let now = Instant::now();
        for (desk, slot, mut submission) in self.group.drain(..) {
            if failed {
                submission.outcome = Err(Refusal::StorageFailed);
            }
            submission.settled = now;
            if desk == HANDED {
                // Whoever waited may have gone; there is nothing left to tell.
                waiting.next().map(|reply| reply.send(submission).ok());
                continue;
            }
            self.finished[usize::from(desk)].push((slot, submission));
        }
        for (mailbox, finished) in self.mailboxes.iter().zip(&mut self.finished) {
            mailbox.deliver(finished);
        }
        for control in self.controls.drain(..) {
            // The shipper may have been stopped meanwhile.
            control.reply.send(if failed { Err(Refusal::StorageFailed) } else { Ok(control.done) }).ok();
        }
    }

    /// After a failure or the stop: nothing that is still in the ring was stored.
    fn refuse_rest(&mut self, reason: Refusal) {
        while let Ok(item) = self.ring.try_recv() {
            if let Item::Requests { desk, requests } = item {
                for (slot, mut submission) in requests {
                    submission.outcome = Err(reason);
                    self.finished[usize::from(desk)].push((slot, submission));
                }
            }
        }
        for (mailbox, finished) in self.mailboxes.iter().zip(&mut self.finished) {
            mailbox.deliver(finished);
        }
        for control in self.inbox.writes.try_iter() {
            control.reply.send(Err(reason)).ok();
        }
        for handed in self.inbox.handed.try_iter() {
            let refused = Box::new(Submission { outcome: Err(reason), ..*handed.submission });
            handed.reply.send(refused).ok();
        }
    }
}

fn load_dead(parts: &EngineParts) -> Result<DeadLetters, wal::ReadError> {
    let dead = DeadLetters::load(&parts.reader, Arc::clone(&parts.dead_letters))?;
    parts.tail.set_next_dead(dead.next());
    Ok(dead)
}
