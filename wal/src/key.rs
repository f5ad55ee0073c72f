//! Keys: big-endian, so that byte order is numeric order.

use event::Seq;

/// Key of a group in `log` and `ids`.
pub(crate) fn of(seq: Seq) -> [u8; 8] {
    seq.get().to_be_bytes()
}

/// The position a key of `log` or `ids` stands for; `None` for a key of another length.
pub(crate) fn seq(key: &[u8]) -> Option<Seq> {
    key.try_into().ok().map(|bytes| Seq::new(u64::from_be_bytes(bytes)))
}
