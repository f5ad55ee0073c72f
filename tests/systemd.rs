//! The daemon as its service manager sees it: what it says, the watchdog, the socket that is held over restarts, the units.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use rustix::process::Signal;
use std::collections::HashMap;
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};
use support::{Connection, PROGRAM, Place, Stopped, event, eventually, request};

/// For one message of a daemon on a busy machine.
const WITHIN: Duration = Duration::from_secs(60);

/// The service manager's end of the notify socket.
struct Manager {
    dir: tempfile::TempDir,
    socket: UnixDatagram,
}

impl Manager {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("notify")).unwrap();
        socket.set_read_timeout(Some(WITHIN)).unwrap();
        Manager { dir, socket }
    }

    fn path(&self) -> PathBuf {
        self.dir.path().join("notify")
    }

    /// A place whose daemon talks to this manager.
    fn place(&self, env: &[(&str, &str)]) -> Place {
        Place::with(env).and("NOTIFY_SOCKET", self.path().to_str().unwrap())
    }

    /// The lines of the next message.
    #[track_caller]
    fn next(&self) -> Vec<String> {
        let mut message = [0; 4096];
        let length = self.socket.recv(&mut message).unwrap_or_else(|error| panic!("nothing is told: {error}"));
        String::from_utf8(message[..length].to_vec()).unwrap().lines().map(str::to_owned).collect()
    }

    /// All lines up to the message that has this one, and that message's lines.
    #[track_caller]
    fn until(&self, line: &str) -> (Vec<String>, Vec<String>) {
        let deadline = Instant::now() + WITHIN;
        let mut before = Vec::new();
        loop {
            let message = self.next();
            if message.iter().any(|told| told == line) {
                return (before, message);
            }
            before.extend(message);
            assert!(Instant::now() < deadline, "no {line} among {before:?}");
        }
    }

    /// What has been told so far.
    fn told(&self) -> Vec<String> {
        self.socket.set_nonblocking(true).unwrap();
        let mut lines = Vec::new();
        let mut message = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut message) {
            lines.extend(String::from_utf8_lossy(&message[..length]).lines().map(str::to_owned));
        }
        lines
    }
}

#[test]
fn each_step_of_its_life_is_told() {
    let manager = Manager::new();
    let daemon = manager.place(&[]).start();
    let (before, ready) = manager.until("READY=1");
    assert!(before.contains(&"STATUS=opening the log".to_owned()), "{before:?}");
    assert!(ready.contains(&format!("STATUS=listening on http://{}", daemon.address)), "{ready:?}");
    assert_eq!(daemon.get("/health/ready").status, 200);

    daemon.signal(Signal::HUP);
    let (before, reloading) = manager.until("RELOADING=1");
    assert!(!before.contains(&"READY=1".to_owned()), "{before:?}");
    assert!(reloading.iter().any(|line| line.starts_with("MONOTONIC_USEC=")), "{reloading:?}");
    manager.until("READY=1");

    daemon.term();
    let (before, _) = manager.until("STOPPING=1");
    assert!(!before.contains(&"READY=1".to_owned()), "{before:?}");
    daemon.drained();
}

#[test]
fn a_daemon_that_cannot_listen_is_never_ready() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let manager = Manager::new();
    let place = manager.place(&[]);
    let listen = taken.local_addr().unwrap().to_string();
    let output = place.command(&["serve", "--listen", &listen]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert!(!manager.told().contains(&"READY=1".to_owned()));
}

#[test]
fn an_idle_daemon_feeds_the_watchdog_and_one_with_a_stuck_thread_does_not() {
    let manager = Manager::new();
    let place = manager.place(&[("WATCHDOG_USEC", "1500000"), ("INGESTD_SERVER_ACCEPTORS", "2")]);
    let daemon = place.start();
    for _ in 0..3 {
        manager.until("WATCHDOG=1");
    }
    for (thread, complaint) in [
        ("writer", "the writer does not answer"),
        ("accept-0", "acceptor 0 does not turn"),
        ("accept-1", "acceptor 1 does not turn"),
    ] {
        let stopped = Stopped::thread(&daemon, thread);
        // What was under way when it stopped may still be told.
        let mut in_a_row = 0;
        let deadline = Instant::now() + WITHIN;
        while in_a_row < 3 {
            let message = manager.next();
            if message.contains(&"WATCHDOG=1".to_owned()) {
                in_a_row = 0;
            } else if message.contains(&format!("STATUS={complaint}: the watchdog is not fed")) {
                in_a_row += 1;
            }
            assert!(Instant::now() < deadline, "with {thread} stopped the watchdog is fed, or something else is told");
        }
        drop(stopped);
        manager.until("WATCHDOG=1");
    }
    daemon.stop();
}

