//! What happens over the byte budget.

use super::support::{Filter, TINY, accepted, duplicate, entries, entry, entry_of};
use crate::{Error, Stats};
use event::{Entry, Verdict};
use std::fs;

fn spilled(filter: &mut Filter, ids: u64) -> Stats {
    for (now_ms, ids) in entries(0..ids).chunks(100).enumerate() {
        filter.now_ms = now_ms as i64;
        filter.group(ids);
    }
    filter.dedup.settle().unwrap();
    filter.dedup.stats()
}

fn files(filter: &Filter) -> usize {
    fs::read_dir(filter.dir.path()).unwrap().count()
}

#[test]
fn ids_over_the_budget_are_found_on_disk() {
    let mut filter = Filter::new(1_000_000, TINY);
    let stats = spilled(&mut filter, 20_000);
    assert!(stats.ids_on_disk > 15_000, "{stats:?}");
    assert_eq!(stats.ids_in_memory + stats.ids_on_disk, 20_000);
    assert_eq!(files(&filter) as u64, stats.spans);

    let again = filter.group(&entries(0..20_000));
    assert_eq!(again, (1..=20_000).map(duplicate).collect::<Vec<_>>());
    let stats = filter.dedup.stats();
    assert_eq!(stats.disk_hits, stats.ids_on_disk);
    assert_eq!(filter.group(&entries(20_000..20_100)), (20_001..=20_100).map(accepted).collect::<Vec<_>>());
}

#[test]
fn memory_stays_within_the_budget_but_for_one_group_and_the_filters() {
    let mut filter = Filter::new(1_000_000, TINY);
    for ids in entries(0..50_000).chunks(100) {
        filter.group(ids);
        let stats = filter.dedup.stats();
        let ids = stats.bytes_in_memory - stats.filter_bytes;
        assert!(ids <= TINY + 16 * 1024, "{stats:?}");
    }
}

#[test]
fn other_content_is_told_of_ids_on_disk_too() {
    let mut filter = Filter::new(1_000_000, TINY);
    spilled(&mut filter, 10_000);
    let other = Entry { content: 77, ..entry(5) };
    let [Verdict::Duplicate { first, differs: true }] = filter.group(&[other])[..] else { panic!("not told") };
    assert_eq!(first.get(), 6);
}

#[test]
fn an_id_on_disk_is_new_again_when_its_window_is_over() {
    let mut filter = Filter::new(200, TINY);
    let stats = spilled(&mut filter, 15_000);
    assert!(stats.ids_on_disk > 10_000, "{stats:?}");
    // The group of 149 ms is the newest; the first hundred ids came at 0 ms.
    filter.now_ms = 200;
    assert_eq!(filter.group(&[entry(0), entry(100)]), [accepted(15_001), duplicate(101)]);
    assert_eq!(filter.group(&[entry(0)]), [duplicate(15_001)]);
}

#[test]
fn files_go_when_all_their_ids_have_left_the_window() {
    let mut filter = Filter::new(200, TINY);
    assert!(spilled(&mut filter, 15_000).spans > 5);
    filter.now_ms = 1000;
    filter.group(&[]);
    filter.dedup.settle().unwrap();
    let stats = filter.dedup.stats();
    assert_eq!((stats.spans, stats.ids_on_disk, stats.filter_bytes), (0, 0, 0), "{stats:?}");
    let dir = filter.dir;
    // The thread removes the files; it is through when the filter is gone.
    drop(filter.dedup);
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[test]
fn ids_that_share_the_indexed_half_are_told_apart_on_disk() {
    let alike = |n: u64| entry_of(7 << 64 | u128::from(n), 0);
    let group: Vec<_> = (0..50).map(alike).collect();
    let mut filter = Filter::new(1_000_000, TINY);
    assert_eq!(filter.group(&group), (1..=50).map(accepted).collect::<Vec<_>>());
    filter.fill(0..10_000);
    filter.dedup.settle().unwrap();
    assert_eq!(filter.group(&group), (1..=50).map(duplicate).collect::<Vec<_>>());
    assert_eq!(filter.dedup.stats().disk_hits, 50);
    assert_eq!(filter.group(&[alike(50)]), [accepted(10_051)]);
}

#[test]
fn a_spill_that_cannot_be_written_is_an_error_and_is_tried_again() {
    let mut filter = Filter::new(1_000_000, TINY);
    fs::remove_dir(filter.dir.path()).unwrap();
    let ids = entries(0..10_000);
    let failed = ids.chunks(100).find_map(|ids| filter.try_group(ids).err());
    assert!(matches!(failed, Some(Error::Spill { .. })), "{failed:?}");
    let next = filter.dedup.next_seq().get();

    fs::create_dir(filter.dir.path()).unwrap();
    while filter.dedup.settle().is_err() {}
    assert!(filter.dedup.stats().ids_on_disk > 0);
    assert_eq!(filter.group(&ids[..next as usize - 1]), (1..next).map(duplicate).collect::<Vec<_>>());
}

#[test]
fn a_spill_file_that_cannot_be_read_is_an_error_not_a_new_id() {
    let mut filter = Filter::new(1_000_000, TINY);
    spilled(&mut filter, 10_000);
    for file in fs::read_dir(filter.dir.path()).unwrap() {
        fs::File::options().write(true).open(file.unwrap().path()).unwrap().set_len(0).unwrap();
    }
    let failed = filter.try_group(&[entry(0)]);
    assert!(matches!(failed, Err(Error::Lookup { .. })), "{failed:?}");
}
