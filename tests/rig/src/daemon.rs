//! The daemon as a process: started, watched, killed, and asked offline what it holds.

use std::fs::{File, OpenOptions};
use std::io::{self, BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use crate::http::Client;

/// What the daemon prints before its address.
const LISTENING: &str = "listening on http://";
/// How often a condition outside of this process is looked at.
pub const POLL: Duration = Duration::from_millis(5);

/// Looks at `condition` until it holds; false once `within` has passed.
pub fn wait_until(within: Duration, mut condition: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + within;
    loop {
        if condition() {
            return true;
        }
        if Instant::now() >= deadline {
            return false;
        }
        std::thread::sleep(POLL);
    }
}

/// The program under test and the environment it is given.
#[derive(Clone, Debug)]
pub struct Target {
    /// The `ingestd` binary, or a stand-in with the same commands.
    pub binary: PathBuf,
    /// Environment variables for every start.
    pub env: Vec<(String, String)>,
    /// Where it listens: anywhere, unless it is to be found at the same place after each start.
    pub listen: SocketAddr,
    /// How long a start may take until the daemon is ready; recovery is part of it.
    pub start_within: Duration,
    /// How long a drain may take.
    pub drain_within: Duration,
}

impl Target {
    /// A target with the usual deadlines and no extra environment.
    pub fn new(binary: impl Into<PathBuf>) -> Self {
        let (start_within, drain_within) = (Duration::from_secs(60), Duration::from_secs(60));
        let listen = SocketAddr::from(([127, 0, 0, 1], 0));
        Self { binary: binary.into(), env: Vec::new(), listen, start_within, drain_within }
    }

    /// The same target with one more environment variable.
    pub fn with_env(&self, name: &str, value: impl Into<String>) -> Self {
        let mut target = self.clone();
        target.env.push((name.to_owned(), value.into()));
        target
    }

    /// Starts `serve` on `data`; its output goes to the end of `output`.
    pub fn serve(&self, data: &Path, output: &Path) -> io::Result<Daemon> {
        let file = OpenOptions::new().create(true).append(true).open(output)?;
        let output_from = file.metadata()?.len();
        let mut child = Command::new(&self.binary)
            .args(["serve", "--listen", &self.listen.to_string(), "--data-dir"])
            .arg(data)
            // Whatever is set for us is not meant for the daemon, which refuses variables it does not know.
            .env_clear()
            .envs(self.env.iter().cloned())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(file.try_clone()?)
            .spawn()?;
        let (sender, addresses) = channel();
        let stdout = child.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        // Reads to the end also after the address was found, or the daemon would block on a full pipe.
        std::thread::spawn(move || copy_output(BufReader::new(stdout), file, |address| sender.send(address).is_ok()));
        Ok(Daemon { child, addresses, address: None, output: output.to_owned(), output_from })
    }

    /// Starts `serve` and waits until it is ready.
    pub fn serve_ready(&self, data: &Path, output: &Path) -> Result<Daemon, String> {
        let mut daemon = self.serve(data, output).map_err(|error| format!("cannot start: {error}"))?;
        daemon.wait_ready(self.start_within)?;
        Ok(daemon)
    }

    /// Runs `wal VERB --data-dir DATA …` to its end.
    pub fn wal(&self, verb: &str, data: &Path, more: &[&str]) -> io::Result<Output> {
        self.wal_command(verb, data).args(more).output()
    }

    /// `wal VERB --data-dir DATA`, to be run by the caller.
    pub fn wal_command(&self, verb: &str, data: &Path) -> Command {
        self.command(&["wal", verb], data)
    }

    /// Runs `admin VERB … --data-dir DATA` to its end: it asks the daemon that runs there.
    pub fn admin(&self, words: &[&str], data: &Path) -> io::Result<Output> {
        self.command(&[&["admin"], words].concat(), data).output()
    }

    fn command(&self, words: &[&str], data: &Path) -> Command {
        let mut command = Command::new(&self.binary);
        command.args(words).arg("--data-dir").arg(data).env_clear().envs(self.env.iter().cloned()).stdin(Stdio::null());
        command
    }
}

/// Copies the daemon's output line by line and reports each address that it names.
fn copy_output(mut lines: impl BufRead, mut file: File, mut found: impl FnMut(SocketAddr) -> bool) -> io::Result<()> {
    let mut line = String::new();
    while lines.read_line(&mut line)? > 0 {
        file.write_all(line.as_bytes())?;
        if let Some((_, rest)) = line.split_once(LISTENING) {
            let end = rest.find(|c: char| !(c.is_ascii_digit() || ".:[]".contains(c))).unwrap_or(rest.len());
            if let Ok(address) = rest[..end].parse() {
                // Nobody listens any more once the daemon was given up: the copy goes on.
                found(address);
            }
        }
        line.clear();
    }
    Ok(())
}

/// A running daemon; killed when dropped.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    addresses: Receiver<SocketAddr>,
    address: Option<SocketAddr>,
    output: PathBuf,
    output_from: u64,
}

