//! Logs that RocksDB refuses to open, and damage beside the events: what can be read is kept, the rest is named.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod support;

use event::Seq;
use std::fs;
use std::path::{Path, PathBuf};
use support::{append, append_listing, crash_image, fingerprint, newest, open, positions, wait_for_mark};
use wal::{Family, Group, OpenError, Opened, Options, Write};

const SIZE: usize = 300;

/// Commits something into a small family, as a sink does.
fn store_cursor(log: &mut Opened, value: &[u8]) {
    let write = Write::Put(Family::Cursor, b"parquet".to_vec(), value.to_vec());
    log.writer.commit(&Group { events: None, writes: &[write] }).unwrap();
}

/// The folder as a kill leaves it, with groups of ten events, of which the first `in_tables` are in tables.
fn killed(groups: u32, in_tables: u32) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for group in 0..groups {
        append(&mut log.writer, 10, SIZE);
        if group + 1 == in_tables {
            log.reader.flush().unwrap();
        }
    }
    store_cursor(&mut log, b"what the sink has");
    wait_for_mark(dir.path(), Seq::new(u64::from(groups) * 10));
    crash_image(dir.path(), image.path());
    image
}

fn tables(data: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(data.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let mut tables: Vec<_> = entries.filter(|path| path.extension().is_some_and(|found| found == "sst")).collect();
    tables.sort_by_key(|path| std::cmp::Reverse(fs::metadata(path).unwrap().len()));
    tables
}

/// All ids that the log holds, with their positions.
fn ids(log: &Opened) -> Vec<(u64, u128)> {
    let mut out = Vec::new();
    log.reader
        .ids(|first, list| out.extend((first.get()..).zip(list.iter().map(|(fingerprint, _)| fingerprint))))
        .unwrap();
    out
}

/// Repairs the log, which then has these events with their ids, and goes on after `next`.
#[track_caller]
fn assert_saved(data: &Path, kept: &[u64], next: u64) -> Opened {
    wal::repair(data, &mut fingerprint).unwrap();
    let mut log = open(data);
    assert_eq!(positions(&log.reader, Seq::FIRST, SIZE).unwrap(), kept);
    let named: Vec<_> = kept.iter().map(|seq| (*seq, u128::from(*seq))).collect();
    assert_eq!(ids(&log), named);
    assert_eq!(log.recovery.next.get(), next);
    append(&mut log.writer, 3, SIZE);
    assert!(wal::examine(data).unwrap().verify(|_| {}).is_intact(), "what is recorded is not reported again");
    assert!(!data.join("log.salvage").exists(), "the view is gone");
    log
}

#[test]
fn a_damaged_manifest_costs_nothing_even_if_no_table_was_ever_written() {
    for (groups, in_tables) in [(5, 0), (8, 4), (8, 8)] {
        let image = killed(groups, in_tables);
        let manifest = fs::read_dir(image.path().join("log")).unwrap().map(|entry| entry.unwrap().path());
        let manifest = manifest.filter(|path| path.to_str().unwrap().contains("MANIFEST")).max().unwrap();
        let mut bytes = fs::read(&manifest).unwrap();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&manifest, bytes).unwrap();
        let error = wal::open(image.path(), &Options::default()).err().unwrap().to_string();
        assert!(error.contains("wal repair"), "the way out is named: {error}");

        let report = wal::examine(image.path()).unwrap().verify(|_| {});
        assert!(!report.is_intact() && report.refused.is_some() && report.gaps.is_empty(), "{report:?}");
        let last = u64::from(groups) * 10;
        let log = assert_saved(image.path(), &(1..=last).collect::<Vec<_>>(), last + 1);
        let cursor = log.reader.get(Family::Cursor, b"parquet").unwrap();
        assert_eq!(cursor.as_deref(), Some(&b"what the sink has"[..]));
        assert_eq!(log.reader.history().unwrap().len(), 2, "the starts are still known");
    }
}

