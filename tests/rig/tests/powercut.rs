//! The power-cut rig loses what was not synced and keeps what was: without the first half it would prove nothing.

use rig::daemon::Target;
use rig::report::Report;
use rig::scenario::{PowerPlan, Work, powercut_rounds};

fn powercut(bug: &str, rounds: u32) -> Option<Report> {
    let target = Target::new(env!("CARGO_BIN_EXE_rig-standin")).with_env("STANDIN_BUG", bug);
    let plan = PowerPlan {
        load_ms_max: 800,
        memory_mb: 512,
        disk_mb: 512,
        ..PowerPlan::new(env!("CARGO_BIN_EXE_rig"), rounds)
    };
    let report = powercut_rounds(&target, &Work { parquet: false, ..Work::new(8) }, &plan).expect("the rig runs");
    if report.skipped.is_some() {
        eprintln!("{report}");
        return None;
    }
    Some(report)
}

#[test]
fn a_daemon_that_syncs_before_it_answers_passes() {
    let Some(report) = powercut("", 4) else { return };
    assert!(report.sound(), "{report}");
    assert!(report.acked > 20 && report.kills == 4, "too little was tried: {report}");
}

#[test]
fn a_daemon_that_never_syncs_loses_what_it_acknowledged() {
    let Some(report) = powercut("no-sync", 8) else { return };
    assert!(report.found_losses(), "{report}");
    std::fs::remove_dir_all(report.kept.expect("kept")).expect("remove");
}
