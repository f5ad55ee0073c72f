//! The log gives its room back, and nobody sees what was trimmed.

mod support;

use event::Seq;
use support::{append, open, positions};
use wal::ReadError;

#[test]
fn trimming_frees_files_and_hides_what_is_left_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut log = open(dir.path());
    let mut last = Seq::ZERO;
    for round in 0..4 {
        for _ in 0..400 {
            last = append(&mut log.writer, 20, 1000);
        }
        log.reader.flush().unwrap();
        assert_eq!(last.get(), (round + 1) * 8000);
    }
    let before = log.reader.size().tables;
    // Files that are still in level 0 are not deleted; they move down by themselves.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        log.trimmer.trim(Seq::new(30_000), Seq::new(30_000)).unwrap();
        if log.reader.size().tables < before / 2 {
            break;
        }
        assert!(std::time::Instant::now() < deadline, "{} of {before} bytes are left", log.reader.size().tables);
        std::thread::yield_now();
    }
    assert_eq!(log.reader.start().get(), 30_000);
    assert!(matches!(positions(&log.reader, Seq::new(29_999), 1000), Err(ReadError::Trimmed { .. })));
    assert_eq!(positions(&log.reader, Seq::new(30_000), 1000).unwrap(), (30_000..=32_000).collect::<Vec<_>>());
    log.writer.close().unwrap();
    drop((log.reader, log.trimmer));
    let log = open(dir.path());
    assert_eq!(log.recovery.start.get(), 30_000);
    assert_eq!(log.recovery.next, last.next());
}

#[test]
fn trimming_everything_keeps_the_numbers_going() {
    let dir = tempfile::tempdir().unwrap();
    {
        let mut log = open(dir.path());
        let last = append(&mut log.writer, 7, 10);
        log.reader.flush().unwrap();
        log.trimmer.trim(last.next(), last.next()).unwrap();
        log.writer.close().unwrap();
    }
    let mut log = open(dir.path());
    assert_eq!(log.writer.next().get(), 8);
    append(&mut log.writer, 1, 10);
}
