//! Alerts that the daemon posts by itself, taken by a real HTTP server.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/clickhouse/mod.rs"]
mod clickhouse;
#[cfg(test)]
mod support;

use clickhouse::Server;
use serde_json::Value;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use support::{Daemon, Place, event};

const ANSWER: &str = "HTTP/1.1 STATUS\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

/// The receiver; refuses the first few posts.
struct Hook {
    url: String,
    refusals: Arc<AtomicU32>,
    posts: Receiver<Value>,
}

impl Hook {
    fn start(refusals: u32) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/hook?key=1", listener.local_addr().unwrap());
        let refusals = Arc::new(AtomicU32::new(refusals));
        let (told, posts) = channel();
        let left = Arc::clone(&refusals);
        std::thread::spawn(move || listener.incoming().for_each(|stream| take(stream.unwrap(), &left, &told)));
        Hook { url, refusals, posts }
    }

    fn place(&self, env: &[(&str, &str)]) -> Place {
        Place::with(&[&[("INGESTD_ALERTS_WEBHOOK_URL", &*self.url), ("INGESTD_ALERTS_HOLD_S", "0")], env].concat())
    }

    /// The next post of that alert; what a slow machine's disk says beside it is passed over.
    #[track_caller]
    fn post(&self, alert: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(60);
        loop {
            let post = self.posts.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            let post = post.unwrap_or_else(|_| panic!("no {alert} arrives"));
            if post["alert"] == alert {
                return post;
            }
        }
    }
}

fn take(stream: TcpStream, refusals: &AtomicU32, told: &Sender<Value>) {
    let mut reader = BufReader::new(&stream);
    let (mut line, mut length, mut host) = (String::new(), 0, String::new());
    reader.read_line(&mut line).unwrap();
    assert_eq!(line, "POST /hook?key=1 HTTP/1.1\r\n");
    while line != "\r\n" {
        line.clear();
        reader.read_line(&mut line).unwrap();
        match line.split_once(':').map(|(name, value)| (name.to_ascii_lowercase(), value.trim())) {
            Some((name, value)) if name == "content-length" => length = value.parse().unwrap(),
            Some((name, value)) if name == "host" => host = value.to_owned(),
            _ => {}
        }
    }
    assert_eq!(host, stream.local_addr().unwrap().to_string());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).unwrap();
    let refuses = refusals.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
    let status = if refuses { "503 Service Unavailable" } else { "204 No Content" };
    (&stream).write_all(ANSWER.replace("STATUS", status).as_bytes()).unwrap();
    if !refuses {
        told.send(serde_json::from_slice(&body).unwrap()).ok();
    }
}

#[test]
fn a_full_disk_is_told_and_its_end_too() {
    let hook = Hook::start(2);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("config.toml");
    std::fs::write(&file, "[log]\ndisk_reserve_bytes = 1000000000000000\n").unwrap();
    let daemon = hook.place(&[("INGESTD_CONFIG", file.to_str().unwrap())]).start();
    let post = hook.post("disk_reserve");
    assert_eq!(hook.refusals.load(Ordering::SeqCst), 0, "what is refused is told again");
    assert_eq!((&post["status"], &post["unit"]), (&"firing".into(), &"bytes".into()));
    assert!(post["value"].as_f64().unwrap() < post["limit"].as_f64().unwrap(), "{post}");
    assert!(post["since"].is_string() && post["node"].as_str().unwrap().len() == 32, "{post}");
    std::fs::write(&file, "[log]\ndisk_reserve_bytes = 1\n").unwrap();
    assert!(daemon.admin(&["config", "reload"]).status.success());
    assert_eq!(hook.post("disk_reserve")["status"], "resolved");
    daemon.stop();
}

#[test]
fn a_sink_that_is_away_and_dead_letters_are_told() {
    let hook = Hook::start(0);
    let daemon = hook
        .place(&[
            ("INGESTD_CLICKHOUSE_ENABLED", "true"),
            ("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:1"),
            ("INGESTD_ALERTS_SINK_LAG_S", "1"),
            ("INGESTD_ALERTS_DEAD_LETTERS_PER_MINUTE", "2"),
            ("INGESTD_PARQUET_ENABLED", "false"),
        ])
        .start();
    daemon.post("/events", event("a").to_string()).with_status(202);
    let lag = hook.post("sink_lag");
    assert_eq!(
        (&lag["status"], &lag["sink"], &lag["unit"]),
        (&"firing".into(), &"clickhouse".into(), &"seconds".into())
    );
    assert!(lag["value"].as_f64().unwrap() > 1.0, "{lag}");
    (0..3).for_each(|_| drop(daemon.post("/events", "{}").with_status(400)));
    let dead = hook.post("dead_letter_rate");
    assert_eq!((&dead["value"], &dead["limit"]), (&3.0.into(), &2.0.into()));
    daemon.stop();
}

#[test]
fn rejects_are_told_though_there_is_no_room_for_their_dead_letters() {
    let hook = Hook::start(0);
    let env = [("INGESTD_ALERTS_DEAD_LETTERS_PER_MINUTE", "2"), ("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", "1")];
    let daemon = hook.place(&env).start();
    (0..3).for_each(|_| drop(daemon.post("/events", "{}").with_status(400)));
    assert_eq!(hook.post("dead_letter_rate")["value"], 3.0);
    assert_eq!(daemon.metric("ingestd_dead_letters_total"), 0.0, "there was to be no room");
    daemon.stop();
}

#[test]
fn what_a_sink_refuses_is_told() {
    let (hook, server) = (Hook::start(0), Server::start());
    let env = [
        ("INGESTD_ALERTS_DEAD_LETTERS_PER_MINUTE", "0"),
        ("INGESTD_CLICKHOUSE_ENABLED", "true"),
        ("INGESTD_CLICKHOUSE_BATCH_AGE_MS", "100"),
    ];
    let daemon = hook.place(&env).and("INGESTD_CLICKHOUSE_URLS", &server.url()).start();
    daemon.post("/events", event("first").to_string()).with_status(202);
    assert!(daemon.admin(&["flush", "clickhouse"]).status.success());
    server.sql("ALTER TABLE events_raw ADD CONSTRAINT no_poison CHECK event_id != 'poison'");
    daemon.post("/events", event("poison").to_string()).with_status(202);
    assert_eq!(hook.post("dead_letter_rate")["value"], 1.0);
    daemon.stop();
}

#[test]
fn a_webhook_that_is_away_holds_nothing_up() {
    let daemon = Daemon::with(&[
        ("INGESTD_ALERTS_WEBHOOK_URL", "http://127.0.0.1:1/"),
        ("INGESTD_ALERTS_HOLD_S", "0"),
        ("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000"),
    ]);
    support::eventually("it was tried", || daemon.log().contains("the webhook does not take alerts"));
    daemon.stop();
}
