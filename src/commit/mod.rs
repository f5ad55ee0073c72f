//! From batch to stable storage: one ring, one writer thread, one commit at a time.
//!
//! ```text
//! Desk::submit ─► ring ─► Engine: gather → dedup → block → wal commit → receipts ─► Mailbox ─► Desk (wakes the task)
//! Probe::pass ─► (the same way, and back)
//! Control::write ───────►        (ahead of the ring)                    └─► Tail, Hub
//! ```

mod ages;
mod assemble;
mod boot_id;
mod budget;
mod clock;
mod control;
mod dead_letter;
mod desk;
mod engine;
mod holders;
mod hub;
mod idempotency;
mod letter_order;
mod outcomes;
mod probe;
mod recent;
mod store;
mod submission;
mod tail;
mod timeline;

pub use ages::Ages;
pub use budget::{Budget, Permit};
pub use control::{Control, StopHandle};
pub use dead_letter::{
    DeadDraft, DeadLetter, DeadLetterLimits, decode as decode_dead_letter, next_id as next_dead_letter,
    starts as dead_letter_starts,
};
pub use desk::{Desk, DeskSeed, Pending, Settled};
pub use engine::{Engine, EngineParts, GroupLimits};
pub use hub::{Confirmation, ConfirmationStatus, Hub, Listener, Missed};
pub use idempotency::{Begin, Claim, Idempotency, IdempotencyLimits, Remembered};
pub use letter_order::{Beside, LetterOrder, Ordered, Replay, Whose};
pub use probe::{Probe, Stuck};
pub use recent::RecentBlock;
pub use store::Store;
pub use submission::{Reject, Submission};
pub use tail::{Delivered, Tail};
pub use timeline::Timeline;
