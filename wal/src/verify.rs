//! Checking a log: every block's checksum, density of positions, id lists beside it, the mark.

use crate::family::Family;
use crate::identity::{self, family};
use crate::{Reader, key};
use event::Seq;
use record::{Block, IdList, Slot};
use rocksdb::{DB, DBRawIterator, Direction, IteratorMode};

const GAP: &[u8] = b"gap/";
/// Of many causes of one gap, so much is told and recorded.
const CAUSE_BYTES: usize = 500;

/// Positions that are missing, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gap {
    /// First missing position.
    pub from: Seq,
    /// First position after the gap.
    pub until: Seq,
    /// What was found there.
    pub cause: String,
}

/// Something that is not what was written, though no event is lost by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Damage {
    /// Name of the column family, or of the file beside the log.
    pub family: &'static str,
    /// What was found there.
    pub cause: String,
}

/// What a check of the whole log found.
#[derive(Debug, Clone, Default)]
pub struct VerifyReport {
    /// First position promised.
    pub start: Seq,
    /// Last position found.
    pub end: Seq,
    /// What the high-water mark says.
    pub mark: Seq,
    /// Whole blocks.
    pub blocks: u64,
    /// Events in them.
    pub events: u64,
    /// Positions in them whose events were erased.
    pub erased: u64,
    /// Missing positions between start and end, or up to the mark.
    pub gaps: Vec<Gap>,
    /// Gaps recorded by an earlier repair.
    pub known_gaps: Vec<Gap>,
    /// Damage to what stands beside the events, at most one entry a family.
    pub damaged: Vec<Damage>,
    /// RocksDB's words, where it cannot open the log and the rest is what could be collected.
    pub refused: Option<String>,
    /// Then: files that could not be read at all.
    pub unreadable_files: Vec<String>,
}

impl VerifyReport {
    /// Whether everything that was acknowledged and not trimmed is there, and all that stands beside it.
    #[must_use]
    pub fn is_intact(&self) -> bool {
        self.gaps.is_empty() && self.damaged.is_empty() && self.refused.is_none()
    }
}

/// Gaps that a repair recorded, in order.
pub(crate) fn known_gaps(db: &DB) -> Result<Vec<Gap>, rocksdb::Error> {
    let mut out = Vec::new();
    for entry in db.iterator_cf(family(db, Family::Meta), IteratorMode::From(GAP, Direction::Forward)) {
        let (name, value) = entry?;
        let Some(from) = name.strip_prefix(GAP).and_then(key::seq) else { break };
        let Some((until, cause)) = value.split_at_checked(8) else { break };
        let Some(until) = key::seq(until) else { break };
        out.push(Gap { from, until, cause: String::from_utf8_lossy(cause).into_owned() });
    }
    Ok(out)
}

/// The entry that records a gap.
pub(crate) fn gap_entry(gap: &Gap) -> (Vec<u8>, Vec<u8>) {
    ([GAP, &key::of(gap.from)].concat(), [&key::of(gap.until)[..], gap.cause.as_bytes()].concat())
}

impl Reader {
    /// Reads the whole log and checks it; `progress` is called with each position reached.
    #[must_use]
    pub fn verify(&self, mark: Seq, mut progress: impl FnMut(Seq)) -> VerifyReport {
        let db = &self.shared().db;
        let mut report = VerifyReport {
            start: self.start(),
            mark,
            known_gaps: self.shared().gaps.clone(),
            ..VerifyReport::default()
        };
        let mut walk = Walk {
            cursor: db.raw_iterator_cf(family(db, Family::Log)),
            expected: self.start(),
            first_ids: first_ids(db),
            ids: BadIds::default(),
        };
        walk.cursor.seek_for_prev(key::of(walk.expected));
        if !walk.cursor.valid() {
            walk.cursor.seek(key::of(walk.expected));
        }
        let mut scratch = Vec::new();
        loop {
            match walk.step(db, &mut scratch) {
                Step::Block { events, erased } => {
                    report.blocks += 1;
                    report.events += events;
                    report.erased += erased;
                    progress(walk.expected);
                }
                Step::Gap(gap) => report.gaps.push(gap),
                Step::End => break,
            }
        }
        report.end = walk.expected.prev();
        let (ids_end, damaged_ids) = walk_ids(db);
        let ends = [
            (ids_end, "their ids are stored, but they come after the end of the log"),
            (mark, "acknowledged according to the high-water mark, but after the end of the log"),
        ];
        // The higher one covers the other.
        if let Some((end, cause)) = ends.into_iter().max_by_key(|(end, _)| *end).filter(|(end, _)| *end > report.end) {
            report.gaps.push(Gap { from: report.end.next(), until: end.next(), cause: cause.into() });
        }
        report.damaged.extend(walk.ids.into_damage().into_iter().chain(damaged_ids.into_damage()).reduce(Damage::join));
        report.damaged.extend(damaged_families(db));
        report.gaps = merged(std::mem::take(&mut report.gaps));
        report
            .gaps
            .retain(|gap| !self.shared().gaps.iter().any(|known| known.from <= gap.from && gap.until <= known.until));
        report
    }
}

