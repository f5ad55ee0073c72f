use super::*;
use event::{Seq, UnixMicros};
use proptest::prelude::*;

type Owned = (Option<Vec<u8>>, Option<Vec<u8>>, Vec<u8>);

fn meta<'a>(tenant: &'a str, traceparent: Option<&'a str>) -> SegmentMeta<'a> {
    SegmentMeta { tenant, source: 1, received_at: UnixMicros::new(77), traceparent }
}

fn encode(requests: &[(String, Vec<Owned>, bool)], first: Seq) -> Vec<u8> {
    let mut writer = BlockWriter::default();
    writer.begin();
    for (tenant, events, pack) in requests {
        let mut records = Vec::new();
        for (id, at, raw) in events {
            put_record(&mut records, 3, id.as_deref(), at.as_deref(), raw);
        }
        let meta = meta(tenant, None);
        if *pack {
            let packed = lz4_flex::block::compress(&records);
            writer.packed(&meta, &packed, records.len(), events.len() as u32);
        } else {
            writer.whole(&meta, &records, events.len() as u32);
        }
    }
    writer.finish(first, UnixMicros::new(99)).to_vec()
}

fn decode(first: Seq, value: &[u8]) -> Result<Vec<(Seq, String, Owned)>, Corrupt> {
    let mut out = Vec::new();
    Block::parse(first, value)?.visit(&mut Vec::new(), |event| {
        out.push((
            event.seq,
            event.segment.tenant.to_owned(),
            (event.event_id.map(<[u8]>::to_vec), event.timestamp.map(<[u8]>::to_vec), event.raw.to_vec()),
        ));
    })?;
    Ok(out)
}

fn meant_of(events: &[(Seq, String, Owned)], is_meant: impl Fn(Seq) -> bool) -> usize {
    events.iter().filter(|(seq, ..)| is_meant(*seq)).count()
}

fn events() -> impl Strategy<Value = Vec<Owned>> {
    let bytes = || proptest::collection::vec(any::<u8>(), 0..80);
    proptest::collection::vec((proptest::option::of(bytes()), proptest::option::of(bytes()), bytes()), 1..6)
}

proptest! {
    #[test]
    fn what_is_written_is_read_back(
        requests in proptest::collection::vec(("[a-z]{1,9}", events(), any::<bool>()), 1..5),
        first in 1u64..1 << 40,
    ) {
        let value = encode(&requests, Seq::new(first));
        let read = decode(Seq::new(first), &value).unwrap();
        let wrote: Vec<_> = requests.iter()
            .flat_map(|(tenant, events, _)| events.iter().map(|event| (tenant.clone(), event.clone())))
            .enumerate()
            .map(|(n, (tenant, event))| (Seq::new(first + n as u64), tenant, event))
            .collect();
        prop_assert_eq!(read, wrote);
    }

    #[test]
    fn a_flipped_bit_is_found(requests in proptest::collection::vec(("[a-z]{1,9}", events(), any::<bool>()), 1..3), at in any::<proptest::sample::Index>(), bit in 0u8..8) {
        let mut value = encode(&requests, Seq::FIRST);
        let at = at.index(value.len());
        value[at] ^= 1 << bit;
        prop_assert!(decode(Seq::FIRST, &value).is_err());
    }

    #[test]
    fn what_is_erased_leaves_its_position_and_the_rest_as_it_was(
        requests in proptest::collection::vec(("[a-z]{1,9}", events(), any::<bool>()), 1..4),
        first in 1u64..1 << 40,
        meant in proptest::collection::hash_set(0u64..16, 0..8),
    ) {
        let (value, first) = (encode(&requests, Seq::new(first)), Seq::new(first));
        let is_meant = |seq: Seq| meant.contains(&seq.since(first));
        let before = decode(first, &value).unwrap();
        let kept: Vec<_> = before.iter().filter(|(seq, ..)| !is_meant(*seq)).cloned().collect();
        match erase(first, &value, is_meant).unwrap() {
            None => prop_assert_eq!(kept, before),
            Some(rest) => {
                prop_assert_eq!(decode(first, &rest).unwrap(), kept);
                let block = Block::parse(first, &rest).unwrap();
                prop_assert_eq!(block.events() as usize, before.len());
                let mut positions = Vec::new();
                block.visit_slots(&mut Vec::new(), |slot| positions.push(match slot {
                    Slot::Event(event) => event.seq,
                    Slot::Erased(seq) => seq,
                })).unwrap();
                prop_assert!(positions.iter().eq(before.iter().map(|(seq, ..)| seq)));
                prop_assert!(erase(first, &rest, is_meant).unwrap().is_none(), "nothing is left to erase");
                let again = erase(first, &rest, |_| true).unwrap();
                prop_assert_eq!(again.is_none(), block.events() as usize == meant_of(&before, is_meant));
            }
        }
    }

    #[test]
    fn what_lies_behind_the_checksum_of_version_2_is_counted_as_its_head_says_or_refused(
        requests in proptest::collection::vec(("[a-z]{1,9}", events(), any::<bool>()), 1..4),
        meant in 0u64..4,
        at in any::<proptest::sample::Index>(),
        to in any::<u8>(),
    ) {
        let value = encode(&requests, Seq::FIRST);
        let Some(mut rest) = erase(Seq::FIRST, &value, |seq| seq.get() % 4 == meant).unwrap() else { return Ok(()) };
        let at = 24 + at.index(rest.len() - 24);
        rest[at] = to;
        let sum = checksum(&rest, Seq::FIRST);
        rest[16..24].copy_from_slice(&sum.to_le_bytes());
        let block = Block::parse(Seq::FIRST, &rest).unwrap();
        let mut positions = Vec::new();
        let visited = block.visit_slots(&mut Vec::new(), |slot| positions.push(match slot {
            Slot::Event(event) => event.seq,
            Slot::Erased(seq) => seq,
        }));
        let wanted: Vec<_> = (1..=u64::from(block.events())).map(Seq::new).collect();
        prop_assert!(visited.is_err() || positions == wanted);
        let again = erase(Seq::FIRST, &rest, |_| true);
        prop_assert!(visited.is_ok() == again.is_ok());
    }

    #[test]
    fn garbage_never_panics(value in proptest::collection::vec(any::<u8>(), 0..200)) {
        // The answer does not matter, coming back does.
        let _block = decode(Seq::FIRST, &value).is_ok();
        let _ids = IdList::parse(Seq::FIRST, &value).is_ok();
    }
}

