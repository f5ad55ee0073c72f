//! How much time has really passed since something was committed, also over restarts and whatever the wall clock was set
//! to meanwhile.
//!
//! Everything in the log bears the wall clock's time. Beside it a *steady time* is counted, which nobody can set: the
//! system's time since it was booted. Where the two part, an [`Entry`] is stored with the group that bears the new time:
//!
//! ```text
//! meta   clock/ u64 number (big-endian)    All integers are little-endian. What may never change: the meaning of version 1.
//! 0 u8   version = 1      1 u8×7 0
//! 8 i64  commit time from which on it holds, microseconds since 1970
//! 16 i64 steady time then, microseconds    24 i64 wall clock minus steady time
//! 32 i64 steady time minus time since boot 40 u128 the boot
//!
//! meta   clock_seen        the same, of the newest step of the wall clock that nothing was committed after
//! ```
//!
//! A restart on a machine that has not been rebooted goes on counting. Over a reboot only the wall clock can tell.
//! Whatever is in doubt counts as younger: what is to be remembered is never forgotten too early.

use super::boot_id::this_boot;
use event::UnixMicros;
use rustix::time::{ClockId, clock_gettime};
use std::collections::VecDeque;
use std::ops::ControlFlow;
use std::time::Duration;
use wal::{Family, ReadError, Reader, Write};

const PREFIX: &[u8] = b"clock/";
const SEEN: &[u8] = b"clock_seen";
const VERSION: u8 = 1;
const LEN: usize = 56;
/// The wall clock may part from steady time by so much, microseconds, before it is noted: what keeps it in time does.
const TOLERANCE: i64 = 1_000_000;
/// So many of the newest entries are kept.
const ENTRIES_MAX: usize = 64;

/// One look at the clocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Reading {
    /// The wall clock.
    pub(super) wall: UnixMicros,
    /// Time since the system was booted, sleep included, microseconds.
    pub(super) uptime: i64,
}

impl Reading {
    pub(super) fn take() -> Self {
        let uptime = clock_gettime(ClockId::Boottime);
        let uptime = uptime.tv_sec.saturating_mul(1_000_000).saturating_add(uptime.tv_nsec / 1000);
        Reading { wall: UnixMicros::now(), uptime }
    }
}

/// From some commit time on: how wall clock, steady time and the time since boot lie to each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Entry {
    from: UnixMicros,
    steady: UnixMicros,
    /// Wall clock minus steady time.
    ahead: i64,
    /// Steady time minus time since boot.
    base: i64,
    boot: u128,
}

/// What is known of time.
#[derive(Debug, Clone)]
pub struct Timeline {
    entries: VecDeque<Entry>,
    /// The number that the next entry gets.
    next: u64,
    /// The newest step that nothing was committed after, as it is stored.
    seen: Option<Entry>,
    boot: u128,
    /// Steady time minus time since boot.
    base: i64,
    /// The newest steady time that was given out.
    steady: UnixMicros,
    last_commit: UnixMicros,
    /// How much of the steady time only the wall clock has told: that over a reboot, up to this start.
    by_wall: Duration,
}

