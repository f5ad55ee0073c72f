//! Client threads that send events in every form, believe only answers they read to the end, and write all of it down.

use std::collections::HashSet;
use std::io;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::event::{Item, Key, Tag, body};
use crate::http::{Answer, Client};
use crate::ledger::{Ledger, Request, Shape};
use crate::rng::Rng;
use crate::stream_load::Streamer;

/// A client gives up on an answer after this long; the outcome is then unknown.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// Pause after a refusal or a lost connection, so that a daemon that is down is not hammered.
const BACKOFF: Duration = Duration::from_millis(20);
/// A load ends itself after so many answers that no correct server gives: more of them say nothing new.
const WRONG_MAX: u64 = 20;

/// The ledger, shared by the clients of a load.
pub type SharedLedger = Arc<Mutex<Ledger>>;

/// Locks the ledger; a client that panicked has not broken it, since each change is a single call.
pub fn lock(ledger: &SharedLedger) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which requests are sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Everything: all forms, wrong events, events sent twice, unanswered requests sent again.
    Everything,
    /// New and correct events only, so that no answer can be given without a write.
    FreshOnly,
}

/// Where and what to send.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The daemon.
    pub address: SocketAddr,
    /// The run's mark in every id.
    pub tag: Tag,
    /// The round; new events carry it in their keys, so only one load may run per round.
    pub round: u32,
    /// Client threads that post.
    pub clients: u16,
    /// Client threads that stream over WebSockets.
    pub sockets: u16,
    /// The dice of this load.
    pub rng: Rng,
    /// What to send.
    pub mix: Mix,
    /// How long a client rests between two requests, or two handfuls of streamed events.
    pub pause: Duration,
}

/// What came back, counted.
#[derive(Debug, Default)]
pub struct Tally {
    /// Requests acknowledged.
    pub acked: AtomicU64,
    /// Requests refused with 503 or 429.
    pub refused: AtomicU64,
    /// Refusals that named the disk reserve.
    pub disk_reserve: AtomicU64,
    /// Requests without a complete answer.
    pub cut_off: AtomicU64,
    /// Answers that no correct server gives.
    pub wrong: AtomicU64,
}

/// A running load.
#[derive(Debug)]
pub struct Load {
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    threads: Vec<JoinHandle<io::Result<()>>>,
}

impl Load {
    /// Starts the clients.
    pub fn start(plan: &Plan, ledger: &SharedLedger) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let tally = Arc::new(Tally::default());
        let posting = (0..plan.clients).map(|number| {
            let mut sender = Sender {
                http: Client::new(plan.address, ANSWER_TIMEOUT),
                rng: plan.rng.fork(u64::from(number) + 1),
                plan: plan.clone(),
                ledger: Arc::clone(ledger),
                stop: Arc::clone(&stop),
                tally: Arc::clone(&tally),
                number,
                made: 0,
            };
            std::thread::spawn(move || sender.run())
        });
        let streaming = (plan.clients..plan.clients + plan.sockets).map(|number| {
            let mut streamer = Streamer {
                rng: plan.rng.fork(u64::from(number) + 1),
                plan: plan.clone(),
                ledger: Arc::clone(ledger),
                stop: Arc::clone(&stop),
                tally: Arc::clone(&tally),
                number,
                made: 0,
            };
            std::thread::spawn(move || streamer.run())
        });
        let threads = posting.chain(streaming).collect();
        Self { stop, tally, threads }
    }

    /// The counters, while the load runs.
    pub fn tally(&self) -> &Tally {
        &self.tally
    }

    /// Stops the clients after their current request; an error means that the ledger could not be written.
    pub fn stop(self) -> io::Result<Arc<Tally>> {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads {
            thread.join().map_err(|_| io::Error::other("a client thread panicked"))??;
        }
        Ok(self.tally)
    }
}

struct Sender {
    http: Client,
    rng: Rng,
    plan: Plan,
    ledger: SharedLedger,
    stop: Arc<AtomicBool>,
    tally: Arc<Tally>,
    number: u16,
    made: u32,
}

