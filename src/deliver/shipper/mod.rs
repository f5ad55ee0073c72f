//! The loop that brings the log to one sink: fill a batch, freeze it, send it, move the cursor; and again.
//!
//! What it is about may be broken off anywhere: by an order that has waited too long, by the end of the daemon. The next
//! [beginning](begin) then finds what a crash would have left.

mod begin;
mod halted;
mod letters;

use super::consumer::Reached;
use super::flush::Flushes;
use super::orders::Orders;
use super::{
    Backoff, Consumer, Cursor, Destination, FailureCode, Fault, Handle, Ledger, Manifest, Refused, Sent, State, Status,
    burial, left_out,
};
use crate::commit::{Control, DeadDraft, Delivered, Tail};
use crate::metrics::{Recorder, Stage};
use crate::traces::Tracer;
use event::{Refusal, Seq, UnixMicros};
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wal::{Reader, Write};

/// How often a sink cleans up while nothing is delivered.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// How often a sink that has nothing to send looks whether the other side is still there.
const PING_EVERY: Duration = Duration::from_secs(10);
/// How long a stop may take, unless somebody says otherwise.
const DRAIN: Duration = Duration::from_secs(20);

/// The moments in the life of a batch between which a crash makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Events were added to the open batch.
    Filled,
    /// The batch is whole and nobody knows of it.
    Frozen,
    /// Its manifest is durable.
    ManifestStored,
    /// The sink has it.
    Sent,
    /// The cursor is past it.
    CursorStored,
}

/// Is told of each [`Step`]; when it returns true, the shipper ends on the spot as by kill -9. For crash tests.
pub type Probe = Box<dyn FnMut(Step) -> bool + Send>;

/// Why the loop was left early.
enum Halt {
    /// A [`Probe`] said so.
    Interrupted,
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

/// Why the log is no longer followed.
#[derive(PartialEq, Eq)]
enum Left {
    /// The daemon stops, and this sink is done or cannot go on.
    Stop,
    /// The daemon stops and waits no longer.
    Overdue,
    /// Begin again.
    Again,
}

/// One sink, not running yet.
pub struct Shipper<D> {
    destination: D,
    reader: Reader,
    consumer: Consumer,
    control: Control,
    tail: Tail,
    handle: Handle,
    flushes: Flushes,
    orders: Orders,
    backoff: Backoff,
    drain: Box<dyn Fn() -> Duration + Send>,
    cursor: Cursor,
    ledger: Ledger,
    /// The first dead letter that was not looked for yet.
    next_letter: u64,
    /// Batches that are frozen already and lie ahead: they are sent as they are once their turn comes.
    ahead: Vec<Manifest>,
    /// Whether the tail knows what became of events in earlier starts.
    has_told_past: bool,
    /// Whether the destination has failed for good and is to be revived before it goes on.
    has_failed: bool,
    tidied: Instant,
    pinged: Instant,
    probe: Option<Probe>,
    recorder: Option<Arc<Recorder>>,
    tracer: Tracer,
}

impl<D: Destination> Shipper<D> {
    /// A shipper to `destination`.
    pub fn to(destination: D, reader: Reader, control: Control, tail: Tail) -> Self {
        let status = Arc::new(Status::new(D::NAME));
        let (handle, flushes, orders) = Handle::new(tail.clone(), status, destination.census());
        Shipper {
            destination,
            consumer: Consumer::new(reader.clone(), tail.clone(), Seq::FIRST),
            reader,
            control,
            tail,
            handle,
            flushes,
            orders,
            backoff: Backoff::default(),
            drain: Box::new(|| DRAIN),
            cursor: Cursor::default(),
            ledger: Ledger::default(),
            next_letter: 0,
            ahead: Vec::new(),
            has_told_past: false,
            has_failed: false,
            tidied: Instant::now(),
            pinged: Instant::now(),
            probe: None,
            recorder: None,
            tracer: Tracer::default(),
        }
    }

