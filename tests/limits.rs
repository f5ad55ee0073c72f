//! How much a client may send, and that one client keeps no other out.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::net::IpAddr;
use std::path::PathBuf;
use support::{
    Answer, ApiKey, CLOSE, Connection, Daemon, PING, PONG, Place, Socket, TEXT, event, events, eventually, frame,
    masked, request,
};

/// Another client on this machine.
const OTHER: [u8; 4] = [127, 0, 0, 2];
const THIRD: [u8; 4] = [127, 0, 0, 3];

/// So slow that nothing comes anew while a test runs: what the burst allows is all there is.
const SLOW: (&str, &str) = ("INGESTD_RATE_LIMITS_BURST_S", "100");

fn from(daemon: &Daemon, client: [u8; 4]) -> Connection {
    Connection::from(IpAddr::from(client), daemon.address)
}

fn batch(prefix: &str, count: usize) -> Vec<u8> {
    Value::Array(events(prefix, count)).to_string().into_bytes()
}

/// Posts single events until one is refused; how many were not, and the answer that was.
#[track_caller]
fn until_refused(connection: &mut Connection, prefix: &str, headers: &[(&str, &str)]) -> (usize, Answer) {
    for number in 0..100_000 {
        let answer = connection.post("/events", headers, event(&format!("{prefix}-{number}")).to_string().as_bytes());
        if answer.status != 202 {
            return (number, answer);
        }
    }
    panic!("nothing is refused");
}

#[track_caller]
fn assert_limited(answer: &Answer, limit: &str) {
    let problem = answer.problem(429);
    assert_eq!((&problem["reason"], &problem["limit"]), (&"rate_limited".into(), &limit.into()));
    let wait: u64 = answer.header("retry-after").expect("Retry-After").parse().unwrap();
    assert!(wait >= 1);
    assert_eq!(answer.header("ratelimit"), Some(format!("\"{limit}\";r=0;t={wait}").as_str()));
    assert!(answer.header("ratelimit-policy").unwrap().contains(&format!("\"{limit}\";q=")));
}

/// What is left of a limit, as an answer tells.
#[track_caller]
fn left(answer: &Answer, limit: &str) -> u64 {
    let field = answer.header("ratelimit").expect("RateLimit");
    let rest = field.strip_prefix(&format!("\"{limit}\";r=")).unwrap_or_else(|| panic!("{field}"));
    rest.split(';').next().unwrap().parse().unwrap()
}

#[test]
fn without_limits_answers_say_nothing_of_them() {
    let daemon = Daemon::start();
    let answer = daemon.post("/events", event("e").to_string());
    assert_eq!((answer.status, answer.header("ratelimit"), answer.header("ratelimit-policy")), (202, None, None));
}

#[test]
fn an_address_that_sends_too_fast_is_told_when_to_come_back_and_others_are_not_held_up() {
    let daemon =
        Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "2"), ("INGESTD_RATE_LIMITS_BURST_S", "10")]);
    let mut one = daemon.connect();
    let (taken, refused) = until_refused(&mut one, "one", &[]);
    assert!(taken >= 20, "{taken}");
    assert_limited(&refused, "address-requests");
    let answer = from(&daemon, OTHER).post("/events", &[], event("other").to_string().as_bytes());
    answer.with_status(202);
    assert_eq!(answer.header("ratelimit-policy"), Some("\"address-requests\";q=20;w=10"));
    assert_eq!(left(&answer, "address-requests"), 19);
    // Whoever watches the daemon is never refused.
    for path in ["/health", "/health/live", "/health/ready", "/metrics", "/pipeline/status"] {
        assert_eq!(daemon.get(path).status, 200, "{path}");
    }
    // But nobody may look for what is not there as often as he likes.
    let mut searching = from(&daemon, THIRD);
    let mut answers = (0..100_000).map(|_| {
        searching.send(request("GET", "/admin.php", &[], b""));
        searching.answer()
    });
    assert_limited(&answers.find(|answer| answer.status != 404).expect("a refusal"), "address-requests");
    let refused = daemon.metric("ingestd_http_requests_refused_by_reason_total{reason=\"rate_limited\"}");
    assert!(refused >= 1.0);
    // Nothing that is refused costs anything: it comes back by itself, over the same connection.
    eventually("the client may send again", || {
        one.post("/events", &[], event("again").to_string().as_bytes()).status == 202
    });
}

