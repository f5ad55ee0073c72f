//! Live confirmations: what became of a tenant's events, for whoever listens.
//!
//! Each tenant that somebody listens for has a feed of its own: nobody is woken by what others send. A feed keeps what not
//! all of its listeners have heard, bounded in number and in bytes; who is slower than that finds a gap in the numbers.

use event::{Seq, UnixMicros};
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// Pieces a slow listener may be behind before it is told that it lagged; a group is one, unless it is large.
const PIECES_BEHIND_MAX: usize = 256;
/// The same in bytes: ids may be long. The newest group is kept whatever it has, or nobody could keep up with a larger one.
const BYTES_BEHIND_MAX: usize = 4 << 20;
/// A piece of so many bytes is full: a listener that does not read holds no more than one of its own.
const PIECE_BYTES: usize = 64 << 10;

/// What became of one event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ConfirmationStatus {
    /// Stored.
    Accepted,
    /// Its id was known.
    Duplicate,
    /// It can never be stored as it is.
    Rejected,
}

impl ConfirmationStatus {
    /// The name in messages.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            ConfirmationStatus::Accepted => "accepted",
            ConfirmationStatus::Duplicate => "duplicate",
            ConfirmationStatus::Rejected => "rejected",
        }
    }
}

/// One event's outcome.
#[derive(Debug, Clone)]
pub struct Confirmation {
    /// Its place among the confirmations of its tenant: a listener that finds one left out has missed it.
    pub number: u64,
    /// The id as the content of a JSON string; empty where none could be read.
    pub id_json: Box<[u8]>,
    /// Its position, for a duplicate the first one's; `None` for a rejected event.
    pub seq: Option<Seq>,
    /// What became of it.
    pub status: ConfirmationStatus,
    /// When.
    pub at: UnixMicros,
}

impl Confirmation {
    /// What it takes in memory.
    fn bytes(&self) -> usize {
        size_of::<Self>() + self.id_json.len()
    }
}

/// Where the writer announces outcomes; costs nothing while nobody listens.
#[derive(Debug, Clone, Default)]
pub struct Hub {
    /// Locked before the queue of a feed, where both are.
    audience: Arc<Mutex<Audience>>,
}

/// For whom somebody listens. Locked while outcomes are announced, so that nobody joins or leaves in the middle of that.
#[derive(Debug, Default)]
pub(super) struct Audience {
    tenants: HashMap<Arc<str>, Heard>,
    /// Those of them whose outcomes are being announced; one of which nothing is told may be there twice.
    concerned: Vec<Arc<str>>,
    /// Behind the newest stored event whose outcome was announced.
    next: Seq,
}

/// A tenant that somebody listens for.
#[derive(Debug)]
pub(super) struct Heard {
    tenant: Arc<str>,
    listeners: usize,
    /// Confirmations since the first of them began to listen.
    confirmed: u64,
    /// Those of the group that is being announced.
    group: Vec<Draft>,
    feed: Arc<Feed>,
}

/// A piece to which something is still added.
#[derive(Debug, Default)]
struct Draft {
    confirmations: Vec<Confirmation>,
    bytes: usize,
}

/// The way from the writer to the listeners of one tenant.
#[derive(Debug, Default)]
struct Feed {
    queue: Mutex<Queue>,
    news: Notify,
}

/// What not all listeners of a tenant have heard.
#[derive(Debug, Default)]
struct Queue {
    pieces: VecDeque<Piece>,
    /// The number of the oldest piece.
    first: u64,
    bytes: usize,
}

/// A group, or a part of a large one.
#[derive(Debug)]
struct Piece {
    confirmations: Arc<[Confirmation]>,
    bytes: usize,
    /// Listeners that have not heard it.
    unheard: usize,
}

impl Audience {
    /// The tenant, if somebody listens for it.
    pub(super) fn of(&mut self, tenant: &str) -> Option<&mut Heard> {
        let heard = self.tenants.get_mut(tenant)?;
        if heard.group.is_empty() {
            self.concerned.push(Arc::clone(&heard.tenant));
        }
        Some(heard)
    }

    /// Passes on what is collected.
    fn publish(&mut self) {
        for tenant in self.concerned.drain(..) {
            if let Some(heard) = self.tenants.get_mut(&tenant) {
                heard.publish();
            }
        }
    }
}

impl Heard {
    fn new(tenant: Arc<str>) -> Self {
        Heard { tenant, listeners: 0, confirmed: 0, group: Vec::new(), feed: Arc::default() }
    }

