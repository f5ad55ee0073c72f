//! Holds everything that is stored against everything that was promised.
//!
//! Stored is what `wal dump` prints and what the parquet files hold. The log may be trimmed behind the parquet cursor,
//! so that either alone may lack the oldest or the newest events; together they must hold each acknowledged event, and
//! each of them must hold an event at most once.

use std::collections::{BTreeMap, HashMap};
use std::io::BufRead;
use std::path::Path;

use serde::Deserialize;

use crate::columns;
use crate::event::{Key, Tag};
use crate::ledger::Ledger;
use crate::report::{Kind, Violation};

/// One event as `wal dump` prints it.
#[derive(Debug, Deserialize)]
struct Dumped {
    seq: u64,
    #[serde(rename = "eventId")]
    event_id: String,
}

/// What is expected of the parquet files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Files {
    /// There are none; the log must hold everything.
    None,
    /// They hold a part: shippers may lag behind the log.
    Lagging,
    /// After a clean drain they hold every accepted event.
    Complete,
}

/// One place where events are stored, as read back.
#[derive(Debug, Default)]
pub struct Stored {
    name: &'static str,
    by_key: HashMap<Key, u64>,
    seqs: Vec<u64>,
    violations: Vec<Violation>,
}

impl Stored {
    fn new(name: &'static str) -> Self {
        Self { name, ..Self::default() }
    }

    /// The events by position, as an outsider knows them: by their ids.
    pub fn ids(&self, tag: &Tag) -> BTreeMap<u64, String> {
        self.by_key.iter().map(|(key, seq)| (*seq, tag.event_id(*key))).collect()
    }

    fn add(&mut self, tag: &Tag, seq: u64, event_id: &str) {
        self.seqs.push(seq);
        let Some(key) = tag.key_of(event_id) else {
            let detail = format!("{}: seq {seq} is {event_id:?}, which nobody sent", self.name);
            return self.violations.push(Violation::new(Kind::Phantom, detail));
        };
        if let Some(first) = self.by_key.insert(key, seq) {
            let detail = format!("{}: {key} has seq {first} and seq {seq}", self.name);
            self.violations.push(Violation::new(Kind::Doubled, detail));
        }
    }

    /// What `wal dump` printed; its order is checked too.
    pub fn from_dump(tag: &Tag, dump: impl BufRead) -> Self {
        let mut log = Self::new("log");
        for line in dump.lines() {
            let line = match line {
                Ok(line) => line,
                Err(error) => {
                    log.violations.push(Violation::new(Kind::Offline, format!("wal dump: {error}")));
                    break;
                }
            };
            match serde_json::from_str::<Dumped>(&line) {
                Ok(event) => log.add(tag, event.seq, &event.event_id),
                Err(error) => {
                    let detail = format!("wal dump printed {line:?}: {error}");
                    log.violations.push(Violation::new(Kind::Offline, detail));
                }
            }
        }
        for pair in log.seqs.windows(2) {
            if pair[1] != pair[0] + 1 {
                let detail = format!("log: seq {} follows seq {}", pair[1], pair[0]);
                log.violations.push(Violation::new(Kind::Gap, detail));
            }
        }
        log
    }

    /// What the parquet files under `data` hold.
    pub fn from_files(tag: &Tag, data: &Path) -> Self {
        let mut stored = Self::new("parquet");
        let files = columns::files(data).unwrap_or_else(|error| {
            stored.violations.push(Violation::new(Kind::Rig, format!("parquet files: {error}")));
            Vec::new()
        });
        for path in files {
            if let Err(error) = columns::rows(&path, |seq, id| stored.add(tag, seq, id)) {
                let detail = format!("{} cannot be read: {error}", path.display());
                stored.violations.push(Violation::new(Kind::Sink, detail));
            }
        }
        stored.seqs.sort_unstable();
        stored
    }

    /// The sequence numbers, in order.
    pub fn seqs(&self) -> &[u64] {
        &self.seqs
    }

    /// How many events it holds.
    pub fn len(&self) -> usize {
        self.seqs.len()
    }

    /// True if it holds none.
    pub fn is_empty(&self) -> bool {
        self.seqs.is_empty()
    }
}

/// Compares what is stored with what was promised; the ledger learns the sequence numbers that it did not know, and
/// holds later audits to them. Returns how many different events are stored, and every broken promise.
pub fn audit(
    ledger: &mut Ledger,
    log: Stored,
    parquet: Stored,
    files: Files,
) -> std::io::Result<(u64, Vec<Violation>)> {
    let mut violations = coverage(&log, &parquet, files);
    let mut union = log.by_key;
    for (key, seq) in parquet.by_key {
        let before = union.insert(key, seq);
        if before.is_some_and(|before| before != seq) {
            let detail = format!("{key} has seq {before:?} in the log and {seq} in parquet");
            violations.push(Violation::new(Kind::Moved, detail));
        }
    }
    violations.extend(log.violations);
    violations.extend(parquet.violations);
    let learned = check_promises(ledger, &union, &mut violations);
    check_batches(ledger, &union, &mut violations);
    let strangers = union.keys().filter(|key| !ledger.events.contains_key(key));
    violations
        .extend(strangers.map(|key| Violation::new(Kind::Phantom, format!("{key} is stored but was never sent"))));
    ledger.found(&learned)?;
    violations.sort_by(|one, other| one.kind.cmp(&other.kind).then_with(|| one.detail.cmp(&other.detail)));
    Ok((union.len() as u64, violations))
}

