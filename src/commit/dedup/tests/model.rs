//! The filter against a plain map, over random histories.

use super::support::{AMPLE, TINY, config, entry_of, fingerprint, micros};
use crate::Dedup;
use event::{Entry, Fingerprint, Seq, Verdict};
use proptest::prelude::*;
use std::collections::HashMap;
use tempfile::TempDir;

const WINDOW_MS: u64 = 5_000;

#[derive(Debug, Clone)]
enum Operation {
    /// Commits a group of neighbouring ids, every `repeat`-th one twice.
    Group { first_id: u64, ids: u64, repeat: u64, content: u32 },
    /// Lets time pass.
    Advance { ms: i64 },
    /// Waits for the spill thread.
    Settle,
    /// Starts anew from the stored groups that are still needed.
    Reopen,
}

fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        8 => (0_u64..6000, 0_u64..500, 2_u64..50, 0_u32..2)
            .prop_map(|(first_id, ids, repeat, content)| Operation::Group { first_id, ids, repeat, content }),
        4 => (0_i64..1500).prop_map(|ms| Operation::Advance { ms }),
        1 => Just(Operation::Advance { ms: WINDOW_MS as i64 }),
        1 => Just(Operation::Settle),
        1 => Just(Operation::Reopen),
    ]
}

/// A stored id list: first sequence number, commit time, ids.
type Stored = (u64, i64, Vec<(Fingerprint, u32)>);

/// What the filter must do, in the plainest way.
#[derive(Default)]
struct Model {
    known: HashMap<Fingerprint, (u64, i64, u32)>,
    stored: Vec<Stored>,
}

impl Model {
    fn group(&mut self, entries: &[Entry], now_ms: i64, next: u64) -> Vec<Verdict> {
        let mut ids = Vec::new();
        let verdicts = entries.iter().map(|entry| match self.known.get(&entry.fingerprint) {
            Some(&(first, at, content)) if now_ms - at < WINDOW_MS as i64 => {
                Verdict::Duplicate { first: Seq::new(first), differs: content != entry.content }
            }
            _ => {
                let seq = next + ids.len() as u64;
                self.known.insert(entry.fingerprint, (seq, now_ms, entry.content));
                ids.push((entry.fingerprint, entry.content));
                Verdict::Accepted(Seq::new(seq))
            }
        });
        let verdicts = verdicts.collect();
        if !ids.is_empty() {
            self.stored.push((next, now_ms, ids));
        }
        verdicts
    }

    /// The first event inside the window.
    fn oldest(&self, now_ms: i64, next: u64) -> u64 {
        let inside = self.stored.iter().find(|(_, at, _)| now_ms - at < WINDOW_MS as i64);
        inside.map_or(next, |&(first, ..)| first)
    }
}

struct Run {
    dir: TempDir,
    budget: u64,
    /// Always there but while it is reopened.
    dedup: Option<Dedup>,
    model: Model,
    now_ms: i64,
}

impl Run {
    fn dedup(&mut self) -> &mut Dedup {
        self.dedup.as_mut().unwrap()
    }

    fn apply(&mut self, operation: &Operation) {
        match *operation {
            Operation::Advance { ms } => self.now_ms += ms,
            Operation::Settle => self.dedup().settle().unwrap(),
            Operation::Group { first_id, ids, repeat, content } => {
                let id = |id| entry_of(fingerprint(id), content);
                let once = (first_id..first_id + ids).map(id);
                let twice = (first_id..first_id + ids).step_by(repeat as usize).map(id);
                self.group(&once.chain(twice).collect::<Vec<_>>());
            }
            Operation::Reopen => self.reopen(),
        }
    }

    fn group(&mut self, entries: &[Entry]) {
        let now_ms = self.now_ms;
        let dedup = self.dedup();
        let next = dedup.next_seq().get();
        dedup.begin_group(micros(now_ms)).unwrap();
        let oldest = dedup.oldest().get();
        let mut verdicts = Vec::new();
        dedup.check(entries, &mut verdicts).unwrap();
        assert_eq!(oldest, self.model.oldest(now_ms, next));
        assert_eq!(verdicts, self.model.group(entries, now_ms, next));
    }

    fn reopen(&mut self) {
        let (oldest, next) = (self.dedup().oldest().get(), self.dedup().next_seq());
        self.dedup = None;
        self.model.stored.retain(|(first, _, ids)| first + ids.len() as u64 > oldest);
        let first = self.model.stored.first().map_or(next, |&(first, ..)| Seq::new(first));
        let mut dedup = Dedup::new(config(&self.dir, WINDOW_MS, self.budget), first).unwrap();
        for (first, at, ids) in &self.model.stored {
            dedup.load(Seq::new(*first), micros(*at), ids.iter().copied()).unwrap();
        }
        assert_eq!(dedup.next_seq(), next);
        self.dedup = Some(dedup);
    }
}

proptest! {
    // Seeds of failures are not kept in files: a history that fails is printed whole.
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_history_gives_the_verdicts_of_a_plain_map(
        operations in proptest::collection::vec(operation(), 1..80),
        budget in prop_oneof![3 => Just(TINY), 1 => Just(AMPLE)],
        // Positions in memory are the low 32 bits: some histories pass over the border.
        next in prop_oneof![Just(1), (1_u64 << 32) - 2000..1 << 32],
    ) {
        let dir = TempDir::new().unwrap();
        let dedup = Dedup::new(config(&dir, WINDOW_MS, budget), Seq::new(next)).unwrap();
        let mut run = Run { dir, budget, dedup: Some(dedup), model: Model::default(), now_ms: 0 };
        for operation in &operations {
            run.apply(operation);
        }
    }
}