impl Reader {
    /// In a log that RocksDB refused: families that hold nothing, though the log has events. A table of theirs may be gone
    /// without a trace.
    pub(crate) fn emptied(&self) -> Vec<Damage> {
        let db = &self.shared().db;
        let is_empty = |of: Family| db.iterator_cf(family(db, of), IteratorMode::Start).next().is_none();
        if is_empty(Family::Log) {
            return Vec::new();
        }
        let cause = "nothing is left of it, if it ever held anything: sinks may have lost their places";
        let damage = |of: Family| Damage { family: of.name(), cause: cause.into() };
        [Family::Ids, Family::Cursor].into_iter().filter(|of| is_empty(*of)).map(damage).collect()
    }
}

/// Joins gaps that touch.
fn merged(gaps: Vec<Gap>) -> Vec<Gap> {
    let mut out: Vec<Gap> = Vec::new();
    for gap in gaps {
        match out.last_mut() {
            Some(last) if gap.from <= last.until => {
                last.until = last.until.max(gap.until);
                if !last.cause.contains(&gap.cause) && last.cause.len() < CAUSE_BYTES {
                    last.cause = format!("{}; {}", last.cause, gap.cause);
                }
            }
            _ => out.push(gap),
        }
    }
    out
}

/// A walk over the log that goes on behind damage.
struct Walk<'a> {
    cursor: DBRawIterator<'a>,
    expected: Seq,
    /// Groups before this one have left the dedup window.
    first_ids: Option<Seq>,
    ids: BadIds,
}

/// Id lists that are damaged or missing although their block is there: they can be made again.
#[derive(Default)]
struct BadIds {
    lists: u64,
    first: Option<String>,
}

impl BadIds {
    fn note(&mut self, cause: String) {
        self.lists += 1;
        self.first.get_or_insert(cause);
    }

    fn into_damage(self) -> Option<Damage> {
        let first = self.first?;
        let cause = if self.lists > 1 { format!("{first}; and {} more", self.lists - 1) } else { first };
        Some(Damage { family: Family::Ids.name(), cause })
    }
}

impl Damage {
    fn join(self, other: Damage) -> Damage {
        Damage { cause: format!("{}; {}", self.cause, other.cause), ..self }
    }
}

enum Step {
    Block { events: u64, erased: u64 },
    Gap(Gap),
    End,
}

impl Walk<'_> {
    fn step(&mut self, db: &DB, scratch: &mut Vec<u8>) -> Step {
        let Some((name, value)) = self.cursor.item() else {
            return match self.cursor.status() {
                Ok(()) => Step::End,
                Err(error) => self.skip_unreadable(db, error.as_ref()),
            };
        };
        let Some(first) = key::seq(name) else { return self.bad(Seq::ZERO, "a key that is no position".into()) };
        let block = match Block::parse(first, value) {
            Ok(block) => block,
            Err(cause) => return self.bad(first, format!("block at {first}: {cause}")),
        };
        if first > self.expected {
            let gap = Gap { from: self.expected, until: first, cause: "no block covers these positions".into() };
            self.expected = first;
            return Step::Gap(gap);
        }
        let (mut events, mut erased) = (0u64, 0u64);
        let count = |slot: Slot<'_>| match slot {
            Slot::Event(_) => events += 1,
            Slot::Erased(_) => erased += 1,
        };
        if let Err(cause) = block.visit_slots(scratch, count) {
            return self.bad(first, format!("block at {first}: {cause}"));
        }
        if let Some(cause) = self.ids_differ(db, first, block.events()) {
            self.ids.note(cause);
        }
        self.expected = self.expected.max(block.last().next());
        self.cursor.next();
        Step::Block { events, erased }
    }

    /// Passes over the block at `first`, which is not whole.
    fn bad(&mut self, first: Seq, cause: String) -> Step {
        self.cursor.next();
        let until = self.cursor.key().and_then(key::seq).unwrap_or_else(|| first.next()).max(self.expected.next());
        let gap = Gap { from: self.expected.max(first), until, cause };
        self.expected = until;
        Step::Gap(gap)
    }

    /// Finds the next position that can be read behind a table block that cannot.
    fn skip_unreadable(&mut self, db: &DB, error: &str) -> Step {
        let from = self.expected;
        let end = last_key(db);
        let mut step = 1u64;
        let mut low = from;
        while low <= end {
            let probe = from.plus(step);
            self.cursor.seek(key::of(probe));
            if self.cursor.valid() || self.cursor.status().is_ok() {
                return self.narrow(low, probe, from, error);
            }
            low = probe;
            step = step.saturating_mul(2);
        }
        self.cursor.seek(key::of(end.next()));
        self.expected = end.next();
        Step::Gap(Gap { from, until: self.expected, cause: error.into() })
    }

    /// Between `low` (unreadable) and `high` (readable): the first position that can be read.
    fn narrow(&mut self, mut low: Seq, mut high: Seq, from: Seq, error: &str) -> Step {
        while low.next() < high {
            let middle = low.plus(high.since(low) / 2);
            self.cursor.seek(key::of(middle));
            if self.cursor.valid() || self.cursor.status().is_ok() { high = middle } else { low = middle }
        }
        self.cursor.seek(key::of(high));
        let until = self.cursor.key().and_then(key::seq).unwrap_or(high);
        self.expected = until;
        Step::Gap(Gap { from, until, cause: error.into() })
    }
}

