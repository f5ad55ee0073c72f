//! TLS: who is let in, what is presented, how that changes, and what those get who do not fit.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::collections::HashSet;
use std::io::Read;
use std::process::{Command, Output, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use support::{
    Authority, Connection, Daemon, Files, PROGRAM, Pair, Place, Socket, event, events, eventually, ndjson, request,
};

/// An authority, a certificate of it in files, and a place for a daemon that presents it.
struct World {
    authority: Authority,
    files: Files,
}

impl World {
    fn new() -> Self {
        World::presenting(90)
    }

    /// With a certificate that ends in so many days.
    fn presenting(days: i64) -> Self {
        let authority = Authority::new("test authority");
        let files = Files::new(&authority.server(days));
        files.write("ca.pem", &authority.pem());
        World { authority, files }
    }

    fn place(&self, env: &[(&str, &str)]) -> Place {
        Place::with(env).and_all(self.files.env()).trusted(self.authority.trusted(None))
    }

    fn daemon(&self, env: &[(&str, &str)]) -> Daemon {
        self.place(env).start()
    }

    /// A daemon that asks its clients for certificates of `clients`.
    fn asking(&self, how: &str, clients: &Authority) -> Daemon {
        let file = self.files.write("clients.pem", &clients.pem());
        let env = [("INGESTD_TLS_CLIENT_AUTH", how), ("INGESTD_TLS_CLIENT_CA_FILE", file.to_str().unwrap())];
        self.daemon(&[&env[..], &[("INGESTD_LOG_LEVEL", "debug")]].concat())
    }

    fn curl(&self, daemon: &Daemon, arguments: &[&str]) -> Output {
        let mut command = Command::new("curl");
        command.args(["-sS", "--max-time", "60", "--cacert"]).arg(self.files.path("ca.pem"));
        command.args(arguments).arg(format!("https://localhost:{}/events", daemon.address.port()));
        command.stdin(Stdio::null()).output().expect("curl is installed")
    }
}

fn failures(daemon: &Daemon, reason: &str) -> f64 {
    daemon.metric(&format!("ingestd_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
}

fn post(connection: &mut Connection, id: &str) -> u16 {
    connection.post("/events", &[], event(id).to_string().as_bytes()).status
}

#[test]
fn requests_and_websockets_are_answered_as_without() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let mut connection = daemon.connect();
    // The short way, the general way, and the short way of a request in two records.
    assert_eq!(post(&mut connection, "a"), 202);
    connection.post("/events", &[("X-Whatever", "1")], event("b").to_string().as_bytes()).with_status(202);
    let mut connection = daemon.connect();
    let whole = request("POST", "/events", &[], event("c").to_string().as_bytes());
    connection.send(&whole[..40]);
    connection.send(&whole[40..]);
    connection.answer().with_status(202);
    let many = Value::Array(events("d", 900)).to_string();
    assert!(many.len() > 64 << 10, "more than one read and many records");
    connection.post("/events/batch", &[], many.as_bytes()).with_status(202);
    let mut socket = Socket::open(&daemon);
    for number in 0..50 {
        socket.cart(&event(&format!("ws-{number}")));
    }
    socket.cart(&Value::Array(events("wide", 300)));
    for _ in 0..350 {
        socket.message("event_ack");
    }
    assert_eq!(daemon.totals(), [3 + 900 + 350, 0, 0, 0]);
    assert!(daemon.metric("ingestd_tls_handshakes_total") >= 3.0);
    assert_eq!(daemon.metric("ingestd_websockets"), 1.0);
    socket.send(support::CLOSE, &1000_u16.to_be_bytes());
    assert_eq!(socket.close_code(), Some(1000), "and then TLS's own end");
    let place = daemon.stop();
    assert_eq!(place.stored().len(), 3 + 900 + 350);
}

#[test]
fn curl_and_openssl_find_what_they_expect() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    for (number, (version, shown)) in
        [("--http1.1", "1.1"), ("--http2", "2"), ("--tlsv1.3", "2")].into_iter().enumerate()
    {
        let body = event(&format!("e-{number}")).to_string();
        let arguments =
            [version, "-H", "content-type: application/json", "-d", &body, "-w", "\n%{http_code} %{http_version}"];
        let output = world.curl(&daemon, &arguments);
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(text.ends_with(&format!("\n202 {shown}")), "{text}: {}", String::from_utf8_lossy(&output.stderr));
    }
    // Somebody who does not know the authority.
    let mut command = Command::new("curl");
    let stranger = command.args(["-sS", &format!("https://localhost:{}/", daemon.address.port())]).output().unwrap();
    assert_eq!(stranger.status.code(), Some(60), "{stranger:?}");
    eventually("its alert is counted", || failures(&daemon, "alert") == 1.0);
    let old = Command::new("openssl")
        .args(["s_client", "-tls1_1", "-cipher", "DEFAULT:@SECLEVEL=0", "-connect", &daemon.address.to_string()])
        .stdin(Stdio::null())
        .output()
        .expect("openssl is installed");
    let said = String::from_utf8_lossy(&old.stderr).into_owned();
    assert!(!old.status.success() && said.contains("SSL alert number"), "{said}");
    eventually("it is counted", || failures(&daemon, "version") == 1.0);
}

#[test]
fn the_oldest_version_is_configured() {
    let world = World::new();
    let daemon = world.daemon(&[("INGESTD_TLS_MIN_VERSION", "1.3")]);
    let body = event("e").to_string();
    let old = world.curl(&daemon, &["--tls-max", "1.2", "-d", &body]);
    assert_eq!(old.status.code(), Some(35), "{old:?}");
    let new = world.curl(&daemon, &["--tls-max", "1.3", "-d", &body]);
    assert!(new.status.success(), "{new:?}");
}

#[test]
fn plain_http_is_told_that_this_port_speaks_tls() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    for first in [request("POST", "/events", &[], b"{}"), b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec()] {
        let mut plain = Connection::open(daemon.address);
        plain.send(first);
        let answer = plain.answer();
        assert_eq!(answer.problem(400)["detail"], "this port speaks TLS: use https");
        assert_eq!(answer.header("connection"), Some("close"));
        assert!(plain.is_closed());
    }
    let mut other = Connection::open(daemon.address);
    other.send([0, 1, 2, 3]);
    assert!(other.is_closed(), "neither TLS nor HTTP");
    assert_eq!((failures(&daemon, "plain_http"), failures(&daemon, "not_tls")), (2.0, 1.0));
    assert_eq!(daemon.totals(), [0; 4]);
    let log = daemon.log();
    let loud = log.lines().find(|line| line.contains("TLS") && !line.contains(" INFO "));
    assert_eq!(loud, None, "nobody fills the log from outside");
}

