//! A server that the daemon ships to, as a process: started, frozen, killed, and started again on what it left.

use std::ffi::OsString;
use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::daemon::last_lines;

/// How often a server is looked at that is to serve soon.
const PAUSE: Duration = Duration::from_millis(50);

/// One server; killed when dropped, frozen or not.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    words: Vec<OsString>,
    log: PathBuf,
    log_from: u64,
    child: Option<Child>,
}

impl Server {
    /// A server that is started by a command line; what it says goes to the end of `log`.
    pub fn new(name: &'static str, words: Vec<OsString>, log: PathBuf) -> Self {
        Self { name, words, log, log_from: 0, child: None }
    }

    /// Starts it, and does not wait until it serves.
    pub fn start(&mut self) -> io::Result<()> {
        let (program, arguments) = self.words.split_first().ok_or_else(|| io::Error::other("no command line"))?;
        let log = OpenOptions::new().create(true).append(true).open(&self.log)?;
        self.log_from = log.metadata()?.len();
        let mut command = Command::new(program);
        // The pipe ends with the rig, by which a server can notice that nobody wants it any more.
        command.args(arguments).stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        self.child = Some(command.spawn()?);
        Ok(())
    }

    /// SIGKILL, then waits until it is gone.
    pub fn kill(&mut self) -> io::Result<()> {
        if let Some(mut child) = self.child.take() {
            child.kill()?;
            child.wait()?;
        }
        Ok(())
    }

    /// Sends a signal: STOP freezes it, CONT has it go on, TERM asks it to end.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        match &self.child {
            Some(child) => Ok(kill_process(Pid::from_child(child), signal)?),
            None => Ok(()),
        }
    }

    /// Whether it has ended by itself, or because it was asked to.
    pub fn ended(&mut self) -> bool {
        self.child.as_mut().is_none_or(|child| !matches!(child.try_wait(), Ok(None)))
    }

    /// An error if it has ended.
    pub fn alive(&mut self) -> io::Result<()> {
        match self.ended() {
            false => Ok(()),
            true => Err(io::Error::other(format!("{} ended by itself: {}", self.name, last_lines(&self.said(), 5)))),
        }
    }

    /// Waits until `serves` holds; an error if it ends before, or takes too long.
    pub fn wait_until(&mut self, within: Duration, mut serves: impl FnMut(&Self) -> bool) -> io::Result<()> {
        let deadline = Instant::now() + within;
        while !self.ended() && Instant::now() < deadline {
            if serves(self) {
                return Ok(());
            }
            std::thread::sleep(PAUSE);
        }
        Err(io::Error::other(format!("{} does not serve: {}", self.name, last_lines(&self.said(), 5))))
    }

    /// What it said since it was started.
    pub fn said(&self) -> String {
        let read = || {
            let (mut file, mut text) = (File::open(&self.log)?, Vec::new());
            file.seek(SeekFrom::Start(self.log_from))?;
            file.read_to_end(&mut text).map(|_| text)
        };
        let text: io::Result<Vec<u8>> = read();
        String::from_utf8_lossy(&text.unwrap_or_default()).into_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It fails only when it is gone already.
        drop(self.kill());
    }
}

/// A port that is free now, and that no outgoing connection is given while its server is down: those are given higher
/// ones.
pub fn free_port() -> u16 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    loop {
        let port = 12_000 + (std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
        let port = port as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
}

/// The repository, whose scripts bring the servers.
pub fn repository() -> &'static Path {
    let rig = Path::new(env!("CARGO_MANIFEST_DIR"));
    rig.ancestors().find(|folder| folder.join("scripts/kafka.sh").exists()).unwrap_or(rig)
}

/// Runs one of the repository's scripts that prints where it has put something.
pub fn script(name: &str, arguments: &[&str]) -> io::Result<PathBuf> {
    let path = repository().join("scripts").join(name);
    let output = Command::new(path).args(arguments).stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    if !output.status.success() {
        return Err(io::Error::other(format!("scripts/{name}: {}", output.status)));
    }
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}
