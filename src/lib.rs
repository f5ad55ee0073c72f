//! ingestd: the path of an event.
//!
//! ```text
//!          bytes            Submission           Group             receipt             rows
//!  net ──────────► intake ──────────────► commit ──────► wal (fdatasync) ──► answer    deliver ──► world
//!  accept          body, admission,       ring → one writer:                           cursor → frozen
//!  one thread      prepare: parse,        dedup, block,                                batch → sink
//!  per core        validate, encode       one WriteBatch ──► Tail: something was committed ──▲
//!
//!  control: configuration, health, figures, beside it.    daemon: puts it together and takes it apart.
//! ```
//!
//! 1. [`net`] accepts a connection; each acceptor is a thread with its own listening socket, runtime and parser.
//! 2. [`intake`] lets the request in (slots and bytes are bounded), reads and unpacks its body; a plain event that
//!    arrives whole is taken apart where it was read.
//! 3. Crate `prepare` makes one pass of SIMD JSON over it, validates every event and writes the good ones as records,
//!    their bytes as received, into a batch; each gets a keyed 128-bit fingerprint of (tenant, id).
//! 4. The acceptor's [`commit::Desk`] gathers what becomes ready in one turn of its loop and puts it into the ring.
//! 5. The one writer ([`commit::Engine`]) takes what is there, drops duplicates (crate `dedup`), numbers the rest
//!    densely, and commits ONE group: block, id list, dead letters, idempotency answers, control writes.
//! 6. Crate `wal` makes the group durable. Only then do the receipts resolve, one wake per acceptor, and the answers go
//!    out: **202 means fdatasync has returned**. The first failure to write or sync is final: everything waiting is
//!    answered 503 and the process ends.
//! 7. [`deliver`] follows the log behind a durable cursor per sink and ships frozen batches exactly once. A sink that is
//!    down costs disk and nothing else.
//!
//! What a 202 does not say: that a sink has the event; and with durability `interval` or `os` (the answer then says so)
//! that it survives a power cut. Who may import whom is held by `tests/layering.rs`.

pub mod access;
pub mod commit;
pub mod control;
pub mod daemon;
pub mod deliver;
pub mod intake;
pub mod metrics;
pub mod net;
pub mod traces;
