//! The daemon as a process: started, asked, stopped, killed, and its log read once it is gone.

use super::http::{Answer, Connection, request};
use rustix::process::{Pid, Signal, kill_process};
use rustls::ClientConfig;
use serde_json::Value;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

pub const BINARY: &str = env!("CARGO_BIN_EXE_ingestd");
/// Makes the standard input the first descriptor that is handed in.
const HAND_IN: &str = "exec 3<&0 </dev/null; LISTEN_PID=$$ LISTEN_FDS=1 exec \"$0\" \"$@\"";
const LISTENING: [&str; 2] = ["listening on http://", "listening on https://"];
const FIGURES: &str = "health and figures on http://";
/// For starts, drains and conditions: far above what they take on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// Looks at a condition until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// A data folder, and the environment of every start on it.
pub struct Place {
    dir: tempfile::TempDir,
    env: Vec<(String, String)>,
    /// How its clients connect, where that is not plain.
    tls: Option<Arc<ClientConfig>>,
}

/// An event in the log of a stopped daemon.
#[derive(Debug, Clone)]
pub struct Stored {
    pub seq: u64,
    pub id: String,
    pub raw: String,
}

impl Place {
    pub fn with(env: &[(&str, &str)]) -> Self {
        let env = env.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Place { dir: tempfile::tempdir().unwrap(), env, tls: None }
    }

    /// The same data folder with another variable.
    pub fn and(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The same data folder with more variables.
    pub fn and_all(mut self, env: Vec<(String, String)>) -> Self {
        self.env.extend(env);
        self
    }

    /// The same with clients that speak TLS.
    pub fn trusted(mut self, tls: Arc<ClientConfig>) -> Self {
        self.tls = Some(tls);
        self
    }

    /// Another place with a copy of the data folder, as from a backup.
    pub fn copied(&self) -> Place {
        let copy = Place { dir: tempfile::tempdir().unwrap(), env: self.env.clone(), tls: self.tls.clone() };
        let done = Command::new("cp").arg("-a").arg(self.data()).arg(copy.data()).status().unwrap();
        assert!(done.success(), "cp: {done}");
        copy
    }

    /// The same with a copy of this data folder.
    pub fn filled_with(self, data: &Path) -> Place {
        let done = Command::new("cp").arg("-a").arg(data).arg(self.data()).status().unwrap();
        assert!(done.success(), "cp: {done}");
        self
    }

    /// Another place with the same environment, and no data folder yet.
    pub fn beside(&self) -> Place {
        Place { dir: tempfile::tempdir().unwrap(), env: self.env.clone(), tls: self.tls.clone() }
    }

    /// The program with these arguments, on this folder.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.equipped(Command::new(BINARY), arguments)
    }

    fn equipped(&self, mut command: Command, arguments: &[&str]) -> Command {
        command.env_clear().envs(self.env.iter().cloned()).args(arguments).arg("--data-dir").arg(self.data());
        command.stdin(Stdio::null());
        command
    }

    /// `serve`, with a socket handed in as a service manager does it.
    pub fn serving(&self, socket: OwnedFd) -> Command {
        let mut shell = Command::new("/bin/sh");
        shell.args(["-c", HAND_IN, BINARY]);
        let mut command = self.equipped(shell, &["serve"]);
        command.stdin(socket);
        command
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join("data")
    }

    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    /// The folder of the Parquet files.
    pub fn events(&self) -> PathBuf {
        self.data().join("events")
    }

