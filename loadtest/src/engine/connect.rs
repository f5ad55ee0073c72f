//! Bringing connections up and taking them down.

use super::connection::{Phase, Slot};
use super::{Engine, Stage};
use crate::options::Mode;
use crate::request::{control_frame, ws_handshake};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, connect, socket_with, sockopt};
use std::cmp::Reverse;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4};
use std::sync::atomic::Ordering;

/// Connections in the making at once; well below a usual listen backlog.
pub(super) const RISING_MAX: usize = 256;
/// First and longest wait before another attempt.
const BACKOFF_MIN_NS: u64 = 10_000_000;
const BACKOFF_DOUBLINGS_MAX: u32 = 6;

/// Why a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// It never came up.
    Connect,
    /// The WebSocket handshake was refused.
    Handshake,
    /// The server or the network ended it.
    Closed,
    /// The server announced the end with its last answer.
    Announced,
    /// The server wrote what cannot be read.
    Protocol,
}

impl Engine {
    /// Starts the connections that are due, as many as may be in the making.
    pub(super) fn start_connections(&mut self, now: u64) {
        if self.stage == Stage::Draining && !self.has_overdue() {
            return;
        }
        while self.rising < RISING_MAX {
            match self.timers.peek() {
                Some(Reverse((at, c))) if *at <= now => {
                    let c = *c;
                    self.timers.pop();
                    self.rising += 1;
                    self.connections[c as usize].phase = Phase::Connecting;
                    if self.open_socket(c).is_err() {
                        self.take_down(c, Ended::Connect, now);
                    }
                }
                _ => break,
            }
        }
    }

    fn open_socket(&mut self, c: u32) -> Result<(), Errno> {
        let address = self.options.address;
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = socket_with(family, SocketType::STREAM, SocketFlags::NONBLOCK | SocketFlags::CLOEXEC, None)?;
        sockopt::set_tcp_nodelay(&socket, true)?;
        // Pacing (BBR) would make the generator late by timers of its own; where this fails, the default will do.
        sockopt::set_tcp_congestion(&socket, "reno").unwrap_or_default();
        if self.options.local_addresses > 1 && address.is_ipv4() {
            let host = 1 + (c as usize % self.options.local_addresses) as u8;
            bind(&socket, &SocketAddr::V4(SocketAddrV4::new(Ipv4Addr::new(127, 0, 0, host), 0)))?;
        }
        let connected = connect(&socket, &address);
        // Edge-triggered, once for all: reads and writes go on until the kernel says "again".
        let interest = EventFlags::IN | EventFlags::OUT | EventFlags::RDHUP | EventFlags::ET;
        epoll::add(&self.epoll, &socket, EventData::new_u64(u64::from(c)), interest)?;
        self.connections[c as usize].socket = Some(socket);
        match connected {
            // The epoll reports a finished connect too.
            Ok(()) | Err(Errno::INPROGRESS) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// What epoll says about a connection.
    #[inline]
    pub(super) fn on_event(&mut self, c: u32, flags: EventFlags) {
        let connection = &mut self.connections[c as usize];
        let Some(socket) = &connection.socket else { return };
        if connection.phase == Phase::Connecting {
            if !flags.intersects(EventFlags::OUT | EventFlags::ERR | EventFlags::HUP) {
                return;
            }
            let failed = !matches!(sockopt::socket_error(socket), Ok(Ok(())));
            let now = self.now_ns();
            if failed || flags.intersects(EventFlags::ERR | EventFlags::HUP) {
                self.take_down(c, Ended::Connect, now);
                return;
            }
            self.on_connected(c, now);
            return;
        }
        if connection.has_backlog() && flags.contains(EventFlags::OUT) && connection.flush().is_err() {
            let now = self.now_ns();
            self.take_down(c, Ended::Closed, now);
            return;
        }
        let hangup = EventFlags::RDHUP | EventFlags::HUP | EventFlags::ERR;
        if flags.intersects(EventFlags::IN | hangup) {
            self.receive(c, flags.intersects(hangup));
        }
    }

    fn on_connected(&mut self, c: u32, now: u64) {
        if self.options.mode == Mode::Http {
            self.on_ready(c, now);
            return;
        }
        let hello = ws_handshake(&self.options);
        let connection = &mut self.connections[c as usize];
        connection.phase = Phase::Handshake;
        if connection.transmit(&hello).is_err() {
            self.take_down(c, Ended::Connect, now);
        }
    }

    /// A connection may carry requests from now on.
    pub(super) fn on_ready(&mut self, c: u32, now: u64) {
        let connection = &mut self.connections[c as usize];
        connection.phase = Phase::Ready;
        connection.failures = 0;
        self.rising -= 1;
        self.ready += 1;
        self.shared.up.fetch_add(1, Ordering::Relaxed);
        self.on_room(c, now);
    }

    /// Ends a connection and sets a time for the next attempt.
    pub(super) fn take_down(&mut self, c: u32, why: Ended, now: u64) {
        let connection = &mut self.connections[c as usize];
        if connection.phase == Phase::Ready {
            self.ready -= 1;
            self.shared.up.fetch_sub(1, Ordering::Relaxed);
        } else {
            self.rising -= 1;
        }
        connection.failures += 1;
        let wait = match why {
            Ended::Announced => 0,
            _ => BACKOFF_MIN_NS << (connection.failures - 1).min(BACKOFF_DOUBLINGS_MAX),
        };
        let errors = &mut self.tally.errors;
        match why {
            Ended::Connect => errors.connect += 1,
            Ended::Handshake => errors.handshake += 1,
            Ended::Closed => errors.closed += 1,
            Ended::Protocol => errors.protocol += 1,
            Ended::Announced => {}
        }
        if let Some(second) = self.second.as_mut().filter(|_| why != Ended::Announced) {
            second.errors += 1;
        }
        self.abandon_outstanding(c, now);
        self.connections[c as usize].reset();
        self.timers.push(Reverse((now + wait, c)));
    }

    /// Gives up on what is outstanding on a connection: its outcome stays unknown, or it is sent again.
    pub(super) fn abandon_outstanding(&mut self, c: u32, now: u64) {
        let depth = self.options.depth;
        let connection = &mut self.connections[c as usize];
        let ring = &self.slots[c as usize * depth..][..depth];
        while let Some(Slot { intended_ns, k }) = connection.pop(ring) {
            self.outstanding -= 1;
            self.tally.errors.lost += 1;
            if self.pace.is_some() {
                // At least this long.
                self.tally.latency.saturating_record(now.saturating_sub(intended_ns));
            }
            if self.options.retry {
                self.again.push(k);
            }
        }
    }

    /// A WebSocket ends with a close frame where that still fits.
    pub(super) fn say_goodbye(&mut self, c: u32) {
        if self.options.mode == Mode::Http {
            return;
        }
        let connection = &mut self.connections[c as usize];
        if connection.phase == Phase::Ready && !connection.has_backlog() {
            // The run is over: whether it arrives no longer matters.
            connection.transmit(&control_frame(8, &1000u16.to_be_bytes())).unwrap_or_default();
        }
    }
}
