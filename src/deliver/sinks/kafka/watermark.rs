//! How far the topics have everything, as the value of a record of the watermark topic; its key is the transactional id.
//!
//! ```text
//! 0 u8   version = 1        All integers are little-endian. What may never change: the meaning of version 1.
//! 1 u8×7 0
//! 8 u64  run that wrote it: the incarnation of the daemon that held the producer
//! 16 u64 incarnation that committed the last event, 0 before the first
//! 24 u64 last event
//! 32 u64 last dead letter
//! ```
//!
//! Two incarnations, because they answer two questions. Who committed the last event tells a log from its copies; who
//! wrote the watermark tells two running daemons apart that share a log's past and are both still handing it over.

use crate::Position;
use event::Seq;

const VERSION: u8 = 1;
const LEN: usize = 40;

/// A watermark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Watermark {
    /// The run that wrote it.
    pub run: u64,
    /// The incarnation that committed the last event.
    pub incarnation: u64,
    /// What the topics have.
    pub position: Position,
}

/// A record that is no watermark that this release knows.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Written by a newer release, or by something else.
    #[error("watermark has unknown version {0}")]
    Version(u8),
    /// Not as long as its version is.
    #[error("watermark has {0} bytes")]
    Length(usize),
}

impl Watermark {
    /// The record's value.
    #[must_use]
    pub fn encode(&self) -> [u8; LEN] {
        let mut out = [0; LEN];
        out[0] = VERSION;
        let words = [self.run, self.incarnation, self.position.seq.get(), self.position.dead_seq];
        for (place, word) in out[8..].as_chunks_mut::<8>().0.iter_mut().zip(words) {
            *place = word.to_le_bytes();
        }
        out
    }

    /// Reads a record's value.
    ///
    /// # Errors
    /// [`Unreadable`].
    pub fn decode(value: &[u8]) -> Result<Self, Unreadable> {
        let length = Unreadable::Length(value.len());
        let Some(&version) = value.first() else { return Err(length) };
        if version != VERSION {
            return Err(Unreadable::Version(version));
        }
        let (words, []) = value.as_chunks::<8>() else { return Err(length) };
        let [_, run, incarnation, seq, dead_seq] = words else { return Err(length) };
        Ok(Watermark {
            run: u64::from_le_bytes(*run),
            incarnation: u64::from_le_bytes(*incarnation),
            position: Position { seq: Seq::new(u64::from_le_bytes(*seq)), dead_seq: u64::from_le_bytes(*dead_seq) },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_1_never_changes() {
        let mark = Watermark {
            run: 0x0102_0304_0506_0708,
            incarnation: 2,
            position: Position { seq: Seq::new(3), dead_seq: 4 },
        };
        let mut stored = vec![1, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1];
        for word in 2..=4_u8 {
            stored.extend([word, 0, 0, 0, 0, 0, 0, 0]);
        }
        assert_eq!(mark.encode(), *stored);
        assert_eq!(Watermark::decode(&stored), Ok(mark));
    }

    #[test]
    fn what_is_no_watermark_is_refused() {
        assert_eq!(Watermark::decode(&[]), Err(Unreadable::Length(0)));
        assert_eq!(Watermark::decode(&[2; LEN]), Err(Unreadable::Version(2)));
        for len in [1, LEN - 1, LEN + 1, LEN + 8] {
            assert_eq!(Watermark::decode(&vec![1; len]), Err(Unreadable::Length(len)));
        }
    }
}
