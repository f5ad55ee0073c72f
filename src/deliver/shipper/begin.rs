//! How a sink begins, at its start and after each fault: its place in the log, what the other side says of it, and the
//! end of what was frozen before.

use super::{Halt, Shipper, Step};
use crate::commit::{dead_letter_starts, decode_dead_letter};
use crate::deliver::consumer::fault;
use crate::deliver::reconciled::Reconciled;
use crate::deliver::{
    Cursor, Destination, FailureCode, Fault, Ledger, Manifest, Sent, Start, expired, given_up, hand_over, left_out,
};
use event::{Seq, UnixMicros};
use std::ops::ControlFlow;
use wal::Family;

impl<D: Destination> Shipper<D> {
    /// Takes the sink's place in the log as it is stored; a new sink gets one. It is durable before anybody is asked, so
    /// that the log waits for a sink that has never been reached.
    pub(super) async fn take_place(&mut self) -> Result<(), Fault> {
        // What was handed to the writer before is in the store after this, also where nobody waited for it any more.
        self.write(Vec::new()).await?;
        let stored = Cursor::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let stored = stored.transpose().map_err(unreadable)?;
        let account = Ledger::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let cursor = stored.map_or_else(|| self.beginning(), Ok)?;
        let ledger = account.unwrap_or_else(|| Ledger::new(cursor.next));
        if stored.is_none() || account.is_none() {
            let mut writes = vec![cursor.store(D::NAME), ledger.store(D::NAME)];
            if stored.is_none() {
                let nothing = Cursor { next: Seq::FIRST, next_dead: u64::from(D::TAKES_DEAD) };
                writes.push(nothing.store_passed(D::NAME));
            }
            self.write(writes).await?;
        }
        (self.cursor, self.ledger, self.next_letter) = (cursor, ledger, cursor.next_dead);
        // Whoever waits for the place asks next what became of an event.
        self.tell_past()?;
        self.note_cursor();
        Ok(())
    }

    /// A new sink gets all that the log still has and that is not another node's to deliver.
    fn beginning(&self) -> Result<Cursor, Fault> {
        let handed_over = hand_over::load(&self.reader).map_err(|error| fault(&error))?;
        let next_dead = if D::TAKES_DEAD { handed_over.next_dead.max(1) } else { 0 };
        Ok(Cursor { next: self.reader.start().max(Seq::FIRST).max(handed_over.next), next_dead })
    }

    /// Tells those who wait for the sink which events it did not get in earlier starts.
    fn tell_past(&mut self) -> Result<(), Fault> {
        if std::mem::replace(&mut self.has_told_past, true) {
            return Ok(());
        }
        for range in expired::load(&self.reader, D::NAME).map_err(|error| fault(&error))? {
            self.tail.set_expired(D::NAME, range);
        }
        let read = self.reader.scan(Family::Dead, &[], |_, value| {
            if let Some((letter, _)) = decode_dead_letter(value)
                && letter.sink.as_deref() == Some(D::NAME)
                && let Some(seq) = letter.seq
            {
                self.tail.set_dead(D::NAME, Seq::new(seq));
            }
            ControlFlow::Continue(())
        });
        read.map_err(|error| fault(&error))
    }

    /// Finds the place to go on, and brings what was frozen before a crash to its end.
    pub(super) async fn begin(&mut self) -> Result<(), Halt> {
        let at = self.cursor;
        let passed = self.passed()?;
        let reconciled = Reconciled::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let adopts = reconciled.is_some_and(|reconciled| reconciled.is_pending);
        let frozen = self.frozen(at).await?;
        let since = self.consumer.committed_at(at.next.prev())?.min(self.letter_committed_at(at.next_dead)?);
        // Before the history: a start is on record with its first event. Read after it, an end beyond that event would have
        // the start before answer for what a copy's original has put there.
        let end = Cursor { next: self.tail.committed().next(), next_dead: self.tail.next_dead() };
        let letter_starts = dead_letter_starts(&self.reader).map_err(|error| fault(&error))?;
        let history = self.consumer.learn_history()?.to_vec();
        let start = Start {
            cursor: at,
            passed,
            adopts,
            reconciled_at: reconciled.map(|reconciled| reconciled.at).unwrap_or_default(),
            end,
            since,
            history: &history,
            dead_letter_starts: &letter_starts,
            frozen: &frozen,
        };
        if let Some(passed) = passed.filter(|_| !adopts) {
            self.count_arrived(&start, passed).await?;
        }
        let found = self.destination.start(&start).await?;
        let left_out = left_out::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        // The sink had more than was stored here: all of it but what it was not to get.
        let moved = found.next.since(at.next);
        let dead = left_out.range(at.next..found.next.max(at.next)).count() as u64;
        self.consumer.leave_out(left_out);
        let erased = if moved > dead { self.note_erased(&(at.next..=found.next.prev()))? } else { 0 };
        let mut ledger = self.ledger;
        ledger.dead += dead;
        ledger.expired += erased;
        ledger.delivered += moved - dead - erased;
        if found != at || passed.is_some() || adopts {
            let mut writes = vec![Cursor::forget_passed(D::NAME)];
            writes.extend(reconciled.map(|told| Reconciled { is_pending: false, ..told }.store(D::NAME)));
            self.move_cursor(found, ledger, writes, Vec::new()).await?;
        }
        self.count_given_up().await?;
        self.ahead.clear();
        for batch in frozen {
            let next = if batch.dead { Seq::new(self.cursor.next_dead) } else { self.cursor.next };
            // After a reconciliation backwards some come later.
            match batch.first <= next {
                true => self.settle(&batch).await?,
                false => self.ahead.push(batch),
            }
        }
        self.consumer.seek(self.cursor.next);
        self.tidy();
        Ok(())
    }

