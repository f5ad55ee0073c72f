//! A disk that fails: system calls that return errors, a disk that fills up, a disk that is read-only.

use std::io;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use crate::daemon::{Daemon, Target, last_lines, wait_until};
use crate::load::{Load, Mix};
use crate::report::{Kind, Report};
use crate::scenario::stage::{Stage, Work};
use crate::shim::{Fault, compile};
use crate::space::{SmallDisk, can_mount};

/// How long a daemon may take to notice that its disk failed, and to end.
const END_WITHIN: Duration = Duration::from_secs(30);
/// How long the disk may take to fill, and the daemon to take up work again.
const FILL_WITHIN: Duration = Duration::from_secs(90);
const RESENT: usize = 200;

/// Which calls fail and how.
#[derive(Clone, Copy, Debug)]
pub struct DiskFault {
    /// The scenario's name.
    pub name: &'static str,
    /// System calls, by comma.
    pub calls: &'static str,
    /// Glob within the data folder.
    pub files: &'static str,
    /// The error, by its C name.
    pub errno: &'static str,
    /// What the operator must be told, one of these.
    pub words: [&'static str; 3],
}

const EIO_WORDS: [&str; 3] = ["input/output error", "eio", "os error 5"];
const ENOSPC_WORDS: [&str; 3] = ["no space left", "enospc", "os error 28"];

/// The faults of the write path that must end the daemon.
pub const DISK_FAULTS: [DiskFault; 4] = [
    DiskFault { name: "eio-fdatasync", calls: "fdatasync,fsync", files: "log/*", errno: "EIO", words: EIO_WORDS },
    DiskFault { name: "eio-wal-sync", calls: "fdatasync,fsync", files: "log/*.log", errno: "EIO", words: EIO_WORDS },
    DiskFault {
        name: "eio-write",
        calls: "write,pwrite,writev,pwritev",
        files: "log/*.log",
        errno: "EIO",
        words: EIO_WORDS,
    },
    DiskFault {
        name: "enospc-write",
        calls: "write,pwrite,writev,pwritev,fallocate",
        files: "log/*.log",
        errno: "ENOSPC",
        words: ENOSPC_WORDS,
    },
];

fn fault_of(stage: &Stage, disk: &DiskFault, nth: u64) -> Fault {
    Fault {
        calls: disk.calls.to_owned(),
        path: format!("{}/{}", stage.data.display(), disk.files),
        nth,
        sticky: true,
        errno: disk.errno,
        short: false,
        trigger: Some(stage.dir.join("trigger")),
        log: stage.dir.join("faults"),
    }
}

/// The disk fails while nothing is under way: not one request after that may be acknowledged.
pub fn fails_when_quiet(target: &Target, work: &Work, disk: DiskFault) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, disk.name)?;
    let fault = fault_of(&stage, &disk, 1);
    fails(&mut stage, &disk, &fault, true)?;
    stage.finish()
}

/// The disk fails at a random call under load: the daemon ends, and what it acknowledged before is all there.
pub fn fails_under_load(target: &Target, work: &Work, disk: DiskFault) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, disk.name)?;
    let nth = stage.rng.between(1, 60);
    let fault = fault_of(&stage, &disk, nth);
    stage.report.note(format!("call {nth} fails under load"));
    fails(&mut stage, &disk, &fault, false)?;
    stage.finish()
}

fn fails(stage: &mut Stage, disk: &DiskFault, fault: &Fault, quiet: bool) -> io::Result<()> {
    let sound = stage.target.clone();
    stage.target = fault.on(&sound, &compile(&stage.dir)?);
    let Some(mut daemon) = stage.start() else { return Ok(()) };
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(300))?;
    let load = if quiet {
        std::fs::write(stage.dir.join("trigger"), "")?;
        stage.load(&daemon, Mix::FreshOnly)?
    } else {
        let load = stage.load(&daemon, Mix::FreshOnly)?;
        std::fs::write(stage.dir.join("trigger"), "")?;
        load
    };
    let armed = Instant::now();
    let status = daemon.wait_exit(END_WITHIN);
    let ended_ms = armed.elapsed().as_millis();
    let tally = load.stop()?;
    let counts = [&tally.acked, &tally.refused, &tally.cut_off].map(|count| count.load(Ordering::Relaxed));
    let [acked, refused, cut_off] = counts;
    stage.report.note(format!("after arming: {acked} requests acked, {refused} refused, {cut_off} without an answer"));
    if fault.struck().is_empty() {
        stage.report.violation(Kind::Rig, "the fault never struck: the daemon makes other calls, or none");
    } else if quiet && acked > 0 {
        let detail = format!("{acked} requests were acknowledged while every {} failed", disk.calls);
        stage.report.violation(Kind::AckedDespiteFault, detail);
    }
    match status {
        Some(status) if status.success() => {
            stage.report.violation(Kind::Lifecycle, "the daemon ended with 0 although its disk failed");
        }
        Some(status) => stage.report.note(format!("ended with {status} after {ended_ms} ms")),
        None => stage.report.violation(Kind::Lifecycle, "the daemon runs on although its disk failed"),
    }
    explained(stage, &daemon, &disk.words);
    drop(daemon);
    std::fs::remove_file(stage.dir.join("trigger"))?;
    stage.target = sound;
    recovered(stage)
}

