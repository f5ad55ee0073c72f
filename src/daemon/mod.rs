//! Puts everything together, in order, and takes it apart again: the only place that names every room.
//!
//! Config → [`Bound`] (log open, sockets bound: what can fail has failed) → [`Running`] → drained.

mod ages;
mod boot;
mod certificates;
mod copies;
mod drain;
mod key_files;
mod key_saver;
mod known_ids;
mod live;
mod maintenance;
mod observers;
mod quotas;
mod signals;
mod sinks;
mod stall;
mod start_code;
mod systemd;
mod taken_over;
mod threads;
mod trim;

pub use boot::{Bound, StartError};
pub use drain::Running;
pub use signals::{Hangup, Signals, run_until_signal};
pub use start_code::StartCode;