#[test]
fn every_acceptor_accepts_from_the_socket_that_is_handed_in() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let daemon = Place::with(&[("INGESTD_SERVER_ACCEPTORS", "2")]).start_on(&held);
    assert_eq!(daemon.address, held.local_addr().unwrap());
    let shown = daemon.admin(&["config", "show"]);
    let shown = String::from_utf8_lossy(&shown.stdout).into_owned();
    let line = shown.lines().find(|line| line.starts_with("server.listen = ")).unwrap_or_default();
    assert!(line.contains(&daemon.address.to_string()) && line.ends_with("# the socket that was handed in"), "{shown}");
    for stuck in ["accept-0", "accept-1"] {
        let stopped = Stopped::thread(&daemon, stuck);
        for number in 0..5 {
            assert_eq!(daemon.post("/events", event(&format!("{stuck}-{number}")).to_string()).status, 202);
        }
        drop(stopped);
    }
    daemon.stop();
}

/// Posts one event over the connection, or over a new one; once again over a new one if that fails before an answer
/// begins. Returns its position.
fn post(address: SocketAddr, connection: &mut Option<Connection>, id: &str) -> u64 {
    let bytes = request("POST", "/events", &[], event(id).to_string().as_bytes());
    for attempt in 0..3 {
        let is_new = connection.is_none();
        let mut open = connection.take().unwrap_or_else(|| {
            Connection::try_open(address).unwrap_or_else(|error| panic!("{id}: the connection was refused: {error}"))
        });
        // It may be closed already, and the answer be there.
        open.try_send(&bytes).ok();
        if open.has_more() {
            let answer = open.try_answer(false).unwrap_or_else(|error| panic!("{id}: cut off in its answer: {error}"));
            if answer.header("connection") != Some("close") {
                *connection = Some(open);
            }
            if answer.status == 202 {
                return answer.json()["seq"].as_u64().unwrap();
            }
            assert_eq!(answer.problem(503)["reason"], "shutting_down", "{id}");
            *connection = None;
        }
        assert!(!(is_new && attempt > 0), "{id}: failed again on a new connection");
    }
    panic!("{id}: failed three times");
}

#[test]
fn a_restart_under_load_refuses_no_connection_and_loses_nothing() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = held.local_addr().unwrap();
    let mut place = Place::with(&[("INGESTD_SERVER_ACCEPTORS", "2"), ("INGESTD_PARQUET_ENABLED", "false")]);
    let (done, ended) = (AtomicUsize::new(0), AtomicBool::new(false));
    let acknowledged = Mutex::new(HashMap::new());
    let place = std::thread::scope(|scope| {
        let clients: Vec<_> = (0..8)
            .map(|client| {
                let (done, ended, acknowledged) = (&done, &ended, &acknowledged);
                scope.spawn(move || {
                    let mut connection = None;
                    for number in 0.. {
                        if ended.load(SeqCst) {
                            return;
                        }
                        // Some connections are kept, some are new.
                        if number % 4 == 0 {
                            connection = None;
                        }
                        let id = format!("{client}-{number}");
                        let seq = post(address, &mut connection, &id);
                        acknowledged.lock().unwrap().insert(id, seq);
                        done.fetch_add(1, SeqCst);
                    }
                })
            })
            .collect();
        // Whatever happens, the clients end.
        let _end = End(&ended);
        for _ in 0..4 {
            let daemon = place.start_on(&held);
            let enough = done.load(SeqCst) + 200;
            eventually("events come in", || {
                done.load(SeqCst) >= enough || clients.iter().any(std::thread::ScopedJoinHandle::is_finished)
            });
            assert!(!clients.iter().any(std::thread::ScopedJoinHandle::is_finished), "a client has failed");
            place = daemon.stop();
        }
        // The last requests wait for one more start.
        ended.store(true, SeqCst);
        let daemon = place.start_on(&held);
        eventually("the clients end", || clients.iter().all(std::thread::ScopedJoinHandle::is_finished));
        daemon.stop()
    });
    let stored = place.stored();
    let by_id: HashMap<&str, u64> = stored.iter().map(|event| (event.id.as_str(), event.seq)).collect();
    assert_eq!(by_id.len(), stored.len(), "an event is stored twice");
    for (id, seq) in acknowledged.into_inner().unwrap() {
        assert_eq!(by_id.get(id.as_str()), Some(&seq), "{id}");
    }
}

/// Has the clients end when the test does, also when it fails.
struct End<'a>(&'a AtomicBool);

impl Drop for End<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

/// How a daemon ends that cannot use what it was handed.
fn refused(socket: impl Into<OwnedFd>, env: &[(&str, &str)]) -> (Option<i32>, String) {
    let Output { status, stderr, .. } = Place::with(env).serving(socket.into()).output().unwrap();
    (status.code(), String::from_utf8(stderr).unwrap())
}