#[test]
fn a_renewed_certificate_is_presented_without_a_failed_request() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let first = daemon.connect().certificate();
    let (stop, count) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..4 {
            let (daemon, stop, count) = (&daemon, &stop, &count);
            scope.spawn(move || {
                let mut kept = daemon.connect();
                while !stop.load(SeqCst) {
                    let number = count.fetch_add(2, SeqCst);
                    assert_eq!(post(&mut kept, &format!("{client}-{number}")), 202);
                    assert_eq!(post(&mut daemon.connect(), &format!("{client}-{number}-new")), 202);
                }
            });
        }
        let mut known = HashSet::from([first.clone()]);
        // By order, and by itself.
        for by_order in [true, true, true, false] {
            world.files.renew(&world.authority.server(60));
            if by_order {
                let output = daemon.admin(&["config", "reload"]);
                assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
                assert!(known.insert(daemon.connect().certificate()), "the answer came before the change");
            } else {
                eventually("it is presented", || known.insert(daemon.connect().certificate()));
            }
        }
        let so_far = count.load(SeqCst);
        eventually("the load goes on", || count.load(SeqCst) > so_far + 50);
        stop.store(true, SeqCst);
    });
    let [accepted, duplicate, rejected, refused] = daemon.totals();
    assert_eq!((accepted as usize, duplicate, rejected, refused), (count.load(SeqCst), 0, 0, 0));
}

/// Puts something else in the place of a certificate.
type Spoil = Box<dyn Fn(&Files)>;

/// Ways in which files are no certificate, and what is said of each.
fn spoilt(authority: &Authority, files: &Files) -> Vec<(&'static str, Spoil)> {
    let (good, other, over) = (authority.server(60), authority.server(60), authority.server(-3));
    let mixed = Pair { certificate: good.certificate.clone(), key: other.key };
    let no_key = Pair { certificate: good.certificate.clone(), key: "nothing\n".into() };
    let no_certificate = Pair { certificate: "nothing\n".into(), key: good.key };
    let missing = files.path("cert.pem");
    vec![
        ("does not belong to the certificate in", Box::new(move |files| files.renew(&mixed))),
        ("there is no section PRIVATE KEY", Box::new(move |files| files.renew(&no_key))),
        ("there is no section CERTIFICATE", Box::new(move |files| files.renew(&no_certificate))),
        ("has expired on", Box::new(move |files| files.renew(&over))),
        ("cert.pem: No such file or directory", Box::new(move |_| std::fs::remove_file(&missing).unwrap())),
    ]
}

