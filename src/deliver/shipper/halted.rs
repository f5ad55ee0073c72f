//! What a sink does while it does not follow the log: rests after a fault, is paused, has failed; and the orders that
//! change its place.

use super::{Left, Shipper};
use crate::deliver::consumer::fault;
use crate::deliver::orders::{self, Order, OrderError};
use crate::deliver::reconciled::Reconciled;
use crate::deliver::{Cursor, Destination, Fault, Manifest, State, expired, given_up, left_out};
use event::{Seq, UnixMicros};
use std::time::Duration;
use tokio::sync::watch;
use wal::Write;

/// The least rest after a fault.
const REST_MIN: Duration = Duration::from_millis(50);

impl<D: Destination> Shipper<D> {
    pub(super) fn is_paused(&self) -> Result<bool, Fault> {
        orders::is_paused(&self.reader, D::NAME).map_err(|error| fault(&error))
    }

    /// Takes the sink's place, and carries out the orders that wait.
    pub(super) async fn take_orders(&mut self) -> Result<(), Fault> {
        self.take_place().await?;
        self.obey().await.map(drop)
    }

    /// Carries out the orders that wait, each answered when it is durable; returns whether the sink is to begin again.
    pub(super) async fn obey(&mut self) -> Result<bool, Fault> {
        let mut begins = false;
        while let Some(given) = self.orders.take() {
            let done = self.carry_out(given.order).await;
            // What was refused has changed nothing.
            begins |=
                matches!(done, Ok(Ok(_))) && matches!(given.order, Order::Pause | Order::Resume | Order::Reconcile(_));
            match done {
                Ok(answer) => given.answer(answer.map_err(OrderError::Refused)),
                Err(fault) => {
                    given.answer(Err(OrderError::Refused(fault.to_string())));
                    return Err(fault);
                }
            }
        }
        Ok(begins)
    }

    /// Returns where the sink goes on, or why the order cannot be carried out.
    async fn carry_out(&mut self, order: Order) -> Result<Result<Seq, String>, Fault> {
        match order {
            Order::Pause => self.write(vec![orders::store_paused(D::NAME, true)]).await?,
            Order::Resume => {
                self.write(vec![orders::store_paused(D::NAME, false)]).await?;
                self.revive();
            }
            Order::Skip(until) => self.give_up(until).await?,
            // The batch was given up before.
            Order::Reread => {}
            // One that follows the log again is on its way, however long that is; and one may yet be reached.
            Order::Expire(_) if matches!(self.status_handle().snapshot().state, State::Running | State::Connecting) => {
            }
            Order::Expire(until) => self.give_up(until).await?,
            Order::Reconcile(from) => return self.reconcile(from).await,
        }
        Ok(Ok(self.cursor.next))
    }

    fn revive(&mut self) {
        self.backoff.reset();
        if std::mem::replace(&mut self.has_failed, false) {
            self.destination.revive();
        }
    }

    /// Rests until it is to go on.
    pub(super) async fn pause(&mut self, stop: &mut watch::Receiver<bool>) -> Result<Left, Fault> {
        self.status_handle().enter(State::Paused);
        let orders = self.orders.clone();
        loop {
            self.flushes.refuse("it is paused");
            tokio::select! {
                // An error means that the sender is gone: the daemon is being torn down.
                _ = stop.wait_for(|stop| *stop) => return Ok(Left::Stop),
                () = self.flushes.arrive() => {}
                () = orders.arrived() => return Ok(Left::Again),
            }
        }
    }

