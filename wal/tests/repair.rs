//! Repairs that cannot be done, and what a repair says of itself.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

#[path = "../../tests/support/small_disk.rs"]
mod small_disk;
mod support;

use event::{FingerprintKey, Seq};
use record::EventView;
use small_disk::{fill_but, free_bytes, small_disk};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{append, append_listing, crash_image, fingerprint, open, positions};
use wal::OpenError;

const SIZE: usize = 10_000;
/// Room for a log with the files that RocksDB sets aside for itself.
const DISK: u64 = 128 << 20;

/// A log of a few megabytes, with the events 1 to 404, one of whose id lists has to be made again.
fn with_a_list_that_does_not_fit(data: &Path) {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for _ in 0..40 {
        append(&mut log.writer, 10, SIZE);
    }
    append_listing(&mut log.writer, 4, 1, SIZE);
    log.writer.close().unwrap();
    drop((log.reader, log.trimmer));
    crash_image(dir.path(), data);
}

/// All files and folders below, but for the lock that whoever changes the folder takes.
fn names_below(folder: &Path) -> Vec<PathBuf> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            names.extend(names_below(&path));
        }
        names.extend(Some(path).filter(|path| !path.ends_with("lock")));
    }
    names.sort();
    names
}

#[track_caller]
fn assert_repaired(data: &Path) {
    wal::repair(data, &mut fingerprint).unwrap();
    assert_eq!(positions(&open(data).reader, Seq::FIRST, SIZE).unwrap(), (1..=404).collect::<Vec<_>>());
}

#[test]
fn a_repair_that_finds_no_room_says_how_much_it_wants_and_writes_nothing() {
    let test = "a_repair_that_finds_no_room_says_how_much_it_wants_and_writes_nothing";
    let Some(disk) = small_disk(test, DISK) else { return };
    let data = disk.join("data");
    with_a_list_that_does_not_fit(&data);
    let filler = fill_but(&disk, 1 << 20);
    let before = names_below(&data);
    let error = wal::repair(&data, &mut fingerprint).err().unwrap();
    let text = error.to_string();
    let OpenError::Room { needed, free, .. } = error else { panic!("{text}") };
    assert!((404 * SIZE as u64..8 << 20).contains(&needed) && free < 2 << 20, "{text}");
    assert!(text.contains(&format!("{needed} bytes")) && text.contains(&format!("{free} free")), "{text}");
    assert_eq!(names_below(&data), before);
    fs::remove_file(filler).unwrap();
    assert_repaired(&data);
}

/// What a look and a repair want of the disk, for which it is too full.
#[track_caller]
fn assert_no_room(error: Option<OpenError>) -> u64 {
    let error = error.unwrap();
    let text = error.to_string();
    let OpenError::Room { needed, free, .. } = error else { panic!("{text}") };
    assert!(free < needed && text.contains("RocksDB refuses") && !text.contains("wal verify"), "{text}");
    needed
}

#[test]
fn of_a_log_that_rocksdb_refuses_all_is_collected_or_nothing() {
    let Some(disk) = small_disk("of_a_log_that_rocksdb_refuses_all_is_collected_or_nothing", DISK) else { return };
    let data = disk.join("data");
    with_a_list_that_does_not_fit(&data);
    fs::remove_file(data.join("log/CURRENT")).unwrap();
    let before = names_below(&data);
    let (mut to_look, mut to_repair) = (0, 0);
    for free in [0, 1 << 20, 10 << 20] {
        let filler = fill_but(&disk, free);
        to_look = assert_no_room(wal::examine(&data).err());
        to_repair = assert_no_room(wal::repair(&data, &mut fingerprint).err());
        assert_eq!(names_below(&data), before);
        fs::remove_file(filler).unwrap();
    }
    let events = 404 * SIZE as u64;
    assert!(to_look > events && to_repair > to_look + events, "{to_look} {to_repair}");
    let filler = fill_but(&disk, to_look + (1 << 20));
    let report = wal::examine(&data).unwrap().verify(|_| {});
    assert!(report.refused.is_some() && report.gaps.is_empty() && report.events == 404, "{report:?}");
    assert_eq!(assert_no_room(wal::repair(&data, &mut fingerprint).err()), to_repair, "both sums at once");
    assert_eq!(names_below(&data), before);
    fs::remove_file(filler).unwrap();
    let filler = fill_but(&disk, to_repair + (1 << 20));
    let repaired = wal::repair(&data, &mut fingerprint).unwrap();
    assert!(repaired.found.gaps.is_empty() && repaired.found.events == 404, "{:?}", repaired.found);
    fs::remove_file(filler).unwrap();
    assert_repaired(&data);
}

#[test]
fn a_new_log_that_cannot_be_finished_is_taken_away_again() {
    let Some(disk) = small_disk("a_new_log_that_cannot_be_finished_is_taken_away_again", DISK) else { return };
    let data = disk.join("data");
    with_a_list_that_does_not_fit(&data);
    let before = names_below(&data);
    // Somebody else takes all the room while the log is copied.
    let mut filler = None;
    let mut fills = |event: &EventView<'_>, key: &FingerprintKey| {
        filler.get_or_insert_with(|| fill_but(&disk, 0));
        fingerprint(event, key)
    };
    let error = wal::repair(&data, &mut fills).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, OpenError::NewLog { .. }), "{text}");
    assert!(text.contains("log.new") && text.contains("No space") && !text.contains("goes on without"), "{text}");
    assert_eq!(names_below(&data), before, "nothing of it is left");
    fs::remove_file(filler.unwrap()).unwrap();
    assert!(free_bytes(&disk) > DISK / 2);
    assert_repaired(&data);
}

#[test]
fn where_there_is_no_data_folder_that_is_what_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, missing) = (dir.path().join("empty"), dir.path().join("missing"));
    fs::create_dir(&empty).unwrap();
    for (folder, why) in [(&empty, "no data folder"), (&missing, "no such folder")] {
        let errors = [
            wal::examine(folder).err(),
            wal::open_read_only(folder).err(),
            wal::repair(folder, &mut fingerprint).err(),
        ];
        for error in errors.map(Option::unwrap) {
            assert!(matches!(error, OpenError::NoLog(_)) && error.to_string().contains(why), "{error}");
        }
    }
    assert!(fs::read_dir(&empty).unwrap().next().is_none() && !missing.exists(), "nothing was made there");
}

#[test]
fn a_damaged_log_on_a_disk_that_is_read_only_is_told_with_what_can_be_done() {
    let test = "a_damaged_log_on_a_disk_that_is_read_only_is_told_with_what_can_be_done";
    let Some(disk) = small_disk(test, DISK) else { return };
    let data = disk.join("data");
    with_a_list_that_does_not_fit(&data);
    let mount = |how: &str| {
        assert!(Command::new("mount").args(["-o", how]).arg(&disk).status().unwrap().success(), "{how}");
    };
    mount("remount,ro");
    assert_eq!(wal::examine(&data).unwrap().verify(|_| {}).damaged.len(), 1, "to look wants no more than to read");
    mount("remount,rw");
    fs::remove_file(data.join("log/CURRENT")).unwrap();
    mount("remount,ro");
    let error = wal::examine(&data).err().unwrap();
    let text = error.to_string();
    assert!(matches!(error, OpenError::Collect { .. }) && text.contains("copy the data folder"), "{text}");
    assert!(text.contains("CURRENT: file is missing") && text.contains("Read-only file system"), "{text}");
}
