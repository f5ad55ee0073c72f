//! `ingestd check`: everything that is wrong, in the configuration and with what it needs.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/clickhouse/mod.rs"]
mod clickhouse;
#[cfg(test)]
#[path = "support/kafka/mod.rs"]
mod kafka;
#[cfg(test)]
mod support;

use clickhouse::Server;
use kafka::Broker;
use serde_json::Value;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Command, Output};
use support::{Daemon, PROGRAM};

/// On a port that the system chooses, with all the room that there is.
const ENV: [(&str, &str); 2] = [("INGESTD_SERVER_LISTEN", "127.0.0.1:0"), ("INGESTD_LOG_DISK_RESERVE_BYTES", "1")];

fn check(data: &Path, arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(ENV).envs(env.iter().copied());
    command.args(["check", "--data-dir"]).arg(data).args(arguments).output().unwrap()
}

struct Report {
    code: Option<i32>,
    json: Value,
}

fn report(data: &Path, env: &[(&str, &str)]) -> Report {
    let output = check(data, &["--json"], env);
    let json = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"));
    Report { code: output.status.code(), json }
}

impl Report {
    /// What was found of that kind, in this level.
    fn found(&self, about: &str, level: &str) -> Vec<&str> {
        let findings = self.json["findings"].as_array().unwrap().iter();
        let of_kind = findings.filter(|finding| finding["about"] == about && finding["level"] == level);
        of_kind.map(|finding| finding["message"].as_str().unwrap()).collect()
    }

    #[track_caller]
    fn assert_error(&self, about: &str, text: &str) {
        let errors = self.found(about, "error");
        assert!(errors.iter().any(|error| error.contains(text)), "{about}: {text}: {}", self.json);
        assert_eq!((self.code, &self.json["ok"]), (Some(1), &Value::Bool(false)), "{}", self.json);
    }
}

#[test]
fn all_is_well_and_nothing_is_left_behind() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("some/data");
    let report = report(&data, &[]);
    assert_eq!((report.code, &report.json["ok"]), (Some(0), &Value::Bool(true)), "{}", report.json);
    let works = |about| !report.found(about, "ok").is_empty();
    assert!((works("disk") || !report.found("disk", "warning").is_empty()) && works("socket"), "{}", report.json);
    assert_eq!(dir.path().read_dir().unwrap().count(), 0);
    let output = check(&data, &[], &[]);
    assert!(String::from_utf8(output.stdout).unwrap().ends_with("configuration is valid\n"));
}

#[test]
fn mistakes_and_what_does_not_work_are_told_together() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "[server]\nlistne = \"x\"\n[dedup]\nwindow_s = 0\n").unwrap();
    let path = path.to_str().unwrap();
    let blocked = dir.path().join("config.toml/data");
    let report = report(&blocked, &[("INGESTD_CONFIG", path), ("INGESTD_LOG_HOLDS", "1")]);
    assert_eq!(report.code, Some(64));
    let mistakes = report.json["mistakes"].as_array().unwrap();
    assert_eq!(mistakes.len(), 3, "{}", report.json);
    let first = &mistakes[0];
    assert_eq!((&first["file"], &first["line"], &first["column"]), (&path.into(), &2.into(), &1.into()), "{first}");
    assert_eq!((&first["key"], &first["nearest"]), (&"server.listne".into(), &"server.listen".into()), "{first}");
    assert_eq!(mistakes[1]["line"], 4);
    assert_eq!(mistakes[2]["variable"], "INGESTD_LOG_HOLDS");
    assert_eq!(report.found("disk", "error").len(), 1, "{}", report.json);
    assert!(report.found("socket", "error").is_empty(), "what is mistaken is not tried");

    let output = check(&blocked, &["--config-only", "--config", path], &[]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(text.lines().count(), 2, "{text}");
}

#[test]
fn what_is_repeated_of_a_file_does_not_steer_the_terminal() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "[server]\n\"\\u001b[2J\\u009b\\u202ex\" = 1\n").unwrap();
    let steering = ['\u{1b}', '\u{9b}', '\u{202e}'];
    for arguments in [&["--config-only"][..], &["--config-only", "--json"]] {
        let output = check(dir.path(), arguments, &[("INGESTD_CONFIG", path.to_str().unwrap())]);
        assert_eq!(output.status.code(), Some(64));
        let said = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
        assert!(said.contains("server.") && !said.contains(steering), "{said:?}");
    }
}

#[test]
fn a_disk_that_cannot_be_used_is_told() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "").unwrap();
    report(&dir.path().join("file/data"), &[]).assert_error("disk", "cannot write and sync");
    report(Path::new("/proc/data"), &[]).assert_error("disk", "cannot write and sync in /proc");
    let reserve = [("INGESTD_LOG_DISK_RESERVE_BYTES", "1000000000000000000")];
    report(dir.path(), &reserve).assert_error("disk", "every event would be refused");
}