    /// Adds the tenant's next confirmation to the group that is being announced.
    pub(super) fn confirm(&mut self, id_json: Box<[u8]>, seq: Option<Seq>, status: ConfirmationStatus, at: UnixMicros) {
        let confirmation = Confirmation { number: self.confirmed, id_json, seq, status, at };
        self.confirmed += 1;
        match self.group.last_mut() {
            Some(draft) if draft.bytes < PIECE_BYTES => draft.add(confirmation),
            _ => {
                let mut draft = Draft::default();
                draft.add(confirmation);
                self.group.push(draft);
            }
        }
    }

    fn publish(&mut self) {
        if !self.group.is_empty() {
            lock(&self.feed.queue).push(&mut self.group, self.listeners);
            self.feed.news.notify_waiters();
        }
    }
}

impl Draft {
    fn add(&mut self, confirmation: Confirmation) {
        self.bytes += confirmation.bytes();
        self.confirmations.push(confirmation);
    }
}

impl Feed {
    fn take(&self, at: &mut u64) -> Option<Arc<[Confirmation]>> {
        lock(&self.queue).take(at)
    }
}

impl Queue {
    /// The number of the piece that comes next.
    fn end(&self) -> u64 {
        self.first + self.pieces.len() as u64
    }

    /// Takes a group for so many listeners; the oldest makes room for it.
    fn push(&mut self, group: &mut Vec<Draft>, listeners: usize) {
        let bytes: usize = group.iter().map(|draft| draft.bytes).sum();
        while !self.has_room(group.len(), bytes) && self.drop_oldest() {}
        self.bytes += bytes;
        self.pieces.extend(group.drain(..).map(|Draft { confirmations, bytes }| Piece {
            confirmations: confirmations.into(),
            bytes,
            unheard: listeners,
        }));
    }

    fn has_room(&self, pieces: usize, bytes: usize) -> bool {
        self.pieces.len() + pieces <= PIECES_BEHIND_MAX && self.bytes + bytes <= BYTES_BEHIND_MAX
    }

    /// The piece for a listener that is at this place, or the oldest there still is, and moves it behind that.
    fn take(&mut self, at: &mut u64) -> Option<Arc<[Confirmation]>> {
        let place = at.saturating_sub(self.first);
        let piece = self.pieces.get_mut(place as usize)?;
        piece.unheard -= 1;
        let confirmations = Arc::clone(&piece.confirmations);
        *at = self.first + place + 1;
        self.drop_heard();
        Some(confirmations)
    }

    /// Waits no longer for a listener that is at this place.
    fn leave(&mut self, at: u64) {
        let place = at.saturating_sub(self.first);
        self.pieces.iter_mut().skip(place as usize).for_each(|piece| piece.unheard -= 1);
        self.drop_heard();
    }

    /// Whoever has heard a piece has heard those before it, so that none stands behind one that somebody waits for.
    fn drop_heard(&mut self) {
        while self.pieces.front().is_some_and(|piece| piece.unheard == 0) {
            self.drop_oldest();
        }
    }

    /// False if there is none.
    fn drop_oldest(&mut self) -> bool {
        let Some(piece) = self.pieces.pop_front() else { return false };
        self.bytes -= piece.bytes;
        self.first += 1;
        true
    }
}

impl Hub {
    /// Listens for a tenant from now on.
    #[must_use]
    pub fn listen(&self, tenant: &str) -> Listener {
        let mut audience = lock(&self.audience);
        let (tenant, next): (Arc<str>, Seq) = (tenant.into(), audience.next);
        let heard = audience.tenants.entry(Arc::clone(&tenant)).or_insert_with(|| Heard::new(Arc::clone(&tenant)));
        heard.listeners += 1;
        let (expected, feed) = (heard.confirmed, Arc::clone(&heard.feed));
        let at = lock(&feed.queue).end();
        drop(audience);
        Listener { audience: Arc::clone(&self.audience), feed, tenant, at, expected, next }
    }

    /// Notes where the log goes on before anything is announced.
    pub(super) fn begin(&self, next: Seq) {
        lock(&self.audience).next = next;
    }

