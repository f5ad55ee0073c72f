//! SIGTERM: what is under way is finished, what comes is refused, what was acknowledged is there afterwards.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use rustix::fs::{CWD, FileType, Mode, OFlags, mknodat};
use rustix::process::Signal;
use serde_json::Value;
use std::collections::HashMap;
use std::fs::File;
use std::io::{self, BufRead};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, ExitStatus, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use support::{
    Authority, CLOSE, Connection, Daemon, Files, Place, Shim, Socket, TEXT, cart_event, event, eventually, masked,
    request,
};

/// Events that were acknowledged, with their positions.
type Acknowledged = Mutex<HashMap<String, u64>>;

/// Sees that everything acknowledged is in the log under the position that was told.
#[track_caller]
fn assert_stored(place: &Place, acknowledged: Acknowledged) {
    let stored: HashMap<String, u64> = place.stored().into_iter().map(|event| (event.id, event.seq)).collect();
    for (id, seq) in acknowledged.into_inner().unwrap() {
        assert_eq!(stored.get(&id), Some(&seq), "{id}");
    }
}

/// Posts events one after the other until the daemon ends the connection. Every request must be answered.
fn post_until_closed(daemon: &Daemon, client: usize, acknowledged: &Acknowledged, done: &AtomicUsize) {
    let mut connection = daemon.connect();
    for number in 0.. {
        let id = format!("http-{client}-{number}");
        let sent = connection.try_send(request("POST", "/events", &[], event(&id).to_string().as_bytes()));
        let answer = connection.try_answer(false);
        let answer = answer.unwrap_or_else(|error| panic!("{id} was not answered: {error}, {sent:?}"));
        match answer.status {
            202 => drop(acknowledged.lock().unwrap().insert(id, answer.json()["seq"].as_u64().unwrap())),
            503 => assert_eq!(answer.problem(503)["reason"], "shutting_down"),
            _ => panic!("{answer:?}"),
        }
        done.fetch_add(1, SeqCst);
        if answer.header("connection") == Some("close") {
            assert!(connection.is_closed());
            return;
        }
        assert_eq!(answer.status, 202, "a refusal without the end of the connection");
    }
}

/// Sends messages, several at a time, until the daemon says goodbye.
fn stream_until_closed(daemon: &Daemon, client: usize, acknowledged: &Acknowledged, done: &AtomicUsize) {
    let mut socket = Socket::open(daemon);
    for round in 0.. {
        let ids: Vec<_> = (0..10).map(|number| format!("ws-{client}-{round}-{number}")).collect();
        let messages = ids.iter().flat_map(|id| masked(TEXT, cart_event(&event(id)).as_bytes()));
        // It may be closed already; then the goodbye lies there to be read.
        socket.try_send_raw(&messages.collect::<Vec<u8>>()).ok();
        for id in ids {
            let frame =
                socket.next_frame().unwrap_or_else(|error| panic!("cut off without a goodbye at {id}: {error}"));
            if frame.opcode == CLOSE {
                assert_eq!(frame.payload.first_chunk(), Some(&1001_u16.to_be_bytes()));
                return;
            }
            let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
            if answer["type"] == "event_ack" {
                assert_eq!(answer["eventId"], id);
                acknowledged.lock().unwrap().insert(id, answer["seq"].as_u64().unwrap());
            } else {
                assert_eq!(answer["code"], "shutting_down", "{answer}");
            }
            done.fetch_add(1, SeqCst);
        }
    }
}

#[test]
fn a_daemon_that_is_stopped_as_soon_as_it_says_that_it_listens_stops_in_order() {
    let mut place = Place::with(&[]);
    for _ in 0..20 {
        place = place.start().stop();
    }
}

