//! What a crash, a cut, a flipped bit and a newer release do to a log.

mod support;

use event::Seq;
use std::fs;
use support::{append, crash_image, newest, open, positions, wait_for_mark};
use wal::{OpenError, Options};

#[test]
fn a_clean_stop_is_known_and_nothing_is_missing() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    append(&mut log.writer, 3, 100);
    let last = append(&mut log.writer, 5, 100);
    log.writer.close().unwrap();
    drop(log.reader);
    drop(log.trimmer);
    let log = open(dir.path());
    assert!(log.recovery.clean);
    assert_eq!(log.recovery.next, last.next());
    assert_eq!(positions(&log.reader, Seq::FIRST, 100).unwrap(), (1..=8).collect::<Vec<_>>());
}

#[test]
fn whoever_writes_nothing_leaves_a_clean_stop_as_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    append(&mut log.writer, 3, 100);
    log.writer.close().unwrap();
    drop((log.reader, log.trimmer));
    for _ in 0..2 {
        assert!(open(dir.path()).recovery.clean);
    }
    append(&mut open(dir.path()).writer, 1, 100);
    for _ in 0..2 {
        assert!(!open(dir.path()).recovery.clean, "nor one that was none");
    }
}

#[test]
fn a_crash_at_any_moment_keeps_every_committed_group() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    for round in 1..20u32 {
        let last = append(&mut log.writer, round, 700);
        let image = tempfile::tempdir().unwrap();
        crash_image(dir.path(), image.path());
        let after = open(image.path());
        assert!(!after.recovery.clean);
        assert_eq!(after.recovery.next, last.next());
        assert_eq!(positions(&after.reader, Seq::FIRST, 700).unwrap(), (1..=last.get()).collect::<Vec<_>>());
        assert!(!image.path().join("evidence").exists(), "evidence is dropped once the log is known to be whole");
    }
}

#[test]
fn a_torn_tail_that_nobody_was_told_about_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let last = append(&mut log.writer, 4, 100);
    crash_image(dir.path(), image.path());
    append(&mut log.writer, 4, 100);
    // Half of the second group: what a crash in the middle of its write leaves, before anybody was told.
    let wal = newest(image.path(), "log");
    let whole = fs::metadata(&wal).unwrap().len() as usize;
    let mut bytes = fs::read(newest(dir.path(), "log")).unwrap();
    assert!(bytes.len() > whole);
    bytes.truncate((bytes.len() + whole) / 2);
    fs::write(&wal, bytes).unwrap();
    let after = open(image.path());
    assert_eq!(after.recovery.next, last.next());
    assert_eq!(positions(&after.reader, Seq::FIRST, 100).unwrap().len(), 4);
}

#[test]
fn a_log_that_ends_below_the_mark_is_reported_with_the_exact_range_and_repaired_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let image = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    append(&mut log.writer, 10, 100);
    append(&mut log.writer, 10, 100);
    wait_for_mark(dir.path(), Seq::new(20));
    crash_image(dir.path(), image.path());
    // The second group's last byte is flipped: recovery stops in front of it, in silence.
    let wal = newest(image.path(), "log");
    let mut bytes = fs::read(&wal).unwrap();
    let end = bytes.len() - 20;
    bytes[end] ^= 1;
    fs::write(&wal, bytes).unwrap();
    for _ in 0..2 {
        let error = wal::open(image.path(), &Options::default()).err().unwrap();
        assert!(
            matches!(error, OpenError::Missing { from, to, end, .. }
                if (from.get(), to.get(), end.get()) == (11, 20, 10)),
            "{error}"
        );
        assert!(fs::read_dir(image.path().join("evidence")).unwrap().count() > 0, "evidence is kept");
    }
    let (reader, recovery) = wal::open_read_only(image.path()).unwrap();
    let report = reader.verify(recovery.mark, |_| {});
    assert!(!report.is_intact());
    assert_eq!((report.gaps[0].from.get(), report.gaps[0].until.get()), (11, 21));
    drop(reader);

    let repaired = wal::repair(image.path(), &mut |_, _| None).unwrap();
    assert_eq!(repaired.found.gaps.len(), 1);
    let mut after = open(image.path());
    assert_eq!(after.recovery.next.get(), 21, "no position is given out twice");
    assert_eq!(after.recovery.known_gaps[0].from.get(), 11);
    append(&mut after.writer, 2, 100);
    let kept: Vec<_> = (1..=10).chain(21..=22).collect();
    assert_eq!(positions(&after.reader, Seq::FIRST, 100).unwrap(), kept);
    assert!(after.reader.verify(Seq::new(22), |_| {}).is_intact(), "what is recorded is not reported again");
}

#[test]
fn a_flipped_bit_in_a_table_is_found_with_its_range() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = open(dir.path());
        for _ in 0..200 {
            append(&mut log.writer, 10, 1000);
        }
        log.reader.flush().unwrap();
        log.writer.close().unwrap();
    }
    let table = fs::read_dir(dir.path().join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == "sst"))
        .max_by_key(|path| fs::metadata(path).unwrap().len())
        .unwrap();
    let mut bytes = fs::read(&table).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x10;
    fs::write(&table, bytes).unwrap();

    let (reader, recovery) = wal::open_read_only(dir.path()).unwrap();
    let report = reader.verify(recovery.mark, |_| {});
    assert!(!report.is_intact());
    let gap = &report.gaps[0];
    assert!(gap.from.get() > 1 && gap.until.get() < 2001, "the range is narrow: {gap:?}");
    let lost: u64 = report.gaps.iter().map(|gap| gap.until.since(gap.from)).sum();
    assert_eq!(report.events + lost, 2000, "every position is either read or reported");
    assert!(positions(&reader, Seq::FIRST, 1000).is_err(), "a reader never passes over it in silence");
    drop(reader);

    wal::repair(dir.path(), &mut |_, _| None).unwrap();
    let after = open(dir.path());
    assert_eq!(positions(&after.reader, Seq::FIRST, 1000).unwrap().len() as u64, 2000 - lost);
}

#[test]
fn a_newer_format_is_refused_before_anything_is_written() {
    let dir = tempfile::tempdir().unwrap();
    drop(open(dir.path()));
    fs::write(dir.path().join("format"), "999\n").unwrap();
    let before = fs::metadata(dir.path().join("log/CURRENT")).unwrap().modified().unwrap();
    let error = wal::open(dir.path(), &Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::Newer { found: 999, .. }), "{error}");
    assert_eq!(fs::metadata(dir.path().join("log/CURRENT")).unwrap().modified().unwrap(), before);
}

#[test]
fn a_folder_in_use_is_refused_by_name() {
    let dir = tempfile::tempdir().unwrap();
    let _log = open(dir.path());
    let error = wal::open(dir.path(), &Options::default()).err().unwrap();
    assert!(matches!(error, OpenError::InUse(_)), "{error}");
}

#[test]
fn each_start_that_writes_is_in_the_history() {
    let dir = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut log = open(dir.path());
        append(&mut log.writer, 2, 50);
        log.writer.close().unwrap();
    }
    drop(open(dir.path()));
    let log = open(dir.path());
    let history = log.reader.history().unwrap();
    assert_eq!(history.iter().map(|start| start.first.get()).collect::<Vec<_>>(), [1, 3, 5]);
}