#[test]
fn a_missing_manifest_or_current_file_costs_nothing() {
    for lost in ["MANIFEST", "CURRENT"] {
        let image = killed(8, 4);
        for entry in fs::read_dir(image.path().join("log")).unwrap() {
            let path = entry.unwrap().path();
            if path.file_name().unwrap().to_str().unwrap().starts_with(lost) {
                fs::remove_file(path).unwrap();
            }
        }
        let before = tables(image.path());
        wal::open(image.path(), &Options::default()).err().unwrap();
        assert_eq!(tables(image.path()), before, "nothing was begun anew over the old files");
        assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
    }
}

#[test]
fn a_missing_table_is_told_with_the_range_it_held() {
    let image = killed(8, 4);
    fs::remove_file(&tables(image.path())[0]).unwrap();
    // The WAL file that the table was made from may still be there, to be written again.
    let newest = newest(image.path(), "log");
    for entry in fs::read_dir(image.path().join("log")).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|found| found == "log") && path != newest {
            fs::remove_file(path).unwrap();
        }
    }
    let report = wal::examine(image.path()).unwrap().verify(|_| {});
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from.get(), gap.until.get())).collect();
    assert_eq!(gaps, [(1, 41)]);
    assert_saved(image.path(), &(41..=80).collect::<Vec<_>>(), 81);
}

#[test]
fn damage_in_any_table_ends_in_a_log_that_works_and_is_told() {
    let count = tables(killed(8, 8).path()).len();
    assert!(count >= 3, "events, ids, and what the log knows of itself are in tables of their own");
    for table in 0..count {
        for place in [3, 50, 97] {
            let image = killed(8, 8);
            let path = &tables(image.path())[table];
            let mut bytes = fs::read(path).unwrap();
            let at = bytes.len() * place / 100;
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
            let report = wal::examine(image.path()).unwrap().verify(|_| {});
            wal::repair(image.path(), &mut fingerprint).unwrap();
            let log = open(image.path());
            let kept = positions(&log.reader, Seq::FIRST, SIZE).unwrap();
            let lost: u64 = report.gaps.iter().map(|gap| gap.until.since(gap.from)).sum();
            assert_eq!(kept.len() as u64 + lost, 80, "table {table} at {place} %: {report:?}");
            assert_eq!(ids(&log).len(), kept.len(), "table {table} at {place} %");
        }
    }
}

#[test]
fn damage_in_a_small_table_is_met_by_the_start_and_not_later() {
    const VALUE: &[u8] = b"what the sink has";
    let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(dir.path());
    append(&mut log.writer, 10, SIZE);
    store_cursor(&mut log, VALUE);
    log.reader.flush().unwrap();
    wait_for_mark(dir.path(), Seq::new(10));
    crash_image(dir.path(), image.path());
    let place = |bytes: &[u8]| bytes.windows(VALUE.len()).position(|part| part == VALUE);
    let all = tables(image.path()).into_iter().map(|path| (fs::read(&path).unwrap(), path));
    let (mut bytes, path, at) =
        all.filter_map(|(bytes, path)| place(&bytes).map(|at| (bytes, path, at))).next().unwrap();
    bytes[at] ^= 1;
    fs::write(path, bytes).unwrap();
    let error = wal::open(image.path(), &Options::default()).err().unwrap().to_string();
    assert!(error.contains("cursor") && error.contains("wal repair"), "{error}");
    assert_saved(image.path(), &(1..=10).collect::<Vec<_>>(), 11);
}

#[test]
fn an_id_list_that_does_not_fit_is_made_again_and_no_event_given_up() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    append(&mut log.writer, 10, SIZE);
    append_listing(&mut log.writer, 4, 1, SIZE);
    append(&mut log.writer, 6, SIZE);
    log.writer.close().unwrap();
    drop((log.reader, log.trimmer));

    let report = wal::examine(dir.path()).unwrap().verify(|_| {});
    assert!(report.gaps.is_empty() && !report.is_intact(), "{report:?}");
    assert!(report.damaged[0].cause.contains("4 events from 11"), "{report:?}");
    assert_saved(dir.path(), &(1..=20).collect::<Vec<_>>(), 21);
}

