//! kill -9 at any moment: under load, during start-up, during a drain, and again before the first was recovered.

use std::io;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Target};
use crate::load::Mix;
use crate::report::{Kind, Report};
use crate::scenario::stage::{Stage, Work};

/// How many accepted events are sent again after each restart, and at the end.
const RESENT_PER_ROUND: usize = 30;
const RESENT_AT_END: usize = 500;

/// How a run is cut into rounds.
#[derive(Clone, Copy, Debug)]
pub struct CrashPlan {
    /// Rounds of start, load and death.
    pub rounds: u32,
    /// The longest load before a death, in milliseconds.
    pub load_ms_max: u64,
    /// An audit of everything stored after every so many rounds.
    pub audit_every: u32,
}

impl Default for CrashPlan {
    fn default() -> Self {
        Self { rounds: 20, load_ms_max: 1_500, audit_every: 1 }
    }
}

/// How a round ends.
enum Death {
    /// SIGKILL under load.
    Kill,
    /// SIGTERM, and SIGKILL some milliseconds into the drain.
    KillInDrain(u64),
    /// SIGTERM under load, and a clean exit.
    Drain,
}

/// Kills the daemon again and again on the same data folder and audits what it kept.
pub fn kill_rounds(target: &Target, work: &Work, plan: CrashPlan) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, "crash")?;
    let mut start_ms = 100;
    for round in 1..=plan.rounds {
        kill_starts(&mut stage, start_ms)?;
        let started = Instant::now();
        let Some(daemon) = stage.start() else { return stage.finish() };
        start_ms = started.elapsed().as_millis() as u64;
        stage.resend(&daemon, RESENT_PER_ROUND);
        one_life(&mut stage, daemon, plan.load_ms_max)?;
        if round % plan.audit_every.max(1) == 0 {
            if stage.rng.percent(50) {
                stage.verify_sound()?;
            }
            let files = stage.work.lagging();
            stage.audit(files)?;
        }
        // What follows a broken promise proves nothing, and would blur what broke it.
        if !stage.sound_so_far() {
            return stage.finish();
        }
    }
    settle(&mut stage)?;
    stage.finish()
}

/// Some starts are killed before they are done, up to three in a row: recovery must bear being cut off.
fn kill_starts(stage: &mut Stage, start_ms: u64) -> io::Result<()> {
    for _ in 0..3 {
        if !stage.rng.percent(25) {
            break;
        }
        let daemon = stage.target.serve(&stage.data, &stage.output())?;
        std::thread::sleep(Duration::from_millis(stage.rng.below(start_ms * 6 / 5 + 1)));
        daemon.kill()?;
        stage.report.kills += 1;
    }
    Ok(())
}

fn one_life(stage: &mut Stage, mut daemon: Daemon, load_ms_max: u64) -> io::Result<()> {
    let death = match stage.rng.below(100) {
        0..70 => Death::Kill,
        70..88 => Death::KillInDrain(stage.rng.below(100)),
        _ => Death::Drain,
    };
    let life = Duration::from_millis(stage.rng.between(5, load_ms_max));
    let load = stage.load(&daemon, Mix::Everything)?;
    std::thread::sleep(life);
    if let Some(status) = daemon.exited() {
        let said = crate::daemon::last_words(&daemon.said());
        stage.report.violation(Kind::Lifecycle, format!("ended by itself under load with {status}: {said}"));
    }
    match death {
        Death::Kill => {
            daemon.kill()?;
            stage.report.kills += 1;
        }
        Death::KillInDrain(after_ms) => {
            daemon.term()?;
            std::thread::sleep(Duration::from_millis(after_ms));
            daemon.kill()?;
            stage.report.kills += 1;
        }
        Death::Drain => stage.drain(daemon),
    }
    load.stop().map(drop)
}

/// The end of a run: one more start, a clean drain, and everything must be everywhere.
fn settle(stage: &mut Stage) -> io::Result<()> {
    let Some(daemon) = stage.start() else { return Ok(()) };
    stage.resend(&daemon, RESENT_AT_END);
    stage.drain(daemon);
    stage.verify_sound()?;
    let files = stage.work.complete();
    stage.audit(files)
}
