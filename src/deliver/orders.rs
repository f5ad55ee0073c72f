//! What an operator, or a policy, wants of a running sink. Each order is carried out once, by the sink's own task, and
//! answered when what it changes is durable.

use event::Seq;
use std::collections::VecDeque;
use std::time::{Duration, Instant};
use tokio::sync::{oneshot, watch};
use wal::{Family, ReadError, Reader, Write};

/// Orders that wait; more are refused.
const WAITING_MAX: usize = 64;
/// So long an order waits for what the sink does; then that is broken off, as by a crash.
const PATIENCE: Duration = Duration::from_secs(3);

/// Why an order was not carried out.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OrderError {
    /// The sink has ended.
    #[error("sink has stopped")]
    Stopped,
    /// Too much is asked of it already.
    #[error("too many orders wait already")]
    Busy,
    /// It cannot be done; why, for a person.
    #[error("{0}")]
    Refused(String),
}

/// What a sink is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Rest until it is to go on, also over restarts.
    Pause,
    /// Go on: after a pause, or after a failure that somebody has mended.
    Resume,
    /// Give up what it has not got before that event.
    Skip(Seq),
    /// The same, unless it runs by now: by policy.
    Expire(Seq),
    /// Let go of what is in memory and read it again: something was erased from the log.
    Reread,
    /// Take what lies before that event as handed over and the rest as not, whatever is in the sink.
    Reconcile(Seq),
}

/// An order that waits.
#[derive(Debug)]
pub(super) struct Given {
    pub(super) order: Order,
    since: Instant,
    reply: oneshot::Sender<Answer>,
}

/// Where the sink goes on once an order is carried out.
type Answer = Result<Seq, OrderError>;

#[derive(Debug, Default)]
struct Queue {
    waiting: VecDeque<Given>,
    is_closed: bool,
}

/// The orders that a sink has not carried out yet; clones share them.
#[derive(Debug, Clone, Default)]
pub(super) struct Orders(watch::Sender<Queue>);

impl Given {
    /// Whoever gave it may have given up waiting.
    pub(super) fn answer(self, answer: Answer) {
        self.reply.send(answer).ok();
    }
}

impl Orders {
    /// Adds one; the answer comes once it is carried out.
    pub(super) fn give(&self, order: Order) -> Result<oneshot::Receiver<Answer>, OrderError> {
        let (reply, answer) = oneshot::channel();
        let mut refused = None;
        self.0.send_if_modified(|queue| {
            refused = match () {
                () if queue.is_closed => Some(OrderError::Stopped),
                () if queue.waiting.len() >= WAITING_MAX => Some(OrderError::Busy),
                () => None,
            };
            if refused.is_none() {
                queue.waiting.push_back(Given { order, since: Instant::now(), reply });
            }
            refused.is_none()
        });
        refused.map_or(Ok(answer), Err)
    }

    /// The oldest.
    pub(super) fn take(&self) -> Option<Given> {
        let mut taken = None;
        self.0.send_if_modified(|queue| {
            taken = queue.waiting.pop_front();
            false
        });
        taken
    }

    pub(super) fn are_waiting(&self) -> bool {
        !self.0.borrow().waiting.is_empty()
    }

    /// Waits for one.
    pub(super) async fn arrived(&self) {
        // The sender lives in self, so waiting cannot fail.
        self.0.subscribe().wait_for(|queue| !queue.waiting.is_empty()).await.ok();
    }

    /// Waits until one has waited for too long.
    pub(super) async fn pressing(&self) {
        loop {
            self.arrived().await;
            let Some(due) = self.0.borrow().waiting.front().map(|given| given.since + PATIENCE) else { continue };
            if due <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(due.into()).await;
        }
    }

    /// Refuses what waits and what comes: the sink has ended.
    pub(super) fn close(&self) {
        self.0.send_modify(|queue| *queue = Queue { is_closed: true, ..Queue::default() });
    }
}

/// Whether `sink` is to rest.
pub(super) fn is_paused(reader: &Reader, sink: &str) -> Result<bool, ReadError> {
    Ok(reader.get(Family::Projection, &key(sink))?.is_some())
}

/// The write that stores whether `sink` is to rest.
pub(super) fn store_paused(sink: &str, paused: bool) -> Write {
    match paused {
        true => Write::Put(Family::Projection, key(sink), Vec::new()),
        false => Write::Delete(Family::Projection, key(sink)),
    }
}

fn key(sink: &str) -> Vec<u8> {
    [b"paused/", sink.as_bytes()].concat()
}
