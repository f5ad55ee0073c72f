//! Where an acceptor hands in requests and gets them back: one ring slot and one wake per acceptor and round, not one
//! per request.
//!
//! Requests that become ready in the same turn of the acceptor's event loop are gathered in an outbox, which a task
//! of its own empties into the ring once the tasks that were ready have run. Under load that makes groups of what one
//! poll of the sockets brought, where the writer would otherwise sync the first request alone; without load the outbox
//! is emptied at once.

use super::engine::Item;
use super::probe::Stations;
use super::submission::Submission;
use crate::metrics::Metrics;
use crossbeam_channel::{Sender, TrySendError};
use event::Refusal;
use std::cell::{Cell, RefCell};
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::time::{MissedTickBehavior, interval};

/// How often requests are looked for that have waited too long.
const OVERDUE_INTERVAL: Duration = Duration::from_secs(1);

/// What the writer fills: finished requests of one acceptor.
#[derive(Debug, Default)]
pub(crate) struct Mailbox {
    done: Mutex<Vec<(u32, Box<Submission>)>>,
    /// Why the writer takes nothing any more.
    closed: OnceLock<Refusal>,
    bell: Notify,
    pub(super) probe: Stations,
}

impl Mailbox {
    /// Hands back the requests of one commit with one wake.
    pub(crate) fn deliver(&self, finished: &mut Vec<(u32, Box<Submission>)>) {
        if !finished.is_empty() {
            self.done.lock().unwrap_or_else(PoisonError::into_inner).append(finished);
            self.bell.notify_one();
        }
    }

    /// Has the acceptor look for what is new.
    pub(super) fn ring_bell(&self) {
        self.bell.notify_one();
    }

    /// The writer is gone, for this reason: what is still waiting will never be answered by it.
    pub(crate) fn close(&self, reason: Refusal) {
        // It ends once.
        self.closed.set(reason).ok();
        self.bell.notify_one();
    }
}

#[derive(Debug, Default)]
enum Slot {
    #[default]
    Free,
    Waiting {
        since: Instant,
        waker: Option<Waker>,
    },
    /// It has waited too long, and its client is to be told so.
    Overdue,
    /// Nobody waits any more; the answer will be dropped when it comes.
    Abandoned,
    Done(Box<Submission>),
    /// The writer stopped before it answered.
    Lost,
}

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Slot>,
    free: Vec<u32>,
}

/// Requests with their slots.
type Requests = Vec<(u32, Box<Submission>)>;

/// An acceptor's counter to the writer; clones belong to the same thread.
#[derive(Clone)]
pub struct Desk {
    number: u16,
    ring: Sender<Item>,
    mailbox: Arc<Mailbox>,
    slots: Rc<RefCell<Slots>>,
    outbox: Rc<RefCell<Requests>>,
    gathered: Rc<Notify>,
    closed: Rc<Cell<Option<Refusal>>>,
    /// The newest round of the probe that is in the ring.
    probed: Rc<Cell<u64>>,
    metrics: Arc<Metrics>,
}

/// A desk before it is moved into its thread.
pub struct DeskSeed {
    number: u16,
    ring: Sender<Item>,
    mailbox: Arc<Mailbox>,
    metrics: Arc<Metrics>,
}

/// One desk for each acceptor, sharing a ring.
pub(crate) fn seeds(count: usize, ring: &Sender<Item>, metrics: &Arc<Metrics>) -> (Vec<DeskSeed>, Vec<Arc<Mailbox>>) {
    let mailboxes: Vec<_> = (0..count).map(|_| Arc::new(Mailbox::default())).collect();
    let seeds = mailboxes
        .iter()
        .enumerate()
        .map(|(number, mailbox)| DeskSeed {
            number: number as u16,
            ring: ring.clone(),
            mailbox: Arc::clone(mailbox),
            metrics: Arc::clone(metrics),
        })
        .collect();
    (seeds, mailboxes)
}

impl DeskSeed {
    /// Sets the desk up in the acceptor's thread; [`Desk::run`] must run there.
    #[must_use]
    pub fn open(self) -> Desk {
        Desk {
            number: self.number,
            ring: self.ring,
            mailbox: self.mailbox,
            slots: Rc::default(),
            outbox: Rc::default(),
            gathered: Rc::default(),
            closed: Rc::default(),
            probed: Rc::default(),
            metrics: self.metrics,
        }
    }
}

impl Desk {
    /// Hands a request to the writer. Events that are refused here or come back refused are counted here.
    ///
    /// # Errors
    /// The request itself and why it was not taken: the writer is gone. A full ring shows in the outcome.
    pub fn submit(&self, mut submission: Box<Submission>) -> Result<Pending, (Refusal, Box<Submission>)> {
        if let Some(reason) = self.closed.get() {
            self.metrics.refuse(reason, submission.events());
            return Err((reason, submission));
        }
        submission.entered = Instant::now();
        let slot = self.slots.borrow_mut().take(submission.entered);
        let mut outbox = self.outbox.borrow_mut();
        outbox.push((slot, submission));
        if outbox.len() == 1 {
            self.gathered.notify_one();
        }
        Ok(Pending { slots: Rc::clone(&self.slots), slot: Some(slot) })
    }

