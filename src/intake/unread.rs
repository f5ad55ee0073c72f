//! Answers that the client of an HTTP/2 connection has not taken yet. There the client says how much of each may be sent:
//! what one asks for and then lets not through would be kept here, for each of its requests.

use super::answer::Answer;
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::timeout;

/// With so many bytes no further request is looked at: more than all answers to single events are.
const FULL_BYTES: usize = 256 << 10;
/// With more bytes the connection ends: requests that were looked at before may have large answers.
const BYTES_MAX: usize = 2 << 20;

/// What a client has not taken.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: AtomicUsize,
    /// Answers that are gone.
    taken: AtomicU64,
    outgrown: Notify,
}

impl Unread {
    /// Whether the client is to read before it asks for more.
    pub(super) fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) >= FULL_BYTES
    }

    /// Counts an answer until the client has taken it.
    pub(super) fn count(self: &Arc<Self>, answer: Answer) -> Response<Counted> {
        answer.map(|body| {
            let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
            if self.bytes.fetch_add(bytes, Relaxed) + bytes > BYTES_MAX {
                self.outgrown.notify_one();
            }
            Counted { body, kept: Some(Kept { unread: Arc::clone(self), bytes }) }
        })
    }

    /// Resolves once the client has taken no answer for so long although there is one, or is owed too much.
    pub(super) async fn is_hopeless(&self, within: Duration) {
        loop {
            let (is_owed, taken) = (self.bytes.load(Relaxed) > 0, self.taken.load(Relaxed));
            let is_outgrown = timeout(within, self.outgrown.notified()).await.is_ok();
            if is_outgrown || (is_owed && self.taken.load(Relaxed) == taken) {
                return;
            }
        }
    }
}

/// An answer's place in the count, given back when dropped.
#[derive(Debug)]
struct Kept {
    unread: Arc<Unread>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.unread.bytes.fetch_sub(self.bytes, Relaxed);
        self.unread.taken.fetch_add(1, Relaxed);
    }
}

/// The body of an answer that is counted, wherever it waits: also within the protocol's own layer.
#[derive(Debug)]
pub(super) struct Counted {
    body: Full<Bytes>,
    kept: Option<Kept>,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(context));
        let kept = self.kept.take();
        Poll::Ready(
            frame.map(|frame| {
                frame.map(|frame| frame.map_data(|bytes| Bytes::from_owner(Portion { bytes, _kept: kept })))
            }),
        )
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The bytes of an answer: the last handle of them gives its place back.
struct Portion {
    bytes: Bytes,
    _kept: Option<Kept>,
}

impl AsRef<[u8]> for Portion {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use http_body_util::BodyExt;

    fn of(bytes: usize) -> Answer {
        Answer::new(Full::new(vec![b'x'; bytes].into()))
    }

    #[tokio::test]
    async fn an_answer_counts_until_its_last_byte_is_gone() {
        let unread = Arc::new(Unread::default());
        let body = unread.count(of(FULL_BYTES)).into_body();
        assert_eq!((body.size_hint().exact(), body.is_end_stream()), (Some(FULL_BYTES as u64), false));
        let mut data = body.collect().await.unwrap().to_bytes();
        let rest = data.split_off(FULL_BYTES - 1);
        drop(data);
        assert!(unread.is_full());
        drop(rest);
        assert!(!unread.is_full());
        // One that is never asked for, too, as the answer to a HEAD.
        drop(unread.count(of(FULL_BYTES)));
        assert_eq!((unread.bytes.load(Relaxed), unread.taken.load(Relaxed)), (0, 2));
    }

    #[tokio::test]
    async fn who_takes_none_or_is_owed_too_much_is_hopeless() {
        let unread = Arc::new(Unread::default());
        let owed = unread.count(of(1));
        unread.is_hopeless(Duration::ZERO).await;
        drop(owed);
        drop(unread.count(of(BYTES_MAX)));
        let far = Duration::from_secs(3600);
        let waited = tokio::select! {
            biased;
            () = unread.is_hopeless(far) => false,
            () = tokio::task::yield_now() => true,
        };
        assert!(waited, "nothing is owed");
        drop(unread.count(of(BYTES_MAX + 1)));
        unread.is_hopeless(far).await;
    }
}