#[test]
fn under_load_every_request_is_answered_and_every_ack_is_kept() {
    let mut place = Place::with(&[]);
    for round in 0..3 {
        let daemon = place.start();
        let (acknowledged, done) = (Acknowledged::default(), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for client in 0..8 {
                let client = round * 100 + client;
                scope.spawn({
                    let (daemon, acknowledged, done) = (&daemon, &acknowledged, &done);
                    move || post_until_closed(daemon, client, acknowledged, done)
                });
            }
            for client in 0..4 {
                let client = round * 100 + client;
                scope.spawn({
                    let (daemon, acknowledged, done) = (&daemon, &acknowledged, &done);
                    move || stream_until_closed(daemon, client, acknowledged, done)
                });
            }
            eventually("there is load", || done.load(SeqCst) > 2000);
            daemon.term();
        });
        place = daemon.drained();
        assert!(acknowledged.lock().unwrap().len() > 1000);
        assert_stored(&place, acknowledged);
        assert_eq!(place.inspect()["clean"], true);
    }
    let daemon = place.start();
    assert!(
        daemon.log().lines().filter(|line| line.contains("opened after a clean stop")).count() >= 3,
        "{}",
        daemon.log()
    );
}

#[test]
fn an_idle_daemon_ends_well_whoever_is_connected() {
    // With a deadline that would be noticed.
    let daemon = Daemon::with(&[("INGESTD_SERVER_DRAIN_TIMEOUT_S", "3600")]);
    let mut fresh = daemon.connect();
    let mut used = daemon.connect();
    used.post("/events", &[], event("e").to_string().as_bytes()).with_status(202);
    let mut sockets: Vec<_> = (0..20).map(|_| Socket::open(&daemon)).collect();
    sockets[0].cart(&event("ws"));
    sockets[0].message("event_ack");
    daemon.term();
    for socket in &mut sockets {
        assert_eq!(socket.close_code(), Some(1001));
    }
    assert!(fresh.is_closed() && used.is_closed());
    let place = daemon.drained();
    assert_eq!(place.stored().len(), 2);
    assert_eq!(place.inspect()["clean"], true);
}

#[test]
fn a_start_that_fails_with_the_log_open_is_no_crash() {
    let daemon = Daemon::start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    let place = daemon.stop();
    let keys = place.data().join("keys.jsonl");
    std::fs::write(&keys, "garbage\n").unwrap();
    let (code, said) = place.start_in_vain(&[]);
    assert!(code == 1 && said.contains("keys.jsonl"), "{said}");
    assert_eq!(place.inspect()["clean"], true);
    std::fs::remove_file(&keys).unwrap();
    let mut serve = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    serve.env("INGESTD_CLICKHOUSE_ENABLED", "true").env("INGESTD_CLICKHOUSE_PASSWORD_FILE", "/nowhere/password");
    let output = serve.output().unwrap();
    let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
    assert!(output.status.code() == Some(1) && said.contains("/nowhere/password"), "{said}");
    assert_eq!(place.inspect()["clean"], true);
    let daemon = place.start();
    assert!(!daemon.log().contains("unclean"), "{}", daemon.log());
}

#[test]
fn a_request_under_way_is_finished_and_a_new_one_refused() {
    let daemon = Daemon::start();
    let mut under_way = daemon.connect();
    let bytes = request("POST", "/events", &[], event("under-way").to_string().as_bytes());
    under_way.send(&bytes[..bytes.len() - 1]);
    let mut other = daemon.connect();
    other.post("/events", &[], event("before").to_string().as_bytes()).with_status(202);
    // Its head has been read once an answer came that was asked for later.
    eventually("it is under way", || daemon.metric("ingestd_http_connections") >= 2.0);
    daemon.term();
    other.try_send(request("POST", "/events", &[], event("new").to_string().as_bytes())).ok();
    match other.try_answer(false) {
        Ok(answer) if answer.status == 503 => {
            assert_eq!(answer.problem(503)["reason"], "shutting_down");
            assert!(answer.header("retry-after").is_some() && answer.header("connection") == Some("close"));
        }
        // The signal was slower than the request.
        Ok(answer) => drop(answer.with_status(202)),
        Err(error) => panic!("{error}"),
    }
    eventually("nobody new is let in", || Connection::try_open(daemon.address).is_err());
    under_way.send(&bytes[bytes.len() - 1..]);
    let answer = under_way.answer();
    answer.with_status(202);
    assert_eq!(answer.header("connection"), Some("close"));
    assert!(under_way.is_closed());
    let ids: Vec<_> = daemon.drained().stored().into_iter().map(|event| event.id).collect();
    assert!(ids.contains(&"under-way".to_owned()) && ids.contains(&"before".to_owned()), "{ids:?}");
}