impl Daemon {
    /// Where it listens; known once it is ready.
    pub fn address(&self) -> Option<SocketAddr> {
        self.address
    }

    /// Waits until `/health/ready` answers 200.
    pub fn wait_ready(&mut self, within: Duration) -> Result<SocketAddr, String> {
        let deadline = Instant::now() + within;
        let address = loop {
            match self.addresses.recv_timeout(POLL) {
                Ok(address) => break address,
                Err(RecvTimeoutError::Disconnected) => {
                    return Err(self.not_ready("closed its output before it listened"));
                }
                Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                    return Err(self.not_ready("does not say where it listens"));
                }
                Err(RecvTimeoutError::Timeout) => {}
            }
        };
        self.address = Some(address);
        let mut http = Client::new(address, Duration::from_secs(2));
        while !http.get("/health/ready").is_ok_and(|answer| answer.status == 200) {
            if Instant::now() >= deadline || self.exited().is_some() {
                return Err(self.not_ready("is not ready"));
            }
            std::thread::sleep(POLL);
        }
        Ok(address)
    }

    /// Its exit status, if it has ended.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// SIGKILL, then waits until it is gone.
    pub fn kill(mut self) -> io::Result<()> {
        self.child.kill()?;
        self.child.wait().map(drop)
    }

    /// SIGTERM: asks it to drain.
    pub fn term(&self) -> io::Result<()> {
        self.signal(Signal::TERM)
    }

    /// Sends a signal: STOP freezes it, CONT has it go on.
    pub fn signal(&self, signal: Signal) -> io::Result<()> {
        Ok(kill_process(Pid::from_child(&self.child), signal)?)
    }

    /// Waits for it to end by itself; `None` if it does not.
    pub fn wait_exit(&mut self, within: Duration) -> Option<ExitStatus> {
        let mut status = None;
        wait_until(within, || {
            status = self.exited();
            status.is_some()
        });
        status
    }

    /// SIGTERM, then a clean exit, or why there was none.
    pub fn drain(mut self, within: Duration) -> Result<(), String> {
        self.term().map_err(|error| format!("SIGTERM: {error}"))?;
        match self.wait_exit(within) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(format!("drain ended with {status}: {}", last_words(&self.said()))),
            None => Err(format!("drain did not end within {within:?}: {}", last_words(&self.said()))),
        }
    }

    /// What it printed since it was started.
    pub fn said(&self) -> String {
        let text = std::fs::read(&self.output).unwrap_or_default();
        let from = usize::try_from(self.output_from).unwrap_or(usize::MAX).min(text.len());
        String::from_utf8_lossy(&text[from..]).into_owned()
    }

    fn not_ready(&mut self, what: &str) -> String {
        // Its last words come after its pipe closed: give it a moment to end before they are read.
        let status = self.wait_exit(Duration::from_secs(2));
        let end = status.map_or_else(|| "still running".to_owned(), |status| status.to_string());
        format!("{what} ({end}): {}", last_words(&self.said()))
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// What an operator would read first: where it panicked and why, or else the last lines.
pub fn last_words(text: &str) -> String {
    match text.find("panicked at") {
        Some(at) => text[at..].lines().take(4).collect::<Vec<_>>().join(" | "),
        None => last_lines(text, 3),
    }
}

/// The last `count` lines of `text`, in one line.
pub fn last_lines(text: &str, count: usize) -> String {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(count)..].join(" | ")
}
