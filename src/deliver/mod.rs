//! From the log to the world: each sink follows the log at its own pace, behind its own durable cursor.
//!
//! ```text
//! Tail (something was committed) ─► Consumer: cursor → blocks → events ─► Destination: batch
//!                                                                              │ full, old, midnight, flush, stop
//!         Control::write ◄── cursor + manifest away ◄── send ◄── manifest ◄── freeze
//! ```
//!
//! A batch is *frozen* before it is sent: its range is stored durably as a [`Manifest`], and from then on that range
//! and no other is sent, also after a crash. The cursor moves, and the manifest goes, in one write, once the
//! destination has the batch. A destination that cannot be reached is tried again with growing pauses; it costs disk
//! (the log cannot be trimmed past its cursor) and nothing else.

mod backlog;
mod backoff;
mod burial;
mod consumer;
mod cursor;
mod destination;
mod expired;
mod failure_code;
mod flush;
mod given_up;
mod hand_over;
mod handle;
mod ledger;
mod left_out;
mod manifest;
mod orders;
mod reconciled;
mod shipper;
pub mod sinks;
mod status;
pub mod trim;
pub mod verify;

pub use backlog::{Holder, give_up};
pub use backoff::Backoff;
pub use consumer::Consumer;
pub use cursor::Cursor;
pub use destination::{Destination, Fault, Letter, Origin, Refused, Sent, Start};
pub use failure_code::FailureCode;
pub use flush::FlushError;
pub use hand_over::hand_over;
pub use handle::Handle;
pub use ledger::Ledger;
pub use manifest::Manifest;
pub use orders::OrderError;
pub use shipper::{Probe, Shipper, Step};
pub use status::{LastError, Snapshot, State, Status};