#[test]
fn a_batch_counts_as_its_events_and_is_taken_whole_or_not_at_all() {
    let daemon = Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "1"), SLOW]);
    let answer = daemon.post("/events/batch", batch("a", 60));
    assert_eq!(answer.with_status(202)["successful"], 60);
    assert!((40..60).contains(&left(&answer, "address-events")), "{answer:?}");
    assert_limited(&daemon.post("/events/batch", batch("b", 99)), "address-events");
    daemon.post("/events/batch", batch("c", 10)).with_status(202);
    assert_eq!(daemon.metric("ingestd_events_refused_total{reason=\"rate_limited\"}"), 99.0);
    assert_eq!(daemon.metric("ingestd_events_received_total"), daemon.totals().iter().sum::<u64>() as f64);
    let stored = daemon.stop().stored();
    assert_eq!(stored.iter().filter(|event| event.id.starts_with("b-")).count(), 0);
    assert_eq!(stored.len(), 70);
}

#[test]
fn a_batch_larger_than_the_burst_is_taken_when_nothing_is_used_and_paid_for_later() {
    let daemon =
        Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "1"), ("INGESTD_RATE_LIMITS_BURST_S", "10")]);
    daemon.post("/events/batch", batch("a", 500)).with_status(202);
    let refused = daemon.post("/events", event("e").to_string());
    assert_limited(&refused, "address-events");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((400..=491).contains(&wait), "{wait}");
}

#[test]
fn a_tenant_has_one_limit_wherever_it_sends_from() {
    let daemon = Daemon::with(&[("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_S", "1"), SLOW]);
    daemon.post("/events/batch", batch("a", 50)).with_status(202);
    let answer = from(&daemon, OTHER).post("/events/batch", &[], &batch("b", 20));
    answer.with_status(202);
    assert!(left(&answer, "tenant-events") < 100 - 50);
    let mut third = from(&daemon, THIRD);
    assert_limited(&third.post("/events/batch", &[], &batch("c", 99)), "tenant-events");
}

