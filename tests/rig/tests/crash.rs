//! The crash rig stays silent about a correct daemon and names each planted bug.

use rig::daemon::Target;
use rig::report::{Kind, Report};
use rig::scenario::{CrashPlan, Work, kill_rounds};

fn crash(bug: &str, seed: u64, rounds: u32) -> Report {
    let target = Target::new(env!("CARGO_BIN_EXE_rig-standin")).with_env("STANDIN_BUG", bug);
    let work = Work { parquet: false, ..Work::new(seed) };
    let plan = CrashPlan { rounds, load_ms_max: 250, audit_every: 1 };
    let report = kill_rounds(&target, &work, plan).expect("the rig runs");
    // What a planted bug leaves behind is of no use to anybody.
    if let (false, Some(kept)) = (bug.is_empty(), &report.kept) {
        std::fs::remove_dir_all(kept).expect("remove");
    }
    report
}

/// Runs the rig until it notices the bug: a race that a kill must hit is not hit in every round.
#[track_caller]
fn notices(bug: &str, kinds: &[Kind]) {
    let report = crash(bug, 11, 60);
    assert!(kinds.iter().any(|kind| report.count(*kind) > 0), "{bug} went unnoticed: {report}");
}

#[test]
fn a_correct_daemon_passes() {
    let report = crash("", 5, 12);
    assert!(report.sound(), "{report}");
    assert!(report.acked > 20 && report.kills >= 6 && report.resent > 20, "too little was tried: {report}");
}

#[test]
fn an_acknowledgement_before_the_write_is_noticed() {
    notices("ack-before-write", &[Kind::Lost]);
}

#[test]
fn a_loss_at_restart_is_noticed() {
    notices("lost-on-restart", &[Kind::Lost, Kind::Vanished, Kind::NotDuplicate]);
}

#[test]
fn ids_forgotten_at_restart_are_noticed() {
    notices("forget-ids", &[Kind::Doubled, Kind::NotDuplicate]);
}

#[test]
fn an_all_or_nothing_batch_in_two_writes_is_noticed() {
    notices("torn-batch", &[Kind::TornBatch]);
}

#[test]
fn a_hole_in_the_sequence_is_noticed() {
    notices("skip-seq", &[Kind::Gap]);
}

#[test]
fn a_stored_reject_is_noticed() {
    notices("store-rejected", &[Kind::RejectedStored]);
}

#[test]
fn a_forgotten_idempotency_key_is_noticed() {
    notices("forget-keys", &[Kind::WrongAnswer]);
}

#[test]
fn streaming_clients_are_held_to_the_same_promises() {
    let target = |bug| Target::new(env!("CARGO_BIN_EXE_rig-standin")).with_env("STANDIN_BUG", bug);
    let work = Work { clients: 0, sockets: 2, parquet: false, ..Work::new(6) };
    let plan = CrashPlan { rounds: 6, load_ms_max: 250, audit_every: 1 };
    let report = kill_rounds(&target(""), &work, plan).expect("the rig runs");
    assert!(report.sound() && report.acked > 20, "{report}");
    let report = kill_rounds(&target("ack-before-write"), &work, plan).expect("the rig runs");
    assert!(report.count(Kind::Lost) > 0, "{report}");
    std::fs::remove_dir_all(report.kept.expect("kept")).expect("remove");
}