#[test]
fn a_folder_in_use_is_not_examined_where_it_was_damaged_under_the_daemon() {
    let dir = tempfile::tempdir().unwrap();
    let log = open(dir.path());
    fs::remove_file(newest_manifest(dir.path())).unwrap();
    assert!(matches!(wal::examine(dir.path()).err(), Some(OpenError::InUse(_))));
    drop(log);
}

fn newest_manifest(data: &Path) -> PathBuf {
    let current = fs::read_to_string(data.join("log/CURRENT")).unwrap();
    assert!(newest(data, "log").exists());
    data.join("log").join(current.trim())
}

/// Renames that a repair makes, each as a crash right before it leaves the folder: the next repair finds everything.
#[test]
fn a_repair_that_is_broken_off_between_any_two_renames_costs_nothing() {
    for left in ["log.new", "log.ready"] {
        let image = killed(8, 4);
        fs::remove_file(newest_manifest(image.path())).unwrap();
        // As before the exchange: the new log lies beside the old one.
        let other = tempfile::tempdir().unwrap();
        crash_image(image.path(), other.path());
        wal::repair(other.path(), &mut fingerprint).unwrap();
        crash_image(&other.path().join("log"), &image.path().join(left));
        assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
    }
    // As after the exchange: the old log lies beside the new one.
    let image = killed(8, 4);
    let old = tempfile::tempdir().unwrap();
    crash_image(&image.path().join("log"), old.path());
    fs::remove_file(newest_manifest(image.path())).unwrap();
    wal::repair(image.path(), &mut fingerprint).unwrap();
    crash_image(old.path(), &image.path().join("log.ready"));
    assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
}

#[test]
fn a_missing_log_folder_is_no_new_one() {
    let image = killed(8, 4);
    fs::rename(image.path().join("log"), image.path().join("elsewhere")).unwrap();
    let error = wal::open(image.path(), &Options::default()).err().unwrap().to_string();
    assert!(error.contains("folder is missing"), "{error}");
    assert!(!image.path().join("log").exists(), "nothing was begun");
    let report = wal::examine(image.path()).unwrap().verify(|_| {});
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from.get(), gap.until.get())).collect();
    assert_eq!(gaps, [(1, 81)]);
    fs::rename(image.path().join("elsewhere"), image.path().join("log")).unwrap();
    assert_eq!(open(image.path()).recovery.next.get(), 81);
}

#[test]
fn a_log_that_is_lost_together_with_the_format_file_is_told_by_the_mark() {
    let image = killed(8, 4);
    fs::remove_dir_all(image.path().join("log")).unwrap();
    fs::remove_file(image.path().join("format")).unwrap();
    let opened = wal::open(image.path(), &Options::default()).err();
    for error in [opened, wal::open_read_only(image.path()).err()] {
        let error = error.unwrap().to_string();
        assert!(error.contains("events up to 80 were acknowledged") && error.contains("wal repair"), "{error}");
    }
    let report = wal::examine(image.path()).unwrap().verify(|_| {});
    let gaps: Vec<_> = report.gaps.iter().map(|gap| (gap.from.get(), gap.until.get())).collect();
    assert_eq!(gaps, [(1, 81)]);
    assert_eq!(report.damaged.iter().map(|damage| damage.family).collect::<Vec<_>>(), ["format"]);
    assert_saved(image.path(), &[], 81);
}

#[test]
fn the_wal_files_that_a_failed_start_has_kept_survive_a_repair() {
    let image = killed(8, 4);
    let wal = newest(image.path(), "log");
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wal, &bytes).unwrap();
    assert!(matches!(wal::open(image.path(), &Options::default()).err(), Some(OpenError::Missing { .. })));
    wal::repair(image.path(), &mut fingerprint).unwrap();
    drop(open(image.path()));
    let kept = image.path().join("quarantine/evidence-1").join(wal.file_name().unwrap());
    assert_eq!(fs::read(kept).unwrap(), bytes);
}

