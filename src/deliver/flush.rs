//! Asking a running sink to deliver now.

use super::Status;
use super::orders::Orders;
use super::verify::Census;
use crate::commit::Tail;
use event::Seq;
use std::sync::Arc;
use tokio::sync::{mpsc, oneshot, watch};

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

/// Asks a running sink.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Flush>,
    orders: watch::Sender<Orders>,
    tail: Tail,
    status: Arc<Status>,
    census: Arc<dyn Census>,
}

impl Handle {
    /// Counts what the sink holds.
    #[must_use]
    pub fn census(&self) -> &Arc<dyn Census> {
        &self.census
    }

    /// Stops it after the batch that is being sent, until [`Handle::resume`]; also over restarts.
    pub fn pause(&self) {
        self.orders.send_modify(|orders| orders.paused = Some(true));
    }

    /// Has it go on: after a pause, or after a failure that somebody has mended.
    pub fn resume(&self) {
        self.orders.send_modify(|orders| {
            orders.paused = Some(false);
            orders.revivals += 1;
        });
    }

    /// Gives up what it has not got before `until`: counted as expired.
    pub fn expire(&self, until: Seq) {
        self.orders.send_if_modified(|orders| {
            let further = until > orders.expire_until;
            orders.expire_until = orders.expire_until.max(until);
            further
        });
    }

    /// What the sink says of itself.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Has everything delivered that is committed now, and waits for it, also while the sink keeps retrying. Returns
    /// the sink's position.
    ///
    /// # Errors
    /// [`FlushError`].
    pub async fn flush(&self) -> Result<Seq, FlushError> {
        let (reply, answer) = oneshot::channel();
        let request = Flush { until: self.tail.committed(), reply };
        self.requests.send(request).await.map_err(|_| FlushError::Stopped)?;
        answer.await.unwrap_or(Err(FlushError::Stopped))
    }
}

#[derive(Debug)]
pub(super) struct Flush {
    until: Seq,
    reply: oneshot::Sender<Result<Seq, FlushError>>,
}

/// The sink's side: what was asked and is not answered yet.
#[derive(Debug)]
pub(super) struct Flushes {
    requests: mpsc::Receiver<Flush>,
    waiting: Vec<Flush>,
}

impl Flushes {
    pub(super) fn new(
        tail: Tail,
        status: Arc<Status>,
        census: Arc<dyn Census>,
    ) -> (Handle, Self, watch::Receiver<Orders>) {
        let (sender, requests) = mpsc::channel(WAITING_MAX);
        let (orders, given) = watch::channel(Orders::default());
        (Handle { requests: sender, orders, tail, status, census }, Flushes { requests, waiting: Vec::new() }, given)
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
