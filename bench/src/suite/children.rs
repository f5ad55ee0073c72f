//! Starting programs as they are to be measured: under SCHED_RR, but for what is background work, with enough
//! descriptors, and dead when the runner is.
//!
//! Background are RocksDB's threads, and those that a program itself runs at a lower priority (nice above 0), which
//! SCHED_RR would ignore. As SCHED_OTHER they share what is left with everything else on the machine, so the runner
//! puts its session ahead of other sessions (autogroup), or a busy neighbour would stall every flush.

use super::place;
use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use std::collections::HashSet;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Descriptors of a child, where the system allows them.
const DESCRIPTORS: u64 = 20_000;
/// How often a process is searched for threads that are to be SCHED_OTHER.
const LOOK_INTERVAL: Duration = Duration::from_millis(20);
/// A server that is asked to stop gets this long.
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// How programs are started.
#[derive(Clone, Debug)]
pub struct Launcher {
    wrapper: Vec<String>,
    /// Whether children run under SCHED_RR.
    pub realtime: bool,
    /// How their background threads run.
    pub background: Background,
    /// Whether the session goes before others.
    pub ahead: bool,
}

/// How background threads run while the rest is under SCHED_RR 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Background {
    /// SCHED_OTHER.
    Other,
    /// SCHED_RR 1: after all that is measured, before everything else.
    Low,
    /// Like the rest.
    Same,
}

impl Background {
    /// The words of `chrt`.
    fn policy(self) -> Option<[&'static str; 3]> {
        match self {
            Background::Other => Some(["-o", "-p", "0"]),
            Background::Low => Some(["-r", "-p", "1"]),
            Background::Same => None,
        }
    }
}

impl Launcher {
    /// Finds out what is permitted here; puts the runner itself under SCHED_RR, so that it gets its turn.
    pub fn new(realtime: bool, background: Background) -> Self {
        let ahead = fs::write("/proc/self/autogroup", "-20").is_ok();
        let realtime = realtime && works("chrt", &["-r", "5", "true"]);
        let mut wrapper = Vec::new();
        let mut wrap = |words: &[&str]| wrapper.extend(words.iter().map(|word| (*word).to_owned()));
        if works("setpriv", &["--pdeathsig", "KILL", "--", "true"]) {
            wrap(&["setpriv", "--pdeathsig", "KILL", "--"]);
        }
        let limit = format!("--nofile={DESCRIPTORS}:{DESCRIPTORS}");
        if works("prlimit", &[&limit, "--", "true"]) {
            wrap(&["prlimit", &limit, "--"]);
        }
        if realtime {
            wrap(&["chrt", "-r", "5"]);
            works("chrt", &["-r", "-p", "5", &std::process::id().to_string()]);
        }
        Self { wrapper, realtime, background, ahead }
    }

    /// A command that runs `program` as it is to be measured.
    pub fn command(&self, program: &Path) -> Command {
        let mut words = self.wrapper.iter().map(String::as_str).chain(program.to_str());
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).stdin(Stdio::null());
        command
    }

    /// A command that runs `program` like any other, for preparations.
    pub fn plain_command(&self, program: &Path) -> Command {
        let mut command = match self.realtime {
            true => Command::new("chrt"),
            false => Command::new(program),
        };
        if self.realtime {
            command.args(["-o", "0"]).arg(program);
        }
        command.stdin(Stdio::null());
        command
    }

    /// Starts a command made by [`Launcher::command`]; its standard output and error go into `log`.
    pub fn start(&self, mut command: Command, log: &Path) -> Result<Process> {
        let file = fs::File::create(log).with_context(|| log.display().to_string())?;
        command.stdout(file.try_clone()?).stderr(file);
        let child = command.spawn().with_context(|| format!("{command:?}"))?;
        place::born(child.id());
        let policy = self.background.policy().filter(|_| self.realtime);
        let watcher = policy.map(|policy| Watcher::start(child.id(), policy));
        Ok(Process { child, watcher, log: log.to_owned() })
    }
}

fn works(program: &str, args: &[&str]) -> bool {
    let status = Command::new(program).args(args).stdout(Stdio::null()).stderr(Stdio::null()).status();
    status.is_ok_and(|status| status.success())
}

/// A child that ends with this value.
#[derive(Debug)]
pub struct Process {
    child: Child,
    watcher: Option<Watcher>,
    log: std::path::PathBuf,
}

