//! Clients on WebSockets: the same promises, one acknowledgement per event, many events in flight.

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use crate::event::{Item, Key, body};
use crate::ledger::Shape;
use crate::load::{Mix, Plan, SharedLedger, Tally, lock};
use crate::rng::Rng;
use crate::socket::{Socket, Told, told};

/// A client gives up on a connection that says nothing for this long.
const SILENCE_MAX: Duration = Duration::from_secs(10);
/// Pause before another try to connect.
const BACKOFF: Duration = Duration::from_millis(20);
/// Most events without an answer.
const IN_FLIGHT_MAX: usize = 64;
/// Codes that leave the outcome open, as a 503 does.
const OPEN_CODES: [&str; 6] =
    ["overloaded", "unknown", "disk_reserve", "log_budget", "shutting_down", "storage_failed"];

/// One sent event: its request in the ledger, whether it is wrong on purpose, whether it must be a duplicate.
#[derive(Clone, Copy, Debug)]
struct Sent {
    request: u64,
    bad: bool,
    known: bool,
}

/// One streaming client.
#[derive(Debug)]
pub(crate) struct Streamer {
    pub(crate) plan: Plan,
    pub(crate) ledger: SharedLedger,
    pub(crate) stop: Arc<AtomicBool>,
    pub(crate) tally: Arc<Tally>,
    pub(crate) rng: Rng,
    pub(crate) number: u16,
    pub(crate) made: u32,
}

impl Streamer {
    pub(crate) fn run(&mut self) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            match Socket::connect(self.plan.address, SILENCE_MAX) {
                Ok(socket) => self.converse(socket)?,
                Err(error) if error.kind() == io::ErrorKind::Unsupported && !error.to_string().contains(" 503") => {
                    Tally::add(&self.tally.wrong);
                    return lock(&self.ledger).wrong(0, &format!("the upgrade of /events/stream: {error}"));
                }
                Err(_) => Tally::add(&self.tally.cut_off),
            }
            std::thread::sleep(BACKOFF);
        }
        Ok(())
    }

    /// Sends and settles until the connection ends; an error means that the ledger could not be written.
    fn converse(&mut self, mut socket: Socket) -> io::Result<()> {
        let mut in_flight: HashMap<String, Sent> = HashMap::new();
        loop {
            let stopping = self.stop.load(Ordering::Relaxed);
            if stopping && in_flight.is_empty() {
                return Ok(());
            }
            let room = if stopping { 0 } else { IN_FLIGHT_MAX - in_flight.len() };
            let mut texts = Vec::new();
            for _ in 0..self.rng.below(room as u64 + 1) {
                texts.extend(self.next_message(&mut in_flight)?);
            }
            let mut heard = if texts.is_empty() { Ok(()) } else { socket.send(&texts) };
            // At least one answer is awaited when any is due, and all that came with it are taken.
            while heard.is_ok() && !in_flight.is_empty() {
                match socket.receive() {
                    Ok(message) => self.settle(told(&message, &mut in_flight), &message)?,
                    Err(error) => heard = Err(error),
                }
                if !socket.has_more() {
                    break;
                }
            }
            if heard.is_err() {
                Tally::add(&self.tally.cut_off);
                in_flight.values().for_each(|sent| lock(&self.ledger).unknown(sent.request));
                return Ok(());
            }
            std::thread::sleep(self.plan.pause);
        }
    }

    fn next_message(&mut self, in_flight: &mut HashMap<String, Sent>) -> io::Result<Option<String>> {
        self.made += 1;
        let key = Key { round: self.plan.round, client: self.number, number: self.made };
        let everything = self.plan.mix == Mix::Everything;
        let mut item = Item { key, bad: everything && self.rng.percent(1) };
        let mut ledger = lock(&self.ledger);
        if everything
            && self.rng.percent(2)
            && let Some(key) = ledger.recent(self.rng.draw())
        {
            item = Item { key, bad: false };
        }
        let id = self.plan.tag.event_id(item.key);
        if in_flight.contains_key(&id) {
            return Ok(None);
        }
        let known = ledger.acked_among(&[item]) > 0;
        let request = ledger.sending(Shape::Stream, vec![item])?.id;
        in_flight.insert(id, Sent { request, bad: item.bad, known });
        Ok(Some(format!("{{\"type\":\"cart_event\",\"payload\":{}}}", body(&self.plan.tag, item))))
    }

    fn settle(&mut self, told: Told<Sent>, message: &serde_json::Value) -> io::Result<()> {
        let mut ledger = lock(&self.ledger);
        match told {
            Told::Acked { event, seq: Some(seq), duplicate } if !event.bad && (duplicate || !event.known) => {
                Tally::add(&self.tally.acked);
                ledger.acked(event.request, Some(seq), Some(duplicate))
            }
            Told::Failed { event, code } if OPEN_CODES.contains(&code.as_str()) => {
                Tally::add(&self.tally.refused);
                if code == "disk_reserve" {
                    Tally::add(&self.tally.disk_reserve);
                }
                ledger.unknown(event.request);
                Ok(())
            }
            Told::Failed { event, .. } if event.bad => ledger.rejected(event.request),
            Told::Acked { event, .. } | Told::Failed { event, .. } => {
                Tally::add(&self.tally.wrong);
                ledger.wrong(event.request, &format!("on a stream: {message}"))
            }
            Told::Other => Ok(()),
        }
    }
}