impl Sender {
    fn run(&mut self) -> io::Result<()> {
        while !self.stop.load(Ordering::Relaxed) {
            if self.plan.mix == Mix::Everything && self.rng.percent(1) {
                self.repeat_keyed()?;
            }
            let (shape, items) = self.choose();
            let known = {
                let ledger = lock(&self.ledger);
                duplicates_at_least(&ledger, &items)
            };
            let request = lock(&self.ledger).sending(shape, items)?;
            let (path, headers, text) = render(&self.plan.tag, &request);
            match self.http.post(path, &headers, text.as_bytes()) {
                Ok(answer) => self.settle(&request, known, &answer)?,
                Err(_) => {
                    Tally::add(&self.tally.cut_off);
                    lock(&self.ledger).unknown(request.id);
                    std::thread::sleep(BACKOFF);
                }
            }
            std::thread::sleep(self.plan.pause);
        }
        Ok(())
    }

    fn choose(&mut self) -> (Shape, Vec<Item>) {
        let fresh_only = self.plan.mix == Mix::FreshOnly;
        if !fresh_only && self.rng.percent(5) {
            let retry = lock(&self.ledger).take_retry();
            if let Some(Request { shape, items, .. }) = retry {
                return (shape, items);
            }
        }
        let shape = match self.rng.below(100) {
            0..40 => Shape::Single,
            40..60 => Shape::Batch,
            60..65 => Shape::Array,
            65..80 => Shape::Ndjson,
            80..85 => Shape::Keyed,
            _ => Shape::Atomic,
        };
        let count = if shape == Shape::Single { 1 } else { self.rng.between(10, 100) };
        let mut items: Vec<Item> = (0..count).map(|_| self.fresh()).collect();
        if !fresh_only && shape != Shape::Keyed {
            self.season(shape, &mut items);
        }
        (shape, items)
    }

    /// Sends an answered request with an idempotency key again: the answer must be the first one, byte for byte.
    fn repeat_keyed(&mut self) -> io::Result<()> {
        let Some((items, first)) = lock(&self.ledger).keyed(self.rng.draw()) else { return Ok(()) };
        let (path, headers, text) = render(&self.plan.tag, &Request { id: 0, shape: Shape::Keyed, items });
        match self.http.post(path, &headers, text.as_bytes()) {
            Ok(answer) if answer.status == 202 && answer.body != first => {
                Tally::add(&self.tally.wrong);
                let first = String::from_utf8_lossy(&first);
                lock(&self.ledger).wrong(0, &format!("idempotency key: first {first}, then {}", answer.excerpt()))
            }
            _ => Ok(()),
        }
    }

    fn fresh(&mut self) -> Item {
        self.made += 1;
        Item { key: Key { round: self.plan.round, client: self.number, number: self.made }, bad: false }
    }

    /// Mixes in what a careless client does: about 2 % of the events are sent twice, some are wrong.
    fn season(&mut self, shape: Shape, items: &mut Vec<Item>) {
        let wrong_percent = if shape == Shape::Atomic { 20 } else { 5 };
        if self.rng.percent(wrong_percent) {
            let index = self.rng.below(items.len() as u64) as usize;
            items[index].bad = true;
        }
        if shape == Shape::Atomic {
            return;
        }
        for item in items.iter_mut() {
            if self.rng.percent(2)
                && let Some(key) = lock(&self.ledger).recent(self.rng.draw())
            {
                *item = Item { key, bad: false };
            }
        }
        if items.len() > 1 && self.rng.percent(5) {
            items.push(items[0]);
        }
    }

    fn settle(&mut self, request: &Request, known: usize, answer: &Answer) -> io::Result<()> {
        let mut ledger = lock(&self.ledger);
        match judge(&self.plan.tag, request, known, answer) {
            Verdict::Acked { seq, duplicate } => {
                Tally::add(&self.tally.acked);
                if request.shape == Shape::Keyed {
                    ledger.remember_answer(request.items.clone(), answer.body.clone());
                }
                ledger.acked(request.id, seq, duplicate)
            }
            Verdict::Rejected => ledger.rejected(request.id),
            Verdict::Refused => {
                Tally::add(&self.tally.refused);
                if answer.excerpt().contains("disk_reserve") {
                    Tally::add(&self.tally.disk_reserve);
                }
                ledger.unknown(request.id);
                drop(ledger);
                std::thread::sleep(BACKOFF);
                Ok(())
            }
            Verdict::Wrong(why) => {
                Tally::add(&self.tally.wrong);
                if self.tally.wrong.load(Ordering::Relaxed) >= WRONG_MAX {
                    self.stop.store(true, Ordering::Relaxed);
                }
                let shape = request.shape;
                ledger.wrong(request.id, &format!("{shape:?}: {why}: {} {}", answer.status, answer.excerpt()))
            }
        }
    }
}