impl Process {
    /// Its id; the wrappers replace themselves, so this is the program's.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What it printed so far.
    pub fn printed(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end, which must come within `limit`, and returns what it printed.
    pub fn finish(mut self, limit: Duration) -> Result<String> {
        let end = Instant::now() + limit;
        let status = loop {
            match self.child.try_wait()? {
                Some(status) => break status,
                None if Instant::now() > end => bail!("not done after {limit:?}: {}", self.printed()),
                None => std::thread::sleep(Duration::from_millis(10)),
            }
        };
        ensure!(status.success(), "{status}: {}", self.printed());
        Ok(self.printed())
    }

    /// Asks it to stop and waits.
    pub fn stop(self) -> Result<()> {
        place::signal(self.pid(), Signal::CONT);
        place::signal(self.pid(), Signal::TERM);
        self.finish(STOP_LIMIT).map(drop)
    }

    /// Ends it as a crash would.
    pub fn crash(self) {
        drop(self);
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.watcher = None;
        // Both fail only when it has ended already.
        self.child.kill().ok();
        self.child.wait().ok();
        place::gone(self.child.id());
    }
}

/// A server with its port.
#[derive(Debug)]
pub struct Server {
    /// The process.
    pub process: Process,
    /// Where it listens, on 127.0.0.1.
    pub port: u16,
}

impl Server {
    /// Waits until `GET /health/ready` is answered 200.
    pub fn wait_ready(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while get(self.port, "/health/ready").is_none_or(|(status, _)| status != 200) {
            ensure!(self.process.is_running(), "ended at once: {}", self.process.printed());
            ensure!(Instant::now() < end, "not ready after {limit:?}: {}", self.process.printed());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Waits until a connection is taken, for servers that answer no `GET`.
    pub fn wait_listening(&mut self, limit: Duration) -> Result<()> {
        let end = Instant::now() + limit;
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            ensure!(self.process.is_running(), "ended at once: {}", self.process.printed());
            ensure!(Instant::now() < end, "not listening after {limit:?}: {}", self.process.printed());
            std::thread::sleep(Duration::from_millis(2));
        }
        Ok(())
    }

    /// Keeps it from running, so that it does not disturb another one's run.
    pub fn pause(&self) {
        place::signal(self.process.pid(), Signal::STOP);
    }

    /// Lets it run on.
    pub fn resume(&self) {
        place::signal(self.process.pid(), Signal::CONT);
    }
}

/// A port that is free now.
pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// Status and body of a `GET`; `None` when there is no answer.
pub fn get(port: u16, path: &str) -> Option<(u16, String)> {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let mut stream = TcpStream::connect_timeout(&address, Duration::from_secs(1)).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(2))).ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    let status = answer.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, answer.split_once("\r\n\r\n")?.1.to_owned()))
}

/// Gives background threads of a process their policy as they appear.
#[derive(Debug)]
struct Watcher {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Watcher {
    fn start(pid: u32, policy: [&'static str; 3]) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let run = move || {
            let mut done = HashSet::new();
            while !stopped.load(Ordering::Acquire) {
                reset(pid, policy, &mut done);
                std::thread::sleep(LOOK_INTERVAL);
            }
        };
        Self { stop, thread: Some(std::thread::spawn(run)) }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // Its panic would have been reported on standard error.
            thread.join().ok();
        }
    }
}

fn reset(pid: u32, policy: [&str; 3], done: &mut HashSet<OsString>) {
    for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let number = task.file_name();
        if done.contains(&number) {
            continue;
        }
        let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if is_background(&stat) {
            works("chrt", &[policy[0], policy[1], policy[2], &number.to_string_lossy()]);
            done.insert(number);
        }
    }
}

/// Whether a thread's `stat` says that it is one of RocksDB's or nice.
fn is_background(stat: &str) -> bool {
    let Some((head, rest)) = stat.rsplit_once(')') else { return false };
    let name = head.split_once('(').map_or("", |(_, name)| name);
    let nice = rest.split_whitespace().nth(16).and_then(|field| field.parse::<i32>().ok());
    name.starts_with("rocksdb:") || nice.is_some_and(|nice| nice > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn background_is_known_by_its_name_or_by_being_nice() {
        let stat = |name: &str, nice: i32| format!("7 ({name}) S 1 1 1 0 -1 64 0 0 0 0 0 0 0 0 20 {nice} 3 0 9");
        assert!(is_background(&stat("rocksdb:high0", 0)));
        assert!(is_background(&stat("ship (x) y", 10)));
        assert!(!is_background(&stat("writer", 0)) && !is_background(""));
    }
}
