use crate::index::shard::{Shard, Spot, Step};
use crate::index::{BATCH, Index};
use crate::ring::{Id, Ring};
use std::hint::black_box;

/// Empty shards for so many ids each. Their sizes are spread evenly over one growth step, and stay so as they grow:
/// were they alike, all of them would be full at about the same time.
pub(crate) fn sized_for(ids: &[u64]) -> Vec<Shard> {
    let shards = ids.len() as u64;
    let spread = |ids: u64, n: u64| (ids + 2 * BATCH as u64) * n / (shards * 4);
    ids.iter().zip(0..).map(|(&ids, n)| Shard::fresh(ids + spread(ids, n))).collect()
}

impl Index {
    /// Indexes the whole ring anew, on two threads.
    pub(crate) fn build(&mut self, ring: &Ring) {
        let mut ids = vec![0; self.shards.len()];
        for id in ring.slices().flatten() {
            ids[self.shard_of(id.fingerprint())] += 1;
        }
        // The old shards go before the new ones come.
        self.shards.clear();
        let mut shards = sized_for(&ids);
        let (lower, upper) = shards.split_at_mut(ids.len() / 2);
        let index = &*self;
        std::thread::scope(|scope| {
            scope.spawn(|| index.fill(lower, 0, ring));
            index.fill(upper, ids.len() / 2, ring);
        });
        self.put_in_place(shards);
    }

    /// Puts those ids of the ring that belong to `shards`, which start at number `from`, into them.
    fn fill(&self, shards: &mut [Shard], from: usize, ring: &Ring) {
        let mut waiting = Vec::with_capacity(BATCH);
        let mut seq_low = ring.first() as u32;
        for id in ring.slices().flatten() {
            let fingerprint = id.fingerprint();
            let number = self.shard_of(fingerprint).wrapping_sub(from);
            if let Some(shard) = shards.get(number) {
                waiting.push((shard.home(number, self.tag_of(fingerprint)), seq_low));
                if waiting.len() == BATCH {
                    insert(shards, &mut waiting, ring);
                }
            }
            seq_low = seq_low.wrapping_add(1);
        }
        insert(shards, &mut waiting, ring);
    }
}

/// Inserts ids; of two with the same fingerprint the later one stays.
fn insert(shards: &mut [Shard], waiting: &mut Vec<(Spot, u32)>, ring: &Ring) {
    for &(spot, _) in &*waiting {
        black_box(shards[spot.shard()].touch(spot));
    }
    for (mut spot, seq_low) in waiting.drain(..) {
        let shard = &mut shards[spot.shard()];
        loop {
            match shard.step(&mut spot) {
                Step::Candidate(held) if !same(ring, held, seq_low) => spot.pass_over(),
                Step::Candidate(_) | Step::Free => break,
                Step::Further => {}
            }
        }
        shard.set(spot, seq_low);
    }
}

fn same(ring: &Ring, a: u32, b: u32) -> bool {
    ring.get(a).map(Id::fingerprint) == ring.get(b).map(Id::fingerprint)
}