/// The daemon's last words must name the cause, and must not be a panic.
fn explained(stage: &mut Stage, daemon: &Daemon, words: &[&str]) {
    let said = daemon.said();
    let naming = said.lines().filter(|line| words.iter().any(|word| line.to_lowercase().contains(word))).count();
    if naming == 0 {
        let detail = format!("nothing it printed says {words:?}; last: {}", last_lines(&said, 3));
        stage.report.violation(Kind::Unclear, detail);
    }
    if said.contains("panicked at") {
        stage.report.violation(Kind::Unclear, format!("it panicked: {}", last_lines(&said, 3)));
    }
    let said = said.lines().rfind(|line| words.iter().any(|word| line.to_lowercase().contains(word))).unwrap_or("");
    stage.report.note(format!("{naming} line(s) name the cause, the last: {said}"));
}

/// On a sound disk everything acknowledged is there, once.
fn recovered(stage: &mut Stage) -> io::Result<()> {
    let Some(daemon) = stage.start() else { return Ok(()) };
    stage.resend(&daemon, RESENT);
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(200))?;
    stage.drain(daemon);
    stage.verify_sound()?;
    let files = stage.work.complete();
    stage.audit(files)
}

/// Writes that do half of their work: no error at all, nothing may be lost and nothing may stop.
pub fn short_writes(target: &Target, work: &Work) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, "short-writes")?;
    let fault = Fault {
        calls: "write,pwrite,writev,pwritev".to_owned(),
        path: format!("{}/", stage.data.display()),
        nth: stage.rng.between(1, 40),
        sticky: true,
        errno: "EIO",
        short: true,
        trigger: None,
        log: stage.dir.join("faults"),
    };
    let sound = stage.target.clone();
    stage.target = fault.on(&sound, &compile(&stage.dir)?);
    let Some(daemon) = stage.start() else { return stage.finish() };
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(500))?;
    stage.drain(daemon);
    stage.report.note(format!("{} short writes", fault.struck().len()));
    if fault.struck().is_empty() {
        stage.report.violation(Kind::Rig, "the fault never struck");
    }
    stage.target = sound;
    recovered(&mut stage)?;
    stage.finish()
}

/// A small disk fills up: refusals begin while there is still room, a kill in that state is survived, and work goes on
/// by itself when space returns.
pub fn enospc_small_fs(target: &Target, work: &Work, disk_bytes: u64, left_bytes: u64) -> io::Result<Report> {
    if !can_mount() {
        return Ok(Report::skipped("enospc-small-fs", work.seed, "only root can mount a small disk"));
    }
    let mut stage = Stage::new(target, work, "enospc-small-fs")?;
    let disk = SmallDisk::mount(&stage.dir.join("disk"), disk_bytes)?;
    stage.data = disk.path().join("data");
    std::fs::create_dir(&stage.data)?;
    fill_up(&mut stage, &disk, left_bytes)?;
    if !stage.sound_so_far() {
        // The disk goes with the mount; what is on it is the evidence.
        copy_folder(&stage.data, &stage.dir.join("data-kept"))?;
    }
    drop(disk);
    stage.finish()
}

fn fill_up(stage: &mut Stage, disk: &SmallDisk, left_bytes: u64) -> io::Result<()> {
    let Some(mut daemon) = stage.start() else { return Ok(()) };
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(200))?;
    let ballast = disk.fill(left_bytes)?;
    let load = stage.load(&daemon, Mix::Everything)?;
    let refused = |load: &Load| load.tally().disk_reserve.load(Ordering::Relaxed) > 0;
    wait_until(FILL_WITHIN, || refused(&load) || daemon.exited().is_some());
    let free = disk.free_bytes()?;
    stage.report.note(format!("first refusal with {} KiB free", free >> 10));
    if !refused(&load) {
        let detail = format!("no disk_reserve refusal, {free} bytes free: {}", last_lines(&daemon.said(), 3));
        stage.report.violation(Kind::WrongAnswer, detail);
    }
    if free == 0 {
        stage.report.violation(Kind::Lifecycle, "the disk is full: nothing is left for cursors and dead letters");
    }
    if !stage.report.sound() {
        return load.stop().map(drop);
    }
    // Killed with the disk near its end: recovery has to make do with what is left.
    daemon.kill()?;
    stage.report.kills += 1;
    load.stop()?;
    let Some(mut daemon) = stage.start() else { return Ok(()) };
    let load = stage.load(&daemon, Mix::Everything)?;
    wait_until(FILL_WITHIN, || refused(&load) || daemon.exited().is_some());
    std::fs::remove_file(ballast)?;
    let before = load.tally().acked.load(Ordering::Relaxed);
    let resumed = || load.tally().acked.load(Ordering::Relaxed) > before + 10;
    wait_until(FILL_WITHIN, || resumed() || daemon.exited().is_some());
    if !resumed() {
        let detail = format!("does not resume when space returns: {}", last_lines(&daemon.said(), 3));
        stage.report.violation(Kind::Lifecycle, detail);
    }
    load.stop()?;
    stage.drain(daemon);
    recovered(stage)
}