    /// Counts as delivered what was given up after `passed` and had arrived all the same, as the sink itself says. Once:
    /// from its start on the sink says what the cursor says.
    async fn count_arrived(&mut self, start: &Start<'_>, passed: Cursor) -> Result<(), Fault> {
        let known = expired::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let is_counted = Cursor::is_counted(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        if is_counted || expired::count_from(&known, passed.next) == 0 {
            return Ok(());
        }
        let Some(found) = self.destination.look(start).await? else { return Ok(()) };
        let arrived = passed.next..found.next.min(self.cursor.next);
        let (events, mut writes) = expired::without(&known, D::NAME, &arrived);
        let mut ledger = self.ledger;
        let events = events.saturating_sub(self.tail.count_dead(D::NAME, &arrived)).min(ledger.expired);
        if events > 0 {
            self.status_handle().note(&format!("{events} events from {} on had arrived", arrived.start));
        }
        ledger.expired -= events;
        ledger.delivered += events;
        writes.push(passed.store_counted(D::NAME));
        self.move_cursor(self.cursor, ledger, writes, Vec::new()).await?;
        self.tell_expired_anew(arrived.start)
    }

    fn tell_expired_anew(&self, from: Seq) -> Result<(), Fault> {
        self.tail.unset_expired(D::NAME, from);
        let known = expired::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        known
            .into_iter()
            .filter(|range| *range.start() >= from)
            .for_each(|range| self.tail.set_expired(D::NAME, range));
        Ok(())
    }

    pub(super) fn passed(&self) -> Result<Option<Cursor>, Fault> {
        let passed = Cursor::passed(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        passed.transpose().map_err(unreadable)
    }

    /// The batches that are stored as frozen.
    pub(super) fn manifests(&self) -> Result<Vec<Manifest>, Fault> {
        let stored = Manifest::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        stored.into_iter().collect::<Result<_, _>>().map_err(unreadable)
    }

    /// The batches whose outcome is not known.
    async fn frozen(&self, cursor: Cursor) -> Result<Vec<Manifest>, Halt> {
        let is_open = |batch: &Manifest| match batch.dead {
            true => batch.last.get() >= cursor.next_dead,
            false => batch.last >= cursor.next,
        };
        let (open, done): (Vec<_>, Vec<_>) = self.manifests()?.into_iter().partition(is_open);
        // A repair of the log may bring back what was done long ago.
        if !done.is_empty() {
            self.write(done.iter().map(|batch| batch.remove(D::NAME)).collect()).await?;
        }
        Ok(open)
    }

    /// Counts what has arrived of the batches that were given up while nobody knew.
    async fn count_given_up(&mut self) -> Result<(), Halt> {
        for batch in given_up::load(&self.reader, D::NAME).map_err(|error| fault(&error))? {
            let there = match self.destination.count(&batch).await {
                Ok(there) => there.min(batch.rows).min(self.ledger.expired),
                // What is new need not wait for a server that is away: it is counted when it can be asked.
                Err(Fault::Retry(reason) | Fault::Unsent(reason)) => {
                    self.status_handle()
                        .note(&format!("{}..={} is not counted yet: {reason}", batch.first, batch.last));
                    continue;
                }
                Err(fault) => return Err(fault.into()),
            };
            if there > 0 {
                let text = format!("{there} events of the batch {}..={} had arrived", batch.first, batch.last);
                self.status_handle().note(&text);
            }
            let mut ledger = self.ledger;
            ledger.expired -= there;
            ledger.delivered += there;
            self.move_cursor(self.cursor, ledger, vec![given_up::remove(D::NAME, &batch)], Vec::new()).await?;
        }
        Ok(())
    }

    /// Brings a batch that was frozen before to its end.
    pub(super) async fn settle(&mut self, batch: &Manifest) -> Result<(), Halt> {
        if let Some(sent) = self.destination.find(batch).await? {
            return self.advance(batch, sent).await;
        }
        match batch.dead {
            true => _ = self.fill_letters(batch.first.get(), Some(batch.last.get()))?,
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
            // Only after a repair has taken damaged events out of the log, or somebody has erased some.
            let text = format!("{}..={} are not all in the log any more", batch.first, batch.last);
            self.status_handle().note(&text);
            self.write(vec![batch.remove(D::NAME), rewritten.store(D::NAME)]).await?;
        }
        self.step(Step::ManifestStored)?;
        let sent = self.send(&rewritten, true).await?;
        self.step(Step::Sent)?;
        self.advance(&rewritten, sent).await
    }

    /// When the first dead letter from `id` on was made durable; the end of time where there is none.
    fn letter_committed_at(&self, id: u64) -> Result<UnixMicros, Fault> {
        let mut found = UnixMicros::new(i64::MAX);
        if D::TAKES_DEAD {
            let read = self.reader.scan(Family::Dead, &id.to_be_bytes(), |_, value| {
                found = decode_dead_letter(value).map_or(UnixMicros::default(), |(head, _)| head.moment());
                ControlFlow::Break(())
            });
            read.map_err(|error| fault(&error))?;
        }
        Ok(found)
    }
}

/// A place or a batch that is stored, but not as this release stores it.
fn unreadable(reason: String) -> Fault {
    Fault::of(FailureCode::PlaceUnreadable, reason)
}