    /// After a fault that may pass: waits before the next attempt.
    pub(super) async fn rest(&mut self, fault: &Fault, stop: &mut watch::Receiver<bool>) -> Left {
        let pause = self.backoff.next_pause();
        self.status_handle().retrying(&fault.to_string(), self.backoff.failures(), pause);
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => Left::Stop,
            // Whatever it is that somebody wants, it begins with another attempt; not at once, for the fault may be that
            // no order can be carried out.
            () = async { tokio::time::sleep(REST_MIN).await; self.orders.arrived().await } => Left::Again,
            () = tokio::time::sleep(pause) => Left::Again,
        }
    }

    /// After a final fault: nothing will be delivered until an operator says so, or the daemon starts again.
    pub(super) async fn refuse(&mut self, reason: &str, stop: &mut watch::Receiver<bool>) -> Left {
        self.status_handle().failed(reason);
        self.has_failed = true;
        let orders = self.orders.clone();
        loop {
            self.flushes.refuse(reason);
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return Left::Stop,
                () = self.flushes.arrive() => {}
                () = orders.arrived() => match self.obey().await {
                    Ok(true) => return Left::Again,
                    Ok(false) => {}
                    Err(fault) => self.status_handle().note(&fault.to_string()),
                },
            }
        }
    }

    /// Gives up what the sink has not got before `until`.
    ///
    /// A batch of which nobody knows whether it has arrived is never cut: it is given up as a whole, and counted when the
    /// sink can be asked.
    async fn give_up(&mut self, until: Seq) -> Result<(), Fault> {
        self.take_place().await?;
        let until = until.min(self.tail.committed().next());
        let from = self.cursor.next;
        let mut overtaken = self.manifests()?;
        overtaken.retain(|batch| !batch.dead && batch.last >= from && batch.first < until);
        let until = overtaken.iter().map(|batch| batch.last.next()).fold(until, Seq::max);
        if until <= from {
            return Ok(());
        }
        let passed = self.passed()?;
        let known = expired::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let dead = left_out::load(&self.reader, D::NAME).map_err(|error| fault(&error))?.range(from..until).count();
        let (range, events) = (from..=until.prev(), until.since(from));
        let mut ledger = self.ledger;
        ledger.dead += dead as u64;
        ledger.expired += events.saturating_sub(dead as u64);
        let mut writes = expired::add(&known, D::NAME, &range);
        writes.extend(overtaken.iter().flat_map(|batch| [batch.remove(D::NAME), given_up::store(D::NAME, batch)]));
        if passed.is_none() {
            writes.push(self.cursor.store_passed(D::NAME));
        }
        writes.push(left_out::forget_before(D::NAME, until));
        self.status_handle().note(&format!("{events} events from {from} on are given up undelivered"));
        self.tail.set_expired(D::NAME, range);
        self.move_cursor(Cursor { next: until, ..self.cursor }, ledger, writes, Vec::new()).await
    }

    /// Moves the sink's place to `from`, whatever is in the sink: what lies before counts as handed over.
    ///
    /// A batch of which nobody knows whether it has arrived may still arrive, however late. What of it is to come again
    /// stays the very batch it was, under the same name.
    async fn reconcile(&mut self, from: Seq) -> Result<Result<Seq, String>, Fault> {
        self.take_place().await?;
        let (oldest, end) = (self.reader.start().max(Seq::FIRST), self.tail.committed().next());
        if from < oldest || from > end {
            return Ok(Err(format!("the log has the events {oldest} to {}, and {end} will be next", end.prev())));
        }
        let under_way = self.manifests()?;
        // One that has failed cannot settle it.
        if let Some(batch) = under_way.first().filter(|_| !self.has_failed) {
            return Ok(Err(format!(
                "nobody knows yet whether the batch {}..={} has arrived: wait until it is settled, or `skip` it first",
                batch.first, batch.last
            )));
        }
        let given_up = given_up::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let mut in_doubt = under_way.iter().chain(&given_up).filter(|batch| !batch.dead);
        if let Some(batch) = in_doubt.find(|batch| batch.first < from && from <= batch.last) {
            return Ok(Err(format!(
                "nobody knows whether the batch {}..={} has arrived, and it cannot be cut: go on with {} or with {}",
                batch.first,
                batch.last,
                batch.first,
                batch.last.next()
            )));
        }
        let cursor = Cursor { next: from, next_dead: letters_from(self.letter_beside(from)?, &under_way) };
        let known = expired::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let behind = from..=self.cursor.next.prev();
        let erased = if behind.is_empty() { Vec::new() } else { self.consumer.erased_in(&behind)? };
        // What was given up is counted as that, also where it was erased, too.
        let is_given_up = |seq: &&Seq| known.iter().any(|range| range.contains(seq));
        let erased = erased.len() - erased.iter().filter(is_given_up).count();
        let ledger = self.ledger.moved(self.cursor.next, from, expired::count_from(&known, from) + erased as u64);
        let mut writes: Vec<Write> =
            under_way.iter().filter(|batch| !is_ahead(batch, cursor)).map(|batch| batch.remove(D::NAME)).collect();
        writes.extend(given_up.iter().filter(|batch| is_ahead(batch, cursor)).map(|batch| batch.store(D::NAME)));
        writes.extend(expired::cut(&known, D::NAME, from));
        writes.extend([
            Cursor::forget_passed(D::NAME),
            Reconciled { is_pending: true, at: UnixMicros::now() }.store(D::NAME),
            left_out::forget_before(D::NAME, from),
            expired::forget_from(D::NAME, from),
            given_up::forget(D::NAME),
        ]);
        self.move_cursor(cursor, ledger, writes, Vec::new()).await?;
        self.next_letter = cursor.next_dead;
        self.tail.unset_expired(D::NAME, from);
        self.has_failed = true;
        self.revive();
        Ok(Ok(from))
    }
}

/// Whether a batch is to come (again) to a sink at `cursor`.
fn is_ahead(batch: &Manifest, cursor: Cursor) -> bool {
    let next = if batch.dead { Seq::new(cursor.next_dead) } else { cursor.next };
    batch.first >= next
}

/// Where to go on with dead letters, that would be at `wanted`, so that none of their frozen batches is cut.
fn letters_from(wanted: u64, frozen: &[Manifest]) -> u64 {
    let cut = frozen.iter().filter(|batch| batch.dead && batch.last.get() >= wanted).map(|batch| batch.first.get());
    cut.fold(wanted, u64::min)
}
