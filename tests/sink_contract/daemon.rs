//! The whole daemon as a process, to be killed while it writes files.

use super::log::{event, eventually};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running daemon that makes a file of every few blocks.
pub struct Daemon {
    child: Child,
    address: SocketAddr,
}

fn command(data: &Path, roll_bytes: u64) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ingestd"));
    command.env_clear().stdin(Stdio::null());
    command.env("INGESTD_DATA_DIR", data).env("INGESTD_PARQUET_ROLL_BYTES", roll_bytes.to_string());
    command
}

impl Daemon {
    pub fn start(data: &Path, roll_bytes: u64) -> Self {
        Daemon::start_with(data, roll_bytes, &[])
    }

    /// The same with more variables.
    pub fn start_with(data: &Path, roll_bytes: u64, env: &[(&str, &str)]) -> Self {
        let mut command = command(data, roll_bytes);
        command.envs(env.iter().copied());
        command.args(["serve", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = command.spawn().unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = lines.find_map(|line| line.unwrap().strip_prefix("listening on http://")?.parse().ok());
        // Read to the end, so that the daemon never blocks on a full pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Daemon { child, address: address.expect("the daemon listens") }
    }

    /// Sends batches of ten events from this number on until the daemon is gone; returns the first number that no
    /// answer confirmed.
    pub fn send_from(&self, first: u64) -> std::thread::JoinHandle<u64> {
        let address = self.address;
        std::thread::spawn(move || {
            let mut next = first;
            while send(address, next).is_some() {
                next += 10;
            }
            next
        })
    }

    /// Sends a batch of ten events from this number on.
    pub fn send(&self, first: u64) {
        send(self.address, first).expect("it is answered");
    }

    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and its good end.
    pub fn stop(mut self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).unwrap();
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(status.unwrap().success());
    }
}

fn send(address: SocketAddr, first: u64) -> Option<()> {
    let body: String = (first..first + 10).map(|number| event(number) + "\n").collect();
    let mut stream = TcpStream::connect(address).ok()?;
    stream.set_read_timeout(Some(Duration::from_secs(60))).ok()?;
    let head = "POST /events/batch HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Type: application/x-ndjson";
    write!(stream, "{head}\r\nContent-Length: {}\r\n\r\n{body}", body.len()).ok()?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).ok()?;
    answer.starts_with("HTTP/1.1 202").then_some(())
}

/// Ids in the log of a stopped daemon, in order.
pub fn stored(data: &Path) -> Vec<String> {
    let output = command(data, 1).args(["wal", "dump"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let id = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["eventId"].as_str().unwrap().into();
    text.lines().map(id).collect()
}
