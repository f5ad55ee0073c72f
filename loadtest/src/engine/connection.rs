//! One connection: its socket, what waits to be written, what was half read, and what is outstanding on it.

use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::net::{SendFlags, send};

/// How far a connection has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Phase {
    /// No socket; a timer will try.
    #[default]
    Down,
    /// The kernel is connecting.
    Connecting,
    /// The WebSocket handshake was sent.
    Handshake,
    /// Requests may go out.
    Ready,
}

/// A request that has no answer yet.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Slot {
    /// When it should have been sent (open loop) or was.
    pub(super) intended_ns: u64,
    /// The first of its events' places in the engine's share.
    pub(super) k: u64,
}

#[derive(Debug, Default)]
pub(super) struct Connection {
    pub(super) socket: Option<OwnedFd>,
    pub(super) phase: Phase,
    /// Stands in the queue of free connections.
    pub(super) queued: bool,
    /// Failed attempts in a row.
    pub(super) failures: u32,
    /// Since when it has had room for a request.
    pub(super) free_since_ns: u64,
    head: u32,
    used: u32,
    /// Bytes that the socket would not take yet, from `outbox_done` on.
    outbox: Vec<u8>,
    outbox_done: usize,
    /// The start of an answer whose end is still to come.
    pub(super) inbox: Vec<u8>,
}

impl Connection {
    /// Whether a request may go out.
    #[inline]
    pub(super) fn has_room(&self, depth: usize) -> bool {
        self.phase == Phase::Ready && (self.used as usize) < depth
    }

    /// Writes, or keeps what the socket does not take.
    #[inline]
    pub(super) fn transmit(&mut self, bytes: &[u8]) -> Result<(), Errno> {
        if !self.outbox.is_empty() {
            self.outbox.extend_from_slice(bytes);
            return Ok(());
        }
        let Some(socket) = &self.socket else { return Err(Errno::NOTCONN) };
        let sent = match send(socket, bytes, SendFlags::NOSIGNAL) {
            Ok(sent) if sent == bytes.len() => return Ok(()),
            Ok(sent) => sent,
            Err(Errno::AGAIN | Errno::INTR) => 0,
            Err(error) => return Err(error),
        };
        self.outbox.extend_from_slice(&bytes[sent..]);
        // An edge-triggered poll only tells of room after a write that found none.
        self.flush()
    }

    /// Writes more of what was kept.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        let Some(socket) = &self.socket else { return Ok(()) };
        while self.outbox_done < self.outbox.len() {
            match send(socket, &self.outbox[self.outbox_done..], SendFlags::NOSIGNAL) {
                Ok(sent) => self.outbox_done += sent,
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        self.outbox.clear();
        self.outbox_done = 0;
        Ok(())
    }

    /// Whether bytes wait to be written.
    #[inline]
    pub(super) fn has_backlog(&self) -> bool {
        !self.outbox.is_empty()
    }

    /// Adds a request to what is outstanding; `ring` is this connection's part of the slots.
    #[inline]
    pub(super) fn push(&mut self, ring: &mut [Slot], slot: Slot) {
        let at = (self.head as usize + self.used as usize) % ring.len();
        ring[at] = slot;
        self.used += 1;
    }

    /// Takes the oldest outstanding request.
    #[inline]
    pub(super) fn pop(&mut self, ring: &[Slot]) -> Option<Slot> {
        if self.used == 0 {
            return None;
        }
        let slot = ring[self.head as usize];
        self.head = (self.head + 1) % ring.len() as u32;
        self.used -= 1;
        Some(slot)
    }

    /// Takes the oldest outstanding request that `wanted` says yes to; the order of the others stays.
    #[inline]
    pub(super) fn take(&mut self, ring: &mut [Slot], wanted: impl Fn(&Slot) -> bool) -> Option<Slot> {
        let (head, size) = (self.head as usize, ring.len());
        let place = |i: usize| (head + i) % size;
        let found = (0..self.used as usize).find(|i| wanted(&ring[place(*i)]))?;
        let slot = ring[place(found)];
        for i in (0..found).rev() {
            ring[place(i + 1)] = ring[place(i)];
        }
        self.head = place(1) as u32;
        self.used -= 1;
        Some(slot)
    }

    /// Forgets socket and half-done work; the caller has seen to what was outstanding.
    pub(super) fn reset(&mut self) {
        self.socket = None;
        self.phase = Phase::Down;
        self.head = 0;
        self.used = 0;
        self.outbox = Vec::new();
        self.outbox_done = 0;
        self.inbox = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_from_the_middle_keeps_the_order_of_the_rest() {
        let mut ring = vec![Slot::default(); 4];
        let mut connection = Connection::default();
        for k in 0..3 {
            connection.push(&mut ring, Slot { intended_ns: 0, k });
        }
        assert_eq!(connection.pop(&ring).map(|slot| slot.k), Some(0));
        for k in 3..5 {
            connection.push(&mut ring, Slot { intended_ns: 0, k });
        }
        assert_eq!(connection.take(&mut ring, |slot| slot.k == 3).map(|slot| slot.k), Some(3));
        assert!(connection.take(&mut ring, |slot| slot.k == 9).is_none());
        let rest: Vec<u64> = std::iter::from_fn(|| connection.pop(&ring)).map(|slot| slot.k).collect();
        assert_eq!(rest, [1, 2, 4]);
    }
}
