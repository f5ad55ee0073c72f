//! What the chapters share: groups of plain events, and crashes.

#![allow(dead_code, reason = "each chapter uses a part")]
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use event::{Fingerprint, FingerprintKey, Seq, UnixMicros};
use record::{BlockWriter, EventView, IdListWriter, SegmentMeta, put_record};
use std::fs;
use std::ops::ControlFlow;
use std::path::Path;
use wal::{Group, Opened, Options, Reader, Writer};

/// Commits one group of `events` events whose bytes tell their position; returns the last position.
pub(crate) fn append(writer: &mut Writer, events: u32, size: usize) -> Seq {
    append_listing(writer, events, events, size)
}

/// The same, of which only the first `listed` are in the group's id list.
pub(crate) fn append_listing(writer: &mut Writer, events: u32, listed: u32, size: usize) -> Seq {
    let first = writer.next();
    let at = UnixMicros::new(first.get() as i64);
    let (mut block, mut ids) = (BlockWriter::default(), IdListWriter::default());
    let mut records = Vec::new();
    block.begin();
    ids.begin();
    for n in 0..u64::from(events) {
        put_record(&mut records, 0, None, None, &payload(first.plus(n), size));
    }
    for n in 0..u64::from(listed) {
        ids.push(u128::from(first.plus(n).get()), 0);
    }
    let meta = SegmentMeta { tenant: "default", source: 1, received_at: at, traceparent: None };
    block.whole(&meta, &records, events);
    let group = Group { events: Some((events, block.finish(first, at), ids.finish(first, at))), writes: &[] };
    writer.commit(&group).unwrap();
    writer.next().prev()
}

/// The ids of the tests' events are their positions.
pub(crate) fn fingerprint(event: &EventView<'_>, _: &FingerprintKey) -> Option<Fingerprint> {
    Some(u128::from(event.seq.get()))
}

pub(crate) fn payload(seq: Seq, size: usize) -> Vec<u8> {
    let mut payload = format!("{{\"n\":{seq}}}").into_bytes();
    let mut noise = seq.get();
    while payload.len() < size {
        // Not compressible, so that files get as large as they look.
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        payload.push((noise >> 56) as u8);
    }
    payload
}

/// All positions from `from` on, each checked for its bytes.
pub(crate) fn positions(reader: &Reader, from: Seq, size: usize) -> Result<Vec<u64>, wal::ReadError> {
    let mut out = Vec::new();
    let mut scratch = Vec::new();
    reader.read(from, |block, _| {
        block
            .visit(&mut scratch, |event| {
                if event.seq >= from {
                    assert_eq!(event.raw, payload(event.seq, size), "bytes of {}", event.seq);
                    out.push(event.seq.get());
                }
            })
            .unwrap();
        ControlFlow::Continue(())
    })?;
    Ok(out)
}

pub(crate) fn open(data: &Path) -> Opened {
    wal::open(data, &Options::default()).unwrap()
}

/// Copies a folder whose log is open: what a process that is killed now would leave behind. A copy takes its time, in which
/// RocksDB may have replaced files; such a mixture no crash leaves, and it is made again.
pub(crate) fn crash_image(from: &Path, to: &Path) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        let before = tables(from);
        copy(from, to);
        if tables(from) == before {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the files never stand still");
        fs::remove_dir_all(to).unwrap();
    }
}

/// The files that RocksDB makes and removes by itself, and how long those are that it appends to.
fn tables(data: &Path) -> std::collections::BTreeMap<std::ffi::OsString, u64> {
    let entries = fs::read_dir(data.join("log")).into_iter().flatten().map(|entry| entry.unwrap());
    entries.map(|entry| (entry.file_name(), entry.metadata().map_or(0, |metadata| metadata.len()))).collect()
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else if entry.file_name() != "LOCK" {
            // A file may go while we look, as when RocksDB deletes an obsolete one.
            if let Err(error) = fs::copy(entry.path(), &target) {
                assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{error}");
            }
        }
    }
}

/// The newest of the log's files with this extension.
pub(crate) fn newest(data: &Path, extension: &str) -> std::path::PathBuf {
    let mut files: Vec<_> = fs::read_dir(data.join("log"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|found| found == extension))
        .filter(|path| fs::metadata(path).unwrap().len() > 0)
        .collect();
    files.sort();
    files.pop().unwrap_or_else(|| panic!("no .{extension} file"))
}

/// Waits until the high-water mark names `seq`.
pub(crate) fn wait_for_mark(data: &Path, seq: Seq) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    loop {
        let image = tempfile::tempdir().unwrap();
        fs::copy(data.join("mark"), image.path().join("mark")).unwrap();
        let bytes = fs::read(image.path().join("mark")).unwrap();
        let slots =
            [0usize, 4096].map(|at| bytes.get(at + 16..at + 24).map(|b| u64::from_le_bytes(b.try_into().unwrap())));
        if slots.into_iter().flatten().any(|found| found >= seq.get()) {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "the mark never reached {seq}");
        std::thread::yield_now();
    }
}
