//! What every sink promises, held against the Parquet files: each event of the log exactly once, whatever happens.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "tests; each uses its own part of the log")]

#[path = "sink_contract/daemon.rs"]
mod daemon;
#[path = "sink_contract/log.rs"]
mod log;

use daemon::Daemon;
use event::{Seq, UnixMicros};
use ingestd::commit::Delivered;
use ingestd::deliver::{Cursor, FlushError, Manifest, Snapshot, Step, trim};
use log::{NOON, Place, event, events, eventually, noisy_log};
use parquet_sink::Folder;
use std::collections::HashSet;
use std::fs;
use std::time::Duration;

const STEPS: [Step; 5] = [Step::Filled, Step::Frozen, Step::ManifestStored, Step::Sent, Step::CursorStored];
const DAY: Duration = Duration::from_secs(86_400);

/// A log with the events 1 to 30 in three groups.
fn thirty() -> Place {
    let place = Place::new();
    place.append(&[(NOON, events(1..=10)), (NOON, events(11..=20)), (NOON, events(21..=30))]);
    place
}

#[test]
fn every_event_is_in_one_file_once_and_the_cursor_says_so() {
    let place = thirty();
    let log = place.open();
    let sink = log.run(place.config());
    assert_eq!(sink.flush(), Ok(Seq::new(31)));
    place.assert_holds(1..=30);
    let status = sink.status();
    assert_eq!((status.rows, status.batches, status.cursor, status.in_flight), (30, 1, Seq::new(31), 0));
    assert_eq!((status.state.as_str(), status.last_error), ("running", None));
    assert_eq!(log.tail.delivered().get("parquet"), Some(&Delivered { next: Seq::new(31), next_dead: 0 }));
    let cursor = Cursor { next: Seq::new(31), next_dead: 0 };
    assert_eq!(Cursor::load(&log.reader, "parquet").unwrap(), Some(Ok(cursor)));
    assert_eq!(Manifest::load(&log.reader, "parquet").unwrap(), []);
    assert_eq!(sink.stop().state.as_str(), "stopped");
    log.close();
}

#[test]
fn a_crash_at_any_step_and_another_during_recovery_lose_and_repeat_nothing() {
    for first in STEPS {
        for second in STEPS {
            let place = thirty();
            let log = place.open();
            log.run_until(place.config(), first, 1);
            log.close();
            place.append(&[(NOON, events(31..=40))]);
            let log = place.open();
            log.run_until(place.config(), second, 1);
            log.close();
            let log = place.open();
            let status = log.run(place.config()).stop();
            assert_eq!(status.cursor, Seq::new(41), "{first:?}, {second:?}");
            place.assert_holds(1..=40);
            assert_eq!(Manifest::load(&log.reader, "parquet").unwrap(), []);
            log.close();
            let drafts = place.folder().survey().unwrap().drafts_removed;
            assert_eq!(drafts, 0, "{first:?}, {second:?}");
        }
    }
}

#[test]
fn a_frozen_range_is_sent_as_it_was_frozen_though_everything_has_changed() {
    for step in [Step::ManifestStored, Step::Sent] {
        let place = thirty();
        let log = place.open();
        log.run_until(place.config(), step, 1);
        log.close();
        place.append(&[(NOON, events(31..=35)), (NOON.plus(DAY), events(36..=40))]);
        let log = place.open();
        let mut config = place.config();
        config.file_bytes_max = 1;
        log.run(config).stop();
        log.close();
        let sizes: Vec<_> = place.files().iter().map(Vec::len).collect();
        // Everything after the frozen range goes by the new settings: a file for each block, one of them at the stop.
        assert_eq!(sizes[0], 30, "{step:?}");
    }
}

