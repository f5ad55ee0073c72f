//! Compares what a sink holds with the log, position by position: the proof that nothing is missing and nothing twice.

use super::consumer::incarnation_in;
use crate::commit::decode_dead_letter;
use event::{Seq, UnixMicros};
use prepare::processed::Extractor;
use std::collections::BTreeSet;
use std::ops::{ControlFlow, RangeInclusive};
use std::path::PathBuf;
use wal::{Family, ReadError, Reader};
use xxhash_rust::xxh3::xxh3_64;

/// Ranges of positions that are named one by one; beyond that they are only counted.
const RANGES_MAX: usize = 20;

/// Events in a row that one start of the daemon committed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stretch {
    /// The start.
    pub incarnation: u64,
    /// Their positions.
    pub range: RangeInclusive<Seq>,
    /// When the first and the last of them were committed.
    pub committed: RangeInclusive<UnixMicros>,
}

/// What is asked of a [`Census`]: all events of a range of the log.
#[derive(Debug)]
pub struct Asked {
    first: Seq,
    stretches: Vec<Stretch>,
    /// A hash of each event's id; 0 where the log lacks the event.
    ids: Vec<u64>,
}

/// How often each event of a range is in one place: a table, a topic, the files.
#[derive(Debug)]
pub struct Held {
    place: String,
    first: Seq,
    counts: Vec<u32>,
}

/// Counts what a sink holds, beside the shipper and without holding it up. Blocks.
pub trait Census: Send + Sync {
    /// Events that may be asked for at once.
    fn events_max(&self) -> u64;

    /// The files that hold events of these owners, event ids and user ids; none where nothing is kept in files.
    ///
    /// # Errors
    /// Why that cannot be found out, for a person.
    fn holding(&self, _: &dyn Fn(&str, &str, Option<&str>) -> bool) -> Result<Vec<HeldFile>, String> {
        Ok(Vec::new())
    }

    /// How often each event of the range is there, for each place that is to have it.
    ///
    /// # Errors
    /// Why that cannot be found out, for a person.
    fn count(&self, asked: &Asked) -> Result<Vec<Held>, String>;
}

/// A file that holds some events.
#[derive(Debug)]
pub struct HeldFile {
    /// Where it is.
    pub path: PathBuf,
    /// How many of them.
    pub events: u64,
    /// What the sink knows the file by: entries of its footer.
    pub mark: Vec<(String, String)>,
    /// Why it cannot be read, where that is so: then it is not known what it holds.
    pub unread: Option<String>,
}

impl Asked {
    /// The range's stretches, in order.
    #[must_use]
    pub fn stretches(&self) -> &[Stretch] {
        &self.stretches
    }

    /// All of the range.
    #[must_use]
    pub fn range(&self) -> RangeInclusive<Seq> {
        self.first..=self.first.plus(self.ids.len() as u64).prev()
    }

    /// When the first event of the range was committed.
    #[must_use]
    pub fn since(&self) -> UnixMicros {
        self.stretches.first().map(|stretch| *stretch.committed.start()).unwrap_or_default()
    }

    /// Whether that is the event of the log at that position, for places where several logs meet.
    #[must_use]
    pub fn is_ours(&self, seq: Seq, event_id: &str) -> bool {
        seq >= self.first && self.ids.get(seq.since(self.first) as usize).is_some_and(|id| *id == hash(event_id))
    }

    /// Counts that are all zero.
    #[must_use]
    pub fn nothing_in(&self, place: impl Into<String>) -> Held {
        Held { place: place.into(), first: self.first, counts: vec![0; self.ids.len()] }
    }
}

impl Held {
    /// The table, the topic, the files.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// Counts an event, `times` times; one outside of the range is nobody's business.
    pub fn add(&mut self, seq: Seq, times: u64) {
        if seq >= self.first
            && let Some(count) = self.counts.get_mut(seq.since(self.first) as usize)
        {
            *count = count.saturating_add(times as u32);
        }
    }
}

/// What came out for one place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The table, the topic, the files.
    pub place: String,
    /// How many of the range's events are there, each counted once.
    pub present: u64,
    /// Those that are not.
    pub missing: Ranges,
    /// Those that are there more than once.
    pub doubled: Ranges,
}

impl Finding {
    /// Whether the place holds what it should and nothing else.
    #[must_use]
    pub fn is_right(&self) -> bool {
        self.missing.events == 0 && self.doubled.events == 0
    }
}

/// Positions, gathered to ranges.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ranges {
    /// How many positions.
    pub events: u64,
    /// The first of the ranges.
    pub named: Vec<RangeInclusive<Seq>>,
}

impl Ranges {
    fn add(&mut self, seq: Seq) {
        self.events += 1;
        if let Some(last) = self.named.last_mut().filter(|last| last.end().next() == seq) {
            *last = *last.start()..=seq;
        } else if self.named.len() < RANGES_MAX {
            self.named.push(seq..=seq);
        }
    }
}

/// What came out for a range.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    /// What was compared.
    pub range: RangeInclusive<Seq>,
    /// Events of it that the log has.
    pub events: u64,
    /// Those of them that are dead letters of this sink.
    pub dead: u64,
    /// Place by place.
    pub findings: Vec<Finding>,
}

