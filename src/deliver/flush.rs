//! Asking a running sink to deliver now.

use event::Seq;
use tokio::sync::{mpsc, oneshot};

/// Flushes that wait to be looked at; more wait in their callers.
const WAITING_MAX: usize = 16;

/// Why a flush did not happen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FlushError {
    /// The sink has ended.
    #[error("sink has stopped")]
    Stopped,
    /// The sink cannot go on.
    #[error("sink does not deliver: {0}")]
    Failed(String),
}

#[derive(Debug)]
pub(super) struct Flush {
    until: Seq,
    reply: oneshot::Sender<Result<Seq, FlushError>>,
}

impl Flush {
    /// A wish for all events up to `until`, and the way of its answer.
    pub(super) fn new(until: Seq) -> (Self, oneshot::Receiver<Result<Seq, FlushError>>) {
        let (reply, answer) = oneshot::channel();
        (Flush { until, reply }, answer)
    }
}

/// The sink's side: what was asked and is not answered yet.
#[derive(Debug)]
pub(super) struct Flushes {
    requests: mpsc::Receiver<Flush>,
    waiting: Vec<Flush>,
}

impl Flushes {
    pub(super) fn new() -> (mpsc::Sender<Flush>, Self) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        (sender, Flushes { requests, waiting: Vec::new() })
    }

    /// Waits for a request.
    pub(super) async fn arrive(&mut self) {
        match self.requests.recv().await {
            Some(flush) => self.waiting.push(flush),
            // The sink itself keeps a handle, so this is never reached; if it were, nobody could ask any more.
            None => std::future::pending().await,
        }
    }

    /// Whether somebody waits for events that lie before `next`.
    pub(super) fn wants(&mut self, next: Seq) -> bool {
        while let Ok(flush) = self.requests.try_recv() {
            self.waiting.push(flush);
        }
        self.waiting.iter().any(|flush| flush.until < next)
    }

    /// Answers whoever waits for events before `delivered` only.
    pub(super) fn answer(&mut self, delivered: Seq) {
        let done = self.waiting.extract_if(.., |flush| flush.until < delivered);
        // Whoever asked may have given up waiting.
        done.for_each(|flush| drop(flush.reply.send(Ok(delivered))));
    }

    /// Answers whoever waits that it will not happen.
    pub(super) fn refuse(&mut self, reason: &str) {
        for flush in self.waiting.drain(..) {
            flush.reply.send(Err(FlushError::Failed(reason.to_owned()))).ok();
        }
    }
}
