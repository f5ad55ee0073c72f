//! What is a duplicate, and for how long.

use super::support::{AMPLE, Filter, accepted, duplicate, entries, entry, entry_of, fingerprint};
use event::{Seq, Verdict};

#[test]
fn a_duplicate_inside_one_group_names_the_first() {
    let mut filter = Filter::new(1000, AMPLE);
    let verdicts = filter.group(&[entry(1), entry(2), entry(1), entry(1), entry(3)]);
    assert_eq!(verdicts, [accepted(1), accepted(2), duplicate(1), duplicate(1), accepted(3)]);
}

#[test]
fn a_duplicate_in_a_later_group_names_the_first() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.group(&entries(0..100));
    filter.now_ms = 999;
    let verdicts = filter.group(&[entry(99), entry(100), entry(0)]);
    assert_eq!(verdicts, [duplicate(100), accepted(101), duplicate(1)]);
}

#[test]
fn several_checks_make_one_group() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.group(&[entry(1)]);
    let mut verdicts = Vec::new();
    filter.dedup.check(&[entry(1), entry(2)], &mut verdicts).unwrap();
    filter.dedup.check(&[entry(2)], &mut verdicts).unwrap();
    assert_eq!(verdicts, [duplicate(1), accepted(2), duplicate(2)]);
}

#[test]
fn touching_decides_nothing() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.touch(&entries(0..100));
    filter.group(&entries(0..50));
    filter.dedup.touch(&entries(0..100));
    assert_eq!(filter.group(&[entry(0), entry(50)]), [duplicate(1), accepted(51)]);
}

#[test]
fn an_id_is_new_again_when_its_window_is_over() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.group(&[entry(1)]);
    filter.now_ms = 999;
    assert_eq!(filter.group(&[entry(1)]), [duplicate(1)]);
    filter.now_ms = 1000;
    assert_eq!(filter.group(&[entry(1), entry(1)]), [accepted(2), duplicate(2)]);
    filter.now_ms = 1999;
    assert_eq!(filter.group(&[entry(1)]), [duplicate(2)]);
}

#[test]
fn a_duplicate_does_not_prolong_the_window() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.group(&[entry(1)]);
    for now_ms in (100..1000).step_by(100) {
        filter.now_ms = now_ms;
        assert_eq!(filter.group(&[entry(1)]), [duplicate(1)]);
    }
    filter.now_ms = 1000;
    assert_eq!(filter.group(&[entry(1)]), [accepted(2)]);
}

#[test]
fn groups_within_one_granule_expire_together_and_never_early() {
    // An hour is divided into granules of 10 ms.
    let hour = 3_600_000;
    let mut filter = Filter::new(hour, AMPLE);
    filter.group(&[entry(1)]);
    filter.now_ms = 9;
    filter.group(&[entry(2)]);
    filter.now_ms = hour as i64 + 8;
    assert_eq!(filter.group(&[entry(1), entry(2)]), [duplicate(1), duplicate(2)]);
    filter.now_ms = hour as i64 + 9;
    assert_eq!(filter.group(&[entry(1), entry(2)]), [accepted(3), accepted(4)]);
}

#[test]
fn other_content_under_the_same_id_is_told() {
    let mut filter = Filter::new(1000, AMPLE);
    let with = |content| entry_of(fingerprint(1), content);
    let verdicts = filter.group(&[with(7), with(8), with(7)]);
    let differs = Verdict::Duplicate { first: Seq::FIRST, differs: true };
    assert_eq!(verdicts, [accepted(1), differs, duplicate(1)]);
}

#[test]
fn ids_that_share_the_indexed_half_are_told_apart() {
    // All of them have one home bucket: probes run over the end of a shard and go on at its front.
    let alike = |n: u64| entry_of(u128::MAX << 64 | u128::from(n), 0);
    let group: Vec<_> = (0..500).map(alike).collect();
    let mut filter = Filter::new(1000, AMPLE);
    assert_eq!(filter.group(&group), (1..=500).map(accepted).collect::<Vec<_>>());
    filter.fill(0..20_000);
    assert_eq!(filter.group(&group), (1..=500).map(duplicate).collect::<Vec<_>>());
}

#[test]
fn a_clock_that_stands_still_or_runs_backwards_forgets_nothing() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.now_ms = 5000;
    filter.group(&[entry(1)]);
    assert_eq!(filter.group(&[entry(1), entry(2)]), [duplicate(1), accepted(2)]);
    filter.now_ms = 0;
    assert_eq!(filter.group(&[entry(1), entry(3)]), [duplicate(1), accepted(3)]);
    // An id accepted while the clock was behind counts from the latest time seen.
    filter.now_ms = 5999;
    assert_eq!(filter.group(&[entry(3)]), [duplicate(3)]);
    filter.now_ms = 6000;
    assert_eq!(filter.group(&[entry(3)]), [accepted(4)]);
}

#[test]
fn oldest_is_the_first_event_inside_the_window() {
    let mut filter = Filter::new(1000, AMPLE);
    assert_eq!(filter.dedup.oldest(), Seq::FIRST);
    filter.group(&entries(0..10));
    filter.now_ms = 500;
    filter.group(&entries(10..30));
    assert_eq!(filter.dedup.oldest(), Seq::FIRST);
    filter.now_ms = 1000;
    filter.group(&[]);
    assert_eq!(filter.dedup.oldest(), Seq::new(11));
    filter.now_ms = 10_000;
    filter.group(&[]);
    assert_eq!(filter.dedup.oldest(), Seq::new(31));
    assert_eq!(filter.dedup.next_seq(), Seq::new(31));
}

#[test]
fn expiry_never_needs_unbounded_work() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.fill(0..500_000);
    // Everything leaves the window at once; the groups after that free it bit by bit.
    filter.now_ms = 1000;
    assert_eq!(filter.group(&[entry(0)]), [accepted(500_001)]);
    assert!(filter.dedup.stats().ids_in_memory > 300_000, "freed at once: {:?}", filter.dedup.stats());
    for id in 1..1000 {
        filter.group(&[entry(id)]);
    }
    let stats = filter.dedup.stats();
    assert!(stats.ids_in_memory < 40_000, "not freed: {stats:?}");
    assert!(stats.bytes_in_memory < 6 << 20, "not freed: {stats:?}");
    assert!(stats.released_chunks_most <= 1, "{stats:?}");
}

#[test]
fn a_group_rebuilds_few_shards_however_many_ids_there_are() {
    let mut filter = Filter::new(1600, AMPLE);
    let mut largest = 0;
    for (now_ms, ids) in entries(0..2_000_000).chunks(256).enumerate() {
        filter.now_ms = now_ms as i64;
        filter.group(ids);
        largest = largest.max(filter.dedup.stats().shard_slots_most);
    }
    let stats = filter.dedup.stats();
    assert!(stats.rebuilds > 100, "{stats:?}");
    assert!(stats.rebuilt_slots_most <= 2 * largest, "{largest} slots in a shard, {stats:?}");
}
