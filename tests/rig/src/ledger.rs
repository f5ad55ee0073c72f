//! What the clients sent and what they were promised: the only truth that the rigs believe.
//!
//! Every request is written down before its first byte is sent and every answer after its last byte was read, one
//! complete line each, so that the ledger survives whatever happens to the daemon or to the guest around it. A line ends
//! in ` .`; one that does not was cut off and is as if never written:
//!
//! ```text
//! S 17 atomic 3.1.40 3.1.41! .     request 17 is about to be sent; `!` marks an event made wrong on purpose
//! A 18 4711 new .                  request 18 was acknowledged: seq (or `-`), `new`, `duplicate` or `-` for a batch
//! R 17 .                           request 17 was definitely rejected
//! F 4711 3.1.40 .                  an audit found event 3.1.40 stored with seq 4711
//! V …text… .                       the client saw an answer that no correct server gives
//! ```

use std::collections::{HashMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::str::FromStr;

use crate::event::{Item, Key};
use crate::report::{Kind, Violation};

/// How many lately sent events are kept at hand for re-sending.
const RECENT_MAX: usize = 2_000;
/// How many unanswered requests wait to be sent again; older ones stay unanswered, which is an outcome to test too.
const RETRIES_MAX: usize = 200;
/// How many answers to requests with an idempotency key are remembered.
const KEYED_MAX: usize = 200;

/// The form in which a request carries its events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// One event to `POST /events`.
    Single,
    /// `{events:[…]}`.
    Batch,
    /// A bare array.
    Array,
    /// One event a line.
    Ndjson,
    /// `{events:[…], options:{failOnError:true}}`: all or nothing.
    Atomic,
    /// One event on a WebSocket.
    Stream,
    /// A batch of new events under an `Idempotency-Key` of its own: a repeat gets the first answer.
    Keyed,
}

const SHAPES: [(Shape, &str); 7] = [
    (Shape::Single, "single"),
    (Shape::Batch, "batch"),
    (Shape::Array, "array"),
    (Shape::Ndjson, "ndjson"),
    (Shape::Atomic, "atomic"),
    (Shape::Stream, "stream"),
    (Shape::Keyed, "keyed"),
];

/// A request as sent.
#[derive(Clone, Debug)]
pub struct Request {
    /// Its number in the ledger.
    pub id: u64,
    /// Its form.
    pub shape: Shape,
    /// Its events, in order.
    pub items: Vec<Item>,
}

/// What is known of one event.
#[derive(Clone, Copy, Debug, Default)]
pub struct Entry {
    /// Its sequence number, once an answer or an audit said it; from then on it may never change.
    pub seq: Option<u64>,
    /// An acknowledgement was read to its end.
    pub acked: bool,
    /// An acknowledgement that did not say `duplicate` was read; there can be only one.
    pub acked_as_new: bool,
    /// Found stored by an audit; it may not vanish again, acknowledged or not.
    pub seen: bool,
    /// It, or its all-or-nothing batch, can only be rejected: it may never be stored.
    pub forbidden: bool,
    /// How often it was sent although it is wrong.
    pub sent_wrong: u32,
    /// How often an answer was read that rejects it because it is wrong.
    pub rejected: u32,
}

/// The ledger of a run.
#[derive(Debug, Default)]
pub struct Ledger {
    /// Every event ever sent.
    pub events: HashMap<Key, Entry>,
    /// The all-or-nothing batches that hold no wrong event.
    pub atomic: Vec<Vec<Key>>,
    /// What the clients themselves saw to be wrong.
    pub violations: Vec<Violation>,
    open: HashMap<u64, Request>,
    retries: VecDeque<Request>,
    recent: VecDeque<Key>,
    keyed: VecDeque<(Vec<Item>, Vec<u8>)>,
    request_last: u64,
    journal: Option<File>,
}

