//! What watches the daemon from outside: Prometheus, its alerts, the dashboard. All are held to the metrics that are there.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use ingestd::deliver::Ledger;
use serde_json::Value;
use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use support::{Daemon, Socket, event, eventually};

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)
}

fn text(name: &str) -> String {
    std::fs::read_to_string(file(name)).unwrap()
}

/// Runs `promtool`, which must find nothing wrong.
#[track_caller]
fn promtool(arguments: &[&str], input: &str) {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("promtool is not there: scripts/deps.sh test installs it");
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = child.wait_with_output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "promtool {arguments:?}: {}", String::from_utf8_lossy(&said));
}

/// A daemon with every sink, of which two are never reached, that has met each way an event can end.
fn busy_daemon() -> Daemon {
    let daemon = Daemon::with(&[
        ("INGESTD_CLICKHOUSE_ENABLED", "true"),
        ("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:1"),
        ("INGESTD_KAFKA_ENABLED", "true"),
        ("INGESTD_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:1"),
        ("INGESTD_PARQUET_ROLL_S", "1"),
    ]);
    daemon.post("/events", event("a").to_string()).with_status(202);
    daemon.post("/events", event("a").to_string()).with_status(202);
    daemon.post("/events", "{}").with_status(400);
    daemon.post("/events/batch?failOnError=true", format!("[{},{{}}]", event("b"))).with_status(400);
    let mut socket = Socket::open(&daemon);
    socket.cart(&event("c"));
    socket.message("event_ack");
    eventually("a file was shipped", || {
        daemon.metric("ingestd_sink_ship_duration_seconds_count{sink=\"parquet\"}") > 0.0
    });
    daemon
}

/// Names of the metrics that `/metrics` has, and of a histogram's series.
fn exported(exposition: &str) -> BTreeSet<String> {
    let names = exposition.lines().filter_map(|line| match line.strip_prefix("# TYPE ") {
        Some(family) => family.split(' ').next(),
        None if line.starts_with('#') => None,
        None => line.split(['{', ' ']).next(),
    });
    names.map(str::to_owned).collect()
}

/// Words in a text that may only be metrics of ours.
fn named(text: &str) -> BTreeSet<String> {
    let words = text.split(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_');
    let ours = words.filter(|word| word.starts_with("ingestd_") || word.starts_with("process_"));
    ours.map(str::to_owned).collect()
}

/// Selectors such as `stage="fsync"` that an expression asks for.
fn selectors(text: &str) -> BTreeSet<String> {
    let labels = ["stage", "sink", "reason", "code", "type"];
    let pairs = text.split(['{', '}', ',']).map(str::trim);
    let exact = pairs.filter(|pair| labels.iter().any(|label| pair.starts_with(&format!("{label}=\""))));
    exact.map(str::to_owned).collect()
}

/// Every expression of the dashboard.
fn expressions(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            for (name, member) in members {
                match (name.as_str(), member) {
                    ("expr", Value::String(expression)) => out.push(expression.clone()),
                    _ => expressions(member, out),
                }
            }
        }
        Value::Array(items) => items.iter().for_each(|item| expressions(item, out)),
        _ => {}
    }
}

fn dashboard() -> (Value, Vec<String>) {
    let dashboard: Value = serde_json::from_str(&text("observability/dashboard.json")).unwrap();
    let mut found = Vec::new();
    expressions(&dashboard, &mut found);
    (dashboard, found)
}

#[test]
fn promtool_finds_nothing_wrong_with_the_metrics() {
    let daemon = busy_daemon();
    promtool(&["check", "metrics"], &daemon.get("/metrics").text());
}

