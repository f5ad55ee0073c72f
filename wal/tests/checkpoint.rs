//! Copies of a log that is written meanwhile, through flushes and WAL files that are written again.

mod support;

use event::Seq;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use support::{append, open, positions};
use wal::{CheckpointError, CopyUse, Durability, OpenError, Options};

/// Bytes of an event: 64 to a group make 1 MiB, and 64 groups fill the memory of the log.
const SIZE: usize = 16 << 10;
const EVENTS: u32 = 64;

#[test]
fn copies_of_a_log_that_is_written_are_whole_up_to_their_end() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    // What matters is the order of things, not the disk.
    let log = wal::open(dir.path(), &Options { durability: Durability::Os, ..Options::default() }).unwrap();
    let (mut writer, checkpointer) = (log.writer, log.trimmer.checkpointer());
    let (acknowledged, done) = (AtomicU64::new(0), AtomicBool::new(false));
    let copies = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                acknowledged.store(append(&mut writer, EVENTS, SIZE).get(), Ordering::Release);
            }
        });
        let mut copies = Vec::new();
        // Each copy has tables, and what came in since.
        for number in 1..=6 {
            while acknowledged.load(Ordering::Acquire) < number * 40 * u64::from(EVENTS) {
                std::thread::yield_now();
            }
            let before = acknowledged.load(Ordering::Acquire);
            let target = elsewhere.path().join(number.to_string());
            let made = checkpointer.make(&target, 0).unwrap();
            assert!(made.end.get() >= before, "{made:?} ends before {before}");
            copies.push((target, made.end));
        }
        done.store(true, Ordering::Relaxed);
        copies
    });
    for (target, end) in copies {
        assert!(matches!(wal::open(&target, &Options::default()), Err(OpenError::Copy { .. })));
        let (reader, recovery) = wal::open_read_only(&target).unwrap();
        assert!(reader.verify(recovery.mark, |_| {}).is_intact());
        assert_eq!((recovery.mark, recovery.next), (end, end.next()));
        assert_eq!(positions(&reader, Seq::FIRST, SIZE).unwrap(), (1..=end.get()).collect::<Vec<_>>());
    }
}

#[test]
fn a_copy_goes_its_own_way_and_the_log_keeps_what_it_has() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(dir.path());
    append(&mut log.writer, 10, 100);
    let target = elsewhere.path().join("copy");
    log.trimmer.checkpointer().make(&target, 0).unwrap();
    append(&mut log.writer, 10, 100);
    let options = Options { copy_as: Some(CopyUse::AsNewNode), ..Options::default() };
    let mut copy = wal::open(&target, &options).unwrap();
    assert_eq!(copy.unsettled, Some(CopyUse::AsNewNode));
    // Not settled: the next start asks again.
    drop(copy);
    assert!(matches!(wal::open(&target, &Options::default()), Err(OpenError::Copy { .. })));
    copy = wal::open(&target, &options).unwrap();
    assert_eq!(copy.identity.node, log.identity.node);
    let node = copy.writer.settle_copy(CopyUse::AsNewNode, &[]).unwrap();
    assert_ne!(node, log.identity.node);
    append(&mut copy.writer, 5, 100);
    drop(copy);
    let copy = open(&target);
    assert_eq!((copy.identity.node, copy.unsettled), (node, None));
    assert_eq!(positions(&copy.reader, Seq::FIRST, 100).unwrap().len(), 15);
    assert_eq!(positions(&log.reader, Seq::FIRST, 100).unwrap().len(), 20);
}

#[test]
fn there_is_one_copy_at_a_time_and_none_in_the_place_of_something() {
    let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut log = open(dir.path());
    append(&mut log.writer, 10, 100);
    let target = elsewhere.path().join("copy");
    let checkpointer = log.trimmer.checkpointer();
    let refused = |target: &std::path::Path| checkpointer.make(target, 0).unwrap_err();
    assert!(matches!(refused(&dir.path().join("copy")), CheckpointError::Inside { .. }));
    assert!(matches!(refused(std::path::Path::new("copy")), CheckpointError::Name(_)));
    assert!(matches!(checkpointer.make(&target, u64::MAX), Err(CheckpointError::Room { .. })));
    assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0, "nothing is left");
    // A symbolic link into the data folder is the data folder.
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(dir.path(), &link).unwrap();
    assert!(matches!(refused(&link.join("copy")), CheckpointError::Inside { .. }));
    // What an earlier try has left is taken away, unless somebody is at work there.
    let part = elsewhere.path().join("copy.part");
    std::fs::create_dir(&part).unwrap();
    std::fs::write(part.join("unfinished-checkpoint"), "").unwrap();
    let lock = std::fs::File::create(part.join("lock")).unwrap();
    lock.lock().unwrap();
    assert!(matches!(refused(&target), CheckpointError::Log(OpenError::InUse(_))));
    drop(lock);
    std::fs::create_dir_all(part.join("log/folder")).unwrap();
    checkpointer.make(&target, 0).unwrap();
    assert!(!part.exists() && !target.join("unfinished-checkpoint").exists());
    // One that was killed before it had a mark, too; but nothing that somebody else has there.
    std::fs::create_dir(&part).unwrap();
    std::fs::remove_dir_all(&target).unwrap();
    checkpointer.make(&target, 0).unwrap();
    assert!(!part.exists());
    std::fs::remove_dir_all(&target).unwrap();
    std::fs::create_dir(&part).unwrap();
    std::fs::write(part.join("diary"), "mine").unwrap();
    assert!(matches!(refused(&target), CheckpointError::Exists(_)));
    std::fs::remove_dir_all(&part).unwrap();
    checkpointer.make(&target, 0).unwrap();
    // A whole copy is somebody's, whatever its name; so is what a link leads to.
    let next = elsewhere.path().join("next");
    std::fs::rename(&target, elsewhere.path().join("next.part")).unwrap();
    assert!(matches!(refused(&next), CheckpointError::Exists(_)));
    std::fs::rename(elsewhere.path().join("next.part"), &target).unwrap();
    std::fs::write(target.join("unfinished-checkpoint"), "").unwrap();
    std::os::unix::fs::symlink(&target, elsewhere.path().join("next.part")).unwrap();
    assert!(matches!(refused(&next), CheckpointError::Exists(_)));
    assert!(target.join("log/CURRENT").exists());
    assert!(matches!(refused(&elsewhere.path().join("copy.part")), CheckpointError::Name(_)));
    assert!(matches!(refused(&target), CheckpointError::Exists(_)));
}
