//! Live confirmations: what became of a tenant's events, for whoever listens.

use event::{Seq, UnixMicros};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::broadcast::{self, error::RecvError};

/// Groups a slow listener may be behind before it is told that it lagged.
const GROUPS_BEHIND_MAX: usize = 256;

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
    /// The owner.
    pub tenant: Arc<str>,
    /// Its place among the confirmations of this tenant: a listener that finds one left out has missed it.
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

/// Where the writer announces outcomes; costs nothing while nobody listens.
#[derive(Debug, Clone)]
pub struct Hub {
    groups: broadcast::Sender<Arc<[Confirmation]>>,
    audience: Arc<Mutex<Audience>>,
}

impl Default for Hub {
    fn default() -> Self {
        Hub { groups: broadcast::Sender::new(GROUPS_BEHIND_MAX), audience: Arc::default() }
    }
}

/// For whom somebody listens. Locked while outcomes are announced, so that nobody joins in the middle of that.
#[derive(Debug, Default)]
pub(super) struct Audience {
    tenants: HashMap<Arc<str>, Heard>,
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
}

impl Audience {
    /// The tenant, if somebody listens for it.
    pub(super) fn of(&mut self, tenant: &str) -> Option<&mut Heard> {
        self.tenants.get_mut(tenant)
    }
}

impl Heard {
    /// The tenant's next confirmation.
    pub(super) fn confirm(
        &mut self,
        id_json: Box<[u8]>,
        seq: Option<Seq>,
        status: ConfirmationStatus,
        at: UnixMicros,
    ) -> Confirmation {
        let number = self.confirmed;
        self.confirmed += 1;
        Confirmation { tenant: Arc::clone(&self.tenant), number, id_json, seq, status, at }
    }
}

impl Hub {
    /// Listens for a tenant from now on.
    #[must_use]
    pub fn listen(&self, tenant: &str) -> Listener {
        let mut audience = lock(&self.audience);
        let (tenant, next): (Arc<str>, Seq) = (tenant.into(), audience.next);
        let new = Heard { tenant: Arc::clone(&tenant), listeners: 0, confirmed: 0 };
        let heard = audience.tenants.entry(Arc::clone(&tenant)).or_insert(new);
        heard.listeners += 1;
        let expected = heard.confirmed;
        let groups = self.groups.subscribe();
        drop(audience);
        Listener { groups, audience: Arc::clone(&self.audience), tenant, expected, next, is_behind: false }
    }

    /// Notes where the log goes on before anything is announced.
    pub(super) fn begin(&self, next: Seq) {
        lock(&self.audience).next = next;
    }

    /// Announces a group's outcomes, behind which the log goes on at `next`; `tell` collects those that are listened for.
    pub(super) fn announce(&self, next: Seq, tell: impl FnOnce(&mut Audience, &mut Vec<Confirmation>)) {
        let mut audience = lock(&self.audience);
        audience.next = next;
        if audience.tenants.is_empty() {
            return;
        }
        let mut group = Vec::new();
        tell(&mut audience, &mut group);
        if !group.is_empty() {
            // An error only says that the last listener has just left.
            self.groups.send(group.into()).ok();
        }
    }
}

fn lock(audience: &Mutex<Audience>) -> MutexGuard<'_, Audience> {
    audience.lock().unwrap_or_else(PoisonError::into_inner)
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
    groups: broadcast::Receiver<Arc<[Confirmation]>>,
    audience: Arc<Mutex<Audience>>,
    tenant: Arc<str>,
    /// The number of its tenant's next confirmation, if it misses none.
    expected: u64,
    next: Seq,
    /// Groups came faster than it took them; whether its tenant was in one of them is not known yet.
    is_behind: bool,
}

impl Listener {
    /// The next group, in which may be nothing for its tenant. Nothing is lost where this is not waited for to its end.
    ///
    /// # Errors
    /// Some were left out, or there will be none.
    pub async fn hear(&mut self) -> Result<Arc<[Confirmation]>, RecvError> {
        let heard = self.groups.recv().await;
        self.is_behind |= matches!(heard, Err(RecvError::Lagged(_)));
        heard
    }

