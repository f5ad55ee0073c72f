//! Logs that earlier releases wrote open for ever.

mod support;

use event::{Seq, UnixMicros};
use std::ops::ControlFlow;
use std::path::Path;
use support::{append, crash_image, open};
use wal::Family;

#[test]
fn a_log_of_format_1_opens_and_goes_on() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/format-1");
    let dir = tempfile::tempdir().unwrap();
    crash_image(&fixture, dir.path());
    let mut log = open(dir.path());
    assert!(!log.recovery.clean, "it was left by a crash");
    assert_eq!((log.recovery.next.get(), log.recovery.mark.get()), (31, 30));
    let mut events = Vec::new();
    let mut scratch = Vec::new();
    log.reader
        .read(Seq::FIRST, |block, _| {
            block
                .visit(&mut scratch, |event| {
                    let seq = event.seq.get();
                    let round = (seq - 1) / 10;
                    assert_eq!(event.raw, format!("{{\"eventId\":\"e{seq}\",\"round\":{round}}}").as_bytes());
                    assert_eq!(event.committed_at, UnixMicros::new(1_700_000_000_000_000 + round as i64));
                    assert_eq!(event.event_type, 3);
                    let tenant = if round == 1 { "acme" } else { "default" };
                    assert_eq!(event.segment.tenant, tenant);
                    assert_eq!(event.segment.traceparent.is_some(), round == 1);
                    let id = (round == 1).then(|| format!("e{seq}"));
                    assert_eq!(event.event_id, id.as_deref().map(str::as_bytes));
                    assert_eq!(event.timestamp.is_some(), round == 1);
                    events.push(seq);
                })
                .unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    assert_eq!(events, (1..=30).collect::<Vec<_>>());
    let mut ids = Vec::new();
    log.reader.ids(|_, list| ids.extend(list.iter())).unwrap();
    assert_eq!(ids, (1..=30u32).map(|seq| ((u128::from(seq) << 64) | 7, seq)).collect::<Vec<_>>());
    assert_eq!(log.reader.get(Family::Cursor, b"parquet").unwrap().unwrap(), 5u64.to_be_bytes());
    assert_eq!(log.reader.history().unwrap().len(), 1);
    append(&mut log.writer, 2, 10);
    assert_eq!(log.writer.next().get(), 33);
}
