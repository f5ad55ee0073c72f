//! When a request goes out.

use super::connect::Ended;
use super::connection::Slot;
use super::pace::Look;
use super::{Engine, Stage};

/// An overdue open loop sends this many requests between two looks at the sockets.
const OVERDUE_BURST: usize = 64;
/// Pipelined requests are gathered up to this size.
const BURST_BYTES: usize = 256 << 10;

impl Engine {
    /// Whether the stage lets requests go out, and there are any.
    #[inline]
    pub(super) fn may_send(&self) -> bool {
        match self.stage {
            Stage::Connecting => false,
            Stage::Warming | Stage::Measuring => self.budget > 0 || !self.again.is_empty(),
            Stage::Draining => self.has_overdue(),
        }
    }

    /// Open loop: a request was due before the end of the load and has not gone out.
    pub(super) fn has_overdue(&self) -> bool {
        let due = |pace: &super::Pace| pace.due_ns() < self.timeline.end_ns;
        self.budget > 0 && self.pace.as_ref().is_some_and(due) && self.options.active > 0
    }

    /// A connection has room: a closed loop fills it, an open one notes it.
    #[inline]
    pub(super) fn on_room(&mut self, c: u32, now: u64) {
        let connection = &mut self.connections[c as usize];
        if c as usize >= self.options.active || !connection.has_room(self.options.depth) {
            return;
        }
        if self.pace.is_none() {
            if self.may_send() {
                self.fill(c, now);
            }
        } else if !connection.queued {
            connection.queued = true;
            connection.free_since_ns = now;
            self.free.push_back(c);
        }
    }

    /// Closed loop: sends until the connection has no room.
    fn fill(&mut self, c: u32, now: u64) {
        let depth = self.options.depth;
        if depth == 1 {
            self.send_one(c, now, now);
            return;
        }
        let mut burst = std::mem::take(&mut self.burst);
        burst.clear();
        let at = c as usize * depth;
        while self.connections[c as usize].has_room(depth) && self.may_send() && burst.len() < BURST_BYTES {
            let k = self.take_k();
            burst.extend_from_slice(self.encoder.request(k));
            self.connections[c as usize].push(&mut self.slots[at..at + depth], Slot { intended_ns: now, k });
            self.note_sent();
        }
        let sent = self.connections[c as usize].transmit(&burst);
        self.burst = burst;
        if sent.is_err() {
            self.take_down(c, Ended::Closed, now);
        }
    }

    /// Open loop: sends what is due on the connections that are free.
    pub(super) fn send_due(&mut self) {
        if self.pace.is_none() || !self.may_send() {
            return;
        }
        self.absence.come_back(self.now_ns());
        let last = self.send_overdue();
        self.absence.go_away(self.now_ns(), last);
    }

    fn send_overdue(&mut self) -> Look {
        let mut sent = 0;
        while sent < OVERDUE_BURST {
            let now = self.now_ns();
            let Some(pace) = &mut self.pace else { break };
            let due = pace.due_ns();
            let over = due >= self.timeline.end_ns || (self.budget == 0 && self.again.is_empty());
            if over {
                return Look::CaughtUp(u64::MAX);
            }
            if due > now {
                return Look::CaughtUp(due);
            }
            let Some(c) = self.free.pop_front() else { return Look::NoneFree };
            let connection = &mut self.connections[c as usize];
            connection.queued = false;
            if !connection.has_room(self.options.depth) {
                continue;
            }
            pace.step();
            self.tally.lag.saturating_record(now - due);
            self.tally.own_lag.saturating_record(self.absence.own_lag_ns(now, due, connection.free_since_ns));
            self.send_one(c, due, now);
            self.on_room(c, now);
            sent += 1;
        }
        Look::Interrupted
    }

    #[inline]
    fn send_one(&mut self, c: u32, intended_ns: u64, now: u64) {
        let k = self.take_k();
        let depth = self.options.depth;
        let connection = &mut self.connections[c as usize];
        connection.push(&mut self.slots[c as usize * depth..][..depth], Slot { intended_ns, k });
        let sent = connection.transmit(self.encoder.request(k));
        self.note_sent();
        if sent.is_err() {
            self.take_down(c, Ended::Closed, now);
        }
    }

    /// The place of the next request: one to send again, or a new one.
    #[inline]
    fn take_k(&mut self) -> u64 {
        if let Some(k) = self.again.pop() {
            return k;
        }
        let k = self.next_k;
        self.next_k += self.options.batch as u64;
        self.budget -= 1;
        k
    }

    #[inline]
    fn note_sent(&mut self) {
        self.outstanding += 1;
        self.tally.counts.requests += 1;
        self.tally.counts.events += self.options.batch as u64;
    }

    /// Counts what was due and never went out; its latency is at least what has passed since.
    pub(super) fn count_unsent(&mut self, now: u64) -> u64 {
        const STRATA: u64 = 1000;
        let Some(pace) = &self.pace else { return 0 };
        if self.stage <= Stage::Connecting || self.options.active == 0 {
            return 0;
        }
        let end = self.timeline.end_ns.min(now);
        let unsent = pace.due_until(end).min(self.budget);
        let first = pace.due_ns();
        for stratum in 0..unsent.min(STRATA) {
            let due = first + (end - first) / STRATA.min(unsent) * stratum;
            self.tally.latency.saturating_record_n(now.saturating_sub(due), unsent.div_ceil(STRATA));
        }
        unsent
    }
}