#[test]
fn files_that_do_not_fit_change_nothing_and_are_named() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let first = daemon.connect().certificate();
    for (text, spoil) in spoilt(&world.authority, &world.files) {
        spoil(&world.files);
        let refused = daemon.admin(&["config", "reload"]);
        let said = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{text}: {said}");
        assert!(said.contains(text) && said.contains("INGESTD_TLS_") && said.contains(".pem"), "{text}: {said}");
        // Whoever only changes the files finds it in the log.
        eventually("it is seen by itself", || {
            daemon.log().lines().any(|line| line.contains("the old certificate stays") && line.contains(text))
        });
        assert_eq!(daemon.connect().certificate(), first, "{text}");
        assert_eq!(post(&mut daemon.connect(), text), 202);
    }
    let again = world.authority.server(30);
    world.files.renew(&again);
    eventually("a good pair mends it", || daemon.connect().certificate() != first);
}

#[test]
fn a_start_without_usable_files_says_what_is_wrong_with_which() {
    for (number, text) in
        ["does not belong to", "PRIVATE KEY", "CERTIFICATE", "", "No such file"].into_iter().enumerate()
    {
        let world = World::new();
        let (_, spoil) = &spoilt(&world.authority, &world.files)[number];
        spoil(&world.files);
        let place = world.place(&[]);
        let checked = place.command(&["check", "--json"]).output().unwrap();
        let report: Value = serde_json::from_slice(&checked.stdout).unwrap();
        let errors: Vec<_> =
            report["findings"].as_array().unwrap().iter().filter(|one| one["about"] == "tls").collect();
        assert!(
            errors.iter().any(|one| one["level"] == "error" && one["message"].as_str().unwrap().contains(text)),
            "{report}"
        );
        if text.is_empty() {
            // A certificate that has expired is better than none: some do not look.
            let daemon = place.start();
            assert!(daemon.log().contains("has expired on"), "{}", daemon.log());
            continue;
        }
        let started = place.command(&["serve", "--listen", "127.0.0.1:0"]).output().unwrap();
        let said = String::from_utf8_lossy(&started.stderr).into_owned();
        assert!(started.status.code() == Some(1) && said.contains(text) && said.contains("tls."), "{said}");
    }
}

#[test]
fn an_end_that_is_near_is_told_and_a_far_one_is_in_the_figures_only() {
    for (days, is_told) in [(10, true), (90, false)] {
        let world = World::presenting(days);
        let daemon = world.daemon(&[]);
        let warned = daemon.log().contains(&format!("the certificate holds for {} more days: renew it", days - 1));
        assert_eq!(warned, is_told, "{}", daemon.log());
        let left = daemon.metric("ingestd_tls_certificate_expiry_timestamp_seconds")
            - std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
        assert!((left / 86_400.0 - days as f64).abs() < 0.1, "{left}");
    }
}

#[test]
fn a_client_shows_a_certificate_of_the_right_authority_or_does_not_come_in() {
    let (world, clients, strangers) = (World::new(), Authority::new("clients"), Authority::new("strangers"));
    let daemon = world.asking("required", &clients);
    let connect = |pair: Option<&Pair>| {
        let mut connection = Connection::try_secure(daemon.address, &world.authority.trusted(pair))?;
        connection.try_send(request("POST", "/events", &[], event("e").to_string().as_bytes()))?;
        connection.try_answer(false)
    };
    let good = clients.client("till 7");
    assert_eq!(connect(Some(&good)).unwrap().status, 202);
    // In TLS 1.3 a client hears of its refusal with the first read.
    connect(None).unwrap_err();
    connect(Some(&strangers.client("mallory"))).unwrap_err();
    let figures = |name: &str| {
        let trusted = world.authority.trusted(Some(&good));
        daemon.metric_over(&mut Connection::try_secure(daemon.address, &trusted).unwrap(), name)
    };
    assert_eq!(figures("ingestd_tls_handshake_failures_total{reason=\"no_certificate\"}"), 1.0);
    assert_eq!(figures("ingestd_tls_handshake_failures_total{reason=\"bad_certificate\"}"), 1.0);
    assert!(daemon.log().contains("CN=till 7"), "{}", daemon.log());
}

#[test]
fn a_client_may_show_a_certificate_but_not_a_bad_one() {
    let (world, clients, strangers) = (World::new(), Authority::new("clients"), Authority::new("strangers"));
    let daemon = world.asking("optional", &clients);
    assert_eq!(post(&mut daemon.connect(), "none"), 202);
    let shown = world.authority.trusted(Some(&clients.client("till 7")));
    assert_eq!(post(&mut Connection::try_secure(daemon.address, &shown).unwrap(), "good"), 202);
    let bad = world.authority.trusted(Some(&strangers.client("mallory")));
    let refused = Connection::try_secure(daemon.address, &bad).and_then(|mut connection| connection.try_answer(false));
    refused.err().unwrap();
    assert_eq!(failures(&daemon, "bad_certificate"), 1.0);
}

