use super::flush::{Flush, FlushError, Flushes};
use super::orders::{Order, OrderError, Orders};
use super::{Status, verify::Census};
use crate::commit::Tail;
use event::Seq;
use std::sync::Arc;
use tokio::sync::mpsc;

/// Asks and steers a running sink.
#[derive(Clone)]
pub struct Handle {
    requests: mpsc::Sender<Flush>,
    orders: Orders,
    tail: Tail,
    status: Arc<Status>,
    census: Arc<dyn Census>,
}

impl Handle {
    /// A handle, and the sink's side of it.
    pub(super) fn new(tail: Tail, status: Arc<Status>, census: Arc<dyn Census>) -> (Self, Flushes, Orders) {
        let ((requests, flushes), orders) = (Flushes::new(), Orders::default());
        (Handle { requests, orders: orders.clone(), tail, status, census }, flushes, orders)
    }

    /// Counts what the sink holds.
    #[must_use]
    pub fn census(&self) -> &Arc<dyn Census> {
        &self.census
    }

    /// What the sink says of itself.
    #[must_use]
    pub fn status(&self) -> &Arc<Status> {
        &self.status
    }

    /// Stops it until [`Handle::resume`], also over restarts: what is being sent is finished, or broken off if that
    /// takes long. Durable once it returns.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn pause(&self) -> Result<(), OrderError> {
        self.order(Order::Pause).await.map(drop)
    }

    /// Has it go on: after a pause, or after a failure that somebody has mended. Durable once it returns.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn resume(&self) -> Result<(), OrderError> {
        self.order(Order::Resume).await.map(drop)
    }

    /// Gives up what it has not got before `until`: counted as expired. A batch of which nobody knows whether it has
    /// arrived is given up as a whole, so it may go on later than that: returns where. Durable once it returns.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn skip(&self, until: Seq) -> Result<Seq, OrderError> {
        self.order(Order::Skip(until)).await
    }

    /// The same by policy, if it does not run by then; does not wait for it.
    pub fn expire(&self, until: Seq) {
        // Where too much is asked of it already, room for this is found the next time.
        self.orders.give(Order::Expire(until)).ok();
    }

    /// Has it begin again with `from`, whatever it holds: what lies before counts as handed over. Durable once it
    /// returns.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn reconcile(&self, from: Seq) -> Result<Seq, OrderError> {
        self.order(Order::Reconcile(from)).await
    }

    /// Has it let go of what it has read and not delivered, for something was erased from the log. What is being sent is
    /// finished, or broken off if that takes long.
    ///
    /// # Errors
    /// [`OrderError`].
    pub async fn reread(&self) -> Result<Seq, OrderError> {
        self.order(Order::Reread).await
    }

    /// Has everything delivered that is committed now, and waits for it, also while the sink keeps retrying. Returns
    /// the sink's position.
    ///
    /// # Errors
    /// [`FlushError`].
    pub async fn flush(&self) -> Result<Seq, FlushError> {
        let (request, answer) = Flush::new(self.tail.committed());
        self.requests.send(request).await.map_err(|_| FlushError::Stopped)?;
        answer.await.unwrap_or(Err(FlushError::Stopped))
    }

    async fn order(&self, order: Order) -> Result<Seq, OrderError> {
        self.orders.give(order)?.await.unwrap_or(Err(OrderError::Stopped))
    }
}