/// Do log and files together begin at 1 and reach the end without a hole?
fn coverage(log: &Stored, parquet: &Stored, files: Files) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut gap = |kind, detail: String| violations.push(Violation::new(kind, detail));
    let shipped = parquet.seqs.last().copied().unwrap_or(0);
    for pair in parquet.seqs.windows(2) {
        if pair[1] > pair[0] + 1 {
            gap(Kind::Sink, format!("parquet: seq {} follows seq {}", pair[1], pair[0]));
        }
    }
    if parquet.seqs.first().is_some_and(|first| *first != 1) {
        gap(Kind::Sink, format!("parquet begins at seq {}", parquet.seqs[0]));
    }
    match log.seqs.first() {
        Some(first) if *first > shipped + 1 => {
            gap(Kind::Gap, format!("the log begins at seq {first} but parquet ends at {shipped}"));
        }
        _ => {}
    }
    let last = log.seqs.last().copied().unwrap_or(0);
    if files == Files::Complete && shipped < last {
        gap(Kind::Sink, format!("after a clean drain parquet ends at seq {shipped}, the log at {last}"));
    }
    if files == Files::None && shipped > 0 {
        gap(Kind::Rig, "parquet files where none were expected".to_owned());
    }
    violations
}

/// Checks each event that was ever sent; returns what is stored and was not known to be.
fn check_promises(ledger: &Ledger, union: &HashMap<Key, u64>, violations: &mut Vec<Violation>) -> Vec<(Key, u64)> {
    let mut learned = Vec::new();
    for (key, entry) in &ledger.events {
        match union.get(key) {
            None if entry.acked => {
                let detail = format!("{key} was acknowledged{} and is gone", at(entry.seq));
                violations.push(Violation::new(Kind::Lost, detail));
            }
            None if entry.seen => {
                violations
                    .push(Violation::new(Kind::Vanished, format!("{key}{} was stored and is gone", at(entry.seq))));
            }
            None => {}
            Some(seq) => {
                if entry.forbidden {
                    let detail = format!("{key} can only be rejected and is stored with seq {seq}");
                    violations.push(Violation::new(Kind::RejectedStored, detail));
                }
                if entry.seq.is_some_and(|known| known != *seq) {
                    let detail = format!("{key} is stored with seq {seq}, known{}", at(entry.seq));
                    violations.push(Violation::new(Kind::Moved, detail));
                }
                if !entry.seen {
                    learned.push((*key, *seq));
                }
            }
        }
    }
    learned
}

fn check_batches(ledger: &Ledger, union: &HashMap<Key, u64>, violations: &mut Vec<Violation>) {
    for batch in &ledger.atomic {
        let there = batch.iter().filter(|key| union.contains_key(key)).count();
        if there != 0 && there != batch.len() {
            let detail = format!("{there} of the {} events of the batch at {} are stored", batch.len(), batch[0]);
            violations.push(Violation::new(Kind::TornBatch, detail));
        }
    }
}

fn at(seq: Option<u64>) -> String {
    seq.map_or_else(String::new, |seq| format!(" as seq {seq}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Item;
    use crate::ledger::Shape;

    fn key(number: u32) -> Key {
        Key { round: 1, client: 0, number }
    }

    fn items(numbers: &[u32]) -> Vec<Item> {
        numbers.iter().map(|number| Item { key: key(*number), bad: false }).collect()
    }

    fn kinds(ledger: &mut Ledger, dump: &[(u64, u32)]) -> Vec<Kind> {
        let tag = Tag::of_seed(1);
        let text: String = dump
            .iter()
            .map(|(seq, number)| format!("{{\"seq\":{seq},\"eventId\":\"{}\"}}\n", tag.event_id(key(*number))))
            .collect();
        let log = Stored::from_dump(&tag, text.as_bytes());
        let (_, violations) = audit(ledger, log, Stored::new("parquet"), Files::None).expect("memory");
        let mut kinds: Vec<Kind> = violations.iter().map(|violation| violation.kind).collect();
        kinds.sort_unstable();
        kinds
    }

    fn ledger() -> Ledger {
        let mut ledger = Ledger::default();
        let single = ledger.sending(Shape::Single, items(&[1])).expect("memory");
        ledger.acked(single.id, Some(1), Some(false)).expect("memory");
        ledger.sending(Shape::Atomic, items(&[2, 3])).expect("memory");
        ledger
    }

    #[test]
    fn a_sound_log_has_no_violation_whether_or_not_it_holds_what_was_not_acknowledged() {
        assert_eq!(kinds(&mut ledger(), &[(1, 1)]), []);
        assert_eq!(kinds(&mut ledger(), &[(1, 1), (2, 2), (3, 3)]), []);
    }

    #[test]
    fn each_kind_of_damage_has_its_own_name() {
        assert_eq!(kinds(&mut ledger(), &[]), [Kind::Lost]);
        assert_eq!(kinds(&mut ledger(), &[(1, 1), (2, 2)]), [Kind::TornBatch]);
        assert_eq!(kinds(&mut ledger(), &[(2, 1)]), [Kind::Moved, Kind::Gap]);
        assert_eq!(kinds(&mut ledger(), &[(1, 1), (2, 1)]), [Kind::Doubled, Kind::Moved]);
        assert_eq!(kinds(&mut ledger(), &[(1, 1), (3, 2), (4, 3)]), [Kind::Gap]);
        assert_eq!(kinds(&mut ledger(), &[(1, 1), (2, 9)]), [Kind::Phantom]);
    }

    #[test]
    fn what_was_stored_once_may_not_vanish_even_if_it_was_not_acknowledged() {
        let mut ledger = ledger();
        assert_eq!(kinds(&mut ledger, &[(1, 1), (2, 2), (3, 3)]), []);
        assert_eq!(kinds(&mut ledger, &[(1, 1)]), [Kind::Vanished, Kind::Vanished]);
    }
}
