use event::Seq;
use record::{Block, IdList, Slot};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// Versions of blocks: without and with events that are erased.
const VERSIONS: [u8; 2] = [1, 2];

pub fn check(input: &[u8]) {
    let key = Seq::new(input.len() as u64 + 1);
    read(key, input);
    if input.len() < 24 {
        return;
    }
    let mut value = input.to_vec();
    for version in VERSIONS {
        // A checksum that fits lets the input past the door.
        value[0] = version;
        let sum = xxh3_64_with_seed(&value[24..], xxh3_64(&value[..16]) ^ key.get());
        value[16..24].copy_from_slice(&sum.to_le_bytes());
        read(key, &value);
    }
}

/// The events of a block whose positions are all there.
fn events(block: &Block<'_>) -> Option<Vec<(Seq, Vec<u8>)>> {
    let (mut next, mut events) = (block.first(), Vec::new());
    let visited = block.visit_slots(&mut Vec::new(), |slot| {
        let seq = match slot {
            Slot::Event(event) => {
                events.push((event.seq, event.raw.to_vec()));
                event.seq
            }
            Slot::Erased(seq) => seq,
        };
        assert_eq!(seq, next);
        next = next.next();
    });
    visited.ok()?;
    assert_eq!(next, block.last().next());
    Some(events)
}

fn read(key: Seq, value: &[u8]) {
    if let Ok(block) = Block::parse(key, value) {
        let found = events(&block);
        let mut seen = Vec::new();
        let visited = block.visit(&mut Vec::new(), |event| seen.push((event.seq, event.raw.to_vec())));
        assert_eq!(visited.is_ok(), found.is_some());
        if let Some(found) = found {
            assert_eq!(seen, found);
            if block.has_erased() {
                // Version 1 has no kinds of records: there the byte may be anything.
                erase(key, value, &found);
            } else {
                assert_eq!(found.len(), block.events() as usize);
            }
        }
    }
    if let Ok(ids) = IdList::parse(key, value) {
        assert_eq!(ids.iter().count(), ids.len());
        assert!(!ids.is_empty());
    }
}

/// What is erased is gone, and the rest is where and what it was.
fn erase(key: Seq, value: &[u8], found: &[(Seq, Vec<u8>)]) {
    let is_meant = |seq: Seq| seq.get().is_multiple_of(3);
    let kept: Vec<_> = found.iter().filter(|(seq, _)| !is_meant(*seq)).cloned().collect();
    match record::erase(key, value, is_meant).expect("it was read before") {
        None => assert_eq!(kept.len(), found.len()),
        Some(rest) => {
            let block = Block::parse(key, &rest).expect("what is written can be read");
            assert!(block.has_erased());
            assert_eq!(events(&block), Some(kept));
        }
    }
}
