//! Where what is asked over HTTP is done: on a thread and a runtime of its own. Letters that are read there hold up no body
//! that an acceptor unpacks; and an order that is begun is done, though its asker and the acceptor that took it have gone.

use super::{LetterError, Letters};
use event::Refusal;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, TryAcquireError, watch};
use tokio::task::JoinSet;

/// Who reads at once, of those that ask over HTTP: each may hold a page of letters.
const READERS_MAX: usize = 2;
/// Threads that may wait for the disk: theirs, and as many for orders and the audit log.
const BLOCKING_MAX: usize = 2 * READERS_MAX;
/// Orders that are begun or wait for their turn.
const ORDERS_MAX: u32 = 256;

/// The places there are.
pub(super) struct Workshop {
    runtime: Handle,
    readers: Arc<Semaphore>,
    orders: Arc<Semaphore>,
}

/// The runtime of the letters; [`Letters::serve`] turns it.
///
/// # Errors
/// What the system said.
pub fn runtime() -> io::Result<Runtime> {
    Builder::new_current_thread().enable_time().max_blocking_threads(BLOCKING_MAX).thread_name("letters").build()
}

impl Workshop {
    pub(super) fn new(runtime: Handle) -> Self {
        let readers = Arc::new(Semaphore::new(READERS_MAX));
        Workshop { runtime, readers, orders: Arc::new(Semaphore::new(ORDERS_MAX as usize)) }
    }

    /// Has an order carried out to its end, whoever leaves meanwhile.
    pub(super) async fn carry_out<T: Send + 'static>(
        &self,
        order: impl Future<Output = Result<T, LetterError>> + Send + 'static,
    ) -> Result<T, LetterError> {
        let place = Arc::clone(&self.orders).try_acquire_owned().map_err(|full| match full {
            TryAcquireError::NoPermits => Refusal::Overloaded,
            TryAcquireError::Closed => Refusal::ShuttingDown,
        })?;
        let order = self.runtime.spawn(async move {
            let done = order.await;
            drop(place);
            done
        });
        order.await.unwrap_or(Err(LetterError::Refused(Refusal::ShuttingDown)))
    }

    /// Has something looked up, for as long as whoever asks waits for it.
    pub(super) async fn look_up<T: Send + 'static>(
        &self,
        question: impl Future<Output = Result<T, LetterError>> + Send + 'static,
    ) -> Result<T, LetterError> {
        let mut questions = JoinSet::new();
        questions.spawn_on(question, &self.runtime);
        let answer = questions.join_next().await.and_then(Result::ok);
        answer.unwrap_or(Err(LetterError::Refused(Refusal::ShuttingDown)))
    }

    /// A place to read at.
    pub(super) async fn reader(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.readers).acquire_owned().await.ok()
    }

    /// Takes no more orders, once those that are begun are done or `patience` is over.
    async fn finish(&self, patience: Duration) {
        if tokio::time::timeout(patience, self.orders.acquire_many(ORDERS_MAX)).await.is_err() {
            tracing::warn!(
                "orders about dead letters are broken off: they were not done within server.drain_timeout_s"
            );
        }
        self.orders.close();
    }
}

impl Letters {
    /// Has what is asked over HTTP done until `stop`, and what is begun by then to its end, as long as a drain may take.
    /// Blocks: it wants a thread to itself.
    pub fn serve(&self, runtime: Runtime, mut stop: watch::Receiver<bool>) {
        runtime.block_on(async {
            // An error means that the sender is gone: the daemon is being torn down.
            stop.wait_for(|stop| *stop).await.ok();
            if let Some(shared) = self.shared.upgrade() {
                let patience = shared.settings.load().deadlines.drain;
                self.workshop.finish(patience).await;
                // On a disk that hangs what they count is lost; it changed nothing.
                tokio::time::timeout(patience, self.sum_up()).await.ok();
            }
        });
        // A disk that hangs under a letter that is read holds up no stop.
        runtime.shutdown_background();
    }
}