#[test]
fn every_stage_is_a_histogram_whose_buckets_meet_the_promise() {
    let daemon = busy_daemon();
    let text = daemon.get("/metrics").text();
    for stage in ["accept", "parse", "enqueue", "encode", "commit", "fsync", "ack", "request"] {
        let series = |name: &str, label: &str| {
            daemon.metric(&format!("ingestd_stage_duration_seconds_{name}{{stage=\"{stage}\"{label}}}"))
        };
        let count = series("count", "");
        assert!(count >= 1.0, "{stage}");
        assert!(series("sum", "") > 0.0, "{stage}");
        assert!(series("bucket", ",le=\"0.005\"") <= series("bucket", ",le=\"+Inf\""), "{stage}");
        // Nothing here takes half a minute, and what is in one bucket is in all that follow.
        let prefix = format!("ingestd_stage_duration_seconds_bucket{{stage=\"{stage}\",le=");
        let counts: Vec<f64> = text
            .lines()
            .filter(|line| line.starts_with(&prefix))
            .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
            .collect();
        assert!(counts.len() > 10 && counts.is_sorted() && counts.last() >= Some(&1.0), "{stage}: {counts:?}");
    }
    // A part is no more than the whole.
    let sum = |stage: &str| daemon.metric(&format!("ingestd_stage_duration_seconds_sum{{stage=\"{stage}\"}}"));
    assert!(sum("fsync") <= sum("commit"), "{text}");
    let stats = daemon.get("/events/stats").json();
    for stage in ["accept", "parse", "enqueue", "encode", "commit", "fsync", "ack", "request", "ship"] {
        assert!(stats["latencyMs"][stage]["max"].as_f64().unwrap() > 0.0, "{stage}: {stats}");
    }
}

#[test]
fn without_syncs_there_is_no_time_of_them() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DURABILITY", "os"), ("INGESTD_PARQUET_ENABLED", "false")]);
    daemon.post("/events", event("a").to_string()).with_status(202);
    assert_eq!(daemon.metric("ingestd_stage_duration_seconds_count{stage=\"fsync\"}"), 0.0);
    assert!(daemon.metric("ingestd_stage_duration_seconds_count{stage=\"commit\"}") >= 1.0);
}

#[test]
fn gauges_say_what_the_machine_and_the_log_have() {
    let daemon = Daemon::with(&[("INGESTD_LOG_DISK_RESERVE_BYTES", "4096"), ("INGESTD_LOG_BUDGET_BYTES", "300000000")]);
    daemon.post("/events", "{}").with_status(400);
    eventually("the disk was looked at", || daemon.metric("ingestd_disk_free_bytes") > 4096.0);
    assert_eq!(daemon.metric("ingestd_disk_reserve_bytes"), 4096.0);
    assert_eq!(daemon.metric("ingestd_log_budget_bytes"), 300_000_000.0);
    assert_eq!(daemon.metric("ingestd_dead_letters_total"), 1.0);
    assert_eq!(daemon.metric("ingestd_ready"), 1.0);
    assert_eq!(daemon.metric("ingestd_intake_ledger_surplus"), 0.0);
    assert_eq!(daemon.metric("ingestd_sink_ledger_imbalances{sink=\"parquet\"}"), 0.0);
    assert!(daemon.metric("process_resident_memory_bytes") > 1e6);
    let age = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64()
        - daemon.metric("process_start_time_seconds");
    assert!((-2.0..3600.0).contains(&age), "{age}");
    let start = |daemon: &Daemon| daemon.metric("process_start_time_seconds");
    let first = start(&daemon);
    assert_eq!(start(&daemon), first, "what trembles looks like a restart");
    // Over all starts: a restart takes nothing back.
    let daemon = daemon.stop().start();
    assert_eq!(daemon.metric("ingestd_dead_letters_total"), 1.0);
    assert!(start(&daemon) > first);
}

#[test]
fn a_miscount_that_was_planted_is_seen() {
    let daemon = Daemon::start();
    daemon.post("/events", event("a").to_string()).with_status(202);
    assert!(daemon.admin(&["flush"]).status.success());
    let imbalances = |daemon: &Daemon| daemon.metric("ingestd_sink_ledger_imbalances{sink=\"parquet\"}");
    assert_eq!(imbalances(&daemon), 0.0);
    let place = daemon.stop();
    {
        let wal::Opened { reader, mut writer, .. } = wal::open(&place.data(), &wal::Options::default()).unwrap();
        let ledger = Ledger::load(&reader, "parquet").unwrap().unwrap();
        let wrong = Ledger { delivered: ledger.delivered + 1, ..ledger };
        writer.commit(&wal::Group { events: None, writes: &[wrong.store("parquet")] }).unwrap();
        writer.close().unwrap();
    }
    let daemon = place.start();
    eventually("it is seen", || imbalances(&daemon) == 1.0);
    assert_eq!(daemon.admin(&["audit"]).status.code(), Some(1));
}