#[test]
fn a_block_under_another_key_is_found() {
    let value = encode(&[("t".into(), vec![(None, None, b"{}".to_vec())], false)], Seq::FIRST);
    assert_eq!(decode(Seq::new(2), &value).unwrap_err(), Corrupt::Checksum);
}

#[test]
fn a_newer_version_is_named() {
    let mut value = encode(&[("t".into(), vec![(None, None, b"{}".to_vec())], false)], Seq::FIRST);
    value[0] = 9;
    assert_eq!(decode(Seq::FIRST, &value).unwrap_err(), Corrupt::Version { what: "block", version: 9 });
}

#[test]
fn duplicates_can_be_left_out_of_a_request() {
    let mut records = Vec::new();
    let mut ranges = Vec::new();
    for raw in [b"one".as_slice(), b"two", b"three"] {
        let start = records.len();
        put_record(&mut records, 0, None, None, raw);
        ranges.push(start..records.len());
    }
    let mut writer = BlockWriter::default();
    writer.begin();
    writer.some(&meta("t", Some("00-ab-cd-01")), &records, &[ranges[0].clone(), ranges[2].clone()]);
    let value = writer.finish(Seq::new(5), UnixMicros::new(1)).to_vec();
    let read: Vec<_> =
        decode(Seq::new(5), &value).unwrap().into_iter().map(|(seq, _, event)| (seq.get(), event.2)).collect();
    assert_eq!(read, [(5, b"one".to_vec()), (6, b"three".to_vec())]);
}

#[test]
fn nothing_of_an_erased_event_is_left_in_the_bytes() {
    let event = |text: &str| (Some(text.as_bytes().to_vec()), None, format!("{{\"userId\":\"{text}\"}}").into_bytes());
    let value = encode(&[("t".into(), vec![event("wanda"), event("victor")], false)], Seq::FIRST);
    let holds = |bytes: &[u8], text: &str| bytes.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds(&value, "victor"));
    let rest = erase(Seq::FIRST, &value, |seq| seq == Seq::new(2)).unwrap().unwrap();
    assert!(!holds(&rest, "victor") && holds(&rest, "wanda"));
    assert_eq!(rest[0], 2, "no release that knows only version 1 takes it for what it was");
}

#[test]
fn version_2_never_changes() {
    let value = encode(&[("t".into(), vec![(None, None, b"{}".to_vec()); 2], false)], Seq::new(7));
    let rest = erase(Seq::new(7), &value, |seq| seq == Seq::new(8)).unwrap().unwrap();
    let segment = 24;
    let records = rest.len() - 18;
    assert_eq!((rest[0], rest[2], rest[4], rest[8]), (2, 1, 2, 99), "its head is that of version 1");
    assert_eq!(rest[segment], 18, "so many bytes has the segment");
    assert_eq!(&rest[records..records + 10], b"\x02\0\0\0\0\0\x03\0{}", "an event");
    assert_eq!(&rest[records + 10..], b"\0\0\0\0\0\0\xff\x01", "one that is erased");
}

#[test]
fn id_lists_come_back_in_order() {
    let mut writer = IdListWriter::default();
    writer.begin();
    writer.push(1 << 100, 7);
    writer.push(2, 8);
    let value = writer.finish(Seq::new(3), UnixMicros::new(4)).to_vec();
    let list = IdList::parse(Seq::new(3), &value).unwrap();
    assert_eq!(list.committed_at(), UnixMicros::new(4));
    assert_eq!(list.iter().collect::<Vec<_>>(), [(1 << 100, 7), (2, 8)]);
    assert_eq!(IdList::parse(Seq::new(4), &value).unwrap_err(), Corrupt::Checksum);
}