#[test]
fn a_request_that_never_ends_is_answered_and_does_not_hold_the_daemon_for_ever() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_DRAIN_TIMEOUT_S", "2")]);
    let mut endless = ["/events", "/events/batch", "/dead-letters/purge"].map(|path| {
        let mut connection = daemon.connect();
        connection.send(format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 500\r\n\r\n{{"));
        connection
    });
    let mut headless = daemon.connect();
    headless.send("POST /events HTTP/1.1\r\nHost");
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.term();
    for connection in &mut endless {
        let answer = connection.answer();
        assert_eq!(answer.problem(503)["reason"], "shutting_down");
        assert!(answer.header("retry-after").is_some() && answer.header("connection") == Some("close"), "{answer:?}");
    }
    assert_eq!(daemon.drained().stored().len(), 1);
}

#[test]
fn what_is_stored_of_a_websocket_at_a_stop_was_acknowledged() {
    let daemon = Daemon::start();
    let mut socket = Socket::open(&daemon);
    // Far more than one read takes.
    let messages = (0..20_000).flat_map(|number| masked(TEXT, cart_event(&event(&format!("e-{number}"))).as_bytes()));
    let messages: Vec<u8> = messages.collect();
    let mut writer = socket.stream().try_clone().unwrap();
    let acks = std::thread::scope(|scope| {
        // It ends where the daemon has closed.
        scope.spawn(move || io::Write::write_all(&mut writer, &messages).is_ok());
        socket.message("event_ack");
        daemon.term();
        let mut acks = 1;
        loop {
            let frame = socket.next_frame().unwrap();
            if frame.opcode == CLOSE {
                break acks;
            }
            let answer: Value = serde_json::from_slice(&frame.payload).unwrap();
            match answer["type"].as_str() {
                Some("event_ack") => acks += 1,
                _ => assert_eq!(answer["code"], "shutting_down", "{answer}"),
            }
        }
    });
    assert_eq!(daemon.drained().stored().len(), acks);
}

/// As a terminal's Ctrl-C beside a script that passes it on.
#[test]
fn the_same_signal_twice_at_once_is_one() {
    for second in [Signal::TERM, Signal::INT] {
        let daemon = Daemon::start();
        daemon.post("/events", event("e").to_string()).with_status(202);
        daemon.term();
        daemon.signal(second);
        assert_eq!(daemon.drained().inspect()["clean"], true);
    }
}

#[test]
fn a_second_signal_ends_it_at_once_and_loses_nothing() {
    let mut daemon =
        Daemon::with(&[("INGESTD_SERVER_DRAIN_TIMEOUT_S", "3600"), ("INGESTD_SERVER_BODY_TIMEOUT_S", "3600")]);
    let mut socket = Socket::open(&daemon);
    for number in 0..100 {
        socket.cart(&event(&format!("e-{number}")));
        socket.message("event_ack");
    }
    let mut endless = daemon.connect();
    endless.send("POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: 500\r\n\r\n{");
    eventually("its head is read", || daemon.metric("ingestd_http_connections") >= 2.0);
    daemon.post("/events", event("last").to_string()).with_status(202);
    daemon.term();
    eventually("it drains", || Connection::try_open(daemon.address).is_err());
    eventually("a later signal ends it", || {
        daemon.term();
        daemon.log().contains("second signal")
    });
    let status = daemon.exit();
    assert_eq!(status.code(), Some(1), "{status}");
    let place = daemon.kill();
    assert_eq!(place.stored().len(), 101);
    let daemon = place.start();
    assert_eq!(daemon.post("/events", event("last").to_string()).with_status(202)["duplicate"], true);
}

#[test]
fn a_drained_data_folder_starts_again_where_it_ended() {
    let mut place = Place::with(&[]);
    for round in 1..=5_u64 {
        let daemon = place.start();
        let answer = daemon.post("/events", event(&format!("e-{round}")).to_string()).with_status(202);
        assert_eq!(answer["seq"], round);
        place = daemon.stop();
        assert_eq!(place.inspect()["clean"], true);
    }
}

#[test]
fn an_interrupt_drains_as_well() {
    let mut daemon = Daemon::start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.signal(rustix::process::Signal::INT);
    assert!(daemon.exit().success());
    assert_eq!(daemon.kill().stored().len(), 1);
}

#[test]
fn a_client_that_does_not_read_its_acks_does_not_hold_the_daemon_for_ever() -> io::Result<()> {
    let daemon = Daemon::with(&[("INGESTD_SERVER_DRAIN_TIMEOUT_S", "1")]);
    let socket = Socket::narrow(&daemon);
    let mut stream = socket.stream();
    stream.set_write_timeout(Some(std::time::Duration::from_secs(1)))?;
    let pings = masked(support::PING, &[0; 125]).repeat(1000);
    while io::Write::write_all(&mut stream, &pings).is_ok() {}
    daemon.post("/events", event("e").to_string()).with_status(202);
    assert_eq!(daemon.stop().stored().len(), 1);
    Ok(())
}

#[test]
fn who_waits_for_a_sink_is_answered_before_the_daemon_ends() {
    // Nobody listens there.
    let place =
        Place::with(&[("INGESTD_CLICKHOUSE_ENABLED", "true"), ("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9")]);
    let daemon = place.start();
    let mut connection = daemon.connect();
    connection.send(request("POST", "/events?ack=clickhouse", &[], event("e-1").to_string().as_bytes()));
    eventually("it is stored", || daemon.totals()[0] == 1);
    daemon.term();
    let answer = connection.answer().with_status(202);
    assert_eq!((&answer["seq"], &answer["delivery"]), (&1.into(), &"pending".into()));
    daemon.drained();
}

#[test]
fn a_log_that_nobody_reads_any_more_ends_nothing() {
    for (out, err) in [(true, false), (false, true), (true, true)] {
        let dir = tempfile::tempdir().unwrap();
        let full = || std::fs::File::options().write(true).open("/dev/full").unwrap();
        let mut command = std::process::Command::new(support::PROGRAM);
        command.env_clear().args(["serve", "--listen", "127.0.0.1:0", "--data-dir"]).arg(dir.path().join("data"));
        // On its way from the start, and at each attempt, it has something to say.
        command.env("INGESTD_CLICKHOUSE_ENABLED", "true").env("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9");
        command.env("INGESTD_LOG_LEVEL", "debug");
        command.stdout(if out { full().into() } else { std::process::Stdio::null() });
        command.stderr(if err { full().into() } else { std::process::Stdio::null() });
        let mut child = command.spawn().unwrap();
        let ready = dir.path().join("data/admin.sock");
        eventually("it has started", || ready.exists() || child.try_wait().unwrap().is_some());
        rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
        let status = child.wait().unwrap();
        assert!(status.success(), "stdout full: {out}, stderr full: {err}: {status}");
        assert!(dir.path().join("data/clean").exists(), "it drained");
    }
}

#[test]
fn a_hangup_without_a_terminal_changes_nothing() {
    let daemon = Daemon::start();
    daemon.signal(Signal::HUP);
    eventually("it says so", || daemon.log().contains("SIGHUP"));
    daemon.post("/events", event("e-1").to_string()).with_status(202);
    daemon.stop();
}

/// A start that is held by its disk, on a data folder that has events.
fn held_start(shim: &Shim) -> (Place, Child) {
    let place = Place::with(&[]).and_all(shim.strikes("open", "*/data/log/CURRENT"));
    let place = place.and("FAULT_HANG", "1").and("FAULT_LOG", shim.file("struck").to_str().unwrap());
    let daemon = place.start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    let place = daemon.stop();
    shim.arm();
    let mut command = place.command(&["serve", "--listen", "127.0.0.1:0"]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    eventually("it is opening the log", || shim.file("struck").exists());
    (place, child)
}

#[track_caller]
fn ended(child: &mut Child) -> ExitStatus {
    let mut status = None;
    eventually("it ends", || {
        status = child.try_wait().unwrap();
        status.is_some()
    });
    status.unwrap()
}

#[test]
fn a_hangup_during_the_start_has_the_configuration_read_once_it_runs() {
    let shim = Shim::compiled();
    let (_place, mut child) = held_start(&shim);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::HUP).unwrap();
    shim.disarm();
    let (says, said) = std::sync::mpsc::channel();
    let lines = io::BufReader::new(child.stderr.take().unwrap()).lines();
    // Read to the end, so that it never blocks on a full pipe.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| drop(says.send(line))));
    let mut has_said = false;
    eventually("it reads the configuration again", || {
        assert_eq!(child.try_wait().unwrap(), None, "the hangup ended it");
        has_said |= said.try_iter().any(|line| line.contains("SIGHUP"));
        has_said
    });
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    assert!(ended(&mut child).success());
}

#[test]
fn a_stop_during_the_start_ends_it_at_once_and_the_next_start_finds_everything() {
    let shim = Shim::compiled();
    let (place, mut child) = held_start(&shim);
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), Signal::TERM).unwrap();
    // Though its disk hangs.
    assert_eq!(ended(&mut child).signal(), Some(Signal::TERM.as_raw()));
    shim.disarm();
    let daemon = place.start();
    assert_eq!(daemon.post("/events", event("e").to_string()).with_status(202)["duplicate"], true);
    daemon.stop();
}

