//! What was committed and delivered last: one side writes, the other waits.

use super::recent::{Recent, RecentBlock};
use event::Seq;
use std::collections::{BTreeMap, VecDeque};
use std::ops::{Range, RangeInclusive};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;

/// The newest committed position and, per sink, how far it has everything.
#[derive(Debug, Clone)]
pub struct Tail {
    committed: watch::Sender<Seq>,
    delivered: watch::Sender<BTreeMap<&'static str, Delivered>>,
    next_dead: watch::Sender<u64>,
    oldest_id: Arc<AtomicU64>,
    /// The first dead letter that a sink which is switched off has not got.
    held_dead: Arc<AtomicU64>,
    dead: Arc<Mutex<VecDeque<(&'static str, Seq)>>>,
    expired: Arc<Mutex<VecDeque<Expired>>>,
    recent: Arc<Mutex<Recent>>,
}

/// So many of the newest events that a sink could not take are remembered, for those who wait for it.
const DEAD_MAX: usize = 10_000;
/// The same for ranges that were given up.
const EXPIRED_MAX: usize = 1000;

/// A sink, and events that it will not get.
type Expired = (&'static str, RangeInclusive<Seq>);

/// How far a sink has everything, durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Delivered {
    /// First event it does not have.
    pub next: Seq,
    /// First dead letter it does not have; 0 for a sink that takes none.
    pub next_dead: u64,
}

impl Tail {
    /// A tail that ends at `committed`.
    #[must_use]
    pub fn new(committed: Seq) -> Self {
        Tail {
            committed: watch::Sender::new(committed),
            delivered: watch::Sender::default(),
            next_dead: watch::Sender::new(1),
            oldest_id: Arc::default(),
            held_dead: Arc::new(AtomicU64::new(u64::MAX)),
            dead: Arc::default(),
            expired: Arc::default(),
            recent: Arc::default(),
        }
    }

    /// The newest committed position.
    #[must_use]
    pub fn committed(&self) -> Seq {
        *self.committed.borrow()
    }

    /// The newest blocks from the one that holds `from` on, about `bytes_max` of them at once; none if that one is not in
    /// memory any more.
    #[must_use]
    pub fn recent(&self, from: Seq, bytes_max: usize) -> Vec<RecentBlock> {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).from(from, bytes_max)
    }

