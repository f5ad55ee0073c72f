//! The ways to the writer beside the ring.

use super::dead_letter::DeadDraft;
use super::engine::Item;
use super::letter_order::{LetterOrder, Ordered};
use super::submission::Submission;
use crossbeam_channel::{Receiver, Sender, TrySendError, bounded};
use event::Refusal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::oneshot;
use wal::Write;

/// Far more than there are shippers, each of which has one write under way.
const WRITES_MAX: usize = 1024;
/// Pause between two looks for room among them.
const ROOM_RETRY: Duration = Duration::from_millis(20);
/// Submissions that come from elsewhere than an acceptor, at once; they all fit one group.
const HANDED_MAX: usize = 64;

/// Writes, and an order about dead letters, that are to be durable together.
pub(super) struct ControlWrite {
    pub(super) writes: Vec<Write>,
    pub(super) dead: Vec<DeadDraft>,
    pub(super) order: Option<LetterOrder>,
    /// Set by the writer.
    pub(super) done: Ordered,
    pub(super) reply: oneshot::Sender<Result<Ordered, Refusal>>,
}

/// A submission that comes from elsewhere than an acceptor.
pub(super) struct Handed {
    pub(super) submission: Box<Submission>,
    pub(super) reply: oneshot::Sender<Box<Submission>>,
}

/// What the writer sees of all that.
pub(super) struct Inbox {
    pub(super) writes: Receiver<ControlWrite>,
    pub(super) handed: Receiver<Handed>,
}

/// The way for everything durable that no acceptor hands in: cursors, manifests, keys, replays. It goes ahead of the ring.
#[derive(Clone)]
pub struct Control {
    writes: Sender<ControlWrite>,
    handed: Sender<Handed>,
    ring: Sender<Item>,
}

impl Control {
    pub(super) fn new(ring: Sender<Item>) -> (Self, Inbox) {
        let (writes_in, writes) = bounded(WRITES_MAX);
        let (handed_in, handed) = bounded(HANDED_MAX);
        (Control { writes: writes_in, handed: handed_in, ring }, Inbox { writes, handed })
    }

    /// Slots of the ring that are taken, and how many there are.
    #[must_use]
    pub fn ring_in_use(&self) -> (usize, usize) {
        (self.ring.len(), self.ring.capacity().unwrap_or_default())
    }

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
        self.ask(writes, dead, None).await.map(drop)
    }

    /// Changes stored dead letters, durably.
    ///
    /// # Errors
    /// As [`Control::write`].
    pub async fn order(&self, order: LetterOrder) -> Result<Ordered, Refusal> {
        self.ask(Vec::new(), Vec::new(), Some(order)).await
    }

    async fn ask(
        &self,
        writes: Vec<Write>,
        dead: Vec<DeadDraft>,
        order: Option<LetterOrder>,
    ) -> Result<Ordered, Refusal> {
        let (reply, answer) = oneshot::channel();
        let mut write = ControlWrite { writes, dead, order, done: Ordered::default(), reply };
        loop {
            match self.writes.try_send(write) {
                Ok(()) => break,
                // A disk that hangs: what is handed in and not waited for has piled up.
                Err(TrySendError::Full(back)) => write = back,
                Err(TrySendError::Disconnected(_)) => return Err(Refusal::ShuttingDown),
            }
            self.nudge();
            tokio::time::sleep(ROOM_RETRY).await;
        }
        self.nudge();
        answer.await.unwrap_or(Err(Refusal::ShuttingDown))
    }

    /// Hands in a submission as an acceptor does, and waits until it comes back with its outcome.
    ///
    /// # Errors
    /// Why it was not stored.
    pub async fn submit(&self, submission: Box<Submission>) -> Result<Box<Submission>, Refusal> {
        let (reply, answer) = oneshot::channel();
        self.handed.try_send(Handed { submission, reply }).map_err(|error| match error {
            TrySendError::Full(_) => Refusal::Overloaded,
            TrySendError::Disconnected(_) => Refusal::ShuttingDown,
        })?;
        self.nudge();
        let submission = answer.await.map_err(|_| Refusal::Unknown)?;
        match submission.outcome {
            Ok(_) => Ok(submission),
            Err(refusal) => Err(refusal),
        }
    }

    /// Hands the writes in and does not wait for them; false where there is no room for them now.
    #[must_use]
    pub fn post(&self, writes: Vec<Write>) -> bool {
        let posted = self.hand_in(writes);
        self.nudge();
        posted
    }

    /// Has the writer remove what is too old, though nothing comes in; does not wait for it.
    pub fn tidy(&self) {
        // Where there is no room there is traffic, too.
        if self.hand_in(Vec::new()) {
            self.nudge();
        }
    }

    fn hand_in(&self, writes: Vec<Write>) -> bool {
        let (reply, _) = oneshot::channel();
        let (dead, done) = (Vec::new(), Ordered::default());
        self.writes.try_send(ControlWrite { writes, dead, order: None, done, reply }).is_ok()
    }

    fn nudge(&self) {
        // A full ring means that the writer is awake and will look here first.
        self.ring.try_send(Item::Nudge).ok();
    }
}

/// Ends the writer once everything handed in before is durable.
#[derive(Clone)]
pub struct StopHandle {
    stop: Arc<AtomicBool>,
    ring: Sender<Item>,
}

impl StopHandle {
    pub(super) fn new(stop: Arc<AtomicBool>, ring: Sender<Item>) -> Self {
        StopHandle { stop, ring }
    }

    /// Asks the writer to empty the ring, close the log and end.
    pub fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.ring.try_send(Item::Nudge).ok();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_its_write_waits_for_room_too() {
        let (ring, _turning) = bounded(1);
        let (control, inbox) = Control::new(ring);
        while control.post(Vec::new()) {}
        let mut asked = Box::pin(control.write(Vec::new()));
        let soon = tokio::time::timeout(3 * ROOM_RETRY, &mut asked).await;
        assert!(soon.is_err(), "that there is no room now is no end: {soon:?}");
        inbox.writes.try_iter().for_each(drop);
        let answered = async {
            let write = loop {
                match inbox.writes.try_recv() {
                    Ok(write) => break write,
                    Err(_) => tokio::task::yield_now().await,
                }
            };
            write.reply.send(Ok(Ordered::default())).unwrap();
        };
        assert_eq!(tokio::join!(asked, answered).0, Ok(()));
        drop(inbox);
        assert_eq!(control.write(Vec::new()).await, Err(Refusal::ShuttingDown));
    }
}
