//! The stories: each starts with an empty data folder, does something terrible, and returns a [`Report`].

mod crash;
mod damaged;
mod failing_disk;
mod power;
mod stage;
mod torment;
mod torment_plan;

pub use crash::{CrashPlan, kill_rounds};
pub use damaged::{
    BIT_FLIPPED_SST, BIT_FLIPPED_WAL, DAMAGED_MANIFEST, DELETED_WAL, DamagePlan, TRUNCATED_WAL_TAIL, damaged,
};
pub use failing_disk::{
    DISK_FAULTS, DiskFault, enospc_small_fs, fails_under_load, fails_when_quiet, filled_by_others, read_only_dir,
    short_writes,
};
pub use power::{PowerPlan, powercut_rounds};
pub use stage::{Stage, Work};
pub use torment::{TormentPlan, torment};