impl Timeline {
    /// What the log knows, whose newest event bears `last_commit`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: &Reader, last_commit: UnixMicros) -> Result<Self, ReadError> {
        Ok(Timeline::new(Stored::read(reader)?, last_commit, this_boot(), Reading::take()))
    }

    fn new(stored: Stored, last_commit: UnixMicros, boot: u128, now: Reading) -> Self {
        let Stored { entries, next, seen } = stored;
        let newest = entries.iter().chain(&seen).max_by_key(|entry| entry.steady).copied();
        let (steady, by_wall) = match newest {
            None => (now.wall, Duration::ZERO),
            Some(entry) if entry.boot == boot => {
                (UnixMicros::new(now.uptime.saturating_add(entry.base)), Duration::ZERO)
            }
            Some(entry) => {
                // As far as a commit is known to have come later: not while commit time stood still, and not behind a
                // step that nothing was committed after, whatever the newest commit bears.
                let is_later = Some(entry) != seen && last_commit > entry.from.max(entry.wall());
                let known = if is_later { entry.to_steady(last_commit) } else { entry.steady };
                // A clock that was slow while nothing was committed, and is right again, has not run through all of that.
                let ahead = entries.back().map_or(entry.ahead, |last| last.ahead.max(entry.ahead));
                let by_wall = now.wall.since(moved(known, ahead));
                (known.plus(by_wall), by_wall)
            }
        };
        let steady = newest.map_or(steady, |entry| steady.max(entry.steady));
        let base = steady.get().saturating_sub(now.uptime);
        Timeline { entries, next, seen, boot, base, steady, last_commit, by_wall }
    }

    /// The steady time of the newest look.
    #[must_use]
    pub fn now(&self) -> UnixMicros {
        self.steady
    }

    /// The same without what only the wall clock has told: that may have been wrong when the machine was booted.
    pub(super) fn counted(&self) -> UnixMicros {
        self.steady.minus(self.by_wall)
    }

    /// Takes over what the log has got to know since, and goes on counting as before.
    ///
    /// # Errors
    /// [`ReadError`].
    pub(super) fn refresh(&mut self, reader: &Reader) -> Result<(), ReadError> {
        let Stored { entries, next, seen } = Stored::read(reader)?;
        (self.entries, self.next, self.seen) = (entries, next, seen);
        Ok(())
    }

    /// Commit time of the newest event when it was loaded.
    #[must_use]
    pub fn last_commit(&self) -> UnixMicros {
        self.last_commit
    }

    /// The steady time at which something was committed that bears `commit`: where that is in doubt, the latest that it
    /// can have been, but not later than now.
    #[must_use]
    pub fn steady(&self, commit: UnixMicros) -> UnixMicros {
        let ends = self.entries.iter().skip(1).map(|entry| entry.steady).chain([UnixMicros::new(i64::MAX)]);
        let holding = self.entries.iter().zip(ends).filter(|(entry, _)| entry.from <= commit);
        let found = holding.map(|(entry, end)| entry.to_steady(commit).min(end)).max();
        moved(found.unwrap_or_else(|| self.before_entries(commit)), TOLERANCE).min(self.steady)
    }

    /// What was committed before the first entry.
    fn before_entries(&self, commit: UnixMicros) -> UnixMicros {
        let Some(first) = self.entries.front() else { return commit };
        let is_whole = self.next == self.entries.len() as u64;
        let youngest = match is_whole {
            // Steady time began as the wall clock's.
            true => commit,
            false => self.entries.iter().map(|entry| entry.to_steady(commit)).max().unwrap_or(commit),
        };
        youngest.min(first.steady)
    }

    /// Takes a look at the clocks; returns the steady time.
    pub(super) fn look(&mut self, now: Reading) -> UnixMicros {
        self.steady = self.steady.max(UnixMicros::new(now.uptime.saturating_add(self.base)));
        self.steady
    }

    /// The writes that go with a group that bears `commit`, if there is something new to note.
    pub(super) fn note(&mut self, commit: UnixMicros, wall: UnixMicros, writes: &mut Vec<Write>) {
        let entry = self.entry(commit, wall);
        // A step that was noted since the last entry is what a restart would go by.
        let newest = self.entries.back();
        let newer = self.seen.filter(|seen| newest.is_none_or(|last| seen.steady >= last.steady));
        if newest.is_some_and(|last| last.agrees(&entry)) && newer.is_none_or(|seen| seen.agrees(&entry)) {
            return;
        }
        writes.push(Write::Put(Family::Meta, name(self.next), entry.encode()));
        self.next += 1;
        self.entries.push_back(entry);
        if self.entries.len() > ENTRIES_MAX {
            self.entries.pop_front();
            writes.push(Write::Delete(Family::Meta, name(self.next - self.entries.len() as u64 - 1)));
        }
    }

    /// The write that keeps a step of the wall clock where nothing is committed, if it is not kept already.
    pub(super) fn note_step(&mut self, wall: UnixMicros, writes: &mut Vec<Write>) {
        let entry = self.entry(wall, wall);
        let newest = self.seen.iter().chain(self.entries.back()).max_by_key(|entry| entry.steady);
        if newest.is_some_and(|newest| !newest.agrees(&entry)) {
            writes.push(Write::Put(Family::Meta, SEEN.to_vec(), entry.encode()));
            self.seen = Some(entry);
        }
    }

    fn entry(&self, from: UnixMicros, wall: UnixMicros) -> Entry {
        let ahead = wall.get().saturating_sub(self.steady.get());
        Entry { from, steady: self.steady, ahead, base: self.base, boot: self.boot }
    }
}

/// What the log holds.
#[derive(Debug, Default)]
struct Stored {
    entries: VecDeque<Entry>,
    next: u64,
    seen: Option<Entry>,
}

impl Stored {
    fn read(reader: &Reader) -> Result<Self, ReadError> {
        let (mut entries, mut next) = (VecDeque::new(), 0);
        reader.scan(Family::Meta, PREFIX, |name, value| {
            let Some(number) = name.strip_prefix(PREFIX) else { return ControlFlow::Break(()) };
            next = number.try_into().map_or(next, |number| u64::from_be_bytes(number) + 1);
            // One of a later release is not understood: what it covers counts by the one before.
            entries.extend(Entry::decode(value));
            ControlFlow::Continue(())
        })?;
        let seen = reader.get(Family::Meta, SEEN)?.as_deref().and_then(Entry::decode);
        Ok(Stored { entries, next, seen })
    }
}

impl Entry {
    fn wall(&self) -> UnixMicros {
        moved(self.steady, self.ahead)
    }

    fn to_steady(self, commit: UnixMicros) -> UnixMicros {
        UnixMicros::new(commit.get().saturating_sub(self.ahead))
    }

    /// Whether the other says the same, as far as it matters.
    fn agrees(&self, other: &Entry) -> bool {
        (self.boot, self.base) == (other.boot, other.base)
            && self.ahead.saturating_sub(other.ahead).saturating_abs() < TOLERANCE
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = vec![VERSION, 0, 0, 0, 0, 0, 0, 0];
        for word in [self.from.get(), self.steady.get(), self.ahead, self.base] {
            out.extend_from_slice(&word.to_le_bytes());
        }
        out.extend_from_slice(&self.boot.to_le_bytes());
        out
    }

    fn decode(value: &[u8]) -> Option<Self> {
        let (words, boot) = value.split_at_checked(LEN - 16)?;
        let (&[[VERSION, ..], from, steady, ahead, base], []) = words.as_chunks::<8>() else { return None };
        let [from, steady, ahead, base] = [from, steady, ahead, base].map(i64::from_le_bytes);
        let boot = u128::from_le_bytes(boot.try_into().ok()?);
        Some(Entry { from: UnixMicros::new(from), steady: UnixMicros::new(steady), ahead, base, boot })
    }
}

fn moved(at: UnixMicros, by: i64) -> UnixMicros {
    UnixMicros::new(at.get().saturating_add(by))
}

fn name(number: u64) -> Vec<u8> {
    [PREFIX, &number.to_be_bytes()].concat()
}

#[cfg(test)]
pub(super) mod tests;