#[test]
fn alerts_fire_when_they_must_and_only_then() {
    let rules = file("observability/alerts.yml");
    promtool(&["check", "rules", rules.to_str().unwrap()], "");
    promtool(&["test", "rules", file("observability/alerts_test.yml").to_str().unwrap()], "");
    promtool(&["check", "config", file("observability/prometheus.yml").to_str().unwrap()], "");
}

fn alerts() -> Vec<String> {
    let rules = text("observability/alerts.yml");
    rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).map(str::to_owned).collect()
}

#[test]
fn each_alert_is_tried_both_ways_and_explained_to_the_operator() {
    let (tests, operations) = (text("observability/alerts_test.yml"), text("operations.md"));
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in alerts {
        // A case ends with what it expects.
        let cases: Vec<&str> =
            tests.split("  - name: ").filter(|case| case.contains(&format!("alertname: {alert}\n"))).collect();
        let silent = cases.iter().filter(|case| case.contains("exp_alerts: []")).count();
        assert!(silent >= 1 && cases.len() > silent, "{alert} is not tried both ways");
        assert!(operations.contains(&format!("| `{alert}` |")), "operations.md says nothing of {alert}");
    }
}

#[test]
fn alerts_and_dashboard_use_only_what_is_there() {
    let daemon = busy_daemon();
    let exposition = daemon.get("/metrics").text();
    let mut exported = exported(&exposition);
    // Only where there is a certificate, which tests/tls.rs looks at.
    exported.insert("ingestd_tls_certificate_expiry_timestamp_seconds".into());
    let (dashboard, expressions) = dashboard();
    let sources = [
        text("observability/alerts.yml"),
        text("observability/alerts_test.yml"),
        dashboard["templating"].to_string(),
        expressions.join("\n"),
        // There, other words begin like that, too.
        text("operations.md").split('`').filter(|span| span.starts_with("ingestd_")).collect::<Vec<_>>().join(" "),
    ];
    for source in &sources {
        let missing: Vec<_> = named(source).into_iter().filter(|name| !exported.contains(name)).collect();
        assert!(missing.is_empty(), "no such metrics: {missing:?}");
    }
    for source in [&sources[0], &sources[3]] {
        for selector in selectors(source) {
            assert!(exposition.contains(&selector), "no series has {selector}");
        }
    }
}

#[test]
fn every_metric_of_ours_is_on_the_dashboard_or_in_an_alert() {
    // Those that only tell people apart, or that another one says better.
    let left_out = [
        "ingestd_events_by_type_total",
        "ingestd_events_duplicate_differs_total",
        "ingestd_sink_batch_rows",
        "ingestd_websockets_total",
        "ingestd_events_received_total",
    ];
    let shown = named(&[text("observability/alerts.yml"), text("observability/dashboard.json")].concat());
    let exposition = busy_daemon().get("/metrics").text();
    for line in exposition.lines().filter_map(|line| line.strip_prefix("# TYPE ")) {
        let name = line.split(' ').next().unwrap();
        let is_shown = shown.contains(name) || shown.contains(&format!("{name}_bucket"));
        assert!(is_shown || left_out.contains(&name), "nobody would see {name}");
    }
}

