//! Places in the log, and which of them a log can have reached.

use event::Seq;
use std::fmt;

/// How far a sink has everything: the last ones that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Position {
    /// Last event, [`Seq::ZERO`] before the first.
    pub seq: Seq,
    /// Last dead letter, 0 before the first.
    pub dead_seq: u64,
}

impl Position {
    /// Before everything.
    pub const START: Position = Position { seq: Seq::ZERO, dead_seq: 0 };

    /// Whether it is not behind `other` in either count.
    #[must_use]
    pub fn covers(&self, other: &Position) -> bool {
        self.seq >= other.seq && self.dead_seq >= other.dead_seq
    }

    /// The further of two in each count.
    pub(crate) fn max(self, other: Position) -> Position {
        Position { seq: self.seq.max(other.seq), dead_seq: self.dead_seq.max(other.dead_seq) }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "event {}, dead letter {}", self.seq, self.dead_seq)
    }
}

/// What the log knows of itself when a session is opened.
#[derive(Debug, Clone, Copy)]
pub struct History<'a> {
    /// Each start of the daemon that committed something: its incarnation and the first event it committed, oldest
    /// first.
    pub starts: &'a [(u64, Seq)],
    /// The last event and dead letter that the log has ever held.
    pub end: Position,
}

impl History<'_> {
    /// The incarnation that committed `seq`; 0 for what lies before the first start.
    #[must_use]
    pub fn incarnation_at(&self, seq: Seq) -> u64 {
        self.starts.iter().rev().find(|(_, first)| *first <= seq).map_or(0, |(incarnation, _)| *incarnation)
    }

    /// Whether this log was once at `position`, under that incarnation.
    ///
    /// The end matters: without it, an image that was restored from yesterday would take today's events of the
    /// original for its own.
    #[must_use]
    pub fn contains(&self, incarnation: u64, position: Position) -> bool {
        self.end.covers(&position) && self.incarnation_at(position.seq) == incarnation
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seq: u64, dead_seq: u64) -> Position {
        Position { seq: Seq::new(seq), dead_seq }
    }

    #[test]
    fn a_log_contains_what_it_committed_itself() {
        let starts = [(7, Seq::new(1)), (9, Seq::new(101))];
        let history = History { starts: &starts, end: at(150, 3) };
        for (incarnation, position) in [(0, at(0, 0)), (7, at(1, 0)), (7, at(100, 3)), (9, at(101, 1)), (9, at(150, 3))]
        {
            assert!(history.contains(incarnation, position), "{incarnation} {position}");
        }
        for (incarnation, position) in
            [(7, at(0, 0)), (7, at(101, 0)), (9, at(100, 0)), (8, at(50, 0)), (9, at(151, 0)), (9, at(150, 4))]
        {
            assert!(!history.contains(incarnation, position), "{incarnation} {position}");
        }
    }

    #[test]
    fn a_new_log_contains_only_its_beginning() {
        let history = History { starts: &[], end: Position::START };
        assert!(history.contains(0, Position::START));
        assert!(!history.contains(7, at(1, 0)));
    }
}
