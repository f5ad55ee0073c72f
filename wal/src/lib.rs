//! The write-ahead log: the only crate that knows RocksDB.
//!
//! [`open`] gives a [`Writer`] (one, for the one writer thread) and a [`Reader`] (clone at will). A [`Group`] is what
//! one round of the writer makes durable together: one block of events, the list of their ids and whatever else must
//! live or die with them, in ONE RocksDB write that is fdatasynced before [`Writer::commit`] returns.
//!
//! # Layout of a data folder
//!
//! ```text
//! log/         RocksDB: its WAL is what an answer waits for, its tables hold what sinks have not taken yet
//! mark         the high-water mark: what was acknowledged and synced, at most 100 ms old
//! clean        present only after a clean stop
//! evidence/    hard links to RocksDB's WAL files after an unclean stop, until continuity is checked
//! quarantine/  the log as it was before a `repair`
//! format       1, or 2 once something was erased from the log
//! ```
//!
//! # Column families
//!
//! | family | key | value |
//! |---|---|---|
//! | `log` | first seq of a group, u64 big-endian | a block (crate `record`) |
//! | `ids` | the same key | the group's id list, kept for the dedup window whatever the log's trim |
//! | `cursor` | sink name | position up to which the sink has everything |
//! | `manifest` | sink name, 0, number | a frozen batch on its way to a sink |
//! | `dead` | dead-letter id, u64 big-endian | a dead letter |
//! | `idempotency` | time, key digest | body digest and answer |
//! | `projection` | free | small state that changes with events |
//! | `meta` | name | node id, secrets, incarnations, format, trim, known gaps, steps of the clock, whether it is a copy |
//!
//! Why one key per group and not one per event: `docs/decisions/0001-block-layout.md`.

mod background;
mod checkpoint;
mod copy;
mod durability;
mod erase;
mod error;
mod evidence;
mod examine;
mod family;
mod format;
mod identity;
mod key;
mod lock;
mod mark;
mod open;
mod poison;
mod pulse;
mod reader;
mod repair;
mod salvage;
mod sync_timer;
mod trim;
mod verify;
mod view;
mod writer;

pub use checkpoint::{Checkpoint, CheckpointError, Checkpointer, Progress};
pub use copy::{CopyMark, CopyUse};
pub use durability::Durability;
pub use erase::{EraseError, Eraser};
pub use error::{CommitError, OpenError, ReadError};
pub use examine::{Examined, examine};
pub use family::Family;
pub use identity::{Identity, Incarnation};
pub use open::{Opened, Options, Recovery, open};
pub use poison::Poison;
pub use reader::{Reader, SizeReport};
pub use repair::{Fingerprinting, RepairReport, repair};
pub use trim::Trimmer;
pub use verify::{Damage, Gap, VerifyReport};
pub use view::open_read_only;
pub use writer::{Group, Write, Writer};