#[test]
fn what_is_handed_in_must_be_one_listening_socket() {
    let (code, why) = refused(UdpSocket::bind("127.0.0.1:0").unwrap(), &[]);
    assert!(code == Some(1) && why.contains("not a valid tcp socket"), "{why}");
    let bound = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    bound.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    let (code, why) = refused(bound, &[]);
    assert!(code == Some(1) && why.contains("does not listen"), "{why}");
    // Nobody may come in through it who could not through our own: no restart mends that.
    let (code, why) = refused(TcpListener::bind("0.0.0.0:0").unwrap(), &[]);
    assert!(code == Some(64) && why.contains("allow_unauthenticated"), "{why}");

    let place = Place::with(&[]);
    let several = "exec 3<&0 4<&0; LISTEN_PID=$$ LISTEN_FDS=2 exec \"$0\" serve --data-dir \"$1\"";
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut command = Command::new("/bin/sh");
    command.args(["-c", several, PROGRAM]).arg(place.data()).stdin(OwnedFd::from(listener));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("keep one ListenStream="), "{output:?}");
}

#[test]
fn groups_that_are_open_from_outside_are_named_and_no_others() {
    let warning = "without authentication";
    let held = TcpListener::bind("0.0.0.0:0").unwrap();
    let keys = [("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_AUTH_READ", "key"), ("INGESTD_AUTH_MANAGE", "key")];
    let daemon = Place::with(&keys).start_on(&held);
    assert!(!daemon.log().contains(warning), "{}", daemon.log());
    daemon.stop();
    let daemon = Place::with(&keys[..2]).start_on(&held);
    let log = daemon.log();
    let told: Vec<_> = log.lines().filter(|line| line.contains(warning)).collect();
    assert!(told.len() == 1 && told[0].contains("groups=manage"), "{log}");
    daemon.stop();
}

/// `systemd-analyze` on the units, with the program that was built in the place of the installed one.
fn analyze(arguments: &[&str]) -> Option<Output> {
    let dir = tempfile::tempdir().unwrap();
    for unit in ["ingestd.service", "ingestd.socket"] {
        let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("systemd").join(unit)).unwrap();
        std::fs::write(dir.path().join(unit), text.replace("/usr/bin/ingestd", PROGRAM)).unwrap();
    }
    let mut command = Command::new("systemd-analyze");
    match command.args(arguments).current_dir(dir.path()).stdin(Stdio::null()).output() {
        Ok(output) => Some(output),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            skipped("systemd units: systemd-analyze is not installed");
            None
        }
        Err(error) => panic!("systemd-analyze: {error}"),
    }
}

/// Counts what cannot be run here in the list that the caller keeps.
fn skipped(what: &str) {
    use std::io::Write;
    eprintln!("skipped: {what}");
    if let Some(list) = std::env::var_os("SKIPPED_LIST") {
        let mut list = std::fs::OpenOptions::new().create(true).append(true).open(list).unwrap();
        writeln!(list, "{what}").unwrap();
    }
}

#[test]
fn the_units_have_no_mistake() {
    let Some(output) = analyze(&["verify", "./ingestd.service", "./ingestd.socket"]) else { return };
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn the_service_is_exposed_to_little() {
    let arguments = ["security", "--offline=true", "--threshold=15", "--no-pager", "./ingestd.service"];
    let Some(output) = analyze(&arguments) else { return };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_guides_drop_in_starts_what_the_unit_starts() {
    let unit = include_str!("../systemd/ingestd.service");
    let start = unit.lines().find(|line| line.starts_with("ExecStart=")).unwrap();
    let guide = include_str!("../docs/operations.md");
    // systemd adds to a list what does not begin with an empty one.
    let wanted = format!("[Service]\nExecStart=\n{start} --replace\nEND\n");
    assert!(guide.contains(&wanted), "docs/operations.md lacks:\n{wanted}");
}

/// Names of pages that a text speaks of.
fn pages_in(text: &str) -> impl Iterator<Item = &str> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && !"-_./".contains(letter));
    let words = words.map(|word| word.trim_end_matches('.')).filter(|word| word.ends_with(".md"));
    words.map(|word| word.strip_prefix("docs/").unwrap_or(word))
}

#[test]
fn the_package_has_every_page_that_its_pages_name() {
    let docs = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs");
    let line = include_str!("../scripts/deb.sh").lines().find(|line| line.starts_with("cp -r docs/")).unwrap();
    let packed: Vec<&str> = line.split(' ').filter_map(|word| word.strip_prefix("docs/")).collect();
    let mut texts = vec![("config.toml".to_owned(), include_str!("../config.toml").to_owned())];
    for name in &packed {
        let path = docs.join(name);
        let files = match path.is_dir() {
            true => path.read_dir().unwrap().map(|entry| entry.unwrap().path()).collect(),
            false => vec![path],
        };
        texts.extend(files.iter().map(|file| (file.display().to_string(), std::fs::read_to_string(file).unwrap())));
    }
    for (place, text) in &texts {
        // Those that do not lie there are a folder's own, or the repository's.
        for page in pages_in(text).filter(|page| !page.contains('/') && docs.join(page).exists()) {
            assert!(packed.contains(&page), "{place} names {page}, which scripts/deb.sh does not pack");
        }
    }
}
