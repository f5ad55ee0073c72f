//! The newest blocks of the log, in memory: what a sink that keeps up reads, so that the log is not asked.

use event::Seq;
use std::collections::VecDeque;
use std::sync::Arc;

/// Bytes kept at most: a quarter of a second of the largest load, more than a sink that keeps up is behind.
const BYTES_MAX: usize = 32 << 20;

/// A block as it is stored, with its key.
#[derive(Debug, Clone)]
pub struct RecentBlock {
    /// Position of its first event.
    pub first: Seq,
    /// The stored bytes.
    pub bytes: Arc<[u8]>,
}

/// Blocks without a gap between them, up to the newest.
#[derive(Debug, Default)]
pub(super) struct Recent {
    blocks: VecDeque<RecentBlock>,
    /// Position after the newest block.
    next: Seq,
    bytes: usize,
}

impl Recent {
    /// Adds a committed block of that many events.
    pub(super) fn push(&mut self, first: Seq, events: u32, bytes: &[u8]) {
        if first != self.next {
            self.clear();
        }
        self.next = first.plus(u64::from(events));
        self.bytes += bytes.len();
        self.blocks.push_back(RecentBlock { first, bytes: bytes.into() });
        while self.bytes > BYTES_MAX {
            let Some(oldest) = self.blocks.pop_front() else { break };
            self.bytes -= oldest.bytes.len();
        }
    }

    /// Puts other bytes in the place of a block that is still here.
    pub(super) fn replace(&mut self, first: Seq, bytes: &[u8]) {
        if let Some(block) = self.blocks.iter_mut().find(|block| block.first == first) {
            self.bytes = (self.bytes - block.bytes.len()) + bytes.len();
            block.bytes = bytes.into();
        }
    }

    /// The blocks from the one that holds `from` on, about `bytes_max` of them; none if that one is not here any more.
    pub(super) fn from(&self, from: Seq, bytes_max: usize) -> Vec<RecentBlock> {
        if from >= self.next {
            return Vec::new();
        }
        let Some(at) = self.blocks.partition_point(|block| block.first <= from).checked_sub(1) else {
            return Vec::new();
        };
        let mut bytes = 0;
        let fits = |block: &&RecentBlock| {
            let fits = bytes < bytes_max;
            bytes += block.bytes.len();
            fits
        };
        self.blocks.range(at..).take_while(fits).cloned().collect()
    }

    fn clear(&mut self) {
        self.blocks.clear();
        self.bytes = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn firsts(recent: &Recent, from: u64, bytes_max: usize) -> Vec<u64> {
        recent.from(Seq::new(from), bytes_max).iter().map(|block| block.first.get()).collect()
    }

    #[test]
    fn what_is_read_begins_with_the_block_that_holds_the_event() {
        let mut recent = Recent::default();
        for first in [11, 21, 31] {
            recent.push(Seq::new(first), 10, &[0; 100]);
        }
        assert_eq!(firsts(&recent, 11, 1000), [11, 21, 31]);
        assert_eq!(firsts(&recent, 25, 1000), [21, 31]);
        assert_eq!(firsts(&recent, 25, 100), [21]);
        assert!(firsts(&recent, 10, 1000).is_empty() && firsts(&recent, 41, 1000).is_empty());
    }

    #[test]
    fn a_block_that_is_rewritten_is_read_as_it_is_now() {
        let mut recent = Recent::default();
        for first in [11, 21] {
            recent.push(Seq::new(first), 10, &[0; 100]);
        }
        recent.replace(Seq::new(11), &[1; 7]);
        recent.replace(Seq::new(1), &[2]);
        let bytes: Vec<_> = recent.from(Seq::new(11), 1000).iter().map(|block| block.bytes.len()).collect();
        assert_eq!((bytes, recent.bytes), (vec![7, 100], 107));
    }

    #[test]
    fn the_oldest_go_when_it_is_full_and_all_when_there_is_a_gap() {
        let mut recent = Recent::default();
        let large = vec![0; BYTES_MAX / 2];
        for first in [1, 11, 21] {
            recent.push(Seq::new(first), 10, &large);
        }
        assert!(firsts(&recent, 10, usize::MAX).is_empty());
        assert_eq!(firsts(&recent, 11, usize::MAX), [11, 21]);
        recent.push(Seq::new(41), 1, &[0]);
        assert!(firsts(&recent, 25, usize::MAX).is_empty());
        assert_eq!(firsts(&recent, 41, usize::MAX), [41]);
    }
}