#[test]
fn who_does_not_finish_a_handshake_is_closed_and_takes_a_place_until_then() {
    let world = World::new();
    let env = [
        ("INGESTD_SERVER_HEAD_TIMEOUT_S", "2"),
        ("INGESTD_SERVER_CONNECTIONS_MAX", "8"),
        // Accepts in the order in which they come.
        ("INGESTD_SERVER_ACCEPTORS", "1"),
    ];
    let daemon = world.daemon(&env);
    // A record of 512 bytes is announced; some come, one now and then.
    let mut slow: Vec<_> = (0..8).map(|_| Connection::open(daemon.address)).collect();
    slow.iter_mut().for_each(|connection| connection.send([22, 3, 1, 2, 0, 1]));
    let mut refused = [0; 7];
    let mut ninth = Connection::open(daemon.address);
    ninth.read_exact(&mut refused).unwrap();
    assert_eq!(refused, [21, 3, 3, 0, 2, 2, 80], "a fatal alert, for nothing else is understood here");
    assert!(ninth.is_closed());
    while slow.iter_mut().any(|connection| connection.try_send([0]).is_ok()) {
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
    eventually("there is room again", || daemon.try_connect().is_ok());
    assert!(failures(&daemon, "timeout") >= 8.0);
    let mut connection = daemon.connect();
    assert_eq!(daemon.metric_over(&mut connection, "ingestd_connections_refused_total"), 1.0);
    eventually("they are gone", || daemon.metric_over(&mut connection, "ingestd_http_connections") == 1.0);
}

#[test]
fn a_thousand_connections_are_served_side_by_side() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let mut connections: Vec<_> = (0..1000).map(|_| daemon.connect()).collect();
    for round in 0..2 {
        for (number, connection) in connections.iter_mut().enumerate() {
            let body = event(&format!("e-{round}-{number}")).to_string();
            connection.send(request("POST", "/events", &[], body.as_bytes()));
        }
        for connection in &mut connections {
            connection.answer().with_status(202);
        }
    }
    assert_eq!(daemon.totals(), [2000, 0, 0, 0]);
    assert!(daemon.metric("ingestd_http_connections") >= 1000.0);
}

#[test]
fn a_stop_under_load_answers_everything_and_loses_nothing() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let (acknowledged, done) = (Mutex::new(HashSet::new()), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for client in 0..8 {
            let (daemon, acknowledged, done) = (&daemon, &acknowledged, &done);
            scope.spawn(move || {
                let mut connection = daemon.connect();
                for number in 0.. {
                    let id = format!("{client}-{number}");
                    let answer = connection.post("/events", &[], event(&id).to_string().as_bytes());
                    match answer.status {
                        202 => drop(acknowledged.lock().unwrap().insert(id)),
                        status => assert_eq!(status, 503, "{answer:?}"),
                    }
                    done.fetch_add(1, SeqCst);
                    if answer.header("connection") == Some("close") {
                        assert!(connection.is_closed(), "and TLS says so, too");
                        return;
                    }
                }
            });
        }
        eventually("the load is on", || done.load(SeqCst) > 200);
        daemon.term();
    });
    let stored: HashSet<_> = daemon.drained().stored().into_iter().map(|event| event.id).collect();
    assert!(acknowledged.into_inner().unwrap().is_subset(&stored));
}

#[test]
fn the_client_of_the_program_sends_over_tls() {
    let world = World::new();
    let daemon = world.daemon(&[]);
    let file = world.files.write("events.ndjson", &ndjson(&events("e", 500)));
    let send = |arguments: &[&str]| {
        let url = format!("https://localhost:{}", daemon.address.port());
        let mut command = Command::new(PROGRAM);
        command
            .args(["send", "--json", "--retry-for", "1ms", "--url", &url])
            .args(arguments)
            .arg(&file)
            .output()
            .unwrap()
    };
    let authority = world.files.path("ca.pem");
    let sent = send(&["--ca-file", authority.to_str().unwrap()]);
    assert!(sent.status.success(), "{sent:?}");
    assert_eq!(daemon.totals(), [500, 0, 0, 0]);
    let other = world.files.write("other.pem", &Authority::new("other").pem());
    let refused = send(&["--ca-file", other.to_str().unwrap()]);
    assert_eq!(refused.status.code(), Some(3), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("certificate"), "{refused:?}");
    let missing = send(&["--ca-file", "/nowhere.pem"]);
    assert_eq!(missing.status.code(), Some(2), "{missing:?}");
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere.pem"), "{missing:?}");
}
