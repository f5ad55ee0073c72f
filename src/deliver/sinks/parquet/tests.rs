use super::*;
use event::{Seq, UnixMicros};
use parquet::file::reader::{FileReader, SerializedFileReader};
use parquet::record::{Field, RowAccessor};
use std::fs::{self, File};
use std::path::Path;
use std::time::Duration;

const DAY: i64 = 86_400_000_000;

fn row(seq: u64) -> Row<'static> {
    Row {
        seq: Seq::new(seq),
        tenant: "default",
        event_id: "id",
        event_type: "cart_created",
        timestamp: UnixMicros::new(1),
        user_id: Some("u"),
        session_id: "s",
        store_id: "st",
        data: r#"{"cartId":"c"}"#,
        metadata: Some("{}"),
        raw: "{}",
        received_at: UnixMicros::new(2),
        committed_at: UnixMicros::new(3),
    }
}

fn folder(config: impl FnOnce(&mut Config)) -> (tempfile::TempDir, Folder) {
    let place = tempfile::tempdir().unwrap();
    let mut settings = Config::new(place.path().join("data/events"));
    config(&mut settings);
    (place, Folder::new(settings))
}

fn today() -> UtcDate {
    "2024-05-01".parse().unwrap()
}

/// Publishes `rows` and says where.
fn publish(folder: &Folder, date: UtcDate, rows: &[Row<'_>]) -> (FileMark, Published) {
    let mut draft = folder.begin(date, rows[0].seq).unwrap();
    for row in rows {
        draft.push(row).unwrap();
    }
    let mark = draft.finish(9).unwrap();
    (mark, folder.publish(date, mark.first, mark.last).unwrap())
}

fn names_in(dir: &Path) -> Vec<String> {
    let mut names: Vec<_> =
        fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn every_column_comes_back() {
    let rows = [
        row(7),
        Row {
            seq: Seq::new(8),
            tenant: "ténant",
            event_id: "nul \0 and quote \"",
            event_type: "purchase_completed",
            timestamp: UnixMicros::new(-62_167_219_200_000_000),
            user_id: None,
            session_id: "日本語",
            store_id: "🛒",
            data: "{ \"spaces\" : [1, 2] }",
            metadata: None,
            raw: "{\"raw\":\"é\u{10FFFF}\"}",
            received_at: UnixMicros::new(253_402_300_799_999_999),
            committed_at: UnixMicros::new(1_714_564_800_000_001),
        },
        Row { seq: Seq::new(12), event_id: "", user_id: Some(""), metadata: Some(""), data: "", raw: "", ..row(12) },
    ];
    let (_place, folder) = folder(|_| ());
    let (_, file) = publish(&folder, today(), &rows);
    let reader = SerializedFileReader::new(File::open(folder.path(&file)).unwrap()).unwrap();
    let read: Vec<_> = reader.get_row_iter(None).unwrap().map(Result::unwrap).collect();
    assert_eq!(read.len(), rows.len());
    for (read, wrote) in read.iter().zip(&rows) {
        let text = |place| match read.get_column_iter().nth(place).unwrap().1 {
            Field::Str(text) => Some(text.as_str()),
            Field::Null => None,
            other => panic!("column {place} is {other:?}"),
        };
        let back = Row {
            seq: Seq::new(read.get_long(0).unwrap() as u64),
            tenant: text(1).unwrap(),
            event_id: text(2).unwrap(),
            event_type: text(3).unwrap(),
            timestamp: UnixMicros::new(read.get_timestamp_micros(4).unwrap()),
            user_id: text(5),
            session_id: text(6).unwrap(),
            store_id: text(7).unwrap(),
            data: text(8).unwrap(),
            metadata: text(9),
            raw: text(10).unwrap(),
            received_at: UnixMicros::new(read.get_timestamp_micros(11).unwrap()),
            committed_at: UnixMicros::new(read.get_timestamp_micros(12).unwrap()),
        };
        assert_eq!(back, *wrote);
    }
    let ids: Vec<_> = rows.iter().map(|row| (row.seq, row.event_id.to_owned())).collect();
    assert_eq!(folder.ids(&file).unwrap(), ids);
    let names: Vec<_> = read[0].get_column_iter().map(|(name, _)| name.as_str()).collect();
    let columns = "seq tenant event_id event_type timestamp user_id session_id store_id data metadata raw received_at \
                   committed_at";
    assert_eq!(names.join(" "), columns);
}

#[test]
fn row_groups_are_bounded_by_rows_and_by_bytes() {
    let rows: Vec<_> = (1..=5_000).map(row).collect();
    let groups = |config: fn(&mut Config)| {
        let (_place, folder) = folder(config);
        let (_, file) = publish(&folder, today(), &rows);
        let reader = SerializedFileReader::new(File::open(folder.path(&file)).unwrap()).unwrap();
        let metadata = reader.metadata();
        assert_eq!(metadata.file_metadata().num_rows(), 5_000);
        metadata.row_groups().iter().map(|group| group.num_rows()).collect::<Vec<_>>()
    };
    assert_eq!(groups(|_| ()), [5_000]);
    assert_eq!(groups(|config| config.row_group_rows_max = 1_500), [1_500, 1_500, 1_500, 500]);
    // Rows are handed to the encoder 1,024 at a time.
    assert_eq!(groups(|config| config.row_group_bytes_max = 1), [1_024, 1_024, 1_024, 1_024, 904]);
}

#[test]
fn a_file_grows_visibly_and_compresses() {
    let (_place, folder) = folder(|config| config.row_group_rows_max = 2_048);
    let text = "a text that repeats itself, ".repeat(40);
    let mut draft = folder.begin(today(), Seq::FIRST).unwrap();
    let mut sizes = Vec::new();
    for seq in 1..=20_480 {
        draft.push(&Row { raw: &text, ..row(seq) }).unwrap();
        if seq % 2_048 == 0 {
            sizes.push(draft.bytes());
        }
    }
    assert!(sizes.is_sorted_by(|a, b| a < b), "{sizes:?}");
    assert!(draft.bytes() < 20_480 * text.len() as u64 / 10, "{sizes:?}");
}

#[test]
fn the_day_is_cut_at_midnight_utc() {
    let midnight = today().midnight();
    assert_eq!(UtcDate::of(midnight), today());
    assert_eq!(UtcDate::of(UnixMicros::new(midnight.get() - 1)), "2024-04-30".parse().unwrap());
    assert_eq!(UtcDate::of(UnixMicros::new(midnight.get() + DAY - 1)), today());
    assert_eq!(UtcDate::of(UnixMicros::new(midnight.get() + DAY)), today().next());
    assert_eq!(UtcDate::of(UnixMicros::new(-1)), "1969-12-31".parse().unwrap());
    assert_eq!(UtcDate::of(UnixMicros::new(i64::MAX)), "9999-12-31".parse().unwrap());
    assert_eq!(UtcDate::of(UnixMicros::new(i64::MIN)), "0000-01-01".parse().unwrap());
}

#[test]
fn every_day_is_read_as_it_is_written() {
    for days in -719_528..=2_932_896 {
        // Every day of some years, every 97th of the others.
        if days % 97 == 0 || (10_000..12_000).contains(&days) {
            let date = UtcDate::from_days(days);
            assert_eq!(date.to_string().parse(), Ok(date));
        }
    }
    for text in
        ["", "2024-02-30", "2023-02-29", "2024-00-01", "2024-13-01", "2024-5-1", "2024-05-01 ", "+024-05-01", "day"]
    {
        assert_eq!(text.parse::<UtcDate>(), Err(DateError), "{text:?}");
    }
}

#[test]
fn a_draft_is_invisible_and_a_file_appears_whole() {
    let (_place, folder) = folder(|_| ());
    let mut draft = folder.begin(today(), Seq::new(41)).unwrap();
    draft.push(&row(41)).unwrap();
    draft.push(&row(43)).unwrap();
    let partition = folder.config().dir.join("date=2024-05-01");
    assert_eq!(names_in(&partition), [".00000000000000000041.parquet.tmp"]);
    let mark = draft.finish(5).unwrap();
    assert_eq!(mark, FileMark { first: Seq::new(41), last: Seq::new(43), rows: 2, incarnation: 5 });
    assert_eq!(folder.find(today(), &mark).unwrap(), Found::Nothing);
    let file = folder.publish(today(), mark.first, mark.last).unwrap();
    assert_eq!(names_in(&partition), ["00000000000000000041-00000000000000000043.parquet"]);
    assert_eq!(folder.find(today(), &mark).unwrap(), Found::Whole(file));
}

#[test]
fn only_the_very_file_is_taken_for_it() {
    let (_place, folder) = folder(|_| ());
    let (mark, file) = publish(&folder, today(), &[row(1), row(2)]);
    for other in [FileMark { rows: 1, ..mark }, FileMark { incarnation: 1, ..mark }] {
        assert_eq!(folder.find(today(), &other).unwrap(), Found::Another);
    }
    let path = folder.path(&file);
    let whole = fs::read(&path).unwrap();
    for len in [0, 4, 12, whole.len() / 2, whole.len() - 1] {
        fs::write(&path, &whole[..len]).unwrap();
        assert_eq!(folder.find(today(), &mark).unwrap(), Found::Nothing, "cut at {len}");
    }
}

#[test]
fn a_survey_removes_stale_drafts_and_nothing_else() {
    let (_place, folder) = folder(|_| ());
    assert_eq!(folder.survey().unwrap(), Survey::default());
    let (_, second) = publish(&folder, today().next(), &[row(3)]);
    let (_, first) = publish(&folder, today(), &[row(1), row(2)]);
    let mut draft = folder.begin(today(), Seq::new(4)).unwrap();
    draft.push(&row(4)).unwrap();
    drop(draft);
    let dir = &folder.config().dir;
    let strangers = ["notes.txt", ".hidden.tmp", "x.parquet.tmp", "1.parquet", "a-b.parquet"];
    for name in strangers {
        fs::write(dir.join("date=2024-05-01").join(name), "mine").unwrap();
    }
    fs::write(dir.join("date=2024-05-03"), "not a directory").unwrap();
    fs::create_dir(dir.join("date=someday")).unwrap();
    let survey = folder.survey().unwrap();
    assert_eq!(survey, Survey { published: vec![first, second], drafts_removed: 1 });
    assert_eq!(names_in(&dir.join("date=2024-05-01")).len(), strangers.len() + 1);
    assert_eq!(folder.list().unwrap(), survey.published);
}

#[test]
fn a_discarded_draft_gives_its_room_back() {
    let (_place, folder) = folder(|_| ());
    folder.begin(today(), Seq::FIRST).unwrap().discard();
    assert_eq!(names_in(&folder.config().dir.join("date=2024-05-01")), [""; 0]);
}

#[test]
fn errors_say_what_was_tried_and_where() {
    let (_place, folder) = folder(|_| ());
    folder.survey().unwrap();
    fs::write(folder.config().dir.join("date=2024-05-01"), "in the way").unwrap();
    let error = folder.begin(today(), Seq::FIRST).unwrap_err().to_string();
    assert!(error.contains("date=2024-05-01") && error.starts_with("cannot "), "{error}");
    let error = folder.publish(today().next(), Seq::FIRST, Seq::FIRST).unwrap_err().to_string();
    assert!(error.starts_with("cannot publish "), "{error}");
}

#[test]
fn room_is_left_on_the_disk() {
    let (_place, folder) = folder(|config| config.free_bytes_min = u64::MAX);
    let error = folder.begin(today(), Seq::FIRST).unwrap_err().to_string();
    assert!(error.contains("are free on the disk"), "{error}");
}

#[test]
fn retention_lets_go_of_the_oldest_but_never_of_the_newest() {
    let file = |day: i32, first: u64, bytes| Published {
        date: UtcDate::from_days(day),
        first: Seq::new(first),
        last: Seq::new(first),
        bytes,
    };
    let files = [file(10, 1, 100), file(10, 2, 100), file(11, 3, 100), file(12, 4, 100)];
    let expired = |age_days: Option<u64>, bytes_max, now: i64| {
        let retention = Retention { age_max: age_days.map(|days| Duration::from_secs(days * 86_400)), bytes_max };
        Folder::expired(&retention, &files, |date| UnixMicros::new(now).since(date.next().midnight()))
    };
    assert_eq!(expired(None, None, i64::MAX), 0);
    // The whole of day 10 is two days old only when day 13 begins.
    assert_eq!(expired(Some(2), None, 13 * DAY - 1), 0);
    assert_eq!(expired(Some(2), None, 13 * DAY), 2);
    assert_eq!(expired(Some(2), None, 100 * DAY), 3);
    assert_eq!(expired(None, Some(400), 0), 0);
    assert_eq!(expired(None, Some(399), 0), 1);
    assert_eq!(expired(None, Some(0), 0), 3);
    assert_eq!(expired(Some(2), Some(200), 13 * DAY), 2);
    assert_eq!(Folder::expired(&Retention { bytes_max: Some(0), age_max: None }, &[], |_| Duration::ZERO), 0);
}

#[test]
fn a_removed_day_leaves_no_directory() {
    let (_place, folder) = folder(|_| ());
    let (_, first) = publish(&folder, today(), &[row(1)]);
    let (_, second) = publish(&folder, today(), &[row(2)]);
    folder.remove(&first).unwrap();
    assert_eq!(names_in(&folder.config().dir), ["date=2024-05-01"]);
    folder.remove(&second).unwrap();
    folder.remove(&second).unwrap();
    assert_eq!(names_in(&folder.config().dir), [""; 0]);
}