#[test]
fn a_stop_while_the_disk_hangs_answers_what_waits_once_it_goes_on() {
    let shim = Shim::compiled();
    let place = Place::with(&[]).and_all(shim.strikes("fdatasync", "*/data/log/*.log"));
    let daemon = place.and("FAULT_HANG", "1").start();
    shim.arm();
    let mut waiting: Vec<_> = (0..50).map(|_| daemon.connect()).collect();
    for (number, connection) in waiting.iter_mut().enumerate() {
        connection.send(request("POST", "/events", &[], event(&format!("e-{number}")).to_string().as_bytes()));
    }
    eventually("all of them are read", || daemon.metric("ingestd_events_received_total") >= 50.0);
    daemon.term();
    eventually("nobody new is let in", || Connection::try_open(daemon.address).is_err());
    shim.disarm();
    for connection in &mut waiting {
        connection.answer().with_status(202);
    }
    assert_eq!(daemon.drained().stored().len(), 50);
}

#[test]
fn a_stop_is_begun_though_the_audit_log_hangs() {
    let shim = Shim::compiled();
    let place = Place::with(&[]).and_all(shim.strikes("fdatasync", "*/audit.log"));
    let daemon = place.and("FAULT_HANG", "1").start();
    daemon.post("/events", event("e").to_string()).with_status(202);
    shim.arm();
    daemon.term();
    eventually("nobody is let in any more", || Connection::try_open(daemon.address).is_err());
    shim.disarm();
    let daemon = daemon.drained().start();
    let output = daemon.admin(&["audit-log", "--json"]);
    assert!(String::from_utf8_lossy(&output.stdout).contains("\"stop\""), "{output:?}");
}

