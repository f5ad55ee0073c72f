//! `Idempotency-Key`: the first answer to a key is part of the same write as its events and is given again to repeats.
//!
//! Stored as { u64 time µs big-endian, u128 digest of (tenant, key) } → { u128 digest of the request, u16 status,
//! answer }, and behind it { the same, u32 of the tenant big-endian } → nothing. Version 0.1.0 did not write the latter, and
//! passes over it. In memory: the digest and where its answer lies, bounded by number, stored bytes and age (`holders`).

use super::holders::{Holder, Holders, Kept};
use super::submission::Reject;
use super::timeline::Timeline;
use event::{Batch, Receipt, UnixMicros};
use std::collections::HashMap;
use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wal::{Family, ReadError, Reader, Write};
use xxhash_rust::xxh3::xxh3_128;

/// How many keys are remembered and how long.
#[derive(Debug, Clone, Copy)]
pub struct IdempotencyLimits {
    /// Keys over all tenants.
    pub keys_max: usize,
    /// Bytes of their answers on disk: that of a batch of bad events is hundreds of kilobytes long.
    pub bytes_max: u64,
    /// Age after which a key may be used anew.
    pub age_max: Duration,
}

impl Default for IdempotencyLimits {
    fn default() -> Self {
        IdempotencyLimits { keys_max: 1_000_000, bytes_max: 256 << 20, age_max: Duration::from_secs(24 * 60 * 60) }
    }
}

/// A remembered answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remembered {
    /// HTTP status.
    pub status: u16,
    /// Body, JSON.
    pub body: Vec<u8>,
}

/// What a request with a key is to do.
#[derive(Debug)]
pub enum Begin {
    /// It is the first: run it, with this claim on board.
    First(Claim),
    /// The same request ran before: give its answer.
    Repeat(Remembered),
    /// The first one is still running.
    Running,
    /// The key was used for another request.
    Mismatch,
}

type Render = Box<dyn FnOnce(&Batch, &[Reject], &Receipt) -> Remembered + Send>;

/// The right to be the first request of a key; dropped without a commit, the key is free again.
pub struct Claim {
    table: Arc<Mutex<Table>>,
    digest: u128,
    holder: Holder,
    request: u128,
    render: Option<Render>,
    answer: Option<Remembered>,
    /// Bytes of what was stored.
    bytes: u64,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Running { request: u128 },
    Done { request: u128, at: UnixMicros, since: UnixMicros },
}

#[derive(Debug, Default)]
struct Table {
    states: HashMap<u128, State>,
    kept: Holders,
    limits: IdempotencyLimits,
    /// Steady time, as the writer last saw it.
    now: UnixMicros,
}

impl Table {
    fn keep(&mut self, kept: Kept, request: u128) {
        self.states.insert(kept.digest, State::Done { request, at: kept.at, since: kept.since });
        self.kept.push(kept);
    }

    /// Keeps all that is stored.
    fn load(&mut self, reader: &Reader, timeline: &Timeline) -> Result<(), ReadError> {
        // Whose it is stands behind it, if anywhere.
        let mut answer: Option<(Kept, u128)> = None;
        reader.scan(Family::Idempotency, &[], |key, value| {
            let Some((at, digest, holder)) = parse_key(key) else { return ControlFlow::Continue(()) };
            let kept = Kept { at, since: timeline.steady(at), digest, bytes: value.len() as u64, holder };
            let before = answer.take();
            match (before, value.split_first_chunk::<16>()) {
                (Some((before, request)), _) if holder != Holder::UNKNOWN && before.key() == kept.key() => {
                    self.keep(Kept { holder, ..before }, request);
                }
                (before, request) => {
                    before.into_iter().for_each(|(before, request)| self.keep(before, request));
                    match request.filter(|_| holder == Holder::UNKNOWN) {
                        Some((request, _)) => answer = Some((kept, u128::from_be_bytes(*request))),
                        // Its answer was removed by a version that passes over it: it goes when that would have.
                        None => self.kept.push(kept),
                    }
                }
            }
            ControlFlow::Continue(())
        })?;
        answer.into_iter().for_each(|(kept, request)| self.keep(kept, request));
        Ok(())
    }
}

/// The table of known keys, shared by all acceptors.
#[derive(Clone)]
pub struct Idempotency {
    table: Arc<Mutex<Table>>,
    reader: Reader,
}