#[test]
fn a_published_file_that_is_damaged_before_the_cursor_moved_is_written_again() {
    let place = thirty();
    let log = place.open();
    log.run_until(place.config(), Step::Sent, 1);
    let folder = place.folder();
    let path = folder.path(&folder.list().unwrap()[0]);
    let whole = fs::read(&path).unwrap();
    fs::write(&path, &whole[..whole.len() / 2]).unwrap();
    log.run(place.config()).stop();
    log.close();
    place.assert_holds(1..=30);
}

#[test]
fn files_are_cut_at_midnight_of_the_commit() {
    let place = Place::new();
    let midnight = NOON.plus(DAY / 2);
    place.append(&[
        (NOON, events(1..=3)),
        (UnixMicros::new(midnight.get() - 1), events(4..=5)),
        (midnight, events(6..=6)),
        (midnight.plus(DAY), events(7..=9)),
    ]);
    let log = place.open();
    let sink = log.run(place.config());
    assert_eq!(sink.flush(), Ok(Seq::new(10)));
    sink.stop();
    log.close();
    let files = place.folder().list().unwrap();
    let files: Vec<_> = files.iter().map(|file| (file.date.to_string(), file.first.get(), file.last.get())).collect();
    let day = |day: &str| format!("2024-05-0{day}");
    assert_eq!(files, [(day("1"), 1, 5), (day("2"), 6, 6), (day("3"), 7, 9)]);
    place.assert_holds(1..=9);
}

#[test]
fn a_file_is_finished_at_its_size() {
    // Enough bytes that do not compress for one page after the other to be written.
    let place = noisy_log(20);
    let log = place.open();
    let mut config = place.config();
    config.file_bytes_max = 1 << 20;
    config.row_group_rows_max = 50;
    let sink = log.run(config);
    assert_eq!(sink.flush(), Ok(Seq::new(1001)));
    sink.stop();
    log.close();
    place.assert_holds(1..=1000);
    let files = place.folder().list().unwrap();
    assert!(files.len() > 2, "{files:?}");
    for file in &files[..files.len() - 1] {
        assert!((1 << 20..3 << 20).contains(&file.bytes), "{file:?}");
    }
}

#[test]
fn a_file_is_finished_at_its_age() {
    let place = thirty();
    let log = place.open();
    let mut config = place.config();
    config.file_age_max = Duration::from_millis(50);
    let sink = log.run(config);
    eventually("the file is there", || sink.status().batches == 1);
    place.assert_holds(1..=30);
    sink.stop();
    log.close();
}

#[test]
fn events_that_keep_coming_are_all_delivered() {
    let place = Place::new();
    let mut log = place.open();
    let mut config = place.config();
    config.file_age_max = Duration::from_millis(30);
    let sink = log.run(config);
    let requests: Vec<_> = (0..300).map(|n| events(n * 10 + 1..=n * 10 + 10)).collect();
    log.submit(&requests);
    let status = sink.stop();
    log.close();
    assert_eq!((status.cursor, status.rows), (Seq::new(3001), 3000));
    place.assert_holds(1..=3000);
}

#[test]
fn a_daemon_killed_again_and_again_has_every_event_in_its_files_once() {
    let place = Place::new();
    let mut config = place.config();
    config.dir = place.data().join("events");
    let folder = Folder::new(config);
    let (mut acknowledged, rounds) = (Vec::new(), 8);
    for round in 0..rounds {
        // A byte is less than any block makes: each read ends in a file, so that no kill falls between files.
        let daemon = Daemon::start(&place.data(), 1);
        let first = round * 1_000_000 + 1;
        let sender = daemon.send_from(first);
        // Each time a little later.
        let wanted = folder.list().unwrap_or_default().len() as u64 + 2 + round;
        let has_them = || folder.list().is_ok_and(|files| files.len() as u64 >= wanted);
        eventually("files are being written", has_them);
        daemon.kill();
        acknowledged.extend(first..sender.join().unwrap());
    }
    Daemon::start(&place.data(), 128 << 20).stop();
    let stored = daemon::stored(&place.data());
    let ids: HashSet<_> = stored.iter().collect();
    assert!(acknowledged.iter().all(|number| ids.contains(&format!("e-{number}"))));
    assert!(acknowledged.len() > 100 && ids.len() == stored.len(), "{} of {}", acknowledged.len(), stored.len());
    let files = folder.list().unwrap();
    let rows: Vec<_> = files.iter().flat_map(|file| folder.ids(file).unwrap()).collect();
    let wanted: Vec<_> = stored.into_iter().enumerate().map(|(n, id)| (Seq::new(n as u64 + 1), id)).collect();
    assert!(rows == wanted, "{} rows of {} events", rows.len(), wanted.len());
    assert!(files.len() as u64 > rounds, "{} files", files.len());
}