impl Ledger {
    /// Reads back the ledgers `ledger-*.txt` of `dir`; no file is an empty ledger.
    pub fn load(dir: &Path) -> io::Result<Self> {
        let mut ledger = Self::default();
        let mut paths: Vec<_> = std::fs::read_dir(dir)?.collect::<io::Result<Vec<_>>>()?;
        paths.retain(|entry| entry.file_name().to_string_lossy().starts_with("ledger-"));
        paths.sort_by_key(std::fs::DirEntry::file_name);
        for path in paths {
            for line in BufReader::new(File::open(path.path())?).split(b'\n') {
                ledger.replay(&String::from_utf8_lossy(&line?));
            }
            // What was open when this file ended will never be answered.
            let mut unanswered: Vec<u64> = ledger.open.keys().copied().collect();
            unanswered.sort_unstable();
            unanswered.into_iter().for_each(|id| ledger.unknown(id));
        }
        Ok(ledger)
    }

    /// What is known of each event, for a trial that must not change this ledger or its file.
    pub fn clone_without_journal(&self) -> Self {
        Self { events: self.events.clone(), ..Self::default() }
    }

    /// From now on also writes to `ledger-ROUND.txt` in `dir`.
    pub fn write_to(&mut self, dir: &Path, round: u32) -> io::Result<()> {
        let path = dir.join(format!("ledger-{round:06}.txt"));
        self.journal = Some(OpenOptions::new().create(true).append(true).open(path)?);
        Ok(())
    }

    /// Notes that a request is about to be sent.
    pub fn sending(&mut self, shape: Shape, items: Vec<Item>) -> io::Result<Request> {
        let request = Request { id: self.request_last + 1, shape, items };
        let mut line = format!("S {} {}", request.id, shape_name(shape));
        for item in &request.items {
            line += &format!(" {}{}", item.key, if item.bad { "!" } else { "" });
        }
        self.write_line(&line)?;
        self.apply_sending(request.clone());
        Ok(request)
    }

    /// Notes an acknowledgement that was read to its end; `seq` and `duplicate` are known for single events only.
    pub fn acked(&mut self, id: u64, seq: Option<u64>, duplicate: Option<bool>) -> io::Result<()> {
        let seq_text = seq.map_or_else(|| "-".to_owned(), |seq| seq.to_string());
        let word = duplicate.map_or("-", |duplicate| if duplicate { "duplicate" } else { "new" });
        self.write_line(&format!("A {id} {seq_text} {word}"))?;
        self.apply_acked(id, seq, duplicate);
        Ok(())
    }

    /// Notes that a request made to be rejected was rejected.
    pub fn rejected(&mut self, id: u64) -> io::Result<()> {
        self.write_line(&format!("R {id}"))?;
        self.apply_rejected(id);
        Ok(())
    }

    /// The outcome of a request will never be known; it may be sent again as it was.
    pub fn unknown(&mut self, id: u64) {
        if let Some(request) = self.open.remove(&id)
            && self.retries.len() < RETRIES_MAX
        {
            self.retries.push_back(request);
        }
    }

    /// Notes an answer that no correct server gives.
    pub fn wrong(&mut self, id: u64, detail: &str) -> io::Result<()> {
        let flat = detail.replace(['\n', '\r'], " ");
        self.write_line(&format!("V request {id}: {flat}"))?;
        self.open.remove(&id);
        self.violations.push(Violation::new(Kind::WrongAnswer, format!("request {id}: {flat}")));
        Ok(())
    }

    /// Notes what an audit found stored and was not known before; later audits hold the daemon to it.
    pub fn found(&mut self, stored: &[(Key, u64)]) -> io::Result<()> {
        let mut lines = String::new();
        for (key, seq) in stored {
            self.apply_found(*key, *seq);
            lines += &format!("F {seq} {key} .\n");
        }
        match &mut self.journal {
            Some(file) => file.write_all(lines.as_bytes()),
            None => Ok(()),
        }
    }

