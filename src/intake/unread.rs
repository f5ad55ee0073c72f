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
use tokio::time::sleep;

/// With so many bytes no further request is looked at: more than the answers of several batches that fail whole.
const FULL_BYTES: usize = 2 << 20;
/// An answer is counted in pieces, so that a client that reads slowly is seen to read.
const PIECE_BYTES: usize = 16 << 10;

/// What a client has not taken.
#[derive(Debug, Default)]
pub(super) struct Unread {
    bytes: AtomicUsize,
    /// Pieces that are gone.
    taken: AtomicU64,
    room: Notify,
}

impl Unread {
    /// Waits as long as the client is to read before it is answered more.
    pub(super) async fn room(&self) {
        loop {
            // Before it is looked: what changes in between is noticed.
            let changed = self.room.notified();
            if !self.is_full() {
                return;
            }
            changed.await;
        }
    }

    fn is_full(&self) -> bool {
        self.bytes.load(Relaxed) >= FULL_BYTES
    }

    /// Whether the client has taken all of it.
    pub(super) fn is_nothing(&self) -> bool {
        self.bytes.load(Relaxed) == 0
    }

    /// Counts an answer until the client has taken it.
    pub(super) fn count(self: &Arc<Self>, answer: Answer) -> Response<Counted> {
        answer.map(|body| {
            let bytes = body.size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default();
            self.bytes.fetch_add(bytes, Relaxed);
            Counted { body, rest: Bytes::new(), kept: Kept { unread: Arc::clone(self), bytes } }
        })
    }

    /// Resolves once the client has taken nothing for so long although there is something.
    pub(super) async fn is_hopeless(&self, within: Duration) {
        loop {
            let (is_owed, taken) = (!self.is_nothing(), self.taken.load(Relaxed));
            sleep(within).await;
            if is_owed && self.taken.load(Relaxed) == taken {
                return;
            }
        }
    }
}

/// A place in the count, given back when dropped.
#[derive(Debug)]
struct Kept {
    unread: Arc<Unread>,
    bytes: usize,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.unread.bytes.fetch_sub(self.bytes, Relaxed);
        self.unread.taken.fetch_add(1, Relaxed);
        self.unread.room.notify_waiters();
    }
}

impl Kept {
    /// A part of the place, for a part of the bytes.
    fn part(&mut self, bytes: usize) -> Kept {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Kept { unread: Arc::clone(&self.unread), bytes }
    }
}

/// The body of an answer that is counted, wherever it waits: also within the protocol's own layer.
#[derive(Debug)]
pub(super) struct Counted {
    body: Full<Bytes>,
    /// What the protocol's layer has not asked for yet.
    rest: Bytes,
    kept: Kept,
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if self.rest.is_empty() {
            match ready!(Pin::new(&mut self.body).poll_frame(context)).and_then(|frame| frame.ok()?.into_data().ok()) {
                Some(whole) => self.rest = whole,
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        let piece = Portion { bytes: self.rest.split_to(length), _kept: self.kept.part(length) };
        Poll::Ready(Some(Ok(Frame::data(Bytes::from_owner(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.rest.len() as u64 + self.body.size_hint().lower())
    }
}

/// Bytes of an answer: the last handle of them gives their place back.
struct Portion {
    bytes: Bytes,
    _kept: Kept,
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
    use tokio::time::timeout;

    fn of(bytes: usize) -> Answer {
        Answer::new(Full::new(vec![b'x'; bytes].into()))
    }

    #[tokio::test]
    async fn an_answer_counts_piece_by_piece_until_its_last_byte_is_gone() {
        let unread = Arc::new(Unread::default());
        let mut body = unread.count(of(FULL_BYTES + 1)).into_body();
        assert!(unread.is_full() && !body.is_end_stream());
        let mut room = std::pin::pin!(unread.room());
        assert!(timeout(Duration::ZERO, &mut room).await.is_err());
        let (mut pieces, mut bytes) = (Vec::new(), 0);
        while let Some(piece) = body.frame().await {
            pieces.push(piece.unwrap().into_data().unwrap());
            bytes += pieces.last().unwrap().len();
            assert_eq!(body.size_hint().exact(), Some((FULL_BYTES + 1 - bytes) as u64));
            assert!(unread.is_full(), "it waits in the protocol's layer");
        }
        assert!(body.is_end_stream() && bytes == FULL_BYTES + 1);
        let last = pieces.pop().unwrap();
        drop(pieces);
        room.await;
        assert_eq!((unread.is_full(), unread.bytes.load(Relaxed)), (false, last.len()));
        drop(last);
        drop(body);
        assert!(unread.is_nothing());
        // One that is never asked for, too, as the answer to a HEAD.
        drop(unread.count(of(FULL_BYTES)));
        assert!(unread.is_nothing());
    }

    #[tokio::test]
    async fn who_takes_nothing_is_hopeless_and_who_takes_a_little_is_not() {
        let unread = Arc::new(Unread::default());
        let mut body = unread.count(of(10 * PIECE_BYTES)).into_body();
        unread.is_hopeless(Duration::ZERO).await;
        let within = Duration::from_millis(200);
        let reading = async {
            for _ in 0..6 {
                tokio::time::sleep(within / 4).await;
                drop(body.frame().await);
            }
        };
        tokio::select! {
            biased;
            () = unread.is_hopeless(within) => panic!("it was seen to take nothing"),
            () = reading => {}
        }
    }
}