/// Compares the beginning of a range, as much as the sink counts at once, with what the sink holds.
///
/// # Errors
/// Why that cannot be found out, for a person.
pub fn verify(reader: &Reader, sink: &str, census: &dyn Census, range: &RangeInclusive<Seq>) -> Result<Report, String> {
    let last = (*range.end()).min(range.start().plus(census.events_max()).prev());
    let asked = ask(reader, *range.start()..=last).map_err(|error| error.to_string())?;
    let dead = dead_letters(reader, sink).map_err(|error| error.to_string())?;
    let held = census.count(&asked)?;
    let positions = || (asked.first.get()..).map(Seq::new).zip(&asked.ids).filter(|(_, id)| **id != 0);
    Ok(Report {
        range: asked.range(),
        events: positions().count() as u64,
        dead: positions().filter(|(seq, _)| dead.contains(seq)).count() as u64,
        findings: held.iter().map(|held| judge(&asked, &dead, held)).collect(),
    })
}

fn judge(asked: &Asked, dead: &BTreeSet<Seq>, held: &Held) -> Finding {
    let (mut missing, mut doubled) = (Ranges::default(), Ranges::default());
    let mut present = 0;
    for ((seq, id), count) in (asked.first.get()..).map(Seq::new).zip(&asked.ids).zip(&held.counts) {
        present += u64::from(*count > 0);
        match count {
            // A dead letter is in none of a sink's places, or in those that could take it.
            0 if *id != 0 && !dead.contains(&seq) => missing.add(seq),
            0 | 1 => {}
            _ => doubled.add(seq),
        }
    }
    Finding { place: held.place.clone(), present, missing, doubled }
}

/// Reads what the log has of a range.
fn ask(reader: &Reader, range: RangeInclusive<Seq>) -> Result<Asked, ReadError> {
    let history = reader.history()?;
    let (first, last) = (*range.start(), *range.end());
    let mut asked = Asked { first, stretches: Vec::new(), ids: vec![0; last.next().since(first) as usize] };
    let (mut extractor, mut scratch) = (Extractor::new(), Vec::new());
    reader.read(first, |block, _| {
        let part = block.first().max(first)..=block.last().min(last);
        if part.start() <= part.end() {
            asked.stretch(incarnation_in(&history, block.first()), &part, block.committed_at());
        }
        // What is damaged below its checksum stays unknown here; the sink tells of it.
        block
            .visit(&mut scratch, |event| {
                if part.contains(&event.seq) {
                    let id = extractor.extract(&event).map_or("", |envelope| envelope.event_id);
                    asked.ids[event.seq.since(first) as usize] = hash(id);
                }
            })
            .ok();
        if block.last() >= last { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    Ok(asked)
}

impl Asked {
    fn stretch(&mut self, incarnation: u64, part: &RangeInclusive<Seq>, at: UnixMicros) {
        match self.stretches.last_mut() {
            Some(last) if last.incarnation == incarnation && last.range.end().next() == *part.start() => {
                last.range = *last.range.start()..=*part.end();
                last.committed = *last.committed.start()..=at;
            }
            _ => self.stretches.push(Stretch { incarnation, range: part.clone(), committed: at..=at }),
        }
    }
}

/// 0 says that there is no event.
fn hash(event_id: &str) -> u64 {
    xxh3_64(event_id.as_bytes()).max(1)
}

/// Positions of the events that `sink` could not take.
fn dead_letters(reader: &Reader, sink: &str) -> Result<BTreeSet<Seq>, ReadError> {
    let mut found = BTreeSet::new();
    reader.scan(Family::Dead, &[], |_, value| {
        if let Some((letter, _)) = decode_dead_letter(value)
            && letter.sink.as_deref() == Some(sink)
        {
            found.extend(letter.seq.map(Seq::new));
        }
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_and_what_is_doubled_is_told() {
        let first = Seq::new(11);
        // Position 15 is not in the log.
        let asked = Asked { first, stretches: Vec::new(), ids: vec![7, 7, 7, 7, 0, 7, 7] };
        let mut held = asked.nothing_in("table");
        for (seq, times) in [(11, 1), (13, 2), (16, 1), (10, 1), (18, 1)] {
            held.add(Seq::new(seq), times);
        }
        let finding = judge(&asked, &BTreeSet::from([Seq::new(16), Seq::new(17)]), &held);
        let named = |ranges: &Ranges| -> Vec<_> {
            ranges.named.iter().map(|range| (range.start().get(), range.end().get())).collect()
        };
        assert_eq!(named(&finding.missing), [(12, 12), (14, 14)]);
        assert_eq!(named(&finding.doubled), [(13, 13)]);
        assert_eq!((finding.present, finding.is_right()), (3, false));
    }

    #[test]
    fn neighbours_are_one_range_and_not_too_many_are_named() {
        let mut ranges = Ranges::default();
        for seq in (1..=4).chain((10..100).step_by(2)) {
            ranges.add(Seq::new(seq));
        }
        assert_eq!(ranges.events, 49);
        assert_eq!(ranges.named.len(), RANGES_MAX);
        assert_eq!(ranges.named[0], Seq::new(1)..=Seq::new(4));
    }
}
