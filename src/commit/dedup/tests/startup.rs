//! Configuration, leftovers of an earlier run, and the rebuild from stored ids.

use super::support::{AMPLE, Filter, TINY, accepted, config, duplicate, entries, entry, fingerprint, micros};
use crate::{Config, Dedup, Error};
use event::Seq;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;
use tempfile::TempDir;

fn ids(numbers: std::ops::Range<u64>) -> impl Iterator<Item = (u128, u32)> {
    numbers.map(|n| (fingerprint(n), n as u32))
}

#[test]
fn stale_spill_files_are_removed_and_nothing_else() {
    let dir = TempDir::new().unwrap();
    let stale = dir.path().join("ids-00000000000000000042.spilled");
    let other = dir.path().join("other.txt");
    fs::write(&stale, "x").unwrap();
    fs::write(&other, "x").unwrap();
    let _dedup = Dedup::new(config(&dir, 1000, TINY), Seq::FIRST).unwrap();
    assert!(!stale.exists());
    assert!(other.exists());
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
}

#[test]
fn a_missing_spill_directory_is_made() {
    let dir = TempDir::new().unwrap();
    let spill_dir = dir.path().join("a/b");
    Dedup::new(Config { spill_dir: spill_dir.clone(), ..config(&dir, 1000, TINY) }, Seq::FIRST).unwrap();
    assert!(spill_dir.is_dir());
}

#[test]
fn a_spill_directory_that_cannot_be_used_is_an_error() {
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("file");
    fs::write(&file, "x").unwrap();
    for spill_dir in [file.clone(), file.join("below"), PathBuf::new(), PathBuf::from("/proc/dedup")] {
        let failed = Dedup::new(Config { spill_dir, ..config(&dir, 1000, TINY) }, Seq::FIRST);
        assert!(matches!(failed, Err(Error::SpillDir { .. })), "{failed:?}");
    }
}

#[test]
fn windows_and_budgets_that_cannot_work_are_errors() {
    let dir = TempDir::new().unwrap();
    let good = config(&dir, 1000, TINY);
    for window in [Duration::ZERO, Duration::from_micros(999), Duration::MAX] {
        let failed = Dedup::new(Config { window, ..good.clone() }, Seq::FIRST);
        assert!(matches!(failed, Err(Error::Window(_))), "{failed:?}");
    }
    for budget_bytes in [0, TINY - 1, u64::MAX] {
        let failed = Dedup::new(Config { budget_bytes, ..good.clone() }, Seq::FIRST);
        assert!(matches!(failed, Err(Error::Budget { .. })), "{failed:?}");
    }
}

#[test]
fn loaded_ids_are_known_and_new_ones_follow_them() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.load(Seq::new(1), micros(0), ids(0..1000)).unwrap();
    filter.dedup.load(Seq::new(1001), micros(10), ids(1000..3000)).unwrap();
    filter.dedup.load(Seq::new(3001), micros(20), ids(0..0)).unwrap();
    filter.now_ms = 20;
    assert_eq!(filter.group(&[entry(0), entry(2999), entry(3000)]), [duplicate(1), duplicate(3000), accepted(3001)]);
}

#[test]
fn loaded_ids_keep_the_commit_time_they_had() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.load(Seq::new(1), micros(0), ids(0..10)).unwrap();
    filter.dedup.load(Seq::new(11), micros(500), ids(10..20)).unwrap();
    filter.now_ms = 1000;
    assert_eq!(filter.group(&[entry(0), entry(10)]), [accepted(21), duplicate(11)]);
}

#[test]
fn of_an_id_that_was_accepted_twice_the_later_acceptance_counts_after_a_load() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.load(Seq::new(1), micros(0), ids(0..10)).unwrap();
    filter.dedup.load(Seq::new(11), micros(1000), ids(0..10)).unwrap();
    filter.now_ms = 1500;
    assert_eq!(filter.group(&[entry(0)]), [duplicate(11)]);
}

#[test]
fn more_ids_than_the_budget_holds_can_be_loaded() {
    let mut filter = Filter::new(1_000_000, TINY);
    for first in (0..30_000).step_by(100) {
        filter.dedup.load(Seq::new(first + 1), micros(first as i64), ids(first..first + 100)).unwrap();
        assert!(filter.dedup.stats().ids_in_memory < 4000, "{:?}", filter.dedup.stats());
    }
    filter.now_ms = 30_000;
    assert_eq!(filter.group(&entries(0..30_000)), (1..=30_000).map(duplicate).collect::<Vec<_>>());
}

#[test]
fn a_gap_between_stored_groups_is_an_error() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.load(Seq::new(1), micros(0), ids(0..10)).unwrap();
    let failed = filter.dedup.load(Seq::new(12), micros(0), ids(0..10));
    let Err(Error::Gap { expected, found }) = failed else { panic!("{failed:?}") };
    assert_eq!((expected, found), (Seq::new(11), Seq::new(12)));
}

#[test]
fn events_that_are_lost_are_skipped_and_the_others_stay_known() {
    for budget in [TINY, AMPLE] {
        let mut filter = Filter::new(1_000_000, budget);
        for first in (0..5000).step_by(100) {
            filter.dedup.load(Seq::new(first + 1), micros(0), ids(first..first + 100)).unwrap();
        }
        filter.dedup.skip_to(Seq::new(5001)).unwrap();
        filter.dedup.skip_to(Seq::new(6001)).unwrap();
        filter.dedup.load(Seq::new(6001), micros(10), ids(6000..6100)).unwrap();
        filter.dedup.skip_to(Seq::new(1 << 33)).unwrap();
        filter.now_ms = 20;
        assert_eq!(filter.group(&entries(0..5000)), (1..=5000).map(duplicate).collect::<Vec<_>>());
        assert_eq!(filter.group(&entries(6000..6100)), (6001..=6100).map(duplicate).collect::<Vec<_>>());
        assert_eq!(filter.group(&[entry(5000), entry(5000)]), [accepted(1 << 33), duplicate(1 << 33)]);
        assert!(matches!(filter.dedup.skip_to(Seq::new(7000)), Err(Error::Gap { .. })));
    }
}

#[test]
fn lost_events_do_not_keep_the_ones_before_them_from_expiring() {
    let mut filter = Filter::new(1000, AMPLE);
    filter.dedup.load(Seq::new(1), micros(0), ids(0..10)).unwrap();
    filter.dedup.skip_to(Seq::new(101)).unwrap();
    filter.now_ms = 500;
    filter.group(&[entry(20)]);
    filter.now_ms = 1000;
    assert_eq!(filter.group(&[entry(0), entry(20)]), [accepted(102), duplicate(101)]);
    assert_eq!(filter.dedup.oldest(), Seq::new(101));
    assert_eq!(filter.dedup.stats().ids_on_disk, 0);
}
