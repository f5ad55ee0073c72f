//! The damage rig stays silent about a daemon that tells each loss exactly and names one that does not.

use rig::daemon::Target;
use rig::report::{Kind, Report};
use rig::scenario::{BIT_FLIPPED_WAL, DamagePlan, TRUNCATED_WAL_TAIL, Work, damaged};

fn run(bug: &str, plan: DamagePlan) -> Report {
    let target = Target::new(env!("CARGO_BIN_EXE_rig-standin")).with_env("STANDIN_BUG", bug);
    damaged(&target, &Work { parquet: false, ..Work::new(4) }, plan).expect("the rig runs")
}

#[test]
fn a_daemon_that_tells_its_losses_passes() {
    for plan in [TRUNCATED_WAL_TAIL, BIT_FLIPPED_WAL] {
        let report = run("", plan);
        assert!(report.sound(), "{report}");
        assert!(report.notes[0].starts_with(&plan.cases.to_string()), "each damage cost events: {report}");
    }
}

#[test]
fn a_daemon_that_passes_over_damage_is_noticed() {
    let report = run("silent-damage", BIT_FLIPPED_WAL);
    assert_eq!(report.count(Kind::Silent), BIT_FLIPPED_WAL.cases as usize, "{report}");
    std::fs::remove_dir_all(report.kept.expect("kept")).expect("remove");
}