/// Somebody else takes the last byte while events come in: whether the daemon ends or waits, nobody is left hanging,
/// nothing acknowledged is lost, and when space returns it works again.
pub fn filled_by_others(target: &Target, work: &Work, disk_bytes: u64) -> io::Result<Report> {
    if !can_mount() {
        return Ok(Report::skipped("filled-by-others", work.seed, "only root can mount a small disk"));
    }
    let mut stage = Stage::new(target, work, "filled-by-others")?;
    let disk = SmallDisk::mount(&stage.dir.join("disk"), disk_bytes)?;
    stage.data = disk.path().join("data");
    std::fs::create_dir(&stage.data)?;
    let Some(mut daemon) = stage.start() else { return stage.finish() };
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(500))?;
    let load = stage.load(&daemon, Mix::Everything)?;
    wait_until(FILL_WITHIN, || load.tally().acked.load(Ordering::Relaxed) > 100 || daemon.exited().is_some());
    let ballast = disk.fill(0)?;
    // Long enough for a flush to be due, to fail, and to be waited for.
    wait_until(END_WITHIN, || daemon.exited().is_some());
    std::fs::remove_file(ballast)?;
    let before = load.tally().acked.load(Ordering::Relaxed);
    let resumed = || load.tally().acked.load(Ordering::Relaxed) > before + 10;
    wait_until(END_WITHIN, || resumed() || daemon.exited().is_some());
    match daemon.exited() {
        Some(status) if status.success() => {
            stage.report.violation(Kind::Lifecycle, "the daemon ended with 0 although its disk was full");
        }
        Some(status) => {
            stage.report.note(format!("ended with {status} when the disk was full"));
            explained(&mut stage, &daemon, &ENOSPC_WORDS);
        }
        None if resumed() => stage.report.note("waited, and resumed when space returned"),
        None => {
            let detail = format!("neither ends nor resumes when space returns: {}", last_lines(&daemon.said(), 3));
            stage.report.violation(Kind::Lifecycle, detail);
        }
    }
    load.stop()?;
    daemon.kill()?;
    stage.report.kills += 1;
    recovered(&mut stage)?;
    if !stage.sound_so_far() {
        copy_folder(&stage.data, &stage.dir.join("data-kept"))?;
    }
    drop(disk);
    stage.finish()
}

/// A data folder that cannot be written: the daemon says so at once, and starts when it can.
pub fn read_only_dir(target: &Target, work: &Work) -> io::Result<Report> {
    if !can_mount() {
        return Ok(Report::skipped("read-only-dir", work.seed, "only root can mount a disk read-only"));
    }
    let mut stage = Stage::new(target, work, "read-only-dir")?;
    // Larger than any reserve; a tmpfs costs only what is written to it.
    let disk = SmallDisk::mount(&stage.dir.join("disk"), 4 << 30)?;
    stage.data = disk.path().join("data");
    std::fs::create_dir(&stage.data)?;
    let Some(daemon) = stage.start() else { return stage.finish() };
    stage.load_for(&daemon, Mix::Everything, Duration::from_millis(200))?;
    daemon.kill()?;
    disk.set_read_only(true)?;
    let mut daemon = stage.target.serve(&stage.data, &stage.output())?;
    match daemon.wait_exit(END_WITHIN) {
        Some(status) if !status.success() => stage.report.note(format!("ended with {status}")),
        Some(_) => stage.report.violation(Kind::Lifecycle, "ended with 0 on a read-only disk"),
        None => stage.report.violation(Kind::Lifecycle, "runs on a read-only disk"),
    }
    explained(&mut stage, &daemon, &["read-only", "erofs", "os error 30"]);
    drop(daemon);
    disk.set_read_only(false)?;
    recovered(&mut stage)?;
    drop(disk);
    stage.finish()
}

/// Copies a folder with everything in it.
pub(crate) fn copy_folder(from: &std::path::Path, to: &std::path::Path) -> io::Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_folder(&entry.path(), &target)?;
        } else if entry.file_type()?.is_file() {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