    /// Whether it is for this one.
    #[must_use]
    pub fn is_for(&self, confirmation: &Confirmation) -> bool {
        *confirmation.tenant == *self.tenant
    }

    /// Notes that its tenant's `confirmation` is told; what it has missed before.
    pub fn note(&mut self, confirmation: &Confirmation) -> Option<Missed> {
        let missed = self.reach(confirmation.number);
        self.expected = confirmation.number + 1;
        self.is_behind = false;
        if let (ConfirmationStatus::Accepted, Some(seq)) = (confirmation.status, confirmation.seq) {
            self.next = seq.next();
        }
        missed
    }

    /// What it has missed where nothing is left that could still show it: its tenant may be silent from now on.
    pub fn missed_last(&mut self) -> Option<Missed> {
        if !self.is_behind {
            return None;
        }
        let (confirmed, next) = {
            let audience = lock(&self.audience);
            if !self.groups.is_empty() {
                return None;
            }
            (audience.tenants.get(&*self.tenant)?.confirmed, audience.next)
        };
        self.is_behind = false;
        let missed = self.reach(confirmed);
        self.next = next;
        missed
    }

    fn reach(&mut self, number: u64) -> Option<Missed> {
        let confirmations = number.saturating_sub(self.expected);
        self.expected = number.max(self.expected);
        (confirmations > 0).then_some(Missed { confirmations, from: self.next })
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        let mut audience = lock(&self.audience);
        let Some(heard) = audience.tenants.get_mut(&*self.tenant) else { return };
        heard.listeners -= 1;
        if heard.listeners == 0 {
            audience.tenants.remove(&*self.tenant);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Announces one outcome of an event of `tenant`; one that is stored is at `seq`.
    fn announce(hub: &Hub, tenant: &str, status: ConfirmationStatus, seq: u64) {
        hub.announce(Seq::new(seq).next(), |audience, out| {
            let Some(heard) = audience.of(tenant) else { return };
            out.push(heard.confirm(Box::default(), Some(Seq::new(seq)), status, UnixMicros::default()));
        });
    }

    fn accept(hub: &Hub, tenant: &str, seqs: std::ops::Range<u64>) {
        seqs.for_each(|seq| announce(hub, tenant, ConfirmationStatus::Accepted, seq));
    }

    /// All that is there to be heard: how many were told, and what was missed.
    fn hear(listener: &mut Listener) -> (u64, Vec<Missed>) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let (mut told, mut missed) = (0, Vec::new());
        runtime.block_on(async {
            while !listener.groups.is_empty() || listener.is_behind {
                if let Ok(group) = listener.hear().await {
                    for one in group.iter() {
                        if listener.is_for(one) {
                            missed.extend(listener.note(one));
                            told += 1;
                        }
                    }
                }
                missed.extend(listener.missed_last());
            }
        });
        (told, missed)
    }

    const MOST: u64 = GROUPS_BEHIND_MAX as u64;

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
    fn a_lag_by_what_others_send_says_nothing_of_them() {
        let hub = Hub::default();
        hub.begin(Seq::FIRST);
        let (mut one, other) = (hub.listen("a"), hub.listen("b"));
        accept(&hub, "b", 1..1000);
        assert_eq!(hear(&mut one), (0, vec![]), "it has missed nothing");
        accept(&hub, "a", 1000..1003);
        accept(&hub, "b", 1003..2000);
        // Told although nothing of its own comes behind.
        assert_eq!(hear(&mut one), (0, vec![Missed { confirmations: 3, from: Seq::new(1000) }]));
        accept(&hub, "a", 2000..2001);
        assert_eq!(hear(&mut one), (1, vec![]));
        drop(other);
        accept(&hub, "b", 2001..3000);
        assert!(one.groups.is_empty(), "what nobody listens for is not announced");
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