/// `INGESTD_KEEP_EVENTS=<folder>` keeps the files there, for `tests/parquet_readers.py`.
#[test]
fn real_events_arrive_once_each() {
    let place = Place::new();
    let mut log = place.open();
    let mut config = place.config();
    if let Some(folder) = std::env::var_os("INGESTD_KEEP_EVENTS") {
        config.dir = folder.into();
    }
    let folder = Folder::new(config.clone());
    let sink = log.run(config);
    let text = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cart-events.ndjson")).unwrap();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let requests: Vec<_> = lines.chunks(100).map(<[String]>::to_vec).collect();
    log.submit(&requests);
    assert_eq!(sink.flush(), Ok(Seq::new(10_829)));
    let status = sink.stop();
    log.close();
    assert_eq!((status.rows, status.unreadable), (10_828, 0));
    let ids: Vec<_> = folder.list().unwrap().iter().flat_map(|file| folder.ids(file).unwrap()).collect();
    assert!(ids.iter().map(|(seq, _)| seq.get()).eq(1..=10_828));
    let distinct: HashSet<_> = ids.into_iter().map(|(_, id)| id).collect();
    assert_eq!(distinct.len(), 10_828);
}

#[test]
fn a_folder_that_cannot_be_written_is_tried_again_until_it_can() {
    let place = thirty();
    let log = place.open();
    let partition = place.config().dir.join("date=2024-05-01");
    fs::create_dir_all(place.config().dir).unwrap();
    fs::write(&partition, "in the way").unwrap();
    let sink = log.run(place.config());
    eventually("it says so", || sink.state() == "retrying");
    let error = sink.status().last_error.unwrap().text;
    assert!(error.contains("date=2024-05-01"), "{error}");
    assert_eq!(sink.status().cursor, Seq::FIRST);
    fs::remove_file(&partition).unwrap();
    assert_eq!(sink.flush(), Ok(Seq::new(31)));
    assert_eq!(sink.state(), "running");
    sink.stop();
    log.close();
    place.assert_holds(1..=30);
}

#[test]
fn a_rename_that_fails_is_tried_again_with_the_same_range() {
    let place = thirty();
    let log = place.open();
    let target = place.config().dir.join("date=2024-05-01/00000000000000000001-00000000000000000030.parquet");
    // A directory that is not empty cannot be replaced by a file. Once: the next attempt comes by here too.
    let mut obstacle = Some(target.join("in the way"));
    let sink = log.run_watched(place.config(), move |step| {
        if step == Step::ManifestStored
            && let Some(obstacle) = obstacle.take()
        {
            fs::create_dir_all(obstacle).unwrap();
        }
    });
    let waits = std::thread::spawn({
        let handle = sink.handle.clone();
        move || tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(handle.flush())
    });
    eventually("it says so", || sink.state() == "retrying");
    let frozen = Manifest::load(&log.reader, "parquet").unwrap();
    assert_eq!(frozen.len(), 1);
    fs::remove_dir_all(&target).unwrap();
    assert_eq!(waits.join().unwrap(), Ok(Seq::new(31)));
    sink.stop();
    log.close();
    place.assert_holds(1..=30);
}

