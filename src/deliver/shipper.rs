//! The loop that brings the log to one sink: fill a batch, freeze it, send it, move the cursor; and again.

use super::consumer::{Reached, fault, incarnation_in};
use super::flush::Flushes;
use super::orders::{self, Orders};
use super::{
    Backoff, Consumer, Cursor, Destination, Fault, Handle, Ledger, Letter, Manifest, Origin, Refused, Sent, Start,
    State, Status, burial, left_out,
};
use crate::commit::{Control, DeadDraft, Delivered, Tail, decode_dead_letter};
use event::{Refusal, Seq, UnixMicros};
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wal::{Family, Reader, Write};

/// How often a sink cleans up while nothing is delivered.
const TIDY_EVERY: Duration = Duration::from_secs(3600);
/// Dead letters of one batch.
const LETTERS_MAX: u64 = 1000;

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
    /// The daemon stops.
    Stop,
    /// An order was carried out: begin again.
    Order,
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
    orders: watch::Receiver<Orders>,
    backoff: Backoff,
    cursor: Cursor,
    ledger: Ledger,
    tidied: Instant,
    probe: Option<Probe>,
}

impl<D: Destination> Shipper<D> {
    /// A shipper to `destination`.
    pub fn to(destination: D, reader: Reader, control: Control, tail: Tail) -> Self {
        let status = Arc::new(Status::new(D::NAME));
        let (handle, flushes, orders) = Flushes::new(tail.clone(), status, destination.census());
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
            cursor: Cursor::default(),
            ledger: Ledger::default(),
            tidied: Instant::now(),
            probe: None,
        }
    }

    /// Sets the pauses between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets who is told of each step: for crash tests.
    #[must_use]
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
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

    /// Follows the log until `stop` turns true, then delivers what is committed, at most one more batch, and returns.
    ///
    /// Blocks on files and on the log: it wants a thread and a current-thread runtime (with time) to itself.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let halt = match self.follow(&mut stop).await {
                Ok(Left::Stop) => break,
                Ok(Left::Order) => {
                    self.give_up_batch();
                    continue;
                }
                Err(halt) => halt,
            };
            self.give_up_batch();
            let fault = match halt {
                Halt::Interrupted => return,
                Halt::Fault(Fault::Refused(refused)) => match self.bury(refused).await {
                    Ok(()) => continue,
                    Err(fault) => fault,
                },
                Halt::Fault(fault) => fault,
            };
            let ended = match fault {
                Fault::Final(reason) => self.refuse(&reason, &mut stop).await,
                fault => self.rest(&fault, &mut stop).await,
            };
            if ended == Left::Stop {
                break;
            }
        }
        if !matches!(self.status_handle().snapshot().state, State::Failed { .. } | State::Paused) {
            self.status_handle().enter(State::Stopped);
        }
    }

    /// Follows the log from the stored cursor on, until it is time to stop.
    async fn follow(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Left, Halt> {
        if self.is_paused()? {
            return Ok(self.pause(stop).await?);
        }
        self.expire().await?;
        self.begin().await?;
        loop {
            if self.has_orders()? {
                return Ok(Left::Order);
            }
            // A sender that is gone cannot say stop any more.
            let stopping = *stop.borrow() || stop.has_changed().is_err();
            if D::TAKES_DEAD && self.destination.rows() == 0 {
                self.deliver_letters().await?;
            }
            let reached = self.consumer.fill(&mut self.destination, self.tail.committed())?;
            self.note_open();
            if self.destination.rows() > 0 {
                self.step(Step::Filled)?;
            }
            let sends = self.is_time_to_send(reached, stopping);
            if sends {
                self.deliver().await?;
            }
            let idle = self.destination.rows() == 0;
            if idle && reached == Reached::End {
                // What lies between the cursor and here is a known gap, or left out.
                self.flushes.answer(self.consumer.next().max(self.cursor.next));
                self.works();
            }
            if stopping && (sends || idle && reached == Reached::End) {
                return Ok(Left::Stop);
            }
            if reached == Reached::End {
                self.wait(stop).await;
            }
            if self.tidied.elapsed() >= TIDY_EVERY {
                self.tidy();
            }
        }
    }

    /// Finds the place to go on, and brings what was frozen before a crash to its end.
    async fn begin(&mut self) -> Result<(), Halt> {
        let stored = Cursor::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let stored = stored.transpose().map_err(Fault::Final)?;
        let passed = self.passed()?;
        let begin = self.beginning();
        let at = stored.unwrap_or(begin);
        let ledger = Ledger::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let frozen = self.frozen(at).await?;
        let end = Cursor { next: self.tail.committed().next(), next_dead: self.tail.next_dead() };
        let since = self.consumer.committed_at(at.next.prev())?;
        let history = self.consumer.learn_history()?;
        let start = Start { stored, begin, passed, end, since, history, frozen: &frozen };
        let found = self.destination.start(&start).await?;
        self.ledger = ledger.unwrap_or_else(|| Ledger::new(at.next));
        let left_out = left_out::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        // The sink had more than was stored here: all of it but what it was not to get.
        let moved = found.next.since(at.next);
        let dead = left_out.range(at.next..found.next.max(at.next)).count() as u64;
        self.ledger.dead += dead;
        self.ledger.delivered += moved - dead;
        self.cursor = found;
        if stored != Some(found) || ledger != Some(self.ledger) || passed.is_some() {
            // Stored at once: from now on the log waits for it.
            let stores = [self.cursor.store(D::NAME), self.ledger.store(D::NAME), Cursor::forget_passed(D::NAME)];
            self.write(stores.into()).await?;
        }
        self.consumer.leave_out(left_out);
        self.note_cursor();
        for batch in &frozen {
            self.settle(batch).await?;
        }
        self.consumer.seek(self.cursor.next);
        self.tidy();
        Ok(())
    }

    /// Where a new sink begins: it gets all that the log still has.
    fn beginning(&self) -> Cursor {
        Cursor { next: self.reader.start().max(Seq::FIRST), next_dead: u64::from(D::TAKES_DEAD) }
    }

    fn passed(&self) -> Result<Option<Cursor>, Fault> {
        let passed = Cursor::passed(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        passed.transpose().map_err(Fault::Final)
    }

    /// The batches whose outcome is not known.
    async fn frozen(&self, cursor: Cursor) -> Result<Vec<Manifest>, Halt> {
        let frozen = Manifest::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let frozen: Vec<_> = frozen.into_iter().collect::<Result<_, _>>().map_err(Fault::Final)?;
        let is_open = |batch: &Manifest| match batch.dead {
            true => batch.last.get() >= cursor.next_dead,
            false => batch.last >= cursor.next,
        };
        let (open, done): (Vec<_>, Vec<_>) = frozen.into_iter().partition(is_open);
        // A repair of the log may bring back what was done long ago.
        if !done.is_empty() {
            self.write(done.iter().map(|batch| batch.remove(D::NAME)).collect()).await?;
        }
        Ok(open)
    }

    /// Brings a batch that was frozen before to its end.
    async fn settle(&mut self, batch: &Manifest) -> Result<(), Halt> {
        if let Some(sent) = self.destination.find(batch).await? {
            return self.advance(batch, sent).await;
        }
        match batch.dead {
            true => drop(self.fill_letters(batch.first.get(), Some(batch.last.get()))?),
            false => self.consumer.refill(&mut self.destination, batch.first..=batch.last)?,
        }
        if self.destination.rows() == 0 {
            self.status_handle().note(&format!("{}..={} are no longer in the log", batch.first, batch.last));
            return self.advance(&Manifest { rows: 0, ..batch.clone() }, Sent::default()).await;
        }
        self.step(Step::Filled)?;
        let rewritten = self.destination.freeze(Some(batch))?;
        self.step(Step::Frozen)?;
        if rewritten != *batch {
            // Only after a repair has taken damaged events out of the log.
            let text = format!("{}..={} are not all in the log any more", batch.first, batch.last);
            self.status_handle().note(&text);
            self.write(vec![batch.remove(D::NAME), rewritten.store(D::NAME)]).await?;
        }
        self.step(Step::ManifestStored)?;
        let sent = self.destination.send(&rewritten, true).await?;
        self.step(Step::Sent)?;
        self.advance(&rewritten, sent).await
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
        let sent = self.destination.send(&batch, false).await?;
        self.step(Step::Sent)?;
        self.advance(&batch, sent).await?;
        self.tidy();
        Ok(())
    }

    /// Sends the dead letters that are there.
    async fn deliver_letters(&mut self) -> Result<(), Halt> {
        while self.fill_letters(self.cursor.next_dead, None)? > 0 {
            self.deliver().await?;
        }
        Ok(())
    }

    /// Brings dead letters into the open batch, up to and including `last` or as many as it takes; returns how many.
    fn fill_letters(&mut self, from: u64, last: Option<u64>) -> Result<u64, Fault> {
        let until = last.map_or_else(|| self.tail.next_dead().min(from.saturating_add(LETTERS_MAX)), |last| last + 1);
        if from >= until {
            return Ok(0);
        }
        let history = self.consumer.learn_history()?.to_vec();
        let destination = &mut self.destination;
        let mut outcome = Ok(());
        let read = self.reader.scan(Family::Dead, &from.to_be_bytes(), |key, value| {
            let id = key.try_into().map_or(u64::MAX, u64::from_be_bytes);
            let Some((head, raw)) = decode_dead_letter(value).filter(|_| id < until) else {
                return if id < until { ControlFlow::Continue(()) } else { ControlFlow::Break(()) };
            };
            let committed_at =
                UnixMicros::new(if head.committed_at > 0 { head.committed_at } else { head.received_at });
            let origin = Origin { incarnation: incarnation_in(&history, Seq::new(head.after)), committed_at };
            if last.is_none() && (destination.is_full() || !destination.admits(origin)) {
                return ControlFlow::Break(());
            }
            outcome = destination.add_dead(&Letter { id, head: &head, raw }, origin);
            if outcome.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        read.map_err(|error| fault(&error))?;
        outcome?;
        Ok(self.destination.rows())
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
            let left_out = self.consumer.left_out_of(self.cursor.next..=batch.last);
            ledger.dead += dead + left_out;
            ledger.delivered += batch.rows.saturating_sub(dead);
            ledger.lost += positions.saturating_sub(batch.rows + left_out);
            writes.push(ledger.store(D::NAME));
            if left_out > 0 {
                writes.push(left_out::forget_before(D::NAME, cursor.next));
            }
        }
        let letters = self.drafts(&sent.refused)?;
        self.move_cursor(cursor, ledger, writes, letters).await?;
        self.step(Step::CursorStored)?;
        self.works();
        Ok(())
    }

    async fn move_cursor(
        &mut self,
        cursor: Cursor,
        ledger: Ledger,
        mut writes: Vec<Write>,
        letters: Vec<DeadDraft>,
    ) -> Result<(), Fault> {
        writes.push(cursor.store(D::NAME));
        self.write_with(writes, letters).await?;
        (self.cursor, self.ledger) = (cursor, ledger);
        self.note_cursor();
        self.note_open();
        self.flushes.answer(cursor.next);
        Ok(())
    }

    /// Makes dead letters of events that the sink can never take; from then on it does not get them.
    async fn bury(&mut self, refused: Vec<Refused>) -> Result<(), Fault> {
        let letters = self.drafts(&refused)?;
        let marks = refused.iter().map(|refused| left_out::mark(D::NAME, refused.seq)).collect();
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
            Fault::Final(reason.into())
        })
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) {
        let (next, next_dead) = (self.consumer.next(), self.cursor.next_dead);
        let is_open = self.destination.rows() > 0;
        let clean_up = self.tidied + TIDY_EVERY;
        let due = self.destination.due().map_or(clean_up, |due| due.min(clean_up));
        let Shipper { tail, flushes, orders, .. } = self;
        let gathered = async {
            tail.reaches(next).await;
            tokio::time::sleep(D::LINGER).await;
        };
        let died = async {
            match D::TAKES_DEAD && !is_open {
                true => tail.dead_reaches(next_dead).await,
                false => std::future::pending().await,
            }
        };
        tokio::select! {
            // An error means that the sender is gone, which the loop looks at itself.
            _ = stop.changed() => {}
            // Never an error: the sink itself keeps a handle.
            _ = orders.changed() => {}
            () = flushes.arrive() => {}
            () = gathered => {}
            () = died => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }

    /// Whether there is an order that the running loop cannot carry out.
    fn has_orders(&mut self) -> Result<bool, Fault> {
        let orders = *self.orders.borrow_and_update();
        Ok(orders.expire_until > self.cursor.next || self.is_paused()?)
    }

    fn is_paused(&self) -> Result<bool, Fault> {
        let ordered = self.orders.borrow().paused;
        match ordered {
            Some(paused) => Ok(paused),
            None => orders::was_paused(&self.reader, D::NAME).map_err(|error| fault(&error)),
        }
    }

    /// Rests until it is to go on.
    async fn pause(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Left, Fault> {
        self.give_up_batch();
        self.write(vec![orders::store_paused(D::NAME, true)]).await?;
        self.status_handle().enter(State::Paused);
        while self.is_paused()? {
            self.flushes.refuse("it is paused");
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Ok(Left::Stop),
                () = self.flushes.arrive() => {}
                _ = self.orders.changed() => self.expire().await?,
            }
        }
        self.write(vec![orders::store_paused(D::NAME, false)]).await?;
        Ok(Left::Order)
    }

    /// Gives up what is to be given up, if anything.
    async fn expire(&mut self) -> Result<(), Fault> {
        let until = self.orders.borrow_and_update().expire_until.min(self.tail.committed().next());
        let stored = Cursor::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        // A sink that could never be reached has no place yet.
        let stored = stored.transpose().map_err(Fault::Final)?;
        let mut cursor = stored.unwrap_or_else(|| self.beginning());
        if until <= cursor.next {
            return Ok(());
        }
        let nothing = Cursor { next: Seq::FIRST, next_dead: u64::from(D::TAKES_DEAD) };
        let passed = self.passed()?.or(stored).unwrap_or(nothing);
        let ledger = Ledger::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let mut ledger = ledger.unwrap_or_else(|| Ledger::new(cursor.next));
        let given_up = until.since(cursor.next);
        ledger.expired += given_up;
        let text = format!("{given_up} events from {} on were given up undelivered", cursor.next);
        self.status_handle().note(&text);
        cursor.next = until;
        let frozen = Manifest::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let overtaken = frozen.into_iter().flatten().filter(|batch| !batch.dead && batch.first < until);
        let mut writes: Vec<_> = overtaken.map(|batch| batch.remove(D::NAME)).collect();
        writes.extend([ledger.store(D::NAME), passed.store_passed(D::NAME), left_out::forget_before(D::NAME, until)]);
        self.move_cursor(cursor, ledger, writes, Vec::new()).await
    }

    /// After a fault that may pass: waits before the next attempt.
    async fn rest(&mut self, fault: &Fault, stop: &mut watch::Receiver<bool>) -> Left {
        let pause = self.backoff.next_pause();
        self.status_handle().retrying(&fault.to_string(), self.backoff.failures(), pause);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Left::Stop,
            // Whatever it is that somebody wants, it begins with another attempt.
            _ = self.orders.changed() => Left::Order,
            () = tokio::time::sleep(pause) => Left::Order,
        }
    }

    /// After a final fault: nothing will be delivered until an operator says so, or the daemon starts again.
    async fn refuse(&mut self, reason: &str, stop: &mut watch::Receiver<bool>) -> Left {
        self.status_handle().failed(reason);
        let revivals = self.orders.borrow().revivals;
        loop {
            self.flushes.refuse(reason);
            tokio::select! {
                // An error means that the sender is gone: the daemon is being torn down.
                _ = stop.wait_for(|stop| *stop) => return Left::Stop,
                () = self.flushes.arrive() => {}
                _ = self.orders.changed() => {
                    if let Err(fault) = self.expire().await {
                        self.status_handle().note(&fault.to_string());
                    }
                    if self.orders.borrow().revivals > revivals {
                        self.destination.revive();
                        return Left::Order;
                    }
                }
            }
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
