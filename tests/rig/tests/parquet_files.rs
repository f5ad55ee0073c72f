//! What the parquet files hold counts like what the log holds: each accepted event exactly once.

use std::path::Path;
use std::sync::Arc;

use parquet::data_type::{ByteArrayType, Int64Type};
use parquet::file::properties::WriterProperties;
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use rig::audit::{Files, Stored, audit};
use rig::event::{Item, Key, Tag};
use rig::ledger::{Ledger, Shape};
use rig::report::Kind;

const SCHEMA: &str = "message events { REQUIRED INT64 seq (INTEGER(64,false)); OPTIONAL BINARY event_id (UTF8); }";

fn key(seq: i64) -> Key {
    Key { round: 1, client: 0, number: seq as u32 }
}

fn write(data: &Path, name: &str, seqs: &[i64]) {
    let folder = data.join("events/date=2024-05-17");
    std::fs::create_dir_all(&folder).expect("create");
    let file = std::fs::File::create(folder.join(name)).expect("create");
    let schema = Arc::new(parse_message_type(SCHEMA).expect("schema"));
    let mut writer = SerializedFileWriter::new(file, schema, Arc::new(WriterProperties::default())).expect("writer");
    let mut group = writer.next_row_group().expect("group");
    let ids: Vec<_> = seqs.iter().map(|seq| Tag::of_seed(1).event_id(key(*seq)).as_str().into()).collect();
    let mut column = group.next_column().expect("column").expect("seq");
    column.typed::<Int64Type>().write_batch(seqs, None, None).expect("write");
    column.close().expect("close");
    let mut column = group.next_column().expect("column").expect("event_id");
    column.typed::<ByteArrayType>().write_batch(&ids, Some(&vec![1; ids.len()]), None).expect("write");
    column.close().expect("close");
    group.close().expect("close");
    writer.close().expect("close");
}

/// The violations when `log` and `files` are what is left of six acknowledged events.
fn kinds(log: &[i64], files: &[(&str, &[i64])]) -> Vec<Kind> {
    let dir = tempfile::tempdir().expect("dir");
    files.iter().for_each(|(name, seqs)| write(dir.path(), name, seqs));
    let tag = Tag::of_seed(1);
    let mut ledger = Ledger::default();
    for seq in 1..=6 {
        let items = vec![Item { key: key(seq), bad: false }];
        let request = ledger.sending(Shape::Single, items).expect("memory");
        ledger.acked(request.id, Some(seq as u64), Some(false)).expect("memory");
    }
    let line = |seq: &i64| format!("{{\"seq\":{seq},\"eventId\":\"{}\"}}\n", tag.event_id(key(*seq)));
    let dump: String = log.iter().map(line).collect();
    let stored = (Stored::from_dump(&tag, dump.as_bytes()), Stored::from_files(&tag, dir.path()));
    let (_, violations) = audit(&mut ledger, stored.0, stored.1, Files::Complete).expect("memory");
    violations.iter().map(|violation| violation.kind).collect()
}

#[test]
fn a_trimmed_log_and_complete_files_are_sound() {
    assert_eq!(kinds(&[5, 6], &[("a.parquet", &[1, 2, 3]), ("b.parquet", &[4, 5, 6])]), []);
}

#[test]
fn a_row_written_twice_is_noticed() {
    assert_eq!(kinds(&[5, 6], &[("a.parquet", &[1, 2, 3, 4]), ("b.parquet", &[4, 5, 6])]), [Kind::Doubled]);
}

#[test]
fn a_missing_row_is_noticed_in_the_files_and_as_a_loss_if_the_log_was_trimmed() {
    assert_eq!(kinds(&[1, 2, 3, 4, 5, 6], &[("a.parquet", &[1, 2, 4, 5, 6])]), [Kind::Sink]);
    assert_eq!(kinds(&[5, 6], &[("a.parquet", &[1, 2, 4, 5, 6])]), [Kind::Lost, Kind::Sink]);
}

#[test]
fn files_that_end_early_after_a_drain_are_noticed() {
    assert_eq!(kinds(&[1, 2, 3, 4, 5, 6], &[("a.parquet", &[1, 2, 3])]), [Kind::Sink]);
}
