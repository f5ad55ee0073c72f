use event::Seq;
use record::{Block, IdList};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

pub fn check(input: &[u8]) {
    let key = Seq::new(input.len() as u64 + 1);
    read(key, input);
    let mut value = input.to_vec();
    if value.len() >= 24 {
        // A checksum that fits lets the input past the door.
        value[0] = 1;
        let sum = xxh3_64_with_seed(&value[24..], xxh3_64(&value[..16]) ^ key.get());
        value[16..24].copy_from_slice(&sum.to_le_bytes());
    }
    read(key, &value);
}

fn read(key: Seq, value: &[u8]) {
    if let Ok(block) = Block::parse(key, value) {
        let mut next = block.first();
        let visited = block.visit(&mut Vec::new(), |event| {
            assert_eq!(event.seq, next);
            next = next.next();
        });
        if visited.is_ok() {
            assert_eq!(next, block.last().next());
        }
    }
    if let Ok(ids) = IdList::parse(key, value) {
        assert_eq!(ids.iter().count(), ids.len());
        assert!(!ids.is_empty());
    }
}
