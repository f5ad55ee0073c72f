//! Logs that earlier releases wrote open for ever.

mod support;

use event::{Seq, UnixMicros};
use record::Slot;
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

/// An event of the log of format 2; those from 21 on are long enough to be packed.
fn of_format_2(seq: u64) -> String {
    let text = if (21..=30).contains(&seq) { "to be packed ".repeat(50) } else { String::new() };
    format!(
        r#"{{"eventId":"e{seq}","eventType":"cart_created","timestamp":"2024-05-01T11:59:00Z","userId":"kept","sessionId":"s","storeId":"st","data":{{"cartId":"{seq}","text":"{text}"}}}}"#
    )
}

/// Left by a daemon that was killed in the middle of an erasure. Before that another one had erased all of the second
/// request, the last event of the third and two of the fourth; of this one, six events of the fifth, there is nothing yet but
/// in the WAL: old block and new.
#[test]
fn a_log_of_format_2_opens_and_goes_on_and_what_is_erased_has_its_place() {
    let fixture = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixture/format-2");
    let dir = tempfile::tempdir().unwrap();
    crash_image(&fixture, dir.path());
    assert_eq!(std::fs::read_to_string(dir.path().join("format")).unwrap(), "2\n");
    let wanted: [u64; 13] = [11, 12, 13, 14, 20, 21, 25, 31, 32, 33, 34, 35, 36];
    let report = wal::examine(dir.path()).unwrap().verify(|_| {});
    assert!(report.is_intact(), "{report:?}");
    assert_eq!((report.blocks, report.events, report.erased, report.end), (5, 27, 13, Seq::new(40)));
    let mut log = open(dir.path());
    assert_eq!((log.recovery.next.get(), log.recovery.mark.get()), (41, 40));
    let (mut blocks, mut events, mut erased, mut scratch) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    log.reader
        .read(Seq::FIRST, |block, _| {
            let at = block.committed_at().get() - 1_795_956_171_000_000;
            blocks.push((block.first().get(), block.has_erased(), at));
            block
                .visit_slots(&mut scratch, |slot| match slot {
                    Slot::Event(event) => {
                        let seq = event.seq.get();
                        assert_eq!(event.raw, of_format_2(seq).as_bytes());
                        assert_eq!(event.segment.tenant, "default");
                        assert_eq!(event.segment.traceparent.is_some(), (15..=19).contains(&seq));
                        events.push(seq);
                    }
                    Slot::Erased(seq) => erased.push(seq.get()),
                })
                .unwrap();
            ControlFlow::Continue(())
        })
        .unwrap();
    let of_blocks =
        [(1, false, 524_667), (11, true, 545_797), (15, true, 567_324), (21, true, 586_522), (31, true, 804_945)];
    assert_eq!(blocks, of_blocks);
    assert_eq!(erased, wanted);
    assert_eq!(events, (1..=40).filter(|seq| !wanted.contains(seq)).collect::<Vec<u64>>());
    // Whoever sends one of them again is known all the same.
    let mut ids = 0;
    log.reader.ids(|_, list| ids += list.len()).unwrap();
    assert_eq!(ids, 40);
    // What the run that was killed has left for the next one to merge.
    let unsettled = log.reader.get(Family::Projection, b"erasure/unsettled").unwrap().unwrap();
    assert_eq!(unsettled, [31u64.to_be_bytes(), 31u64.to_be_bytes()].concat());
    assert_eq!(log.reader.history().unwrap().len(), 2);
    append(&mut log.writer, 2, 10);
    assert_eq!(log.writer.next().get(), 43);
}