    /// An unanswered request of the past, to be sent again.
    pub fn take_retry(&mut self) -> Option<Request> {
        self.retries.pop_front()
    }

    /// A lately sent event (perhaps still in flight elsewhere), to be sent a second time.
    pub fn recent(&self, pick: u64) -> Option<Key> {
        let length = self.recent.len() as u64;
        (length > 0).then(|| self.recent[(pick % length) as usize])
    }

    /// Remembers the answer to a request with an idempotency key.
    pub fn remember_answer(&mut self, items: Vec<Item>, body: Vec<u8>) {
        self.keyed.push_back((items, body));
        let surplus = self.keyed.len().saturating_sub(KEYED_MAX);
        self.keyed.drain(..surplus);
    }

    /// An answered request with an idempotency key, and its answer.
    pub fn keyed(&self, pick: u64) -> Option<(Vec<Item>, Vec<u8>)> {
        let length = self.keyed.len() as u64;
        (length > 0).then(|| self.keyed[(pick % length) as usize].clone())
    }

    /// How many of the events of `items` were acknowledged before.
    pub fn acked_among(&self, items: &[Item]) -> usize {
        items.iter().filter(|item| self.events.get(&item.key).is_some_and(|entry| entry.acked)).count()
    }

    /// How many events were acknowledged.
    pub fn acked_total(&self) -> u64 {
        self.events.values().filter(|entry| entry.acked).count() as u64
    }

    fn apply_sending(&mut self, request: Request) {
        self.request_last = self.request_last.max(request.id);
        let doomed = request.shape == Shape::Atomic && request.items.iter().any(|item| item.bad);
        for item in &request.items {
            let entry = self.events.entry(item.key).or_default();
            entry.forbidden |= item.bad || doomed;
            entry.sent_wrong += u32::from(item.bad);
            // A member of an all-or-nothing or keyed batch must not reach the log by another way than its batch.
            if !matches!(request.shape, Shape::Atomic | Shape::Keyed) && !item.bad {
                self.recent.push_back(item.key);
            }
        }
        let surplus = self.recent.len().saturating_sub(RECENT_MAX);
        self.recent.drain(..surplus);
        if request.shape == Shape::Atomic && !doomed {
            self.atomic.push(request.items.iter().map(|item| item.key).collect());
        }
        self.open.insert(request.id, request);
    }

    fn apply_acked(&mut self, id: u64, seq: Option<u64>, duplicate: Option<bool>) {
        let Some(request) = self.open.remove(&id) else { return };
        self.count_rejected(&request);
        for item in request.items.iter().filter(|item| !item.bad) {
            let entry = self.events.entry(item.key).or_default();
            entry.acked = true;
            let Some(seq) = seq else { continue };
            if entry.seq.is_some_and(|known| known != seq) {
                let detail = format!("{} acknowledged with seq {seq}, before with {:?}", item.key, entry.seq);
                self.violations.push(Violation::new(Kind::Moved, detail));
            }
            entry.seq = entry.seq.or(Some(seq));
            if duplicate == Some(false) {
                if entry.acked_as_new {
                    let detail = format!("{} acknowledged twice as new, the second time with seq {seq}", item.key);
                    self.violations.push(Violation::new(Kind::NotDuplicate, detail));
                }
                entry.acked_as_new = true;
            }
        }
    }

    fn apply_rejected(&mut self, id: u64) {
        if let Some(request) = self.open.remove(&id) {
            self.count_rejected(&request);
        }
    }

    /// An answered request has rejected what is wrong in it, whatever became of the rest.
    fn count_rejected(&mut self, request: &Request) {
        for item in request.items.iter().filter(|item| item.bad) {
            self.events.entry(item.key).or_default().rejected += 1;
        }
    }

    fn apply_found(&mut self, key: Key, seq: u64) {
        let entry = self.events.entry(key).or_default();
        (entry.seq, entry.seen) = (Some(seq), true);
    }