#[test]
fn only_proxies_are_believed_when_they_name_a_client() {
    let daemon = Daemon::with(&[
        ("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "1"),
        ("INGESTD_SERVER_TRUSTED_PROXIES", "127.0.0.1, 10.0.0.0/8"),
        SLOW,
    ]);
    // Through a proxy, which has another one before it: the client's own claim is left of both.
    let mut proxy = daemon.connect();
    let headers = |client: &'static str| [("X-Forwarded-For", client)];
    proxy.post("/events/batch", &headers("6.6.6.6, 203.0.113.1, 10.0.0.9"), &batch("a", 90)).with_status(202);
    let refused = proxy.post("/events/batch", &headers("7.7.7.7, 203.0.113.1"), &batch("b", 90));
    assert_limited(&refused, "address-events");
    proxy.post("/events/batch", &headers("203.0.113.2"), &batch("c", 90)).with_status(202);
    // An IPv6 client is its whole network.
    proxy.post("/events/batch", &headers("2001:db8::1"), &batch("d", 90)).with_status(202);
    assert_limited(&proxy.post("/events/batch", &headers("[2001:db8::2]:99"), &batch("e", 90)), "address-events");
    proxy.post("/events/batch", &headers("2001:db8:0:1::1"), &batch("f", 90)).with_status(202);
    // A plain single event goes the short way and is the same client's.
    let mut short = daemon.connect();
    let (taken, refused) = until_refused(&mut short, "g", &headers("203.0.113.2"));
    assert!((10..60).contains(&taken), "{taken}");
    assert_limited(&refused, "address-events");
    // Somebody who is no proxy cannot be somebody else.
    let mut forger = from(&daemon, OTHER);
    forger.post("/events/batch", &headers("203.0.113.3"), &batch("h", 90)).with_status(202);
    assert_limited(&forger.post("/events/batch", &headers("203.0.113.4"), &batch("i", 90)), "address-events");
}

#[test]
fn a_handshake_that_fails_says_nothing_of_what_follows_on_its_connection() {
    let daemon = Daemon::with(&[
        ("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "1"),
        ("INGESTD_SERVER_TRUSTED_PROXIES", "127.0.0.1"),
        SLOW,
    ]);
    // A proxy sends the requests of all its clients over one connection.
    let mut proxy = daemon.connect();
    let headers = |client: &'static str| [("X-Forwarded-For", client)];
    proxy.send(request("GET", "/events/stream", &headers("203.0.113.1"), b""));
    let answer = proxy.answer();
    assert!((400..500).contains(&answer.status), "{answer:?}");
    proxy.post("/events/batch", &headers("203.0.113.2"), &batch("a", 90)).with_status(202);
    proxy.post("/events/batch", &headers("203.0.113.3"), &batch("b", 90)).with_status(202);
    // Each has paid for itself, and the first for nobody.
    let mut other = daemon.connect();
    assert_limited(&other.post("/events/batch", &headers("203.0.113.2"), &batch("c", 90)), "address-events");
    other.post("/events/batch", &headers("203.0.113.1"), &batch("d", 90)).with_status(202);
}

fn today() -> u64 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400
}

#[test]
fn what_a_tenant_has_sent_today_survives_a_stop_and_a_kill() {
    let day = today();
    let place = Place::with(&[
        ("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "10"),
        // Nothing else is to write into the log.
        ("INGESTD_PARQUET_ENABLED", "false"),
    ]);
    let daemon = place.start();
    let answer = daemon.post("/events/batch", batch("a", 4));
    answer.with_status(202);
    assert_eq!(left(&answer, "tenant-events-per-day"), 6);
    let daemon = daemon.stop().start();
    eventually("the count is stored anew", || daemon.metric("ingestd_commits_total") >= 1.0);
    daemon.post("/events/batch", batch("b", 3)).with_status(202);
    eventually("the events and then their count are stored", || daemon.metric("ingestd_commits_total") >= 3.0);
    let daemon = daemon.kill().start();
    let refused = daemon.post("/events/batch", batch("c", 4));
    if today() != day {
        // Midnight has passed, and all of it is there again.
        return;
    }
    assert_eq!(refused.problem(429)["reason"], "quota_exceeded");
    let wait: u64 = refused.header("retry-after").unwrap().parse().unwrap();
    assert!((1..=86_400).contains(&wait), "{wait}");
    assert_eq!(daemon.metric("ingestd_events_refused_total{reason=\"quota_exceeded\"}"), 4.0);
    daemon.post("/events/batch", batch("d", 3)).with_status(202);
    assert_eq!(daemon.post("/events", event("e").to_string()).problem(429)["reason"], "quota_exceeded");
    assert_eq!(daemon.metric("ingestd_events_refused_total{reason=\"quota_exceeded\"}"), 5.0);
    assert_eq!((daemon.totals()[3], daemon.metric("ingestd_events_received_total")), (5, 8.0));
    assert_eq!(daemon.stop().stored().len(), 10);
}

#[test]
fn a_websocket_that_sends_too_fast_is_slowed_and_loses_nothing() {
    let daemon =
        Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "250"), ("INGESTD_RATE_LIMITS_BURST_S", "4")]);
    let mut socket = Socket::open(&daemon);
    // The second must wait until the first is paid for: at most four seconds.
    for part in ["a", "b"] {
        socket.cart(&Value::Array(events(part, 1000)));
    }
    for _ in 0..2000 {
        socket.message("event_ack");
    }
    assert!(daemon.metric("ingestd_websocket_slowed_total") >= 1.0);
    assert_eq!(daemon.totals(), [2000, 0, 0, 0]);
}

