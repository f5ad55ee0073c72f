use crate::config::{Layout, MARKS_PER_WINDOW};
use std::collections::VecDeque;

/// Most marks forgotten by one call: an idle hour must not cost the next group a pass over all of them.
const FORGOTTEN_PER_CALL: usize = 1024;

/// From `first` up to the next mark's `first`, ids were accepted up to commit time `last`.
#[derive(Debug, Clone, Copy)]
struct Mark {
    first: u64,
    last: i64,
}

/// When each id was accepted, to a granularity of 1/360,000 of the window.
///
/// A mark expires by the newest group in it, so that no id is forgotten before its window is over; it is remembered
/// for less than one granule longer.
#[derive(Debug)]
pub(crate) struct Marks {
    window: i64,
    granularity: i64,
    marks: VecDeque<Mark>,
    newest_since: i64,
    expired_below: u64,
}

impl Marks {
    pub(crate) fn new(first: u64, layout: &Layout) -> Self {
        Marks {
            window: layout.window_micros,
            granularity: layout.granularity_micros,
            // Enough for ever: a reallocation would stall the writer. Untouched pages cost nothing.
            marks: VecDeque::with_capacity(MARKS_PER_WINDOW as usize + 2 * FORGOTTEN_PER_CALL),
            newest_since: 0,
            expired_below: first,
        }
    }

    /// Notes that the ids from `first` on were accepted at `now`.
    pub(crate) fn note(&mut self, first: u64, now: i64) {
        match self.marks.back_mut() {
            Some(newest) if now.saturating_sub(self.newest_since) < self.granularity => newest.last = now,
            _ => {
                self.marks.push_back(Mark { first, last: now });
                self.newest_since = now;
            }
        }
    }

    /// Finds what has left the window at `now`; `end` is the sequence number after the last id.
    pub(crate) fn expire(&mut self, now: i64, end: u64) {
        let expired = |mark: &Mark| mark.last.saturating_add(self.window) <= now;
        if !self.marks.front().is_some_and(expired) {
            return;
        }
        let gone = self.marks.partition_point(expired);
        self.expired_below = self.marks.get(gone).map_or(end, |mark| mark.first);
        self.marks.drain(..gone.min(FORGOTTEN_PER_CALL));
    }

    /// Ids below this have left the window.
    pub(crate) fn expired_below(&self) -> u64 {
        self.expired_below
    }

    /// The first id accepted `micros` or more after the group of `seq`; `end` when there is none.
    pub(crate) fn later(&self, seq: u64, micros: i64, end: u64) -> u64 {
        let own = self.marks.partition_point(|mark| mark.first <= seq).saturating_sub(1);
        let Some(from) = self.marks.get(own).map(|mark| mark.last.saturating_add(micros)) else { return end };
        let later = self.marks.partition_point(|mark| mark.last < from);
        self.marks.get(later).map_or(end, |mark| mark.first.max(seq))
    }

    pub(crate) fn bytes(&self) -> u64 {
        (self.marks.len() * size_of::<Mark>()) as u64
    }
}