    fn replay(&mut self, line: &str) {
        let Some(line) = line.strip_suffix(" .") else { return };
        let mut words = line.split(' ');
        let verb = words.next();
        if verb == Some("V") {
            self.violations.push(Violation::new(Kind::WrongAnswer, line[1..].trim().to_owned()));
            return;
        }
        let Some(id) = words.next().and_then(|id| id.parse().ok()) else { return };
        match verb {
            Some("S") => {
                let shape = words.next().and_then(|name| SHAPES.iter().find(|(_, text)| *text == name));
                let items = words.map(parse_item).collect::<Result<Vec<_>, ()>>();
                if let (Some((shape, _)), Ok(items)) = (shape, items) {
                    self.apply_sending(Request { id, shape: *shape, items });
                }
            }
            Some("A") => {
                let seq = words.next().and_then(|seq| seq.parse().ok());
                let duplicate =
                    words.next().and_then(|word| ["new", "duplicate"].iter().position(|name| *name == word));
                self.apply_acked(id, seq, duplicate.map(|index| index == 1));
            }
            Some("F") => {
                if let Some(key) = words.next().and_then(|key| key.parse().ok()) {
                    self.apply_found(key, id);
                }
            }
            _ => self.apply_rejected(id),
        }
    }

    fn write_line(&mut self, line: &str) -> io::Result<()> {
        match &mut self.journal {
            // One write for the whole line: it is on the file or it is not.
            Some(file) => file.write_all(format!("{line} .\n").as_bytes()),
            None => Ok(()),
        }
    }
}

fn shape_name(shape: Shape) -> &'static str {
    SHAPES.iter().find(|(known, _)| *known == shape).map_or("?", |(_, name)| name)
}

fn parse_item(word: &str) -> Result<Item, ()> {
    let (text, bad) = word.strip_suffix('!').map_or((word, false), |text| (text, true));
    Ok(Item { key: Key::from_str(text)?, bad })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(number: u32, bad: bool) -> Item {
        Item { key: Key { round: 1, client: 0, number }, bad }
    }

    #[test]
    fn a_ledger_read_back_knows_what_the_first_one_knew() {
        let dir = tempfile::tempdir().expect("dir");
        let mut first = Ledger::default();
        first.write_to(dir.path(), 1).expect("open");
        let single = first.sending(Shape::Single, vec![item(1, false)]).expect("write");
        first.acked(single.id, Some(9), Some(false)).expect("write");
        let atomic = first.sending(Shape::Atomic, vec![item(2, false), item(3, true)]).expect("write");
        first.rejected(atomic.id).expect("write");
        first.sending(Shape::Batch, vec![item(4, false)]).expect("write");
        let path = dir.path().join("ledger-000001.txt");
        let mut text = std::fs::read(&path).expect("read");
        text.extend_from_slice(b"A 3 1"); // cut off while it was written
        std::fs::write(&path, text).expect("write");

        let mut second = Ledger::load(dir.path()).expect("load");
        assert_eq!(second.acked_total(), 1);
        assert_eq!(second.events[&item(1, false).key].seq, Some(9));
        assert!(second.events[&item(2, false).key].forbidden, "it was in a batch that can only be rejected");
        let wrong = second.events[&item(3, true).key];
        assert_eq!((wrong.sent_wrong, wrong.rejected), (1, 1));
        assert_eq!(second.take_retry().map(|request| request.items), Some(vec![item(4, false)]));
        assert!(second.take_retry().is_none());
    }

    #[test]
    fn two_acknowledgements_of_one_event_must_agree() {
        let mut ledger = Ledger::default();
        for seq in [5, 6] {
            let request = ledger.sending(Shape::Single, vec![item(1, false)]).expect("write");
            ledger.acked(request.id, Some(seq), Some(false)).expect("write");
        }
        let kinds: Vec<Kind> = ledger.violations.iter().map(|violation| violation.kind).collect();
        assert_eq!(kinds, [Kind::Moved, Kind::NotDuplicate]);
    }
}
