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
//! | `idempotency` | time, key digest | body digest and answer; behind it whose it is |
//! | `projection` | free | small state that changes with events |
//! | `meta` | name | node id, secrets, incarnations, format, trim, known gaps, steps of the clock, whether it is a copy |
//!
//! # One key per group
//!
//! Events committed and synced by prototypes of both layouts, before this was written, on two cores of an EPYC (Zen 5) with
//! ext4 on virtio, events of 480 bytes; the rest is arithmetic:
//!
//! | | a key per event | a block per group |
//! |---|---|---|
//! | groups of 64 | 260,000 to 420,000 ev/s | 360,000 to 460,000 ev/s |
//! | groups of 4,096 | 640,000 to 1,440,000 ev/s | 1,800,000 to 2,300,000 ev/s |
//! | read for a sink | 2.3 to 4.3 GB/s | more than 10 GB/s |
//! | RocksDB's own bytes in the WAL (tag, family, lengths, key) | 13 an event | 13 a group, and as many for its ids |
//! | dedup ids as stored | a second key per event: half the rate | 20 B each in the group's list, read back at start at the disk's speed |
//!
//! What this crate does is row 4 of `bench/RESULTS.md`: groups of 512, beside the same bytes in a plain file of blocks
//! already written. Why, and the price: `docs/decisions/0001-block-layout.md`.

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
mod room;
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
pub use repair::{Fingerprinting, Remade, RepairReport, repair};
pub use trim::Trimmer;
pub use verify::{Damage, Gap, VerifyReport};
pub use view::open_read_only;
pub use writer::{Group, Write, Writer};
