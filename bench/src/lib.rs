//! Yardsticks: the least that each kind of work costs on this machine, measured in the same minute as the daemon's
//! figures, so that the two can be quoted as a ratio.
//!
//! The peers are small programs in `src/bin`: bare servers (`bare-hyper`, `bare-ws`), the daemon's own intake over a
//! plain file (`raw-server`), all to be loaded with `loadgen`, and closed loops over the disk (`raw-log`, `disk`) and
//! over the log (`wal-commit`). What they and the runner share is here: [`serve`] the servers' threading, [`commits`]
//! write-and-sync loops, [`wal_loop`] the same through the log, [`raw_store`] and [`known`] what `raw-server` is made
//! of, [`prefill`] data folders with a past, [`pool`] what WAL files a log ran on, [`device`] what the disk itself saw, [`table`] medians,
//! [`process`] a process's CPU time and memory. [`suite`] is the runner, `bench suite`.

pub mod commits;
pub mod device;
pub mod known;
pub mod pool;
pub mod prefill;
pub mod raw_store;
pub mod serve;
pub mod suite;
pub mod table;
pub mod wal_loop;

pub use loadtest::process;