impl Idempotency {
    /// Reads what was remembered before the start.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: Reader, limits: IdempotencyLimits, timeline: &Timeline) -> Result<Self, ReadError> {
        let mut table = Table { limits, now: timeline.now(), ..Table::default() };
        table.load(&reader, timeline)?;
        Ok(Idempotency { table: Arc::new(Mutex::new(table)), reader })
    }

    /// Changes how much is remembered from now on.
    pub fn set_limits(&self, limits: IdempotencyLimits) {
        self.table.lock().unwrap_or_else(PoisonError::into_inner).limits = limits;
    }

    /// Looks a key up and claims it if it is free; `request` is everything that makes the request the same one.
    ///
    /// # Errors
    /// [`ReadError`] when the remembered answer cannot be read.
    pub fn begin(&self, tenant: &str, key: &[u8], request: &[&[u8]]) -> Result<Begin, ReadError> {
        let digest = digest(&[tenant.as_bytes(), key]);
        let request = digest_of(request);
        let state = {
            let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
            let age_max = table.limits.age_max;
            match table.states.get(&digest).copied() {
                Some(State::Done { since, .. }) if table.now.since(since) >= age_max => None,
                state => state,
            }
            .or_else(|| {
                table.states.insert(digest, State::Running { request });
                None
            })
        };
        let (first, at) = match state {
            None => {
                let table = Arc::clone(&self.table);
                let holder = Holder::of(tenant);
                return Ok(Begin::First(Claim {
                    table,
                    digest,
                    holder,
                    request,
                    render: None,
                    answer: None,
                    bytes: 0,
                }));
            }
            Some(State::Running { request: first }) => (first, None),
            Some(State::Done { request: first, at, .. }) => (first, Some(at)),
        };
        if first != request {
            return Ok(Begin::Mismatch);
        }
        let Some(at) = at else { return Ok(Begin::Running) };
        let stored = self.reader.get(Family::Idempotency, &storage_key(at, digest))?;
        Ok(match stored.as_deref().and_then(parse_value) {
            Some(answer) => Begin::Repeat(answer),
            None => Begin::Running,
        })
    }

    /// Adds the removal of keys that are too old, too many or too large together.
    pub(super) fn expire(&self, now: UnixMicros, added: usize, writes: &mut Vec<Write>) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let limits = table.limits;
        table.now = now;
        // A bounded number each time, and more than came in: no commit is held up by a large clean-up.
        for _ in 0..added + 64 {
            let Some(Kept { at, digest, holder, .. }) = table.kept.pop(&limits, now) else { break };
            if matches!(table.states.get(&digest), Some(State::Done { at: held, .. }) if *held == at) {
                table.states.remove(&digest);
            }
            writes.push(Write::Delete(Family::Idempotency, storage_key(at, digest)));
            if holder != Holder::UNKNOWN {
                writes.push(Write::Delete(Family::Idempotency, holder_key(at, digest, holder)));
            }
        }
    }
}

impl Claim {
    /// Says how the answer will look; called by the writer once the outcome is known.
    pub fn answer_with(&mut self, render: impl FnOnce(&Batch, &[Reject], &Receipt) -> Remembered + Send + 'static) {
        self.render = Some(Box::new(render));
    }

    /// The answer that was stored.
    #[must_use]
    pub fn into_answer(mut self) -> Option<Remembered> {
        self.answer.take()
    }

    /// Adds the write that remembers the answer.
    pub(super) fn store(&mut self, batch: &Batch, rejects: &[Reject], receipt: &Receipt, writes: &mut Vec<Write>) {
        let Some(render) = self.render.take() else { return };
        let answer = render(batch, rejects, receipt);
        let mut value = self.request.to_be_bytes().to_vec();
        value.extend_from_slice(&answer.status.to_be_bytes());
        value.extend_from_slice(&answer.body);
        self.bytes = value.len() as u64;
        let at = receipt.committed_at;
        writes.push(Write::Put(Family::Idempotency, storage_key(at, self.digest), value));
        writes.push(Write::Put(Family::Idempotency, holder_key(at, self.digest, self.holder), Vec::new()));
        self.answer = Some(answer);
    }

    /// The write is durable, and bears the commit time `at`: repeats get the answer from now on.
    pub(super) fn complete(&mut self, at: UnixMicros, since: UnixMicros) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        let Claim { digest, holder, bytes, .. } = *self;
        table.keep(Kept { at, since, digest, bytes, holder }, self.request);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let mut table = self.table.lock().unwrap_or_else(PoisonError::into_inner);
        if matches!(table.states.get(&self.digest), Some(State::Running { .. })) {
            table.states.remove(&self.digest);
        }
    }
}

impl std::fmt::Debug for Claim {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Claim({:032x})", self.digest)
    }
}

fn digest(parts: &[&[u8]]) -> u128 {
    digest_of(parts)
}

/// Digest of several parts, each with its length so that they cannot run into each other.
fn digest_of(parts: &[&[u8]]) -> u128 {
    let mut all = Vec::with_capacity(parts.iter().map(|part| part.len() + 8).sum());
    for part in parts {
        all.extend_from_slice(&(part.len() as u64).to_le_bytes());
        all.extend_from_slice(part);
    }
    xxh3_128(&all)
}

fn storage_key(at: UnixMicros, digest: u128) -> Vec<u8> {
    [&at.get().to_be_bytes()[..], &digest.to_be_bytes()].concat()
}

fn holder_key(at: UnixMicros, digest: u128, holder: Holder) -> Vec<u8> {
    [storage_key(at, digest), holder.0.to_be_bytes().to_vec()].concat()
}

fn parse_key(key: &[u8]) -> Option<(UnixMicros, u128, Holder)> {
    let (at, rest) = key.split_first_chunk::<8>()?;
    let (digest, holder) = rest.split_first_chunk::<16>()?;
    let holder = match holder {
        [] => Holder::UNKNOWN,
        holder => Holder(holder.try_into().map(u32::from_be_bytes).ok()?),
    };
    Some((UnixMicros::new(i64::from_be_bytes(*at)), u128::from_be_bytes(*digest), holder))
}

fn parse_value(value: &[u8]) -> Option<Remembered> {
    let (status, body) = value.get(16..)?.split_first_chunk::<2>()?;
    Some(Remembered { status: u16::from_be_bytes(*status), body: body.to_vec() })
}
