//! Answers that their clients have not taken yet.
//!
//! Large ones take what they hold from one budget of all connections: whoever asks for much and reads none of it would
//! else have it kept, as often as there may be connections. Under HTTP/2 the client also says how much of each answer may
//! be sent: there all of them count, for their connection.

use super::acceptor::Acceptor;
use super::answer::{Answer, crowded_out};
use super::share::held_to_share;
use crate::net::{Share, Shares};
use bytes::Bytes;
use http_body_util::Full;
use hyper::Response;
use hyper::body::{Body, Frame, SizeHint};
use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::sleep;

/// From here on an answer is large; nearly all have less than a hundredth of that.
const LARGE_BYTES: usize = 64 << 10;
/// With so many bytes on one connection no further request is looked at: more than the answers of several batches that
/// fail whole.
const FULL_BYTES: usize = 2 << 20;
/// An answer is counted in pieces, so that a client that reads slowly is seen to read.
const PIECE_BYTES: usize = 16 << 10;

/// An answer, and what it holds.
pub(super) type Reply = Response<Counted>;

/// Large answers that clients have not taken, of all connections.
#[derive(Debug)]
pub struct Owed {
    bytes: AtomicUsize,
    /// What each address has not taken.
    shares: Arc<Shares>,
}

impl Owed {
    /// Nobody is owed anything.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Owed { bytes: AtomicUsize::new(0), shares: Shares::new() })
    }

    /// What an answer of so many bytes holds from now on; `None` where it is large and there are `max` already, or more than
    /// its address may have. A very large one comes where there are fewer, or where it is its address's only one.
    fn keep(self: &Arc<Self>, bytes: usize, max: usize, share: Option<(u128, usize)>) -> Option<Kept> {
        let share = match share {
            Some((block, most)) => {
                let mut share = self.shares.enter(block, usize::MAX)?;
                Some(share.grow(bytes, most.max(bytes)).then_some(share)?)
            }
            None => None,
        };
        let more = |owed: usize| (owed < max).then(|| owed.saturating_add(bytes));
        self.bytes.fetch_update(Relaxed, Relaxed, more).ok()?;
        let debt = Debt { owed: Arc::clone(self), _share: share };
        Some(Kept { bytes, debt: Some(Arc::new(debt)), unread: None })
    }
}

/// A large answer of which something is kept.
#[derive(Debug)]
struct Debt {
    owed: Arc<Owed>,
    /// Given back with the last of it.
    _share: Option<Share>,
}

/// What so many bytes for a client hold from now on; `None` where they are many and clients read too little.
fn place(acceptor: &Acceptor, client: IpAddr, bytes: usize) -> Option<Kept> {
    if bytes < LARGE_BYTES {
        return Some(Kept { bytes, debt: None, unread: None });
    }
    let settings = acceptor.shared.settings.load();
    let max = settings.unread_bytes_max;
    let share = held_to_share(&settings, client).map(|block| (block, settings.share.part(max)));
    acceptor.shared.owed.keep(bytes, max, share)
}

/// Has an answer hold what it takes, or refuses it where that is too much.
pub(super) fn keep(acceptor: &Acceptor, client: IpAddr, answer: &mut Answer) -> Kept {
    if let Some(kept) = place(acceptor, client, size(answer)) {
        return kept;
    }
    *answer = crowded_out();
    place(acceptor, client, size(answer)).unwrap_or_default()
}

impl Kept {
    /// Of an answer that counts for its connection alone.
    pub(super) fn of(answer: &Answer) -> Self {
        Kept { bytes: size(answer), debt: None, unread: None }
    }
}

fn size(answer: &Answer) -> usize {
    answer.body().size_hint().exact().and_then(|bytes| usize::try_from(bytes).ok()).unwrap_or_default()
}