#[test]
fn a_stop_does_not_wait_for_a_folder_that_cannot_be_written() {
    let place = thirty();
    let log = place.open();
    fs::write(place.config().dir, "in the way").unwrap();
    let sink = log.run(place.config());
    eventually("it says so", || sink.state() == "retrying");
    assert_eq!(sink.stop().state.as_str(), "stopped");
    log.close();
}

#[test]
fn a_folder_with_files_of_another_log_is_refused_and_left_alone() {
    let place = thirty();
    let log = place.open();
    log.run(place.config()).stop();
    log.close();
    let before = place.files();
    fs::remove_dir_all(place.data()).unwrap();
    place.append(&[(NOON, events(101..=130))]);
    let log = place.open();
    let sink = log.run(place.config());
    eventually("it says so", || sink.state() == "failed");
    let Err(FlushError::Failed(reason)) = sink.flush() else { panic!("a failed sink cannot flush") };
    assert!(reason.contains("another log") && reason.contains("-00000000000000000030.parquet"), "{reason}");
    assert_eq!(sink.stop().state.as_str(), "failed");
    log.close();
    assert_eq!(place.files(), before);
}

#[test]
fn a_sink_that_keeps_up_reads_from_memory() {
    let place = thirty();
    let mut log = place.open();
    let sink = log.run(place.config());
    eventually("it has what was there before", || sink.status().in_flight == 30);
    log.submit(&[events(31..=40), events(41..=60)]);
    assert_eq!(sink.flush(), Ok(Seq::new(61)));
    assert_eq!(sink.stop().from_log, 30, "only what an earlier start has written");
    log.close();
    place.assert_holds(1..=60);
}

#[test]
fn a_place_that_the_log_has_lost_is_taken_from_the_files() {
    let place = thirty();
    let log = place.open();
    log.run(place.config()).stop();
    log.close();
    let mut writer = wal::open(&place.data(), &wal::Options::default()).unwrap().writer;
    writer.commit(&wal::Group { events: None, writes: &Cursor::forget("parquet") }).unwrap();
    writer.close().unwrap();
    place.append(&[(NOON, events(31..=40))]);
    let log = place.open();
    let status = log.run(place.config()).stop();
    log.close();
    assert_eq!((status.cursor, status.rows), (Seq::new(41), 10));
    place.assert_holds(1..=40);
}

#[test]
fn a_frozen_range_does_not_replace_another_logs_file() {
    let place = thirty();
    let log = place.open();
    log.run_until(place.config(), Step::ManifestStored, 1);
    log.close();
    let other = thirty();
    let log = other.open();
    let mut config = other.config();
    config.dir = place.config().dir;
    // The draft that the first log has left is taken away by this one.
    log.run(config).stop();
    log.close();
    let before = place.files();
    let log = place.open();
    let sink = log.run(place.config());
    eventually("it says so", || sink.state() == "failed");
    sink.stop();
    log.close();
    assert_eq!(place.files(), before);
}

#[test]
fn an_event_that_cannot_be_taken_apart_gets_a_row_and_stops_nothing() {
    let place = Place::new();
    let stored: Vec<Vec<u8>> =
        vec![event(1).into(), b"no json".to_vec(), b"\xff\xfe".to_vec(), b"{}".to_vec(), event(5).into()];
    place.append(&[(NOON, stored)]);
    let log = place.open();
    let status = log.run(place.config()).stop();
    log.close();
    assert_eq!((status.rows, status.unreadable, status.cursor), (5, 3, Seq::new(6)));
    let ids: Vec<_> = place.files().concat().into_iter().map(|(seq, id)| (seq.get(), id)).collect();
    let id = |seq, text: &str| (seq, text.to_owned());
    assert_eq!(ids, [id(1, "e-1"), id(2, ""), id(3, ""), id(4, ""), id(5, "e-5")]);
}

