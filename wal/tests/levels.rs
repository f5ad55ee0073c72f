//! What the levels of durability promise, and what the high-water mark may say at each of them.

mod support;

use event::Seq;
use std::fs;
use std::path::Path;
use std::time::Duration;
use support::{append, crash_image, newest, wait_for_mark};
use wal::{Durability, Family, Group, Opened, Options, Write};

fn open_at(data: &Path, durability: Durability, sync_interval: Duration) -> Opened {
    wal::open(data, &Options { durability, sync_interval, ..Options::default() }).unwrap()
}

/// A sink's cursor, which is synced at every level.
fn store_cursor(log: &mut Opened) {
    let writes = [Write::Put(Family::Cursor, b"parquet".to_vec(), b"10".to_vec())];
    log.writer.commit(&Group { events: None, writes: &writes }).unwrap();
}

/// A copy of the folder in which the newest WAL file ends where it was last synced, as after a power cut.
fn power_cut(data: &Path, synced_bytes: u64) -> tempfile::TempDir {
    let image = tempfile::tempdir().unwrap();
    crash_image(data, image.path());
    let wal = fs::File::options().write(true).open(newest(image.path(), "log")).unwrap();
    wal.set_len(synced_bytes).unwrap();
    image
}

#[test]
fn the_mark_never_names_what_a_power_cut_may_take() {
    let hour = Duration::from_secs(3600);
    for durability in [Durability::Os, Durability::Interval] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_at(dir.path(), durability, hour);
        append(&mut log.writer, 10, 100);
        store_cursor(&mut log);
        let synced_bytes = fs::metadata(newest(dir.path(), "log")).unwrap().len();
        wait_for_mark(dir.path(), Seq::new(10));
        append(&mut log.writer, 10, 100);
        // Time in which a mark that leads would be written.
        std::thread::sleep(Duration::from_millis(500));
        let image = power_cut(dir.path(), synced_bytes);
        let after = open_at(image.path(), durability, hour);
        assert_eq!((after.recovery.next, after.recovery.mark), (Seq::new(11), Seq::new(10)), "{durability:?}");
        assert!(after.reader.get(Family::Cursor, b"parquet").unwrap().is_some(), "synced with the events before it");
    }
}

#[test]
fn a_clean_stop_syncs_and_marks_everything_at_every_level() {
    for durability in [Durability::Fsync, Durability::Interval, Durability::Os] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_at(dir.path(), durability, Duration::from_millis(100));
        append(&mut log.writer, 10, 100);
        log.writer.close().unwrap();
        drop((log.reader, log.trimmer));
        let after = open_at(dir.path(), durability, Duration::from_millis(100));
        assert!(after.recovery.clean);
        assert_eq!((after.recovery.next, after.recovery.mark), (Seq::new(11), Seq::new(10)), "{durability:?}");
    }
}

#[test]
fn at_an_interval_everything_is_synced_and_marked_before_long() {
    // Zero is taken for the least.
    for interval in [Duration::ZERO, Duration::from_millis(20), Duration::from_millis(250)] {
        let dir = tempfile::tempdir().unwrap();
        let mut log = open_at(dir.path(), Durability::Interval, interval);
        for round in 1..=3 {
            append(&mut log.writer, 10, 100);
            wait_for_mark(dir.path(), Seq::new(round * 10));
        }
    }
}
