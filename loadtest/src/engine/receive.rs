//! Reading answers and settling what they mean.

use super::Engine;
use super::connect::Ended;
use super::connection::{Phase, Slot};
use crate::answer::{self, Frame, Parsed, Response, number_after, string_after};
use crate::ids::ID_LEN;
use crate::ledger::Kind;
use crate::options::Mode;
use crate::plan::Planned;
use crate::request::{WS_ACCEPT, control_frame};
use memchr::memmem;
use rustix::io::Errno;
use rustix::net::{RecvFlags, recv};

/// Codes of a WebSocket's errors that mean "not now".
const REFUSALS: [&[u8]; 8] = [
    b"overloaded",
    b"disk_reserve",
    b"log_budget",
    b"shutting_down",
    b"batch_aborted",
    b"storage_failed",
    b"rate_limited",
    b"unknown",
];

/// How one event ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Accepted,
    Duplicate,
    Rejected,
    Refused,
    Failed,
}

impl Engine {
    /// Reads what has come in on a connection, answers and all.
    pub(super) fn receive(&mut self, c: u32, hangup: bool) {
        let mut scratch = std::mem::take(&mut self.scratch);
        let ended = self.receive_into(c, hangup, &mut scratch);
        self.scratch = scratch;
        let now = self.now_ns();
        match ended {
            Some(why) => self.take_down(c, why, now),
            None => self.on_room(c, now),
        }
    }

    fn receive_into(&mut self, c: u32, hangup: bool, scratch: &mut [u8]) -> Option<Ended> {
        loop {
            let socket = self.connections[c as usize].socket.as_ref()?;
            let count = match recv(socket, &mut *scratch, RecvFlags::empty()) {
                Ok((0, _)) => return Some(self.ended_by_peer(c)),
                Ok((count, _)) => count,
                Err(Errno::AGAIN) => return None,
                Err(Errno::INTR) => continue,
                Err(_) => return Some(self.ended_by_peer(c)),
            };
            if let Err(why) = self.consume(c, &scratch[..count]) {
                return Some(why);
            }
            // A short read emptied the socket; only an end may still hide behind it.
            if count < scratch.len() && !hangup {
                return None;
            }
        }
    }

    fn ended_by_peer(&self, c: u32) -> Ended {
        if self.connections[c as usize].phase == Phase::Handshake { Ended::Handshake } else { Ended::Closed }
    }

    /// Takes in bytes, together with those kept from before; keeps what is not whole.
    fn consume(&mut self, c: u32, bytes: &[u8]) -> Result<(), Ended> {
        if self.connections[c as usize].inbox.is_empty() {
            let used = self.parse(c, bytes)?;
            if used < bytes.len() {
                self.connections[c as usize].inbox.extend_from_slice(&bytes[used..]);
            }
            return Ok(());
        }
        let mut inbox = std::mem::take(&mut self.connections[c as usize].inbox);
        inbox.extend_from_slice(bytes);
        let used = self.parse(c, &inbox)?;
        inbox.drain(..used);
        self.connections[c as usize].inbox = inbox;
        Ok(())
    }

    /// Handles each whole answer; returns how many bytes they were.
    fn parse(&mut self, c: u32, bytes: &[u8]) -> Result<usize, Ended> {
        let now = self.now_ns();
        let mut at = 0;
        while at < bytes.len() {
            let rest = &bytes[at..];
            if self.connections[c as usize].phase == Phase::Ready && self.options.mode != Mode::Http {
                match answer::frame(rest) {
                    Parsed::Incomplete => break,
                    Parsed::Malformed => return Err(Ended::Protocol),
                    Parsed::Whole(frame) => {
                        at += frame.payload.end;
                        self.on_frame(c, &frame, &rest[frame.payload.clone()], now)?;
                    }
                }
                continue;
            }
            match answer::response(rest) {
                Parsed::Incomplete => break,
                Parsed::Malformed => return Err(Ended::Protocol),
                Parsed::Whole(response) => {
                    at += response.body.end;
                    if self.options.mode == Mode::Http {
                        self.on_response(c, &response, &rest[response.body.clone()], now)?;
                    } else {
                        self.on_handshake(c, &response, rest, now)?;
                    }
                }
            }
        }
        Ok(at)
    }