    /// Sets the pauses between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets how long a stop may take: asked when it begins.
    #[must_use]
    pub fn with_drain(mut self, drain: impl Fn() -> Duration + Send + 'static) -> Self {
        self.drain = Box::new(drain);
        self
    }

    /// Sets who is told of each step: for crash tests.
    #[must_use]
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// Sets where it records how long batches take.
    #[must_use]
    pub fn with_recorder(mut self, recorder: Arc<Recorder>) -> Self {
        self.recorder = Some(recorder);
        self
    }

    /// Sets where spans of its batches go.
    #[must_use]
    pub fn with_tracer(mut self, tracer: Tracer) -> Self {
        self.consumer.note_traces(tracer.is_on());
        self.tracer = tracer;
        self
    }

    /// What the sink says of itself.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(self.handle.status())
    }

    /// For asking it while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Follows the log until `stop` turns true, then delivers what is committed, as long as that works and takes no
    /// longer than a stop may, and returns.
    ///
    /// Blocks on files and on the log: it wants a thread and a current-thread runtime (with time) to itself.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        let orders = self.orders.clone();
        let drain = std::mem::replace(&mut self.drain, Box::new(|| DRAIN));
        let overdue = overdue(stop.clone(), drain);
        tokio::pin!(overdue);
        loop {
            // Not broken off by a further order, which would leave the first one half done.
            let followed = match self.take_orders().await {
                Err(fault) => Err(fault.into()),
                Ok(()) => tokio::select! {
                    biased;
                    followed = self.follow(&mut stop) => followed,
                    () = &mut overdue => Ok(Left::Overdue),
                    () = orders.pressing() => Ok(Left::Again),
                },
            };
            self.give_up_batch();
            let left = match followed {
                Ok(left) => left,
                Err(Halt::Interrupted) => return orders.close(),
                Err(Halt::Fault(fault)) => self.meet(fault, &mut stop).await,
            };
            match left {
                Left::Again => {}
                Left::Stop => break,
                Left::Overdue => {
                    let missing = self.tail.committed().next().since(self.cursor.next);
                    self.status_handle().note(&format!("the stop came before {missing} events were delivered"));
                    break;
                }
            }
        }
        orders.close();
        if !matches!(self.status_handle().snapshot().state, State::Failed { .. } | State::Paused) {
            self.status_handle().enter(State::Stopped);
        }
    }

    /// Does what a fault asks for.
    async fn meet(&mut self, fault: Fault, stop: &mut watch::Receiver<bool>) -> Left {
        let fault = match fault {
            Fault::Refused(refused) => match self.bury(refused).await {
                Ok(()) => return Left::Again,
                Err(fault) => fault,
            },
            fault => fault,
        };
        match fault {
            Fault::Final(reason) => self.refuse(&reason, stop).await,
            fault => self.rest(&fault, stop).await,
        }
    }

    /// Follows the log from the stored cursor on, until it is time to stop.
    async fn follow(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Left, Halt> {
        if self.is_paused()? {
            return Ok(self.pause(stop).await?);
        }
        self.begin().await?;
        if self.status_handle().snapshot().state == State::Connecting {
            self.status_handle().enter(State::Running);
        }
        loop {
            if self.orders.are_waiting() {
                return Ok(Left::Again);
            }
            // A sender that is gone cannot say stop any more.
            let stopping = *stop.borrow() || stop.has_changed().is_err();
            if D::TAKES_DEAD && self.destination.rows() == 0 {
                self.deliver_letters().await?;
            }
            if self.destination.rows() == 0
                && let Some(batch) = self.take_ahead(false)
            {
                self.settle(&batch).await?;
                self.consumer.seek(self.cursor.next);
                continue;
            }
            let reached = self.fill()?;
            self.note_open();
            if self.destination.rows() > 0 {
                self.step(Step::Filled)?;
            }
            if self.is_time_to_send(reached, stopping) {
                self.deliver().await?;
            }
            let is_idle = self.destination.rows() == 0 && reached == Reached::End;
            if is_idle {
                if self.pass_what_is_gone().await? && !D::FREEZES {
                    // It says itself how far it has everything, so it is to be told.
                    return Ok(Left::Again);
                }
                self.works();
                self.flushes.answer(self.cursor.next);
            }
            if stopping && is_idle && !self.has_letters() {
                return Ok(Left::Stop);
            }
            if reached == Reached::End && !stopping {
                self.wait(stop).await;
            }
            if is_idle && self.pinged.elapsed() >= PING_EVERY {
                let asked = Instant::now();
                self.destination.ping().await?;
                self.pinged = Instant::now();
                self.status_handle().update(|snapshot| snapshot.latency = Some(asked.elapsed()));
            }
            if self.tidied.elapsed() >= TIDY_EVERY {
                self.tidy();
            }
        }
    }

    /// Brings events into the open batch, up to those that belong to a batch that is frozen already.
    fn fill(&mut self) -> Result<Reached, Fault> {
        let bound = self.ahead.iter().find(|batch| !batch.dead).map(|batch| batch.first);
        if bound.is_some_and(|bound| bound <= self.consumer.next()) {
            return Ok(Reached::BatchFull);
        }
        let committed = self.tail.committed();
        let until = bound.map_or(committed, |bound| bound.prev().min(committed));
        let reached = self.consumer.fill(&mut self.destination, until)?;
        let is_there = bound.is_some_and(|bound| bound <= self.consumer.next());
        Ok(if is_there { Reached::BatchFull } else { reached })
    }

    /// The frozen batch, of events or of dead letters, that is next in line, if the next one was frozen before.
    fn take_ahead(&mut self, dead: bool) -> Option<Manifest> {
        let next = if dead { Seq::new(self.next_letter) } else { self.consumer.next() };
        let place = self.ahead.iter().position(|batch| batch.dead == dead && batch.first <= next)?;
        Some(self.ahead.remove(place))
    }

    fn is_time_to_send(&mut self, reached: Reached, stopping: bool) -> bool {
        self.destination.rows() > 0
            && (reached == Reached::BatchFull
                || self.destination.is_full()
                || self.destination.due().is_some_and(|due| due <= Instant::now())
                || reached == Reached::End && stopping
                || self.flushes.wants(self.consumer.next()))
    }

    /// Sends the open batch and moves the cursor.
    async fn deliver(&mut self) -> Result<(), Halt> {
        let batch = self.destination.freeze(None)?;
        self.step(Step::Frozen)?;
        if D::FREEZES {
            self.write(vec![batch.store(D::NAME)]).await?;
        }
        self.step(Step::ManifestStored)?;
        let sent = match self.send(&batch, false).await {
            Err(Fault::Unsent(reason)) => {
                // Nobody has a part of it, so it is bound to nothing.
                self.write(vec![batch.remove(D::NAME)]).await?;
                return Err(Fault::Retry(reason).into());
            }
            sent => sent?,
        };
        self.step(Step::Sent)?;
        self.advance(&batch, sent).await?;
        self.tidy();
        Ok(())
    }

    /// Brings the batch to the sink, and records how long that took.
    async fn send(&mut self, batch: &Manifest, again: bool) -> Result<Sent, Fault> {
        let started = Instant::now();
        let sent = self.destination.send(batch, again).await?;
        let took = started.elapsed();
        if let Some(recorder) = &self.recorder {
            recorder.record(Stage::Ship, took);
        }
        self.status_handle().update(|snapshot| snapshot.latency = Some(took));
        self.tracer.shipped(D::NAME, started, batch.rows, self.consumer.take_traces());
        Ok(sent)
    }

    /// The sink has the batch: moves the cursor behind it and counts it.
    async fn advance(&mut self, batch: &Manifest, sent: Sent) -> Result<(), Halt> {
        let dead = sent.refused.len() as u64;
        // Counted before the cursor moves, for whoever waits for the cursor reads the counts next.
        self.status_handle().update(|snapshot| {
            snapshot.rows += batch.rows.saturating_sub(dead);
            snapshot.last_rows = batch.rows;
            snapshot.batches += 1;
            snapshot.bytes += sent.bytes;
            snapshot.last_delivery = Some(UnixMicros::now());
        });
        let mut writes = vec![batch.remove(D::NAME)];
        let mut cursor = self.cursor;
        let mut ledger = self.ledger;
        if batch.dead {
            cursor.next_dead = batch.last.get() + 1;
        } else {
            cursor.next = batch.last.next();
            let positions = cursor.next.since(self.cursor.next);
            let range = self.cursor.next..=batch.last;
            let left_out = self.consumer.left_out_of(range.clone());
            let missing = positions.saturating_sub(batch.rows + left_out);
            let erased = if missing > 0 { self.note_erased(&range)?.min(missing) } else { 0 };
            ledger.dead += dead + left_out;
            ledger.delivered += batch.rows.saturating_sub(dead);
            ledger.expired += erased;
            ledger.lost += missing - erased;
            if left_out > 0 {
                writes.push(left_out::forget_before(D::NAME, cursor.next));
            }
        }
        let letters = self.drafts(&sent.refused)?;
        // Said before the cursor moves: whoever is told of the place may ask at once how the sink is.
        self.works();
        self.move_cursor(cursor, ledger, writes, letters).await?;
        self.step(Step::CursorStored)?;
        self.pinged = Instant::now();
        Ok(())
    }

    /// How many of a range's events were erased, so that the sink does not get them; tells those who wait for one.
    fn note_erased(&mut self, range: &RangeInclusive<Seq>) -> Result<u64, Fault> {
        let erased = self.consumer.erased_in(range)?;
        erased.iter().for_each(|seq| self.tail.set_expired(D::NAME, *seq..=*seq));
        Ok(erased.len() as u64)
    }

    /// Moves the cursor behind what the sink is not to get (erased, a gap that a repair recorded, its dead letters), where
    /// nothing comes after it that would take the cursor along: or it counted as pending for as long as nothing comes in.
    /// Returns whether there was any.
    async fn pass_what_is_gone(&mut self) -> Result<bool, Fault> {
        let (from, to) = (self.cursor.next, self.consumer.next());
        if to <= from {
            return Ok(false);
        }
        let range = from..=to.prev();
        let dead = self.consumer.left_out_of(range.clone());
        let erased = self.note_erased(&range)?;
        let mut ledger = self.ledger;
        ledger.dead += dead;
        ledger.expired += erased;
        ledger.lost += to.since(from).saturating_sub(dead + erased);
        let mut writes = vec![left_out::forget_before(D::NAME, to)];
        if !D::FREEZES && self.passed()?.is_none() {
            writes.push(self.cursor.store_passed(D::NAME));
        }
        self.move_cursor(Cursor { next: to, ..self.cursor }, ledger, writes, Vec::new()).await?;
        Ok(true)
    }

    /// Stores a place and its account, with what else belongs to them; only then they count here, too.
    async fn move_cursor(
        &mut self,
        cursor: Cursor,
        ledger: Ledger,
        mut writes: Vec<Write>,
        letters: Vec<DeadDraft>,
    ) -> Result<(), Fault> {
        writes.extend([cursor.store(D::NAME), ledger.store(D::NAME)]);
        self.write_with(writes, letters).await?;
        let refused = ledger.dead.saturating_sub(self.ledger.dead);
        self.status_handle().update(|snapshot| snapshot.refused += refused);
        (self.cursor, self.ledger) = (cursor, ledger);
        self.next_letter = self.next_letter.max(cursor.next_dead);
        self.note_cursor();
        self.note_open();
        self.flushes.answer(cursor.next);
        Ok(())
    }

    /// Makes dead letters of events that the sink can never take; from then on it does not get them.
    async fn bury(&mut self, refused: Vec<Refused>) -> Result<(), Fault> {
        let letters = self.drafts(&refused)?;
        // Of one that was erased meanwhile there is no letter: it is passed over as such.
        let kept = letters.iter().filter_map(|draft| draft.letter.seq);
        let marks = kept.map(|seq| left_out::mark(D::NAME, Seq::new(seq))).collect();
        self.write_with(marks, letters).await
    }

    fn drafts(&self, refused: &[Refused]) -> Result<Vec<DeadDraft>, Fault> {
        refused.iter().for_each(|refused| self.tail.set_dead(D::NAME, refused.seq));
        if let Some(first) = refused.first() {
            let text = format!("{} events are refused, the first, {}: {}", refused.len(), first.seq, first.detail);
            self.status_handle().note(&text);
        }
        burial::drafts(&self.reader, D::NAME, refused)
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Fault> {
        self.write_with(writes, Vec::new()).await
    }

    async fn write_with(&self, writes: Vec<Write>, letters: Vec<DeadDraft>) -> Result<(), Fault> {
        self.control.write_with(writes, letters).await.map_err(|refusal| {
            let reason = match refusal {
                Refusal::ShuttingDown => "the log was closed before the sink had stopped",
                _ => "the log cannot be written any more",
            };
            Fault::of(FailureCode::LogClosed, reason)
        })
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) {
        let (next, next_letter) = (self.consumer.next(), self.next_letter);
        let is_open = self.destination.rows() > 0;
        let clean_up = self.tidied + TIDY_EVERY;
        let due = match is_open {
            true => self.destination.due().unwrap_or(clean_up),
            false => self.pinged + PING_EVERY,
        };
        let due = due.min(clean_up);
        let Shipper { tail, flushes, orders, .. } = self;
        let gathered = async {
            tail.reaches(next).await;
            tokio::time::sleep(D::LINGER).await;
        };
        let died = async {
            match D::TAKES_DEAD && !is_open {
                true => tail.dead_reaches(next_letter).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the sender is gone, which the loop looks at itself.
            _ = stop.changed() => {}
            () = orders.arrived() => {}
            () = flushes.arrive() => {}
            () = gathered => {}
            () = died => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }

    fn tidy(&mut self) {
        self.tidied = Instant::now();
        match self.destination.tidy() {
            Ok(0) => {}
            Ok(removed) => self.status_handle().update(|snapshot| snapshot.expired += removed),
            Err(fault) => self.status_handle().note(&fault.to_string()),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Halt> {
        let interrupted = self.probe.as_mut().is_some_and(|probe| probe(step));
        if interrupted { Err(Halt::Interrupted) } else { Ok(()) }
    }

    fn status_handle(&self) -> &Status {
        self.handle.status()
    }

    fn works(&mut self) {
        self.backoff.reset();
        self.status_handle().enter(State::Running);
    }

    fn give_up_batch(&mut self) {
        self.destination.discard();
        self.consumer.take_traces();
        self.note_open();
    }

    fn note_cursor(&self) {
        let Cursor { next, next_dead } = self.cursor;
        self.tail.set_delivered(D::NAME, Delivered { next, next_dead });
        self.status_handle().update(|snapshot| {
            (snapshot.cursor, snapshot.next_dead, snapshot.ledger) = (next, next_dead, self.ledger);
        });
    }

    fn note_open(&mut self) {
        let unreadable = self.destination.take_unreadable();
        let (rows, oldest) = (self.destination.rows(), self.destination.oldest());
        let from_log = self.consumer.events_from_log();
        self.status_handle().update(|snapshot| {
            snapshot.unreadable += unreadable;
            snapshot.from_log = from_log;
            snapshot.in_flight = rows;
            snapshot.oldest_in_flight = oldest;
        });
    }
}

/// Waits until a stop has taken as long as it may.
async fn overdue(mut stop: watch::Receiver<bool>, drain: impl Fn() -> Duration) {
    // An error means that the sender is gone: nobody can say stop any more.
    stop.wait_for(|stop| *stop).await.ok();
    tokio::time::sleep(drain()).await;
}
