use crate::CONTROL_BYTES_MAX;
use crate::decode::Kind;
use crate::head::Head;
use crate::mask;

/// A control frame is at most its six-byte head and its payload; a data frame's head is shorter than that.
const TAIL_BYTES_MAX: usize = 6 + CONTROL_BYTES_MAX;

/// The smallest allocation for a message whose length is not known, so that tiny fragments do not each grow it.
const MESSAGE_BYTES_MIN: usize = 1024;

/// Bytes as received that are too few to act on: part of a head or of a control frame.
#[derive(Clone, Copy)]
pub(crate) struct Tail {
    bytes: [u8; TAIL_BYTES_MAX],
    len: u8,
}

impl Tail {
    pub(crate) fn as_slice(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }

    pub(crate) fn as_mut_slice(&mut self) -> &mut [u8] {
        &mut self.bytes[..usize::from(self.len)]
    }

    /// Appends; the caller never offers more than one head or control frame.
    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let start = usize::from(self.len);
        let end = start + bytes.len();
        self.bytes[start..end].copy_from_slice(bytes);
        self.len = end as u8;
    }
}

/// What a connection keeps while something is incomplete; on the heap, and gone as soon as nothing is.
pub(crate) struct Partial {
    /// The open message's payload so far, unmasked.
    message: Vec<u8>,
    /// What the open message is; `None` while only a tail is kept.
    pub(crate) kind: Option<Kind>,
    /// Payload bytes of the current data frame that are still to come; 0 between frames.
    remaining: usize,
    /// The mask key for the next payload byte.
    key: [u8; 4],
    /// The current data frame ends the message.
    fin: bool,
    pub(crate) tail: Tail,
}

// `Decoder::buffered` promises it.
const _: () = assert!(size_of::<Partial>() <= 256);

impl Default for Partial {
    fn default() -> Self {
        Partial {
            message: Vec::new(),
            kind: None,
            remaining: 0,
            key: [0; 4],
            fin: false,
            tail: Tail { bytes: [0; TAIL_BYTES_MAX], len: 0 },
        }
    }
}

impl Partial {
    /// The open message's bytes so far.
    pub(crate) fn message_bytes(&self) -> usize {
        self.message.len()
    }

    /// Heap bytes held, this structure included.
    pub(crate) fn heap_bytes(&self) -> usize {
        size_of::<Self>() + self.message.capacity()
    }

    pub(crate) fn is_inside_frame(&self) -> bool {
        self.remaining > 0
    }

    /// The tail, to act on; none is kept afterwards.
    pub(crate) fn take_tail(&mut self) -> Tail {
        let tail = self.tail;
        self.tail.len = 0;
        tail
    }

    pub(crate) fn into_message(self) -> Vec<u8> {
        self.message
    }

    /// Starts a data frame; `len` is the head's, checked against the limit.
    pub(crate) fn begin(&mut self, head: &Head, len: usize) {
        debug_assert_eq!(self.remaining, 0, "a frame begins where the last one ended");
        self.remaining = len;
        self.key = head.key;
        self.fin = head.fin;
    }

    /// Takes the next payload bytes of the current frame from the front of `bytes`, unmasking them in place on the
    /// way, and says how many; `limit` bounds the allocation.
    pub(crate) fn absorb(&mut self, bytes: &mut [u8], limit: usize) -> usize {
        let taken = self.remaining.min(bytes.len());
        let payload = &mut bytes[..taken];
        mask::unmask(payload, self.key);
        self.key = mask::rotate(self.key, taken);
        self.reserve(taken, limit);
        self.message.extend_from_slice(payload);
        self.remaining -= taken;
        taken
    }

    /// The message is complete.
    pub(crate) fn is_whole(&self) -> bool {
        self.kind.is_some() && self.fin && self.remaining == 0
    }

    /// Makes room for `more` bytes. Memory follows what has arrived, not what a head announces, or a client could
    /// claim megabytes with fourteen bytes; doubling keeps copying linear, the known end keeps it exact.
    fn reserve(&mut self, more: usize, limit: usize) {
        let needed = self.message.len() + more;
        let capacity = self.message.capacity();
        if needed <= capacity {
            return;
        }
        let end = if self.fin { self.message.len() + self.remaining } else { limit };
        let target = (capacity * 2).max(MESSAGE_BYTES_MIN).min(end).max(needed);
        self.message.reserve_exact(target - self.message.len());
    }
}