#[test]
fn the_dashboards_expressions_are_valid_and_its_panels_have_places() {
    let (dashboard, expressions) = dashboard();
    assert!(expressions.len() > 20);
    // promtool reads expressions only in rules.
    let mut rules = String::from("groups:\n  - name: dashboard\n    rules:\n");
    for (number, expression) in expressions.iter().enumerate() {
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*").replace('\'', "''");
        rules += &format!("      - record: panel_{number}\n        expr: '{expression}'\n");
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("rules.yml");
    std::fs::write(&path, rules).unwrap();
    promtool(&["check", "rules", path.to_str().unwrap()], "");
    let mut ids = BTreeSet::new();
    for panel in dashboard["panels"].as_array().unwrap() {
        assert!(ids.insert(panel["id"].as_u64().unwrap()), "id twice: {panel}");
        let place = &panel["gridPos"];
        assert!(place["x"].as_u64().unwrap() + place["w"].as_u64().unwrap() <= 24, "{panel}");
    }
}

/// A real Prometheus that scrapes the daemon as `prometheus.yml` says, only faster; killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: tempfile::TempDir,
}

impl Prometheus {
    fn of(daemon: &Daemon) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let config = text("observability/prometheus.yml")
            .replace("127.0.0.1:3001", &daemon.address.to_string())
            .replace("15s", "1s")
            .replace("alerts.yml", file("observability/alerts.yml").to_str().unwrap());
        std::fs::write(dir.path().join("prometheus.yml"), config).unwrap();
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new("prometheus");
        command.arg(format!("--config.file={}", dir.path().join("prometheus.yml").display()));
        command.arg(format!("--storage.tsdb.path={}", dir.path().join("data").display()));
        command.arg(format!("--web.listen-address={address}")).stdin(Stdio::null());
        let log = std::fs::File::create(dir.path().join("log")).unwrap();
        let child =
            command.stdout(Stdio::null()).stderr(log).spawn().expect("scripts/deps.sh test installs prometheus");
        let prometheus = Prometheus { child, address, _dir: dir };
        eventually("Prometheus is ready", || prometheus.try_get("/api/v1/targets").is_some());
        prometheus
    }

    /// What the API answers; nothing while it does not.
    fn try_get(&self, path: &str) -> Option<Value> {
        // As version 1.0, so that the answer ends with the connection and comes in one piece.
        let mut stream = TcpStream::connect(self.address).ok()?;
        write!(stream, "GET {path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        serde_json::from_str(answer.split_once("\r\n\r\n")?.1).ok()
    }

    /// What the API answers, which must not be an error.
    #[track_caller]
    fn get(&self, path: &str) -> Value {
        let answer = self.try_get(path).unwrap_or_else(|| panic!("{path} is not answered"));
        assert_eq!(answer["status"], "success", "{path}: {answer}");
        answer["data"].clone()
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// As it stands in a query string.
fn quoted(expression: &str) -> String {
    expression.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

#[test]
fn a_real_prometheus_scrapes_judges_and_answers_the_dashboard() {
    let daemon = busy_daemon();
    let prometheus = Prometheus::of(&daemon);
    eventually("the daemon was scraped", || {
        let targets = prometheus.get("/api/v1/targets");
        targets["activeTargets"][0]["health"] == "up"
    });
    eventually("every rule was judged", || {
        let rules = prometheus.get("/api/v1/rules")["groups"][0]["rules"].clone();
        let rules = rules.as_array().unwrap().clone();
        assert!(rules.iter().all(|rule| rule["health"] != "err"), "{rules:?}");
        rules.len() == alerts().len() && rules.iter().all(|rule| rule["health"] == "ok")
    });
    // Rates want two samples.
    eventually("there are rates", || {
        let query = quoted("rate(ingestd_http_requests_total[1m])");
        prometheus.get(&format!("/api/v1/query?query={query}"))["result"][0].is_object()
    });
    for expression in dashboard().1 {
        let expression = expression.replace("$__rate_interval", "1m").replace("$instance", ".*");
        prometheus.get(&format!("/api/v1/query?query={}", quoted(&expression)));
    }
    let critical = prometheus.get("/api/v1/alerts")["alerts"].clone();
    let critical = critical.as_array().unwrap().iter().filter(|alert| alert["labels"]["severity"] == "critical");
    assert_eq!(critical.count(), 0, "nothing is wrong with it");
}