#[test]
fn a_missing_table_of_ids_is_made_again() {
    let image = killed(8, 4);
    let tables = tables(image.path());
    let before = ids(&{
        let copy = tempfile::tempdir().unwrap();
        crash_image(image.path(), copy.path());
        open(copy.path())
    });
    // Whichever of them holds the ids: without it, the others must do.
    for table in &tables[1..] {
        let copy = tempfile::tempdir().unwrap();
        crash_image(image.path(), copy.path());
        fs::remove_file(copy.path().join("log").join(table.file_name().unwrap())).unwrap();
        wal::repair(copy.path(), &mut fingerprint).unwrap();
        assert_eq!(ids(&open(copy.path())), before, "without {}", table.display());
    }
}

#[test]
fn a_mark_that_names_nothing_is_told_and_made_again_by_a_repair() {
    for damage in [None, Some(&b"junk"[..]), Some(&[7; 5000]), Some(b"")] {
        let image = killed(8, 4);
        let mark = image.path().join("mark");
        fs::remove_file(&mark).unwrap();
        if let Some(bytes) = damage {
            fs::write(&mark, bytes).unwrap();
        }
        let report = wal::examine(image.path()).unwrap().verify(|_| {});
        assert_eq!(report.damaged.iter().map(|damage| damage.family).collect::<Vec<_>>(), ["mark"]);
        for _ in 0..2 {
            let error = wal::open(image.path(), &Options::default()).err().unwrap().to_string();
            assert!(error.contains("mark") && error.contains("wal repair"), "{error}");
        }
        let mut log = assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
        append(&mut log.writer, 10, SIZE);
    }
}

#[test]
fn a_format_file_that_says_nothing_is_told_and_made_again_by_a_repair() {
    for damage in [None, Some(&b"junk"[..]), Some(b""), Some(b"0\n"), Some(b"-1"), Some(&[0xff; 9])] {
        let image = killed(8, 4);
        let format = image.path().join("format");
        fs::remove_file(&format).unwrap();
        if let Some(bytes) = damage {
            fs::write(&format, bytes).unwrap();
        }
        let report = wal::examine(image.path()).unwrap().verify(|_| {});
        assert_eq!(report.damaged.iter().map(|damage| damage.family).collect::<Vec<_>>(), ["format"]);
        let opened = wal::open(image.path(), &Options::default()).err();
        for error in [opened, wal::open_read_only(image.path()).err()] {
            let error = error.unwrap().to_string();
            assert!(error.contains("format") && error.contains("wal repair"), "{error}");
        }
        assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
    }
}

#[test]
fn a_format_file_that_is_lost_together_with_others_is_no_new_folder() {
    let image = killed(8, 4);
    for name in ["format", "log/CURRENT", "mark"] {
        fs::remove_file(image.path().join(name)).unwrap();
    }
    let error = wal::open(image.path(), &Options::default()).err().unwrap().to_string();
    assert!(error.contains("wal repair"), "{error}");
    assert!(!image.path().join("format").exists(), "nothing was written");
    assert_saved(image.path(), &(1..=80).collect::<Vec<_>>(), 81);
}

#[test]
fn a_newer_format_is_neither_examined_nor_repaired() {
    let image = killed(8, 4);
    fs::write(image.path().join("format"), "999\n").unwrap();
    let errors = [
        wal::examine(image.path()).err(),
        wal::open_read_only(image.path()).err(),
        wal::repair(image.path(), &mut fingerprint).err(),
    ];
    for error in errors {
        let error = error.unwrap().to_string();
        assert!(error.contains("use the release that wrote it"), "{error}");
    }
    fs::write(image.path().join("format"), "1\n").unwrap();
    assert_eq!(open(image.path()).recovery.next.get(), 81);
}