    fn on_handshake(&mut self, c: u32, response: &Response, bytes: &[u8], now: u64) -> Result<(), Ended> {
        if response.status != 101 || memmem::find(&bytes[..response.body.start], WS_ACCEPT).is_none() {
            self.tally.statuses[usize::from(response.status) % 600] += 1;
            return Err(Ended::Handshake);
        }
        self.on_ready(c, now);
        Ok(())
    }

    fn on_response(&mut self, c: u32, response: &Response, body: &[u8], now: u64) -> Result<(), Ended> {
        let depth = self.options.depth;
        let ring = &self.slots[c as usize * depth..][..depth];
        let slot = self.connections[c as usize].pop(ring).ok_or(Ended::Protocol)?;
        self.note_answer(slot, now);
        self.tally.statuses[usize::from(response.status) % 600] += 1;
        if self.options.batch > 1 {
            self.settle_batch(slot, response.status, body);
        } else {
            self.settle_single(slot, response.status, body);
        }
        if response.close { Err(Ended::Announced) } else { Ok(()) }
    }

    #[inline]
    fn note_answer(&mut self, slot: Slot, now: u64) {
        self.outstanding -= 1;
        self.tally.counts.answers += 1;
        let latency = now.saturating_sub(slot.intended_ns);
        self.tally.latency.saturating_record(latency);
        if let Some(second) = &mut self.second {
            second.answers += 1;
            second.latency.saturating_record(latency);
        }
    }

    fn settle_single(&mut self, slot: Slot, status: u16, body: &[u8]) {
        let planned = self.encoder.planned(slot.k);
        let mut verdict = self.verdict_of_status(status);
        let mut as_planned = verdict == Verdict::Refused
            || (verdict == Verdict::Rejected) == (matches!(planned, Planned::Bad(_)) && !self.options.plain);
        if self.options.verify && verdict == Verdict::Accepted {
            let id = self.encoder.ids().text(planned.counter());
            let seq = number_after(body, b"\"seq\":");
            let same_id = string_after(body, b"\"eventId\":") == Some(&id[..]);
            as_planned &= seq.is_some() && same_id;
            if memmem::find(body, b"\"duplicate\":true").is_some() {
                verdict = Verdict::Duplicate;
            }
            if let Some(ledger) = &mut self.ledger {
                let kind = if verdict == Verdict::Duplicate { Kind::Duplicate } else { Kind::New };
                ledger.note(&id, seq, kind);
            }
        }
        as_planned &= verdict != Verdict::Failed;
        self.count(verdict, 1);
        self.tally.errors.unexpected += u64::from(!as_planned);
        if verdict == Verdict::Refused && self.options.retry {
            self.again.push(slot.k);
        }
    }

    fn verdict_of_status(&self, status: u16) -> Verdict {
        match status {
            202 => Verdict::Accepted,
            200..=299 if self.options.plain => Verdict::Accepted,
            400 => Verdict::Rejected,
            429 | 503 => Verdict::Refused,
            _ => Verdict::Failed,
        }
    }

    fn settle_batch(&mut self, slot: Slot, status: u16, body: &[u8]) {
        let size = self.options.batch as u64;
        let verdict = self.verdict_of_status(status);
        if verdict != Verdict::Accepted || !self.options.verify {
            self.count(verdict, size);
            self.tally.errors.unexpected += u64::from(!matches!(verdict, Verdict::Accepted | Verdict::Refused));
            if verdict == Verdict::Refused && self.options.retry {
                self.again.push(slot.k);
            }
            return;
        }
        let member = |name: &[u8]| number_after(body, name).unwrap_or(u64::MAX);
        let (successful, failed) = (member(b"\"successful\":"), member(b"\"failed\":"));
        let duplicates = number_after(body, b"\"duplicates\":").unwrap_or(0);
        let bad = (0..size).filter(|i| matches!(self.encoder.planned(slot.k + i), Planned::Bad(_))).count() as u64;
        if successful.checked_add(failed) != Some(size) || duplicates > successful {
            self.tally.errors.unexpected += 1;
            self.count(Verdict::Failed, size);
            return;
        }
        self.count(Verdict::Accepted, successful - duplicates);
        self.count(Verdict::Duplicate, duplicates);
        self.count(Verdict::Rejected, failed);
        self.tally.errors.unexpected += u64::from(failed != bad);
        self.note_batch(slot, failed, body);
    }

