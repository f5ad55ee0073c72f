/// A step of an event's way whose duration is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Stage {
    /// From the taking over of a connection to the first turn of its own task: how long an acceptor's loop is.
    Accept,
    /// From the request's last byte to a prepared batch.
    Parse,
    /// From a prepared request to the writer's taking it: the outbox and the ring.
    Enqueue,
    /// Dropping duplicates and building the block.
    Encode,
    /// The commit of a group, its write and fdatasync included.
    Commit,
    /// Of that, the write to the log's file and its fdatasync, where the group was synced.
    Fsync,
    /// From stable storage to the request's own task, which writes the answer.
    Ack,
    /// From the request's head to its answer.
    Request,
    /// Bringing one batch to a sink, until the sink has it for good.
    Ship,
}

/// Upper bounds of the buckets of every stage before the answer, microseconds: close around the promise of 5 ms, and one
/// each for what is far below and far above it.
const ANSWERING: &[u64] = &[
    50, 100, 250, 500, 1_000, 2_000, 3_000, 4_000, 5_000, 7_500, 10_000, 25_000, 50_000, 100_000, 250_000, 1_000_000,
    5_000_000,
];

/// The same for [`Stage::Ship`], which nobody waits for: from a local file to a server that hardly answers.
const SHIPPING: &[u64] = &[
    1_000, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000,
    30_000_000, 60_000_000,
];

impl Stage {
    /// Every stage, in order.
    pub const ALL: [Stage; 9] = [
        Stage::Accept,
        Stage::Parse,
        Stage::Enqueue,
        Stage::Encode,
        Stage::Commit,
        Stage::Fsync,
        Stage::Ack,
        Stage::Request,
        Stage::Ship,
    ];

    /// Most buckets of a stage, that for all which is longer not counted.
    pub(super) const BOUNDS_MAX: usize = ANSWERING.len();

    /// Label and JSON key.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Stage::Accept => "accept",
            Stage::Parse => "parse",
            Stage::Enqueue => "enqueue",
            Stage::Encode => "encode",
            Stage::Commit => "commit",
            Stage::Fsync => "fsync",
            Stage::Ack => "ack",
            Stage::Request => "request",
            Stage::Ship => "ship",
        }
    }

    /// Upper bounds of its buckets, microseconds, ascending.
    #[must_use]
    pub const fn bounds(self) -> &'static [u64] {
        match self {
            Stage::Ship => SHIPPING,
            _ => ANSWERING,
        }
    }
}

const _: () = assert!(SHIPPING.len() <= Stage::BOUNDS_MAX, "room for every stage's buckets");