/// Puts a pipe in the place of a file and waits until somebody reads it: for ever, as from a file system that hangs, while
/// what is returned lives.
#[track_caller]
fn hang(file: &Path) -> File {
    let pipe = file.with_extension("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::RWXU, 0).unwrap();
    std::fs::rename(pipe, file).unwrap();
    let mut writer = None;
    eventually("it is read", || {
        // Refused as long as nobody reads.
        writer = File::options().write(true).custom_flags(OFlags::NONBLOCK.bits().cast_signed()).open(file).ok();
        writer.is_some()
    });
    writer.unwrap()
}

#[track_caller]
fn assert_at_work_and_stops(daemon: Daemon) {
    let mut trim = daemon.place().command(&["admin", "wal", "trim"]);
    let mut trim = trim.stdout(Stdio::null()).spawn().unwrap();
    assert!(ended(&mut trim).success(), "{}", daemon.log());
    daemon.term();
    daemon.drained();
}

#[test]
fn keys_whose_file_hangs_hold_up_neither_the_work_nor_the_stop() {
    let dir = tempfile::tempdir().unwrap();
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "0123456789abcdef0123456789abcdef").unwrap();
    let rules = [
        ("INGESTD_AUTH_READ", "jwt"),
        ("INGESTD_AUTH_ISSUER", "somebody"),
        ("INGESTD_AUTH_AUDIENCE", "us"),
        ("INGESTD_AUTH_HS256_SECRET_FILE", secret.to_str().unwrap()),
    ];
    let daemon = Daemon::with(&rules);
    let _hangs = hang(&secret);
    assert_at_work_and_stops(daemon);
}

