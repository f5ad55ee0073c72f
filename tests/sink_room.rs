//! How much of the disk the Parquet files take: what they leave free, and how long they are kept.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "tests; each chapter uses its own part of the log")]

#[path = "sink_contract/daemon.rs"]
mod daemon;
#[path = "sink_contract/log.rs"]
mod log;
#[path = "support/small_disk.rs"]
mod small_disk;

use daemon::Daemon;
use event::Seq;
use log::{NOON, Place, events, eventually, noisy, noisy_log};
use parquet_sink::{Config, Folder, Row, UtcDate};
use small_disk::{fill_but, free_bytes, small_disk};
use std::fs;
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_file_for_which_there_is_no_more_room_is_sent_as_it_is() {
    let test = "a_file_for_which_there_is_no_more_room_is_sent_as_it_is";
    let Some(disk) = small_disk(test, 64 << 20) else { return };
    let place = noisy_log(160);
    let log = place.open();
    let mut config = place.config();
    config.dir = disk.join("events");
    config.file_bytes_max = 30 << 20;
    config.free_bytes_min = 8 << 20;
    // Far less than one file would take.
    let filler = fill_but(&disk, 20 << 20);
    let sink = log.run(config.clone());
    let waits = || sink.status().last_error.is_some_and(|error| error.text.contains("are to be left"));
    eventually("there is no room for another file", waits);
    let (status, folder) = (sink.status(), Folder::new(config));
    let rows = || folder.list().unwrap().iter().flat_map(|file| folder.ids(file).unwrap()).collect::<Vec<_>>();
    assert!(status.cursor > Seq::FIRST && status.cursor < Seq::new(8001), "{status:?}");
    assert_eq!(rows().len() as u64, status.cursor.since(Seq::FIRST));
    assert!(free_bytes(&disk) > 4 << 20, "half of what is to be left");
    fs::remove_file(filler).unwrap();
    assert_eq!(sink.flush(), Ok(Seq::new(8001)));
    sink.stop();
    log.close();
    let wanted: Vec<_> = (1..=8000).map(|number| (Seq::new(number), format!("e-{number}"))).collect();
    assert!(rows() == wanted, "{} rows", rows().len());
}

#[test]
fn a_draft_that_cannot_be_finished_gives_its_room_back() {
    let Some(disk) = small_disk("a_draft_that_cannot_be_finished_gives_its_room_back", 16 << 20) else { return };
    let folder = Folder::new(Config { free_bytes_min: 0, ..Config::new(disk.join("events")) });
    let date = UtcDate::of(NOON);
    let mut draft = folder.begin(date, Seq::FIRST).unwrap();
    for number in 1..=1000 {
        let raw = noisy(number);
        let row = Row {
            seq: Seq::new(number),
            tenant: "default",
            event_id: "e",
            event_type: "cart_created",
            timestamp: NOON,
            user_id: None,
            session_id: "s",
            store_id: "st",
            data: &raw,
            metadata: None,
            raw: &raw,
            received_at: NOON,
            committed_at: NOON,
        };
        draft.push(&row).unwrap();
    }
    fill_but(&disk, 0);
    let error = draft.finish(1).unwrap_err().to_string();
    assert!(error.starts_with("cannot finish ") && error.contains("No space"), "{error}");
    let partition = disk.join("events").join(format!("date={date}"));
    assert_eq!(fs::read_dir(partition).unwrap().count(), 0);
}

#[test]
fn a_daemon_that_is_told_so_removes_files_of_days_long_past() {
    let place = Place::new();
    place.append(&[(NOON, events(1..=10)), (NOON.plus(DAY), events(11..=20))]);
    let folder = Folder::new(Config::new(place.data().join("events")));
    let files = || folder.list().unwrap_or_default();
    let has_old_ones = || files().iter().any(|file| file.last == Seq::new(20));
    let daemon = Daemon::start(&place.data(), 1);
    eventually("they are there", has_old_ones);
    daemon.stop();
    assert_eq!(files().len(), 2, "all are kept without a word");
    let daemon = Daemon::start_with(&place.data(), 1, &[("INGESTD_PARQUET_KEEP_DAYS", "30")]);
    eventually("the newest one stays", || files().len() == 1);
    assert!(has_old_ones());
    daemon.send(21);
    eventually("until there is a newer one", || files().iter().all(|file| file.first == Seq::new(21)));
    daemon.stop();
    assert_eq!(files().len(), 1);
}

#[test]
fn a_daemon_that_is_told_so_keeps_no_more_bytes_of_files() {
    let place = Place::new();
    let folder = Folder::new(Config::new(place.data().join("events")));
    let files = || folder.list().unwrap_or_default();
    let daemon = Daemon::start_with(&place.data(), 1, &[("INGESTD_PARQUET_KEEP_BYTES", "10000")]);
    for batch in 0..10 {
        daemon.send(batch * 10 + 1);
        // One file each.
        eventually("it is in a file", || files().last().is_some_and(|file| file.last == Seq::new(batch * 10 + 10)));
    }
    eventually("the oldest are gone", || files().iter().map(|file| file.bytes).sum::<u64>() <= 10_000);
    daemon.stop();
    let rows: Vec<_> = files().iter().flat_map(|file| folder.ids(file).unwrap()).collect();
    assert!(rows.len() >= 10 && rows.len() < 100 && rows.last().unwrap().1 == "e-100", "{rows:?}");
}