#[test]
fn a_log_that_has_forgotten_who_it_is_is_told_and_gets_a_new_identity_by_a_repair() {
    for name in ["node", "fingerprint_key"] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let node = log.identity.node;
        append(&mut log.writer, 10, SIZE);
        let writes = [Write::Delete(Family::Meta, name.as_bytes().to_vec())];
        log.writer.commit(&Group { events: None, writes: &writes }).unwrap();
        log.writer.close().unwrap();
        drop((log.reader, log.trimmer));
        for _ in 0..2 {
            let error = wal::open(dir.path(), &Options::default()).err().unwrap().to_string();
            assert!(error.contains("who the log is") && error.contains("wal repair"), "{error}");
        }
        assert!(!wal::examine(dir.path()).unwrap().verify(|_| {}).is_intact());
        let log = assert_saved(dir.path(), &(1..=10).collect::<Vec<_>>(), 11);
        assert_ne!(log.identity.node, node);
    }
}

#[test]
fn a_mark_that_is_lost_is_told_alike_by_all() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    append(&mut log.writer, 10, SIZE);
    log.writer.close().unwrap();
    drop((log.reader, log.trimmer));
    fs::remove_file(dir.path().join("mark")).unwrap();
    let (reader, recovery) = wal::open_read_only(dir.path()).unwrap();
    assert!(recovery.mark_trouble.is_some());
    drop(reader);
    assert!(!wal::examine(dir.path()).unwrap().verify(|_| {}).is_intact());
    wal::open(dir.path(), &Options::default()).err().unwrap();
    wal::repair(dir.path(), &mut fingerprint).unwrap();
    assert_eq!(open(dir.path()).recovery.mark, Seq::new(10));
}

#[test]
fn starts_that_fail_again_and_again_keep_the_same_evidence() {
    let image = killed(8, 4);
    let wal = newest(image.path(), "log");
    let mut bytes = fs::read(&wal).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wal, &bytes).unwrap();
    let evidence = || {
        let entries = fs::read_dir(image.path().join("evidence")).unwrap().map(|entry| entry.unwrap().file_name());
        let mut names: Vec<_> = entries.collect();
        names.sort();
        names
    };
    wal::open(image.path(), &Options::default()).err().unwrap();
    let first = evidence();
    assert!(first.iter().any(|name| name == wal.file_name().unwrap()));
    for _ in 0..5 {
        wal::open(image.path(), &Options::default()).err().unwrap();
        assert_eq!(evidence(), first);
    }
    assert_eq!(fs::read(image.path().join("evidence").join(wal.file_name().unwrap())).unwrap(), bytes);
    assert!(!image.path().join("evidence.part").exists());
}

#[test]
fn what_was_erased_does_not_come_back_out_of_files_that_are_done_with() {
    let (dir, image) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(dir.path());
    for _ in 0..3 {
        append(&mut log.writer, 10, SIZE);
    }
    let (first, meant) = (Seq::new(11), Seq::new(15));
    let key = first.get().to_be_bytes();
    let block = log.reader.get(Family::Log, &key).unwrap().unwrap();
    let rest = record::erase(first, &block, |seq| seq == meant).unwrap().unwrap();
    let eraser = log.trimmer.eraser();
    eraser.begin().unwrap();
    let writes = [Write::Put(Family::Log, key.to_vec(), rest)];
    log.writer.commit(&Group { events: None, writes: &writes }).unwrap();
    eraser.settle(Some(first..=first), 0).unwrap();
    wait_for_mark(dir.path(), Seq::new(30));
    crash_image(dir.path(), image.path());
    // A repair takes what it finds in tables and WAL files, also in those that wait to be written again.
    fs::remove_file(newest_manifest(image.path())).unwrap();
    wal::repair(image.path(), &mut fingerprint).unwrap();
    let kept: Vec<_> = (1..=30).filter(|seq| *seq != meant.get()).collect();
    assert_eq!(positions(&open(image.path()).reader, Seq::FIRST, SIZE).unwrap(), kept);
}