#[test]
fn events_that_were_trimmed_away_under_the_sink_are_never_passed_over() {
    let place = thirty();
    let log = place.open();
    log.trimmer.trim(Seq::new(21), Seq::FIRST).unwrap();
    // A new sink gets what is left; one that had been promised more does not go on.
    let mut elsewhere = place.config();
    elsewhere.dir = place.config().dir.join("elsewhere");
    let sink = log.run(elsewhere);
    assert_eq!(sink.flush(), Ok(Seq::new(31)));
    let status = sink.stop();
    assert_eq!(status.rows, 10);
    log.close();

    let place = thirty();
    let log = place.open();
    log.run_until(place.config(), Step::Frozen, 1);
    log.trimmer.trim(Seq::new(21), Seq::FIRST).unwrap();
    let sink = log.run(place.config());
    eventually("it says so", || sink.state() == "failed");
    let error = sink.status().last_error.unwrap().text;
    assert!(error.contains("event 1 is no longer in the log"), "{error}");
    sink.stop();
    log.close();
}

#[test]
fn events_lost_at_the_end_of_the_log_are_counted_though_nothing_comes_in() {
    let place = thirty();
    place.lose_newest_group();
    let mut log = place.open();
    let sink = log.run(place.config());
    assert_eq!(sink.flush(), Ok(Seq::new(31)));
    eventually("they are counted", || sink.status().cursor == Seq::new(31));
    let Snapshot { ledger, cursor, .. } = sink.status();
    assert_eq!((ledger.delivered, ledger.lost), (20, 10));
    assert!(ledger.balances(cursor));
    log.submit(&[events(31..=35)]);
    assert_eq!(sink.flush(), Ok(Seq::new(36)));
    let ledger = sink.stop().ledger;
    assert_eq!((ledger.delivered, ledger.lost), (25, 10), "once");
    log.close();
    let rows: Vec<_> = place.files().concat().into_iter().map(|(seq, _)| seq.get()).collect();
    assert_eq!(rows, (1..=20).chain(31..=35).collect::<Vec<_>>());
}

#[test]
fn retention_removes_the_oldest_files() {
    let place = thirty();
    place.append(&[(NOON.plus(DAY * 3), events(31..=40))]);
    let log = place.open();
    let mut config = place.config();
    config.retention.age_max = Some(DAY * 365);
    // The stop delivers both days.
    let status = log.run(config).stop();
    assert_eq!((status.cursor, status.expired), (Seq::new(41), 1));
    place.assert_holds(31..=40);
    log.close();
}

#[test]
fn the_log_is_trimmed_behind_every_sink_and_not_too_soon() {
    let place = Place::new();
    let minute = Duration::from_secs(60);
    let groups: Vec<_> = (0..10).map(|n| (NOON.plus(minute * n as u32), events(n * 10 + 1..=n * 10 + 10))).collect();
    place.append(&groups);
    let log = place.open();
    let now = NOON.plus(minute * 9);
    let position = |cursors: &[u64], hold: Duration| {
        trim::position(&log.reader, cursors.iter().copied().map(Seq::new), hold, now).unwrap().get()
    };
    assert_eq!(position(&[101], Duration::ZERO), 101);
    assert_eq!(position(&[101, 35], Duration::ZERO), 35);
    assert_eq!(position(&[101, 35], minute), 35);
    assert_eq!(position(&[101, 95], minute), 91);
    assert_eq!(position(&[101], minute * 2), 81);
    assert_eq!(position(&[101], minute * 9), 11);
    assert_eq!(position(&[101], minute * 10), 1);
    assert_eq!(position(&[], minute * 2), 81);
    assert_eq!(position(&[1], Duration::ZERO), 1);
    log.trimmer.trim(Seq::new(55), Seq::FIRST).unwrap();
    let position = |hold| trim::position(&log.reader, [Seq::new(101)], hold, now).unwrap().get();
    assert_eq!(position(minute * 10), 55);
    assert_eq!(position(minute), 91);
    log.close();
}
