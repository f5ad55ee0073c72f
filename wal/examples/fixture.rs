//! Writes a small log, to be kept as a fixture of the format: `cargo run -p wal --example fixture -- FOLDER`.
//!
//! 30 events in three groups, one of them with a tenant, trace context and envelope ids, one packed with LZ4; the first
//! two groups in tables, the last in the WAL; stopped as by a crash.

use event::{Seq, UnixMicros};
use record::{BlockWriter, IdListWriter, SegmentMeta, put_record};
use std::path::PathBuf;
use wal::{Family, Group, Options, Write, Writer};

fn main() {
    let folder = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "fixture".into()));
    let mut log = wal::open(&folder, &Options::default()).expect("a new folder");
    for round in 0..3 {
        append(&mut log.writer, round);
        if round == 1 {
            log.reader.flush().expect("tables");
        }
    }
    // The mark follows within 100 ms; then the process ends without closing the log.
    std::thread::sleep(std::time::Duration::from_millis(500));
    std::process::exit(0);
}

fn append(writer: &mut Writer, round: u64) {
    let first = writer.next();
    let at = UnixMicros::new(1_700_000_000_000_000 + round as i64);
    let mut records = Vec::new();
    let (mut block, mut ids) = (BlockWriter::default(), IdListWriter::default());
    block.begin();
    ids.begin();
    for n in 0..10 {
        let seq = first.plus(n);
        let raw = format!("{{\"eventId\":\"e{seq}\",\"round\":{round}}}");
        let (id, time) = (format!("e{seq}"), "2023-11-14T22:13:20Z");
        let envelope = (round == 1).then_some((id.as_bytes(), time.as_bytes()));
        put_record(&mut records, 3, envelope.map(|one| one.0), envelope.map(|one| one.1), raw.as_bytes());
        ids.push(u128::from(seq.get()) << 64 | 7, seq.get() as u32);
    }
    let tenant = if round == 1 { "acme" } else { "default" };
    let traceparent = (round == 1).then_some("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
    let meta = SegmentMeta { tenant, source: 1, received_at: at, traceparent };
    if round == 2 {
        let packed = lz4_flex::block::compress(&records);
        block.packed(&meta, &packed, records.len(), 10);
    } else {
        block.whole(&meta, &records, 10);
    }
    let writes = [Write::Put(Family::Cursor, b"parquet".to_vec(), Seq::new(5).get().to_be_bytes().to_vec())];
    let events = Some((10, block.finish(first, at), ids.finish(first, at)));
    writer.commit(&Group { events, writes: &writes }).expect("a commit");
}