    /// Notes a batch's acknowledged ids: all but those that its answer lists as failed.
    fn note_batch(&mut self, slot: Slot, failed: u64, body: &[u8]) {
        let Some(ledger) = &mut self.ledger else { return };
        let mut refused: Vec<u64> = Vec::new();
        if failed > 0 {
            let name = b"\"index\":";
            refused.extend(memmem::find_iter(body, name).filter_map(|at| number_after(&body[at..], name)));
        }
        for i in 0..self.options.batch as u64 {
            if !refused.contains(&i) {
                let counter = self.encoder.planned(slot.k + i).counter();
                ledger.note(&self.encoder.ids().text(counter), None, Kind::InBatch);
            }
        }
    }

    fn on_frame(&mut self, c: u32, frame: &Frame, payload: &[u8], now: u64) -> Result<(), Ended> {
        match frame.opcode {
            1 | 2 => {
                self.on_message(c, payload, now);
                Ok(())
            }
            8 => Err(Ended::Closed),
            9 => self.connections[c as usize].transmit(&control_frame(10, payload)).map_err(|_| Ended::Closed),
            10 => Ok(()),
            _ => Err(Ended::Protocol),
        }
    }

    fn on_message(&mut self, c: u32, payload: &[u8], now: u64) {
        let depth = self.options.depth;
        let ring = &mut self.slots[c as usize * depth..][..depth];
        let connection = &mut self.connections[c as usize];
        if self.options.plain {
            if let Some(slot) = connection.pop(ring) {
                self.note_answer(slot, now);
                self.count(Verdict::Accepted, 1);
            }
            return;
        }
        let id = string_after(payload, b"\"eventId\":").filter(|id| id.len() == ID_LEN);
        let acknowledged = match string_after(payload, b"\"type\":") {
            Some(b"event_ack") => true,
            Some(b"event_error") => false,
            _ => return,
        };
        let encoder = &self.encoder;
        let counter = id.and_then(|id| encoder.ids().counter(id));
        let slot = match counter {
            Some(counter) => connection.take(ring, |slot| encoder.planned(slot.k).counter() == counter),
            // An error without an id can only be about an event that had a bad one.
            None => connection.take(ring, |slot| matches!(encoder.planned(slot.k), Planned::Bad(_))),
        };
        let Some(slot) = slot else {
            self.tally.errors.unexpected += 1;
            return;
        };
        let bad = matches!(encoder.planned(slot.k), Planned::Bad(_));
        self.note_answer(slot, now);
        if !acknowledged {
            let code = string_after(payload, b"\"code\":").unwrap_or_default();
            let refused = REFUSALS.contains(&code);
            self.count(if refused { Verdict::Refused } else { Verdict::Rejected }, 1);
            self.tally.errors.unexpected += u64::from(!bad && !refused);
            if refused && self.options.retry {
                self.again.push(slot.k);
            }
            return;
        }
        let seq = number_after(payload, b"\"seq\":");
        let duplicate = memmem::find(payload, b"\"duplicate\":true").is_some();
        self.count(if duplicate { Verdict::Duplicate } else { Verdict::Accepted }, 1);
        self.tally.errors.unexpected += u64::from(bad || seq.is_none());
        if let (Some(ledger), Some(id)) = (&mut self.ledger, id) {
            ledger.note(id, seq, if duplicate { Kind::Duplicate } else { Kind::New });
        }
    }

    #[inline]
    fn count(&mut self, verdict: Verdict, events: u64) {
        let counts = &mut self.tally.counts;
        match verdict {
            Verdict::Accepted => counts.accepted += events,
            Verdict::Duplicate => counts.duplicates += events,
            Verdict::Rejected => counts.rejected += events,
            Verdict::Refused => counts.refused += events,
            Verdict::Failed => counts.failed += events,
        }
        if let Some(second) = &mut self.second {
            match verdict {
                Verdict::Accepted | Verdict::Duplicate => second.events += events,
                _ => second.errors += events,
            }
        }
    }
}