impl Tally {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Ordering::Relaxed);
    }
}

/// How many of the events must be answered as duplicates: acknowledged before, or twice in this very request.
fn duplicates_at_least(ledger: &Ledger, items: &[Item]) -> usize {
    let mut here = HashSet::new();
    items
        .iter()
        .filter(|item| !item.bad && (ledger.acked_among(std::slice::from_ref(item)) > 0 || !here.insert(item.key)))
        .count()
}

/// Path, headers and body of a request.
pub fn render(tag: &Tag, request: &Request) -> (&'static str, String, String) {
    let bodies: Vec<String> = request.items.iter().map(|item| body(tag, *item)).collect();
    let json = "Content-Type: application/json\r\n".to_owned();
    match request.shape {
        // A streamed event that stayed without an answer is sent again like any other.
        Shape::Single | Shape::Stream => ("/events", json, bodies.concat()),
        Shape::Batch => ("/events/batch", json, format!("{{\"events\":[{}]}}", bodies.join(","))),
        Shape::Keyed => {
            let key = tag.event_id(request.items[0].key);
            let headers = format!("{json}Idempotency-Key: \"{key}\"\r\n");
            ("/events/batch", headers, format!("{{\"events\":[{}]}}", bodies.join(",")))
        }
        Shape::Array => ("/events/batch", json, format!("[{}]", bodies.join(","))),
        Shape::Ndjson => {
            ("/events/batch", "Content-Type: application/x-ndjson\r\n".to_owned(), bodies.join("\n") + "\n")
        }
        Shape::Atomic => {
            let events = bodies.join(",");
            ("/events/batch", json, format!("{{\"events\":[{events}],\"options\":{{\"failOnError\":true}}}}"))
        }
    }
}

enum Verdict {
    Acked { seq: Option<u64>, duplicate: Option<bool> },
    Rejected,
    Refused,
    Wrong(&'static str),
}

/// What an answer says about a request. A refusal leaves the outcome open: the events may be stored all the same.
fn judge(tag: &Tag, request: &Request, known: usize, answer: &Answer) -> Verdict {
    // 409: the first request under this idempotency key is still running.
    if matches!(answer.status, 429 | 503) || (answer.status == 409 && request.shape == Shape::Keyed) {
        return Verdict::Refused;
    }
    let json = answer.json();
    let bad = request.items.iter().filter(|item| item.bad).count();
    let total = request.items.len();
    if matches!(request.shape, Shape::Single | Shape::Stream) {
        return match (answer.status, bad) {
            (400, 1) => Verdict::Rejected,
            (202, 0) => judge_single(&tag.event_id(request.items[0].key), known, &json),
            _ => Verdict::Wrong("status"),
        };
    }
    let count = |name: &str| json[name].as_u64().map(|count| count as usize);
    let doomed = request.shape == Shape::Atomic && bad > 0;
    match answer.status {
        400 if doomed => match (count("successful"), count("failed")) {
            (Some(0), Some(failed)) if failed == total => Verdict::Rejected,
            _ => Verdict::Wrong("an aborted batch must fail whole"),
        },
        202 if !doomed => {
            if count("totalEvents") != Some(total) || count("failed") != Some(bad) {
                return Verdict::Wrong("totalEvents or failed");
            }
            if count("successful") != Some(total - bad) {
                return Verdict::Wrong("successful");
            }
            // A keyed batch held only new events, and each repeat of it gets the first answer.
            let (least, most) = if request.shape == Shape::Keyed { (0, 0) } else { (known, total - bad) };
            if count("duplicates").is_none_or(|told| told < least || told > most) {
                return Verdict::Wrong("duplicates");
            }
            Verdict::Acked { seq: None, duplicate: None }
        }
        _ => Verdict::Wrong("status"),
    }
}

fn judge_single(event_id: &str, known: usize, json: &serde_json::Value) -> Verdict {
    let duplicate = json["duplicate"].as_bool().unwrap_or(false);
    if json["eventId"] != event_id || json["status"] != "accepted" {
        return Verdict::Wrong("eventId or status");
    }
    if known > 0 && !duplicate {
        return Verdict::Wrong("an accepted event was taken as new again");
    }
    match json["seq"].as_u64() {
        Some(seq) if seq > 0 => Verdict::Acked { seq: Some(seq), duplicate: Some(duplicate) },
        _ => Verdict::Wrong("seq"),
    }
}