#[test]
fn a_websocket_that_would_have_to_wait_too_long_is_told_for_each_event() {
    let daemon = Daemon::with(&[("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "1"), SLOW]);
    let mut socket = Socket::open(&daemon);
    socket.cart(&Value::Array(events("a", 99)));
    for _ in 0..99 {
        socket.message("event_ack");
    }
    socket.cart(&Value::Array(events("b", 50)));
    for index in 0..50 {
        let error = socket.message("event_error");
        assert_eq!((&error["code"], &error["index"]), (&"rate_limited".into(), &index.into()), "{error}");
        assert_eq!(error["eventId"], format!("b-{index}"));
    }
    // The connection goes on, and what is no event is answered.
    socket.text("{\"type\":\"heartbeat\"}");
    socket.message("heartbeat_ack");
    assert_eq!(daemon.totals(), [99, 0, 0, 50]);
    assert_eq!(daemon.metric("ingestd_events_received_total"), 149.0);
}

#[test]
fn a_websocket_is_told_when_its_tenant_has_sent_all_that_it_may_today() {
    let daemon = Daemon::with(&[("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "2")]);
    let mut socket = Socket::open(&daemon);
    socket.cart(&Value::Array(events("a", 3)));
    for _ in 0..3 {
        assert_eq!(socket.message("event_error")["code"], "quota_exceeded");
    }
    socket.cart(&Value::Array(events("b", 2)));
    for _ in 0..2 {
        socket.message("event_ack");
    }
    assert_eq!(daemon.totals(), [2, 0, 0, 3]);
}

#[test]
fn limits_are_reloaded_without_a_restart() {
    let file = ConfigFile::new("");
    let daemon = Place::with(&[("INGESTD_CONFIG", file.path().to_str().unwrap())]).start();
    daemon.post("/events/batch", batch("a", 200)).with_status(202);
    file.write("[rate_limits]\naddress_events_per_s = 1\nburst_s = 100\n");
    assert!(daemon.admin(&["config", "reload"]).status.success());
    daemon.post("/events/batch", batch("b", 90)).with_status(202);
    assert_limited(&daemon.post("/events/batch", batch("c", 90)), "address-events");
    file.write("");
    assert!(daemon.admin(&["config", "reload"]).status.success());
    daemon.post("/events/batch", batch("c", 90)).with_status(202);
}

#[test]
fn a_higher_limit_frees_who_owes_by_the_lower_one() {
    let limit = |per_s: u64| format!("[rate_limits]\naddress_events_per_s = {per_s}\nburst_s = 10\n");
    let file = ConfigFile::new(&limit(1));
    let daemon = Place::with(&[("INGESTD_CONFIG", file.path().to_str().unwrap())]).start();
    // More than fits: owed for minutes.
    daemon.post("/events/batch", batch("a", 500)).with_status(202);
    assert_limited(&daemon.post("/events", event("e").to_string()), "address-events");
    daemon.reconfigure(&file.path(), &limit(1_000_000));
    daemon.post("/events", event("e").to_string()).with_status(202);
}

struct ConfigFile(tempfile::TempDir);

impl ConfigFile {
    fn new(text: &str) -> Self {
        let file = ConfigFile(tempfile::tempdir().unwrap());
        file.write(text);
        file
    }

    fn path(&self) -> PathBuf {
        self.0.path().join("config.toml")
    }

    fn write(&self, text: &str) {
        std::fs::write(self.path(), text).unwrap();
    }
}

#[test]
fn an_address_has_so_many_connections_and_no_more() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_CONNECTIONS_PER_ADDRESS_MAX", "3")]);
    let live = request("GET", "/health/live", &[], b"");
    let served = |client| {
        let mut connection = from(&daemon, client);
        connection.send(&live);
        let answer = connection.answer();
        (answer.status == 200).then_some(connection).ok_or(answer)
    };
    // A WebSocket is a connection, too.
    let socket = Socket::on(from(&daemon, OTHER));
    let held = [served(OTHER).unwrap(), served(OTHER).unwrap()];
    let refused = served(OTHER).err().unwrap();
    assert_eq!(refused.problem(429)["reason"], "connections_per_address");
    assert!(refused.header("retry-after").is_some());
    let _others: Vec<_> = (0..3).map(|_| served(THIRD).unwrap()).collect();
    assert!(daemon.metric("ingestd_connections_refused_per_address_total") >= 1.0);
    drop((held, socket));
    eventually("who has left is not counted any more", || served(OTHER).is_ok());
}

#[test]
fn an_address_whose_bodies_stall_leaves_room_for_others() {
    let daemon = Daemon::with(&[
        ("INGESTD_LIMITS_EVENT_BYTES_MAX", "40000"),
        ("INGESTD_LIMITS_BODY_BYTES_MAX", "40000"),
        // Room for eight bodies, of which one address may begin two.
        ("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "320000"),
        ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "25"),
    ]);
    let large = event("large").to_string() + &" ".repeat(39_000);
    let bytes = request("POST", "/events", &[], large.as_bytes());
    let mut stalled: Vec<Connection> = (0..20).map(|_| from(&daemon, OTHER)).collect();
    for one in &mut stalled {
        one.send(&bytes[..bytes.len() - 1]);
    }
    eventually("all but two are refused", || stalled.iter().filter(|one| one.is_answered()).count() >= 18);
    // Whoever is refused gives its room back before it is told, so that what is left fits.
    let (refused, held): (Vec<_>, Vec<_>) = stalled.into_iter().partition(Connection::is_answered);
    assert!(!held.is_empty());
    for mut one in refused {
        assert_eq!(one.answer().problem(429)["reason"], "address_share");
    }
    assert!(daemon.metric("ingestd_events_refused_total{reason=\"address_share\"}") >= 18.0);
    // These still hold what they have, and everybody else is served, also with large bodies.
    let mut third = from(&daemon, THIRD);
    for number in 0..20 {
        third.post("/events", &[], large.replacen("large", &format!("e-{number}"), 1).as_bytes()).with_status(202);
    }
    for mut one in held {
        one.send(b" ");
        one.answer().with_status(202);
    }
}

#[test]
fn an_address_that_begins_many_bodies_leaves_slots_for_others() {
    let daemon = Daemon::with(&[
        ("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "100"),
        ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "10"),
    ]);
    let head = request("POST", "/events", &[("Content-Length", "100"), ("Expect", "100-continue")], b"");
    let mut begun: Vec<Connection> = (0..120).map(|_| from(&daemon, OTHER)).collect();
    let mut went_on = 0;
    for one in &mut begun {
        one.send(&head);
        match one.answer() {
            answer if answer.status == 100 => went_on += 1,
            answer => assert_eq!(answer.problem(429)["reason"], "address_share"),
        }
    }
    assert_eq!(went_on, 64);
    from(&daemon, THIRD).post("/events", &[], event("e").to_string().as_bytes()).with_status(202);
    drop(begun);
    eventually("who has left holds nothing", || {
        let mut one = from(&daemon, OTHER);
        one.send(&head);
        one.answer().status == 100
    });
}

#[test]
fn an_address_whose_websocket_messages_stall_leaves_room_for_others() {
    let daemon = Daemon::with(&[
        ("INGESTD_LIMITS_EVENT_BYTES_MAX", "40000"),
        ("INGESTD_LIMITS_BODY_BYTES_MAX", "40000"),
        ("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "320000"),
        ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "25"),
    ]);
    // A fragment that is not the last one, and a Ping, whose answer says that the fragment was taken; what comes of it is
    // what comes next.
    let begun = |client| {
        let mut socket = Socket::on(from(&daemon, client));
        socket.send_raw(&frame(TEXT, &[b' '; 19_000]));
        socket.try_send_raw(&masked(PING, b"")).ok();
        let first = socket.frame();
        socket.try_send_raw(&masked(PING, b"")).ok();
        let next = if first.opcode == PONG { socket.frame() } else { first };
        match next.opcode {
            PONG => Ok(socket),
            _ => Err((next.opcode, next.payload.first_chunk().map(|code| u16::from_be_bytes(*code)))),
        }
    };
    let all: Vec<_> = (0..6).map(|_| begun(OTHER)).collect();
    let (held, refused): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    assert_eq!(held.len(), 4);
    for refused in refused {
        assert_eq!(refused.err(), Some((CLOSE, Some(1013))));
    }
    assert!(begun(THIRD).is_ok());
    let mut third = from(&daemon, THIRD);
    let large = event("large").to_string() + &" ".repeat(39_000);
    third.post("/events", &[], large.as_bytes()).with_status(202);
    drop(held);
    eventually("there is room for the address again", || begun(OTHER).is_ok());
}

#[test]
fn each_key_has_its_own_limit_and_each_tenant_its_own_day() {
    let daemon = Daemon::with(&[
        ("INGESTD_AUTH_INTAKE", "key"),
        ("INGESTD_RATE_LIMITS_KEY_EVENTS_PER_S", "1"),
        ("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "150"),
        SLOW,
    ]);
    let [one, two, other] = ["shop", "shop", "other"].map(|tenant| ApiKey::add(&daemon, tenant, "intake").bearer());
    let post = |key: &str, prefix: &str, count: usize| {
        daemon.request("POST", "/events/batch", &[("Authorization", key)], &batch(prefix, count))
    };
    post(&one, "a", 90).with_status(202);
    assert_limited(&post(&one, "b", 90), "key-events");
    // Another key of the same tenant has a rate of its own, but not a day: unless midnight has just passed.
    let (before, answer, after) = (today(), post(&two, "c", 90), today());
    if before == after {
        assert_eq!(answer.problem(429)["reason"], "quota_exceeded");
    }
    post(&other, "d", 90).with_status(202);
}

#[test]
fn nothing_that_a_stranger_asks_for_uses_up_what_the_default_tenant_may() {
    let daemon = Daemon::with(&[
        ("INGESTD_AUTH_INTAKE", "key"),
        ("INGESTD_AUTH_MANAGE", "key"),
        ("INGESTD_RATE_LIMITS_TENANT_REQUESTS_PER_S", "1"),
        ("INGESTD_RATE_LIMITS_TENANT_EVENTS_PER_DAY", "20"),
        ("INGESTD_RATE_LIMITS_BURST_S", "20"),
    ]);
    let key = ApiKey::add(&daemon, "default", "intake").bearer();
    let wrong = [("Authorization", "Bearer guess")];
    let one = event("e").to_string();
    for _ in 0..30 {
        for headers in [&[][..], &wrong[..]] {
            daemon.request("POST", "/events", headers, one.as_bytes()).problem(401);
            daemon.request("POST", "/events/batch", headers, &batch("b", 30)).problem(401);
            daemon.request("DELETE", "/nowhere", headers, b"").problem(401);
            // Nobody is asked who he is here.
            daemon.request("GET", "/nowhere", headers, b"").problem(404);
        }
    }
    let answer = daemon.request("POST", "/events", &[("Authorization", &key)], one.as_bytes());
    answer.with_status(202);
    assert!(answer.header("ratelimit").unwrap().contains("r=19"), "{answer:?}");
}

#[test]
fn whoever_is_counted_is_told_how_it_stands_whatever_the_answer() {
    let daemon =
        Daemon::with(&[("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "1"), SLOW]);
    for (method, path, status) in [
        ("POST", "/events", 401),
        ("POST", "/events/batch", 401),
        ("GET", "/events/stream", 401),
        ("GET", "/nowhere", 404),
        ("GET", "/dead-letters", 200),
        ("GET", "/dead-letters/7", 404),
    ] {
        let answer = daemon.request(method, path, &[], b"");
        assert_eq!(answer.status, status, "{answer:?}");
        assert!((90..100).contains(&left(&answer, "address-requests")), "{path}");
        assert_eq!(answer.header("ratelimit-policy"), Some("\"address-requests\";q=100;w=100"), "{path}");
    }
}

#[test]
fn each_keys_requests_are_its_own() {
    let daemon = Daemon::with(&[
        ("INGESTD_AUTH_INTAKE", "key"),
        ("INGESTD_RATE_LIMITS_KEY_REQUESTS_PER_S", "1"),
        ("INGESTD_RATE_LIMITS_BURST_S", "20"),
    ]);
    let [one, two] = ["till", "shop"].map(|_| ApiKey::add(&daemon, "shop", "intake").bearer());
    let (taken, refused) = until_refused(&mut daemon.connect(), "a", &[("Authorization", &one)]);
    assert!(taken >= 20, "{taken}");
    assert_limited(&refused, "key-requests");
    let (taken, refused) = until_refused(&mut daemon.connect(), "b", &[("Authorization", &two)]);
    assert!(taken >= 20, "{taken}");
    assert_limited(&refused, "key-requests");
}

#[test]
fn whoever_guesses_credentials_is_limited_and_costs_no_tenant_anything() {
    let daemon = Daemon::with(&[
        ("INGESTD_AUTH_INTAKE", "key"),
        ("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "1"),
        ("INGESTD_RATE_LIMITS_TENANT_REQUESTS_PER_S", "1"),
        ("INGESTD_RATE_LIMITS_BURST_S", "20"),
    ]);
    let key = ApiKey::add(&daemon, "default", "intake").bearer();
    let mut guessing = from(&daemon, OTHER);
    let mut answers = (0..100_000).map(|number| {
        let guess = format!("Bearer guess-{number}");
        guessing.post("/events", &[("Authorization", &guess)], event("e").to_string().as_bytes())
    });
    let refused = answers.by_ref().find(|answer| answer.status != 401).expect("a refusal");
    assert_limited(&refused, "address-requests");
    let answer = daemon.request("POST", "/events", &[("Authorization", &key)], event("e").to_string().as_bytes());
    answer.with_status(202);
    let left = answer.header("ratelimit").unwrap();
    assert!(left.contains("r=19"), "{left}");
}
