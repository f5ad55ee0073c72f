//! The fault rig stays silent about a correct daemon on a failing disk and names each planted bug.

use rig::daemon::Target;
use rig::report::{Kind, Report};
use rig::scenario::{
    DISK_FAULTS, Work, enospc_small_fs, fails_under_load, fails_when_quiet, filled_by_others, read_only_dir,
    short_writes,
};

fn target(bug: &str) -> Target {
    Target::new(env!("CARGO_BIN_EXE_rig-standin")).with_env("STANDIN_BUG", bug)
}

fn work(seed: u64) -> Work {
    Work { parquet: false, ..Work::new(seed) }
}

/// A report, or none if this machine's user may not run the scenario; that is said aloud.
fn ran(report: std::io::Result<Report>) -> Option<Report> {
    let report = report.expect("the rig runs");
    if report.skipped.is_some() {
        eprintln!("{report}");
        return None;
    }
    Some(report)
}

fn discard(report: &Report) {
    if let Some(kept) = &report.kept {
        std::fs::remove_dir_all(kept).expect("remove");
    }
}

#[test]
fn a_daemon_that_ends_at_the_first_error_passes() {
    for disk in DISK_FAULTS {
        for scenario in [fails_when_quiet, fails_under_load] {
            let report = scenario(&target(""), &work(3), disk).expect("the rig runs");
            assert!(report.sound(), "{report}");
        }
    }
}

#[test]
fn an_acknowledgement_after_a_failed_sync_is_noticed() {
    let report = fails_when_quiet(&target("ignore-sync-error"), &work(3), DISK_FAULTS[0]).expect("the rig runs");
    assert!(report.count(Kind::AckedDespiteFault) > 0, "{report}");
    assert!(report.count(Kind::Lifecycle) > 0, "it also runs on: {report}");
    discard(&report);
}

#[test]
fn short_writes_change_nothing() {
    let report = short_writes(&target(""), &work(3)).expect("the rig runs");
    assert!(report.sound(), "{report}");
}

#[test]
fn a_daemon_with_a_reserve_survives_a_full_disk() {
    let Some(report) = ran(enospc_small_fs(&target(""), &work(3), 24 << 20, 4 << 20)) else { return };
    assert!(report.sound(), "{report}");
}

#[test]
fn a_daemon_without_a_reserve_is_noticed() {
    let Some(report) = ran(enospc_small_fs(&target("no-reserve"), &work(3), 24 << 20, 4 << 20)) else { return };
    assert!(report.count(Kind::WrongAnswer) + report.count(Kind::Lifecycle) > 0, "{report}");
    discard(&report);
}

#[test]
fn a_disk_that_somebody_else_fills_is_survived() {
    for bug in ["", "no-reserve"] {
        let Some(report) = ran(filled_by_others(&target(bug), &work(3), 24 << 20)) else { return };
        assert!(report.sound(), "{report}");
    }
}

#[test]
fn a_read_only_folder_is_named() {
    let Some(report) = ran(read_only_dir(&target(""), &work(3))) else { return };
    assert!(report.sound(), "{report}");
}