fn last_key(db: &DB) -> Seq {
    let mut cursor = db.raw_iterator_cf(family(db, Family::Ids));
    cursor.seek_to_last();
    cursor.key().and_then(key::seq).unwrap_or(Seq::ZERO)
}

/// The first group whose ids are kept.
pub(crate) fn first_ids(db: &DB) -> Option<Seq> {
    let mut cursor = db.raw_iterator_cf(family(db, Family::Ids));
    cursor.seek_to_first();
    cursor.key().and_then(key::seq)
}

impl Walk<'_> {
    /// A group's id list must be there as long as it is in the window, and fit its block.
    fn ids_differ(&self, db: &DB, first: Seq, events: u32) -> Option<String> {
        let of = format!("of the {events} events from {first}");
        match db.get_cf(family(db, Family::Ids), key::of(first)) {
            Err(error) => Some(format!("id list {of}: {error}")),
            Ok(None) if self.first_ids.is_none_or(|kept| kept <= first) => Some(format!("no id list {of}")),
            Ok(None) => None,
            Ok(Some(value)) => match IdList::parse(first, &value) {
                Ok(list) if list.len() == events as usize => None,
                Ok(list) => Some(format!("id list {of} has {} ids", list.len())),
                Err(cause) => Some(format!("id list {of}: {cause}")),
            },
        }
    }
}

/// Looks through the stored id lists: the last position they name, and those that the log has no block beside which
/// they would have been looked at.
fn walk_ids(db: &DB) -> (Seq, BadIds) {
    let mut log = db.raw_iterator_cf(family(db, Family::Log));
    log.seek_to_first();
    let first_block = log.key().and_then(key::seq).unwrap_or(Seq::new(u64::MAX));
    let (mut end, mut bad) = (Seq::ZERO, BadIds::default());
    let mut cursor = db.raw_iterator_cf(family(db, Family::Ids));
    cursor.seek_to_first();
    while let Some((name, value)) = cursor.item() {
        match key::seq(name).map(|first| (first, IdList::parse(first, value))) {
            Some((first, Ok(list))) => end = first.plus(list.len() as u64).prev(),
            Some((first, Err(cause))) if first < first_block => bad.note(format!("id list from {first} on: {cause}")),
            Some((_, Err(_))) => {}
            None => bad.note("a key that is no position".into()),
        }
        cursor.next();
    }
    if let Err(error) = cursor.status() {
        bad.note(format!("id lists behind {end}: {error}"));
    }
    (end, bad)
}

/// Reads the small families to their ends.
fn damaged_families(db: &DB) -> Vec<Damage> {
    let small = Family::ALL.into_iter().filter(|of| !matches!(of, Family::Log | Family::Ids));
    let read = |of: Family| db.iterator_cf(family(db, of), IteratorMode::Start).find_map(Result::err);
    let damage = |of: Family| read(of).map(|error| Damage { family: of.name(), cause: error.to_string() });
    let lost_self = (!identity::is_known(db) && db_has_events(db))
        .then(|| Damage { family: Family::Meta.name(), cause: "who the log is: gone".into() });
    small.filter_map(damage).chain(lost_self).collect()
}

fn db_has_events(db: &DB) -> bool {
    let mut cursor = db.raw_iterator_cf(family(db, Family::Log));
    cursor.seek_to_first();
    cursor.valid()
}