    /// Moves requests between this thread and the writer; runs as long as the acceptor does. A request that the writer
    /// has had for `patience` is given up: its outcome is unknown.
    pub async fn run(self, patience: impl Fn() -> Duration) {
        let mut finished = Vec::new();
        let mut look = interval(OVERDUE_INTERVAL);
        look.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = look.tick() => self.slots.borrow_mut().give_up(patience()),
                () = self.gathered.notified() => self.send(),
                () = self.mailbox.bell.notified() => {
                    self.pass_probe();
                    let closed = self.mailbox.closed.get().copied();
                    std::mem::swap(
                        &mut finished,
                        &mut *self.mailbox.done.lock().unwrap_or_else(PoisonError::into_inner),
                    );
                    for (slot, submission) in finished.drain(..) {
                        self.finish(slot, submission);
                    }
                    if let Some(reason) = closed {
                        self.closed.set(closed);
                        // What waits here the writer has never seen.
                        let unsent = self.outbox.take();
                        self.refuse(unsent, reason);
                        self.slots.borrow_mut().close();
                        return;
                    }
                }
            }
        }
    }

    /// Takes the probe on. Where the ring is full it is tried again in the next turn.
    fn pass_probe(&self) {
        let round = self.mailbox.probe.turn();
        if round > self.probed.get() && self.ring.try_send(Item::Probe { desk: self.number, round }).is_ok() {
            self.probed.set(round);
        }
    }

    /// Puts what was gathered into the ring as one item, behind a probe that has waited for room.
    fn send(&self) {
        self.pass_probe();
        let requests = self.outbox.take();
        if requests.is_empty() {
            return;
        }
        let Err(error) = self.ring.try_send(Item::Requests { desk: self.number, requests }) else { return };
        let refusal = match &error {
            TrySendError::Full(_) => Refusal::Overloaded,
            TrySendError::Disconnected(_) => self.mailbox.closed.get().copied().unwrap_or(Refusal::ShuttingDown),
        };
        let Item::Requests { requests, .. } = error.into_inner() else { return };
        self.refuse(requests, refusal);
    }

    /// Gives requests back that the writer has not taken.
    fn refuse(&self, requests: Requests, reason: Refusal) {
        for (slot, mut submission) in requests {
            submission.outcome = Err(reason);
            self.finish(slot, submission);
        }
    }

    /// Gives a request back to whoever waits for it. Counted even if nobody does: what is accepted is, too.
    fn finish(&self, slot: u32, submission: Box<Submission>) {
        if let Err(reason) = submission.outcome {
            self.metrics.refuse(reason, submission.events());
        }
        self.slots.borrow_mut().finish(slot, submission);
    }
}

impl Slots {
    fn take(&mut self, since: Instant) -> u32 {
        let slot = self.free.pop().unwrap_or_else(|| {
            self.slots.push(Slot::Free);
            (self.slots.len() - 1) as u32
        });
        self.slots[slot as usize] = Slot::Waiting { since, waker: None };
        slot
    }

    fn release(&mut self, slot: u32) {
        self.slots[slot as usize] = Slot::Free;
        self.free.push(slot);
    }

    fn finish(&mut self, slot: u32, submission: Box<Submission>) {
        match std::mem::replace(&mut self.slots[slot as usize], Slot::Done(submission)) {
            Slot::Waiting { waker, .. } => waker.into_iter().for_each(Waker::wake),
            // Just in time.
            Slot::Overdue => {}
            _ => self.release(slot),
        }
    }

    fn give_up(&mut self, patience: Duration) {
        for slot in &mut self.slots {
            if let Slot::Waiting { since, waker } = slot
                && since.elapsed() >= patience
            {
                let waker = waker.take();
                *slot = Slot::Overdue;
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }

    fn close(&mut self) {
        for slot in &mut self.slots {
            if let Slot::Waiting { waker, .. } = slot {
                let waker = waker.take();
                *slot = Slot::Lost;
                waker.into_iter().for_each(Waker::wake);
            }
        }
    }
}

/// How a request's stay with the writer ended.
#[derive(Debug)]
pub enum Settled {
    /// It came back with its outcome.
    Back(Box<Submission>),
    /// The writer stopped before it answered: the outcome is unknown.
    Lost,
    /// The writer still has it, after all the time that it may take: the outcome is unknown, and counted once it is not.
    Overdue,
}

/// A request in the writer's hands.
#[must_use = "the answer waits here"]
pub struct Pending {
    slots: Rc<RefCell<Slots>>,
    slot: Option<u32>,
}

impl Future for Pending {
    type Output = Settled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(slot) = self.slot else { return Poll::Ready(Settled::Lost) };
        let taken = {
            let mut slots = self.slots.borrow_mut();
            let place = &mut slots.slots[slot as usize];
            match place {
                Slot::Waiting { waker, .. } => {
                    *waker = Some(context.waker().clone());
                    return Poll::Pending;
                }
                // The slot stays taken until the writer gives the request back.
                Slot::Overdue => std::mem::replace(place, Slot::Abandoned),
                _ => {
                    let taken = std::mem::take(place);
                    slots.release(slot);
                    taken
                }
            }
        };
        self.slot = None;
        Poll::Ready(match taken {
            Slot::Done(submission) => Settled::Back(submission),
            Slot::Overdue => Settled::Overdue,
            _ => Settled::Lost,
        })
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let Some(slot) = self.slot else { return };
        let mut slots = self.slots.borrow_mut();
        if matches!(slots.slots[slot as usize], Slot::Waiting { .. } | Slot::Overdue) {
            slots.slots[slot as usize] = Slot::Abandoned;
        } else {
            slots.release(slot);
        }
    }
}