    /// Notes that the block stored under `first` is another one now.
    pub fn replace(&self, first: Seq, block: &[u8]) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).replace(first, block);
    }

    /// Waits until something is committed at or after `seq`; returns the newest committed position.
    pub async fn reaches(&self, seq: Seq) -> Seq {
        let mut receiver = self.committed.subscribe();
        // The sender lives in self, so waiting cannot fail.
        receiver.wait_for(|committed| *committed >= seq).await.map_or(seq, |committed| *committed)
    }

    /// Has everything kept for sinks that are about to start, until they tell their own places.
    pub fn expect(&self, sinks: &[&'static str]) {
        let everything = Delivered { next: Seq::FIRST, next_dead: 1 };
        self.delivered.send_modify(|delivered| delivered.extend(sinks.iter().map(|sink| (*sink, everything))));
    }

    /// Has dead letters from the id `first` on kept for sinks that are switched off.
    pub fn hold_dead(&self, first: u64) {
        self.held_dead.fetch_min(first, Ordering::AcqRel);
    }

    /// Notes how far `sink` has everything (its cursor, durable).
    pub fn set_delivered(&self, sink: &'static str, to: Delivered) {
        self.delivered.send_if_modified(|delivered| delivered.insert(sink, to) != Some(to));
    }

    /// How far each sink has everything.
    #[must_use]
    pub fn delivered(&self) -> BTreeMap<&'static str, Delivered> {
        self.delivered.borrow().clone()
    }

    /// Notes, before its cursor moves past it, that `sink` can never take an event.
    pub fn set_dead(&self, sink: &'static str, seq: Seq) {
        let mut dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        if dead.len() == DEAD_MAX {
            dead.pop_front();
        }
        dead.push_back((sink, seq));
    }

    /// Whether `sink` lately could not take that event.
    #[must_use]
    pub fn is_dead(&self, sink: &str, seq: Seq) -> bool {
        self.dead.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|dead| *dead == (sink, seq))
    }

    /// How many of a range's events `sink` lately could not take.
    #[must_use]
    pub fn count_dead(&self, sink: &str, events: &Range<Seq>) -> u64 {
        let dead = self.dead.lock().unwrap_or_else(PoisonError::into_inner);
        dead.iter().filter(|(of, seq)| *of == sink && events.contains(seq)).count() as u64
    }

    /// Notes, before its cursor moves past them, that `sink` will not get these events: they were given up.
    pub fn set_expired(&self, sink: &'static str, events: RangeInclusive<Seq>) {
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        let continued = expired.iter_mut().rev().find(|(of, _)| *of == sink);
        match continued.filter(|(_, range)| range.end().next() == *events.start()) {
            Some((_, range)) => *range = *range.start()..=*events.end(),
            None => {
                if expired.len() == EXPIRED_MAX {
                    expired.pop_front();
                }
                expired.push_back((sink, events));
            }
        }
    }

    /// Forgets what was given up for `sink` from `from` on: it is to get that after all.
    pub fn unset_expired(&self, sink: &str, from: Seq) {
        let mut expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        expired.retain(|(of, range)| *of != sink || *range.start() < from);
        for (_, range) in expired.iter_mut().filter(|(of, range)| *of == sink && range.contains(&from)) {
            *range = *range.start()..=from.prev();
        }
    }

    /// Whether that event was given up for `sink`, as far as is remembered.
    #[must_use]
    pub fn is_expired(&self, sink: &str, seq: Seq) -> bool {
        let expired = self.expired.lock().unwrap_or_else(PoisonError::into_inner);
        expired.iter().any(|(of, range)| *of == sink && range.contains(&seq))
    }

    /// Waits until `sink` is past `seq`.
    pub async fn is_delivered(&self, sink: &str, seq: Seq) {
        let mut receiver = self.delivered.subscribe();
        let is_past = |all: &BTreeMap<&'static str, Delivered>| all.get(sink).is_some_and(|to| to.next > seq);
        // The sender lives in self, so waiting cannot fail.
        receiver.wait_for(is_past).await.ok();
    }

    /// The first event whose id is still remembered: stored ids before it are needed no longer.
    #[must_use]
    pub fn oldest_id(&self) -> Seq {
        Seq::new(self.oldest_id.load(Ordering::Acquire))
    }

    pub(super) fn set_oldest_id(&self, oldest: Seq) {
        self.oldest_id.store(oldest.get(), Ordering::Release);
    }

    /// The id that the next dead letter gets.
    #[must_use]
    pub fn next_dead(&self) -> u64 {
        *self.next_dead.borrow()
    }

    /// Waits until there is a dead letter with the id `id`.
    pub async fn dead_reaches(&self, id: u64) {
        self.next_dead.subscribe().wait_for(|next| *next > id).await.ok();
    }

    /// The first dead letter that some sink still has to get.
    pub(super) fn dead_delivered(&self) -> u64 {
        let delivered = self.delivered.borrow();
        let running = delivered.values().map(|to| to.next_dead).filter(|next| *next > 0);
        running.chain([self.held_dead.load(Ordering::Acquire)]).min().unwrap_or(u64::MAX)
    }

    pub(super) fn set_next_dead(&self, next: u64) {
        self.next_dead.send_if_modified(|held| std::mem::replace(held, next) != next);
    }

    /// Notes that a block of that many events is committed.
    pub(super) fn commit(&self, first: Seq, events: u32, block: &[u8]) {
        self.recent.lock().unwrap_or_else(PoisonError::into_inner).push(first, events, block);
        self.committed.send_replace(first.plus(u64::from(events)).prev());
    }
}
