//! Dead letters on their way to a sink: in batches of their own, between those of events.

use super::{Halt, Shipper};
use crate::commit::decode_dead_letter;
use crate::deliver::consumer::{fault, incarnation_in};
use crate::deliver::{Destination, Fault, Letter, Origin};
use event::Seq;
use std::ops::ControlFlow;
use wal::Family;

/// Dead letters of one batch.
const LETTERS_MAX: u64 = 1000;

impl<D: Destination> Shipper<D> {
    /// Sends the dead letters that are there.
    pub(super) async fn deliver_letters(&mut self) -> Result<(), Halt> {
        while self.has_letters() && !self.orders.are_waiting() {
            if let Some(batch) = self.take_ahead(true) {
                self.settle(&batch).await?;
                continue;
            }
            let next = self.fill_letters(self.next_letter, None)?;
            if self.destination.rows() > 0 {
                self.deliver().await?;
            } else if next == self.next_letter {
                return Err(Fault::Retry(format!("dead letter {next} cannot join an empty batch")).into());
            }
            // Ids whose letters are gone are not looked for again.
            self.next_letter = self.next_letter.max(next);
        }
        Ok(())
    }

    /// Whether there are dead letters that were not looked for yet.
    pub(super) fn has_letters(&self) -> bool {
        D::TAKES_DEAD && self.next_letter < self.tail.next_dead()
    }

    /// Brings dead letters into the open batch, up to and including `last` or as many as it takes; returns the first one
    /// that was not looked for.
    pub(super) fn fill_letters(&mut self, from: u64, last: Option<u64>) -> Result<u64, Fault> {
        let frozen = self.ahead.iter().find(|batch| batch.dead).map_or(u64::MAX, |batch| batch.first.get());
        let end = || self.tail.next_dead().min(from.saturating_add(LETTERS_MAX)).min(frozen);
        let until = last.map_or_else(end, |last| last + 1);
        if from >= until {
            return Ok(from);
        }
        let history = self.consumer.learn_history()?.to_vec();
        let destination = &mut self.destination;
        let mut outcome = Ok(until);
        let read = self.reader.scan(Family::Dead, &from.to_be_bytes(), |key, value| {
            let id = key.try_into().map_or(u64::MAX, u64::from_be_bytes);
            if id >= until {
                return ControlFlow::Break(());
            }
            // One that cannot be read is told of by whoever lists them.
            let Some((head, raw)) = decode_dead_letter(value) else { return ControlFlow::Continue(()) };
            let incarnation = match head.incarnation {
                // Written by an older release: as that one took it, so that what it froze stays what it is.
                0 => incarnation_in(&history, Seq::new(head.after)),
                incarnation => incarnation,
            };
            let origin = Origin { incarnation, committed_at: head.moment() };
            if last.is_none() && (destination.is_full() || !destination.admits(origin)) {
                outcome = Ok(id);
                return ControlFlow::Break(());
            }
            match destination.add_dead(&Letter { id, head: &head, raw }, origin) {
                Ok(()) => ControlFlow::Continue(()),
                Err(fault) => {
                    outcome = Err(fault);
                    ControlFlow::Break(())
                }
            }
        });
        read.map_err(|error| fault(&error))?;
        outcome
    }

    /// The first dead letter that was written when the event before `from` was there already.
    pub(super) fn letter_beside(&self, from: Seq) -> Result<u64, Fault> {
        let mut found = if D::TAKES_DEAD { self.tail.next_dead() } else { 0 };
        if D::TAKES_DEAD {
            let read =
                self.reader.scan(Family::Dead, &[], |key, value| match (key.try_into(), decode_dead_letter(value)) {
                    (Ok(id), Some((head, _))) if head.after >= from.prev().get() => {
                        found = u64::from_be_bytes(id);
                        ControlFlow::Break(())
                    }
                    _ => ControlFlow::Continue(()),
                });
            read.map_err(|error| fault(&error))?;
        }
        Ok(found)
    }
}