#[test]
fn a_reserve_that_may_be_filled_before_anything_makes_room_is_told() {
    let dir = tempfile::tempdir().unwrap();
    let is_told = |reserve_mib: u64, env: &[(&str, &str)]| {
        let reserve = (reserve_mib << 20).to_string();
        let env = [env, &[("INGESTD_LOG_DISK_RESERVE_BYTES", reserve.as_str())]].concat();
        let found = report(dir.path(), &env);
        assert_eq!(found.code, Some(0), "{}", found.json);
        let told = format!("log.disk_reserve_bytes = {reserve} is small");
        found.found("disk", "warning").iter().any(|text| text.contains(&told))
    };
    assert!(is_told(60, &[]) && is_told(383, &[]) && !is_told(384, &[]));
    let small_files = [("INGESTD_PARQUET_ROLL_BYTES", "4194304")];
    assert!(is_told(259, &small_files) && !is_told(260, &small_files));
    let no_files = [("INGESTD_PARQUET_ENABLED", "false")];
    assert!(is_told(255, &no_files) && !is_told(256, &no_files));
    let daemon = Daemon::with(&[("INGESTD_LOG_DISK_RESERVE_BYTES", "62914560")]);
    let is_said = |line: &str| line.contains("WARN") && line.contains("log.disk_reserve_bytes = 62914560 is small");
    assert!(daemon.log().lines().any(is_said), "{}", daemon.log());
}

#[test]
fn sockets_that_cannot_be_made_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    report(dir.path(), &[("INGESTD_SERVER_LISTEN", &address)]).assert_error("socket", &format!("listen on {address}"));
    let socket = [("INGESTD_ADMIN_SOCKET", "/nowhere/admin.sock")];
    report(dir.path(), &socket).assert_error("socket", "cannot make the admin socket in /nowhere");
    let long = dir.path().join("x".repeat(100)).display().to_string();
    report(dir.path(), &[("INGESTD_ADMIN_SOCKET", &long)]).assert_error("socket", "107 are possible");
}

#[test]
fn the_address_of_the_daemon_itself_is_not_in_its_way() {
    let daemon = Daemon::start();
    let address = daemon.address.to_string();
    let env = [("INGESTD_SERVER_LISTEN", address.as_str())];
    let own = report(&daemon.data(), &env);
    assert_eq!(own.code, Some(0), "{}", own.json);
    assert!(own.found("socket", "ok").iter().any(|text| text.contains("the daemon of this data folder runs")));
    let other = tempfile::tempdir().unwrap();
    report(other.path(), &env).assert_error("socket", &address);
    // It has not noticed.
    daemon.stop();
}

#[test]
fn secrets_that_cannot_be_read_and_sinks_that_do_not_answer_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let sinks = [
        ("INGESTD_CLICKHOUSE_ENABLED", "true"),
        ("INGESTD_CLICKHOUSE_URLS", "http://127.0.0.1:9"),
        ("INGESTD_KAFKA_ENABLED", "true"),
        ("INGESTD_KAFKA_BOOTSTRAP_SERVERS", "127.0.0.1:9"),
    ];
    let away = report(dir.path(), &sinks);
    away.assert_error("clickhouse", "http://127.0.0.1:9");
    away.assert_error("kafka", "127.0.0.1:9: cannot reach the cluster");
    let secret = [sinks[0], sinks[1], ("INGESTD_CLICKHOUSE_PASSWORD_FILE", "/nowhere/password")];
    report(dir.path(), &secret).assert_error("files", "clickhouse.password_file: cannot read /nowhere/password");
}

#[test]
fn sinks_that_answer_are_looked_at_and_left_as_they_are() {
    let (server, broker) = (Server::start(), Broker::shared());
    let (url, brokers) = (server.url(), broker.address());
    let dir = tempfile::tempdir().unwrap();
    let env = [
        ("INGESTD_CLICKHOUSE_ENABLED", "true"),
        ("INGESTD_CLICKHOUSE_URLS", url.as_str()),
        ("INGESTD_KAFKA_ENABLED", "true"),
        ("INGESTD_KAFKA_BOOTSTRAP_SERVERS", &brokers),
        ("INGESTD_KAFKA_TOPIC_PREFIX", "checked"),
    ];
    let well = report(dir.path(), &env);
    assert_eq!(well.code, Some(0), "{}", well.json);
    let tables = well.found("clickhouse", "ok");
    assert!(tables.iter().all(|text| text.ends_with("is missing and will be made")) && tables.len() == 3, "{tables:?}");
    let topics = well.found("kafka", "ok");
    assert!(topics.first().is_some_and(|text| text.contains("will be made: checked-raw")), "{topics:?}");
    assert_eq!(server.number("SELECT count() FROM system.tables WHERE database = 'default'"), 0);
    let made = [&env[..], &[("INGESTD_KAFKA_CREATE_TOPICS", "false")]].concat();
    report(dir.path(), &made).assert_error("kafka", "topic checked-raw is missing, and topics are not to be made");
}