    /// Starts the daemon and waits until it listens.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        self.run(command)
    }

    /// Starts the daemon with a flag more.
    #[track_caller]
    pub fn start_with(self, flag: &str) -> Daemon {
        let command = self.command(&["serve", "--listen", "127.0.0.1:0", flag]);
        self.run(command)
    }

    /// A start that must fail; its exit code and what it says.
    #[track_caller]
    pub fn start_in_vain(&self, flags: &[&str]) -> (i32, String) {
        let output = self.command(&[&["serve", "--listen", "127.0.0.1:0"], flags].concat()).output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code().unwrap(), String::from_utf8(said).unwrap())
    }

    /// Starts the daemon on a socket that somebody else holds, too.
    #[track_caller]
    pub fn start_on(self, socket: &TcpListener) -> Daemon {
        let command = self.serving(socket.try_clone().unwrap().into());
        self.run(command)
    }

    /// Starts the daemon with its standard error elsewhere.
    #[track_caller]
    pub fn start_saying_to(self, error: impl Into<Stdio>) -> Daemon {
        let mut command = self.command(&["serve", "--listen", "127.0.0.1:0"]);
        command.stderr(error);
        self.launch(command)
    }

    #[track_caller]
    fn run(self, mut command: Command) -> Daemon {
        let log = File::options().create(true).append(true).open(self.log()).unwrap();
        command.stderr(log);
        self.launch(command)
    }

    #[track_caller]
    fn launch(self, mut command: Command) -> Daemon {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let (said, hears) = mpsc::channel();
        // Reads to the end, so that the daemon never blocks on a full pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(said.send(line))));
        let mut daemon = Daemon { child, address: SocketAddr::from(([0; 4], 0)), figures: None, place: Some(self) };
        let deadline = Instant::now() + WITHIN;
        loop {
            let line = hears.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let line = line.unwrap_or_else(|error| panic!("the daemon does not listen ({error}): {}", daemon.log()));
            if let Some(address) = line.strip_prefix(FIGURES) {
                daemon.figures = Some(address.parse().unwrap());
            }
            if let Some(address) = LISTENING.iter().find_map(|prefix| line.strip_prefix(prefix)) {
                daemon.address = address.parse().unwrap();
                return daemon;
            }
        }
    }

    /// What is in the log, in order; only while no daemon runs on it.
    pub fn stored(&self) -> Vec<Stored> {
        let output = self.command(&["wal", "dump", "--raw"]).output().unwrap();
        assert!(output.status.success(), "wal dump: {}", String::from_utf8_lossy(&output.stderr));
        let lines = output.stdout.lines().map(|line| serde_json::from_str(&line.unwrap()).unwrap());
        let stored = lines.map(|line: Value| Stored {
            seq: line["seq"].as_u64().unwrap(),
            id: line["eventId"].as_str().unwrap().to_owned(),
            raw: line["raw"].as_str().unwrap().to_owned(),
        });
        stored.collect()
    }

    /// `wal` with these arguments.
    pub fn wal(&self, arguments: &[&str]) -> Output {
        self.command(&[&["wal"], arguments].concat()).output().unwrap()
    }

    /// What `wal inspect` says of the log.
    pub fn inspect(&self) -> Value {
        let output = self.wal(&["inspect", "--json"]);
        assert!(output.status.success(), "wal inspect: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

/// A running daemon; killed when dropped.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    /// Where health and figures are answered, if not there.
    pub figures: Option<SocketAddr>,
    place: Option<Place>,
}

impl Daemon {
    /// On a new data folder, as it is without any configuration.
    #[track_caller]
    pub fn start() -> Self {
        Daemon::with(&[])
    }

    /// On a new data folder.
    #[track_caller]
    pub fn with(env: &[(&str, &str)]) -> Self {
        Place::with(env).start()
    }

    #[track_caller]
    pub fn connect(&self) -> Connection {
        self.try_connect().unwrap()
    }

    pub fn try_connect(&self) -> io::Result<Connection> {
        match self.place.as_ref().and_then(|place| place.tls.as_ref()) {
            None => Connection::try_open(self.address),
            Some(tls) => Connection::try_secure(self.address, tls),
        }
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Answer {
        self.request("GET", path, &[], b"")
    }

    /// Posts JSON.
    #[track_caller]
    pub fn post(&self, path: &str, body: impl AsRef<[u8]>) -> Answer {
        self.request("POST", path, &[("Content-Type", "application/json")], body.as_ref())
    }

    /// `ingestd send` of a file, which must succeed; its summary.
    #[track_caller]
    pub fn send(&self, file: &Path) -> Value {
        let mut command = Command::new(BINARY);
        command.args(["send", "--json", "--url", &format!("http://{}", self.address)]).arg(file).stdin(Stdio::null());
        let output = command.output().unwrap();
        assert!(output.status.success(), "send: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut connection = self.connect();
        connection.send(request(method, path, headers, body));
        if method == "HEAD" { connection.head() } else { connection.answer() }
    }

    /// The four totals of `/events/stats`: accepted, duplicate, rejected, refused.
    #[track_caller]
    pub fn totals(&self) -> [u64; 4] {
        let stats = self.get("/events/stats").json();
        ["accepted", "duplicate", "rejected", "refused"].map(|name| stats["totals"][name].as_u64().unwrap())
    }

    /// The path of a dead letter that it takes megabytes to show: most of its bytes are told as six.
    #[track_caller]
    pub fn large_letter(&self) -> String {
        let bytes = vec![1; 250 << 10];
        let rejected = self.post("/events", &bytes).with_status(400);
        let path = format!("/dead-letters/{}", rejected["deadLetterId"].as_str().unwrap());
        self.request("PUT", &path, &[], &bytes).with_status(200);
        path
    }

    /// One figure of `/metrics`, by its name and labels as written there.
    #[track_caller]
    pub fn metric(&self, name: &str) -> f64 {
        self.metric_over(&mut self.connect(), name)
    }

    /// As [`Daemon::metric`], over a connection that is there already.
    #[track_caller]
    pub fn metric_over(&self, connection: &mut Connection, name: &str) -> f64 {
        connection.send(request("GET", "/metrics", &[], b""));
        let text = connection.answer().text();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).parse().unwrap()
    }

    /// Bytes of memory in use.
    pub fn resident_bytes(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// Open sockets.
    pub fn sockets(&self) -> usize {
        let descriptors = std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap();
        let targets = descriptors.filter_map(|entry| std::fs::read_link(entry.ok()?.path()).ok());
        targets.filter(|target| target.to_string_lossy().starts_with("socket:")).count()
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// SIGTERM: asks it to drain.
    pub fn term(&self) {
        self.signal(Signal::TERM);
    }

    /// Waits until it has ended by itself.
    #[track_caller]
    pub fn exit(&mut self) -> ExitStatus {
        let mut status = None;
        eventually("the daemon ends", || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap()
    }

    /// Waits for its end after [`Daemon::term`], which must be a good one.
    #[track_caller]
    pub fn drained(mut self) -> Place {
        let status = self.exit();
        assert!(status.success(), "the drain ended with {status}: {}", self.log());
        self.place.take().unwrap()
    }

    /// SIGTERM, and its good end.
    #[track_caller]
    pub fn stop(self) -> Place {
        self.term();
        self.drained()
    }

    /// SIGKILL.
    pub fn kill(mut self) -> Place {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
        self.place.take().unwrap()
    }

    /// `ingestd admin` with these arguments.
    pub fn admin(&self, arguments: &[&str]) -> Output {
        self.place.as_ref().unwrap().command(&[&["admin"], arguments].concat()).output().unwrap()
    }

    /// Writes its configuration file anew and has it read.
    #[track_caller]
    pub fn reconfigure(&self, file: &Path, text: &str) {
        std::fs::write(file, text).unwrap();
        let done = self.admin(&["config", "reload"]);
        assert!(done.status.success(), "{}", String::from_utf8_lossy(&done.stderr));
    }

    /// A checkpoint of its data folder, in a place of its own.
    #[track_caller]
    pub fn checkpoint(&self) -> Place {
        let copy = self.place.as_ref().unwrap().beside();
        let made = self.admin(&["checkpoint", copy.data().to_str().unwrap()]);
        assert!(made.status.success(), "checkpoint: {made:?} {}", self.log());
        copy
    }

    /// Its place.
    pub fn place(&self) -> &Place {
        self.place.as_ref().unwrap()
    }

    /// Its data folder.
    pub fn data(&self) -> PathBuf {
        self.place.as_ref().unwrap().data()
    }

    /// First position that its log holds.
    pub fn start_of_log(&self) -> u64 {
        self.place.as_ref().unwrap().inspect()["start"].as_u64().unwrap()
    }

    /// What it logged, the newest last.
    pub fn log(&self) -> String {
        let place = self.place.as_ref().unwrap();
        std::fs::read_to_string(place.log()).unwrap_or_default()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        self.child.kill().ok();
        self.child.wait().ok();
        if std::thread::panicking() && self.place.is_some() {
            eprintln!("--- the daemon's log\n{}---", self.log());
        }
    }
}