/// What the client of one connection has not taken.
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
    pub(super) fn count(self: &Arc<Self>, reply: Reply) -> Reply {
        reply.map(|mut body| {
            self.bytes.fetch_add(body.kept.bytes, Relaxed);
            body.kept.unread = Some(Arc::clone(self));
            body
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

/// What an answer, or a part of it, holds where it is counted; given back when dropped.
#[derive(Debug, Default)]
pub(super) struct Kept {
    bytes: usize,
    /// Among those of all connections, of a large one.
    debt: Option<Arc<Debt>>,
    /// Among those of its connection.
    unread: Option<Arc<Unread>>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(debt) = &self.debt {
            debt.owed.bytes.fetch_sub(self.bytes, Relaxed);
        }
        if let Some(unread) = &self.unread {
            unread.bytes.fetch_sub(self.bytes, Relaxed);
            unread.taken.fetch_add(1, Relaxed);
            unread.room.notify_waiters();
        }
    }
}

impl Kept {
    fn is_counted(&self) -> bool {
        self.debt.is_some() || self.unread.is_some()
    }

    /// A part of the place, for a part of the bytes.
    fn part(&mut self, bytes: usize) -> Kept {
        let bytes = bytes.min(self.bytes);
        self.bytes -= bytes;
        Kept { bytes, debt: self.debt.clone(), unread: self.unread.clone() }
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

impl Counted {
    /// An answer that holds so much.
    pub(super) fn of(answer: Answer, kept: Kept) -> Reply {
        answer.map(|body| Counted { body, rest: Bytes::new(), kept })
    }
}

impl Body for Counted {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if !self.kept.is_counted() {
            return Pin::new(&mut self.body).poll_frame(context);
        }
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

    fn of(owed: &Arc<Owed>, bytes: usize) -> Reply {
        let kept = owed.keep(bytes, usize::MAX, None).unwrap();
        Counted::of(Answer::new(Full::new(vec![b'x'; bytes].into())), kept)
    }

    #[tokio::test]
    async fn an_answer_counts_piece_by_piece_until_its_last_byte_is_gone() {
        let (unread, owed) = (Arc::new(Unread::default()), Owed::new());
        let mut body = unread.count(of(&owed, FULL_BYTES + 1)).into_body();
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
        assert_eq!(owed.bytes.load(Relaxed), last.len());
        drop(last);
        drop(body);
        assert!(unread.is_nothing() && owed.bytes.load(Relaxed) == 0);
        // One that is never asked for, too, as the answer to a HEAD.
        drop(unread.count(of(&owed, FULL_BYTES)));
        assert!(unread.is_nothing() && owed.bytes.load(Relaxed) == 0);
    }

    #[tokio::test]
    async fn what_is_not_counted_goes_whole() {
        let answer = Answer::new(Full::new(vec![b'x'; LARGE_BYTES].into()));
        let kept = Kept { bytes: LARGE_BYTES, debt: None, unread: None };
        let mut body = Counted::of(answer, kept).into_body();
        assert_eq!(body.size_hint().exact(), Some(LARGE_BYTES as u64));
        let whole = body.frame().await.unwrap().unwrap().into_data().unwrap();
        assert!(whole.len() == LARGE_BYTES && body.is_end_stream() && body.frame().await.is_none());
    }

    #[test]
    fn large_answers_come_until_there_are_enough_and_a_very_large_one_comes_alone() {
        let (owed, max) = (Owed::new(), 3);
        let kept: Vec<_> = (0..4).map(|_| owed.keep(1, max, None)).collect();
        assert_eq!(kept.iter().filter(|kept| kept.is_some()).count(), 3);
        drop(kept);
        let huge = owed.keep(10, max, None);
        assert!(huge.is_some() && owed.keep(1, max, None).is_none());
        drop(huge);
        assert_eq!(owed.bytes.load(Relaxed), 0);
    }

    #[test]
    fn an_address_has_a_share_of_them_and_always_one() {
        let owed = Owed::new();
        let of = |address, bytes| owed.keep(bytes, 100, Some((address, 10)));
        let held = [of(1, 6), of(1, 4)];
        assert!(held.iter().all(Option::is_some) && of(1, 1).is_none() && of(2, 10).is_some());
        drop(held);
        let huge = of(1, 50);
        assert!(huge.is_some() && of(1, 1).is_none());
        // It has its share again with the last of it.
        let last = huge.unwrap().part(1);
        assert!(of(1, 1).is_none());
        drop(last);
        assert!(of(1, 10).is_some());
        assert_eq!((owed.bytes.load(Relaxed), owed.shares.addresses()), (0, 0));
    }

    #[tokio::test]
    async fn who_takes_nothing_is_hopeless_and_who_takes_a_little_is_not() {
        let unread = Arc::new(Unread::default());
        let mut body = unread.count(of(&Owed::new(), 10 * PIECE_BYTES)).into_body();
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