#[test]
fn neither_does_a_certificate_and_another_one_is_taken_meanwhile() {
    let authority = Authority::new("test authority");
    let (files, others) = (Files::new(&authority.server(90)), Files::new(&authority.server(60)));
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("config.toml");
    let text = |files: &Files| {
        let path = |name: &str| files.path(name).display().to_string();
        let (cert, key) = (path("cert.pem"), path("key.pem"));
        format!("[tls]\nenabled = true\ncert_file = \"{cert}\"\nkey_file = \"{key}\"\n")
    };
    std::fs::write(&config, text(&files)).unwrap();
    let place = Place::with(&[("INGESTD_CONFIG", config.to_str().unwrap())]);
    let daemon = place.trusted(authority.trusted(None)).start();
    let first = daemon.connect().certificate();
    let _hangs = hang(&files.path("key.pem"));
    std::fs::write(&config, text(&others)).unwrap();
    let mut reload = daemon.place().command(&["admin", "config", "reload"]);
    let mut reload = reload.stdout(Stdio::null()).spawn().unwrap();
    assert!(ended(&mut reload).success(), "{}", daemon.log());
    assert_ne!(daemon.connect().certificate(), first);
    assert_at_work_and_stops(daemon);
}

#[test]
fn keys_whose_file_hangs_hold_up_no_certificate_and_a_reload_names_others() {
    let authority = Authority::new("test authority");
    let files = Files::new(&authority.server(90));
    let dir = tempfile::tempdir().unwrap();
    let [config, secret, other] = ["config.toml", "secret", "other"].map(|name| dir.path().join(name));
    let text = |secret: &Path| {
        let rules = "[auth]\nread = \"jwt\"\nissuer = \"somebody\"\naudience = \"us\"\n";
        format!("{rules}hs256_secret_file = \"{}\"\n", secret.display())
    };
    for file in [&secret, &other] {
        std::fs::write(file, "0123456789abcdef0123456789abcdef").unwrap();
    }
    std::fs::write(&config, text(&secret)).unwrap();
    let place = Place::with(&[("INGESTD_CONFIG", config.to_str().unwrap())]).and_all(files.env());
    let daemon = place.trusted(authority.trusted(None)).start();
    let first = daemon.connect().certificate();
    let _hangs = hang(&secret);
    files.renew(&authority.server(60));
    eventually("it is presented", || daemon.connect().certificate() != first);
    daemon.reconfigure(&config, &text(&other));
    std::fs::write(&other, "another secret that is long enough for it").unwrap();
    eventually("it is taken over", || daemon.log().contains("the keys of JWTs have changed"));
    assert_at_work_and_stops(daemon);
}