    /// Announces a group's outcomes, behind which the log goes on at `next`; `tell` confirms those that are listened for.
    pub(super) fn announce(&self, next: Seq, tell: impl FnOnce(&mut Audience)) {
        let mut audience = lock(&self.audience);
        audience.next = next;
        if !audience.tenants.is_empty() {
            tell(&mut audience);
            audience.publish();
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Confirmations that a listener was too slow for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Missed {
    /// How many; all of its own tenant.
    pub confirmations: u64,
    /// Behind the newest stored event that it was told of, or that was there when it began.
    pub from: Seq,
}

/// Hears what becomes of one tenant's events.
#[derive(Debug)]
pub struct Listener {
    audience: Arc<Mutex<Audience>>,
    feed: Arc<Feed>,
    tenant: Arc<str>,
    /// The number of the piece it takes next, if that is still there.
    at: u64,
    /// The number of its tenant's next confirmation, if it misses none.
    expected: u64,
    next: Seq,
}

impl Listener {
    /// What comes next of the outcomes of its tenant, after what it was too slow for. Nothing is lost where this is not
    /// waited for to its end.
    pub async fn hear(&mut self) -> Arc<[Confirmation]> {
        loop {
            // Before it looks, so that nothing comes unnoticed in between.
            let news = self.feed.news.notified();
            if let Some(confirmations) = self.feed.take(&mut self.at) {
                return confirmations;
            }
            news.await;
        }
    }

    /// Notes that `confirmation` is told; what it has missed before. The newest is always kept, so that a gap shows.
    pub fn note(&mut self, confirmation: &Confirmation) -> Option<Missed> {
        let confirmations = confirmation.number.saturating_sub(self.expected);
        let missed = (confirmations > 0).then_some(Missed { confirmations, from: self.next });
        self.expected = confirmation.number + 1;
        if let (ConfirmationStatus::Accepted, Some(seq)) = (confirmation.status, confirmation.seq) {
            self.next = seq.next();
        }
        missed
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut audience = lock(&self.audience);
        let Some(heard) = audience.tenants.get_mut(&*self.tenant) else { return };
        heard.listeners -= 1;
        if heard.listeners == 0 {
            audience.tenants.remove(&*self.tenant);
        } else {
            // Within the lock, or a group could come in between that does not count it.
            lock(&self.feed.queue).leave(self.at);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::pin::pin;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::{Context, Poll, Wake, Waker};

    /// Announces one outcome of an event of `tenant`; one that is stored is at `seq`.
    fn announce(hub: &Hub, tenant: &str, status: ConfirmationStatus, seq: u64) {
        hub.announce(Seq::new(seq).next(), |audience| {
            let Some(heard) = audience.of(tenant) else { return };
            heard.confirm(Box::default(), Some(Seq::new(seq)), status, UnixMicros::default());
        });
    }

    fn accept(hub: &Hub, tenant: &str, seqs: std::ops::Range<u64>) {
        seqs.for_each(|seq| announce(hub, tenant, ConfirmationStatus::Accepted, seq));
    }

    /// Announces one group of events with ids of 8 KiB.
    fn accept_long(hub: &Hub, tenant: &str, seqs: std::ops::Range<u64>) {
        hub.announce(Seq::new(seqs.end), |audience| {
            let Some(heard) = audience.of(tenant) else { return };
            for seq in seqs {
                let id = vec![b'x'; 8 << 10].into();
                heard.confirm(id, Some(Seq::new(seq)), ConfirmationStatus::Accepted, UnixMicros::default());
            }
        });
    }

    /// All that is there to be heard: how many were told, and what was missed.
    fn hear(listener: &mut Listener) -> (u64, Vec<Missed>) {
        let (mut told, mut missed) = (0, Vec::new());
        while let Some(piece) = listener.feed.take(&mut listener.at) {
            for one in piece.iter() {
                missed.extend(listener.note(one));
                told += 1;
            }
        }
        (told, missed)
    }

    /// Bytes that wait for a listener or another one of its tenant.
    fn kept(listener: &Listener) -> usize {
        let queue = lock(&listener.feed.queue);
        let bytes: usize =
            queue.pieces.iter().flat_map(|piece| piece.confirmations.iter()).map(Confirmation::bytes).sum();
        assert_eq!(queue.bytes, bytes);
        bytes
    }

    const MOST: u64 = PIECES_BEHIND_MAX as u64;

    #[test]
    fn who_lags_is_told_how_much_whatever_comes_next() {
        for status in [ConfirmationStatus::Accepted, ConfirmationStatus::Duplicate, ConfirmationStatus::Rejected] {
            let hub = Hub::default();
            hub.begin(Seq::new(5));
            let mut listener = hub.listen("a");
            accept(&hub, "a", 5..10);
            assert_eq!(hear(&mut listener), (5, vec![]));
            accept(&hub, "a", 10..17);
            (0..MOST).for_each(|_| announce(&hub, "a", status, 5));
            let missed = Missed { confirmations: 7, from: Seq::new(10) };
            assert_eq!(hear(&mut listener), (MOST, vec![missed]), "{status:?}");
        }
    }

    #[test]
    fn what_waits_for_a_slow_listener_is_bounded_in_bytes_and_the_rest_counted() {
        let hub = Hub::default();
        hub.begin(Seq::FIRST);
        let (mut slow, mut quick) = (hub.listen("a"), hub.listen("a"));
        for group in 0..20 {
            accept_long(&hub, "a", 1 + group * 100..101 + group * 100);
            assert!(kept(&slow) <= BYTES_BEHIND_MAX, "{}", kept(&slow));
            assert_eq!(hear(&mut quick), (100, vec![]), "who keeps up misses nothing");
        }
        let (told, missed) = hear(&mut slow);
        assert!(told >= 400, "{told}: no more is left out than has to be");
        assert_eq!(missed, [Missed { confirmations: 2000 - told, from: Seq::FIRST }]);
        assert_eq!(kept(&slow), 0, "what all have heard is not kept");
    }

    #[test]
    fn a_group_over_the_bound_is_heard_by_who_keeps_up_and_kept_until_the_next() {
        let hub = Hub::default();
        hub.begin(Seq::FIRST);
        let (mut slow, mut quick) = (hub.listen("a"), hub.listen("a"));
        accept_long(&hub, "a", 1..1001);
        let largest = lock(&slow.feed.queue).pieces.iter().map(|piece| piece.bytes).max().unwrap();
        assert!(largest < 2 * PIECE_BYTES, "{largest}: it is told in pieces");
        assert_eq!(hear(&mut quick), (1000, vec![]));
        assert!(kept(&slow) > BYTES_BEHIND_MAX);
        accept(&hub, "a", 1001..1002);
        assert!(kept(&slow) <= BYTES_BEHIND_MAX);
        let (told, missed) = hear(&mut slow);
        assert_eq!(missed, [Missed { confirmations: 1001 - told, from: Seq::FIRST }]);
    }

    #[test]
    fn nothing_waits_for_a_listener_that_has_gone() {
        let hub = Hub::default();
        let (slow, mut quick) = (hub.listen("a"), hub.listen("a"));
        accept(&hub, "a", 1..11);
        assert_eq!(hear(&mut quick), (10, vec![]));
        accept(&hub, "a", 11..16);
        drop(slow);
        assert_eq!(lock(&quick.feed.queue).pieces.len(), 5, "those that the other one has not heard");
        assert_eq!(hear(&mut quick), (5, vec![]));
        assert_eq!(kept(&quick), 0);
    }

    #[derive(Default)]
    struct Bell(AtomicUsize);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn who_listens_is_woken_by_its_own_tenant_only() {
        let hub = Hub::default();
        hub.begin(Seq::FIRST);
        let (mut one, mut other) = (hub.listen("a"), hub.listen("b"));
        let bell = Arc::new(Bell::default());
        let waker = Waker::from(Arc::clone(&bell));
        let mut context = Context::from_waker(&waker);
        let heard = {
            let mut hearing = pin!(one.hear());
            assert!(hearing.as_mut().poll(&mut context).is_pending());
            accept(&hub, "b", 1..1000);
            assert_eq!(bell.0.load(Ordering::Relaxed), 0);
            accept(&hub, "a", 1000..1001);
            assert_eq!(bell.0.load(Ordering::Relaxed), 1);
            match hearing.as_mut().poll(&mut context) {
                Poll::Ready(heard) => heard,
                Poll::Pending => panic!("it is there to be heard"),
            }
        };
        assert_eq!(heard.iter().map(|confirmation| one.note(confirmation)).collect::<Vec<_>>(), [None]);
        assert_eq!(hear(&mut other), (MOST, vec![Missed { confirmations: 999 - MOST, from: Seq::FIRST }]));
        accept(&hub, "a", 1001..1003);
        drop(other);
        accept(&hub, "b", 1003..2000);
        assert_eq!(hear(&mut one), (2, vec![]), "what others send counts for nothing");
    }

    #[test]
    fn nobody_is_kept_who_has_gone() {
        let hub = Hub::default();
        let listeners = [hub.listen("a"), hub.listen("a"), hub.listen("b")];
        assert_eq!(lock(&hub.audience).tenants.len(), 2);
        drop(listeners);
        assert!(lock(&hub.audience).tenants.is_empty());
    }
}
