//! The bytes of the log: records, blocks and id lists. Pure encoding and decoding, no I/O.
//!
//! All integers are little-endian. A *group* of requests that is made durable together is one **block** under the key
//! of its first sequence number, and one **id list** under the same key. Sequence numbers are not stored per event:
//! the n-th event of a block has the block's first number plus n.
//!
//! ```text
//! block    0 u8   version = 1, or 2          id list  0 u8   version = 1
//!          1 u8   0                                   1 u8×3 0
//!          2 u16  segments                            4 u32  ids
//!          4 u32  events                              8 i64  committed at, µs since 1970
//!          8 i64  committed at, µs since 1970        16 u64  checksum
//!         16 u64  checksum                           24 ids × { u128 fingerprint, u32 content hash }
//!         24 segments
//!
//! segment  0 u32  stored length of the records       record   0 u32  raw length
//! (one per 4 u32  their length unpacked              (one per 4 u16  extension length
//! request) 8 u32  events                             event)   6 u8   built-in event type, 255 = other
//!         12 u8   codec: 0 plain, 1 LZ4 block                 7 u8   0; in a block of version 2: 1 = erased
//!         13 u8   source (event::Source)                      8 extension, then the bytes as received
//!         14 u16  extension length
//!         16 i64  received at, µs since 1970         extension: { u8 tag, u16 length, bytes } …
//!         24 extension, then the records               segment 1 tenant (absent: "default")  2 traceparent
//!                                                      record  1 event id  2 timestamp — both the content of a JSON
//!                                                              string, where a WebSocket envelope supplied them
//! ```
//!
//! The checksum is XXH3-64 of everything after it, seeded with XXH3-64 of the 16 bytes before it XOR the key, so a
//! block that is moved to another key, cut or changed by one bit is found out. RocksDB has its own CRC32C below; this
//! one also covers what lies in memory and what a tool reads out of a damaged file.
//!
//! Overhead: 24 + 20 bytes per group, 24 per request, 8 + 20 (fingerprint and content hash) per event.
//!
//! Version 2 is version 1 with [erased](erase) events: each keeps its position and nothing else. It has a number of its own
//! because a reader that passed over the mark would take such a record for an event of no bytes.
//!
//! What may never change: the meaning of version 1. A new layout gets a new version byte; unknown tags are skipped,
//! so a tag may be added without one.

mod block;
mod erase;
mod extension;
mod idlist;
mod segment;

pub use block::{Block, BlockWriter, EventView, Slot};
pub use erase::erase;
pub use extension::{Extension, RecordTag, SegmentTag};
pub use idlist::{IdList, IdListWriter};
pub use segment::{SegmentMeta, pack, put_record};

/// The tenant of events that came in where no authentication is configured; not stored.
pub const DEFAULT_TENANT: &str = "default";

/// A block or id list that cannot be what was written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Corrupt {
    /// It ends before the length it declares.
    #[error("{what} cut short: needs {needed} bytes, has {has}")]
    Short {
        /// The part that is cut.
        what: &'static str,
        /// Bytes needed.
        needed: usize,
        /// Bytes there.
        has: usize,
    },
    /// Written by a newer release, or garbage.
    #[error("unknown {what} version {version}")]
    Version {
        /// Block or id list.
        what: &'static str,
        /// The version byte found.
        version: u8,
    },
    /// The checksum does not match the content and key.
    #[error("checksum mismatch")]
    Checksum,
    /// Counts or lengths contradict each other.
    #[error("inconsistent {0}")]
    Inconsistent(&'static str),
    /// A packed segment that cannot be unpacked.
    #[error("segment cannot be unpacked")]
    Packed,
}

/// Seed of the checksum: ties the content to its header and key.
fn seed(head: &[u8], key: event::Seq) -> u64 {
    xxhash_rust::xxh3::xxh3_64(head) ^ key.get()
}

fn checksum(value: &[u8], key: event::Seq) -> u64 {
    xxhash_rust::xxh3::xxh3_64_with_seed(&value[24..], seed(&value[..16], key))
}

/// A reader of little-endian fields that cannot run past the end.
struct Fields<'a> {
    rest: &'a [u8],
    what: &'static str,
}

impl<'a> Fields<'a> {
    fn new(rest: &'a [u8], what: &'static str) -> Self {
        Fields { rest, what }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], Corrupt> {
        let Some((head, rest)) = self.rest.split_at_checked(len) else {
            return Err(Corrupt::Short { what: self.what, needed: len, has: self.rest.len() });
        };
        self.rest = rest;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], Corrupt> {
        let mut out = [0; N];
        out.copy_from_slice(self.take(N)?);
        Ok(out)
    }

    fn u8(&mut self) -> Result<u8, Corrupt> {
        Ok(self.array::<1>()?[0])
    }

    fn u16(&mut self) -> Result<u16, Corrupt> {
        self.array().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Result<u32, Corrupt> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Result<u64, Corrupt> {
        self.array().map(u64::from_le_bytes)
    }

    fn i64(&mut self) -> Result<i64, Corrupt> {
        self.array().map(i64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests;
