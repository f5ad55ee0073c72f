//! The configuration as its operator meets it: what is in effect, what is wrong, what there is to set.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use support::PROGRAM;

fn run(arguments: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(PROGRAM);
    command.env_clear().envs(env.iter().copied()).args(arguments).output().unwrap()
}

#[track_caller]
fn printed(arguments: &[&str], env: &[(&str, &str)]) -> String {
    let output = run(arguments, env);
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

fn file(dir: &Path, text: &str) -> PathBuf {
    let path = dir.join("config.toml");
    std::fs::write(&path, text).unwrap();
    path
}

#[test]
fn show_tells_every_value_and_where_it_was_set() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "log_level = \"warn\"\n\n[log]\n  hold_s = 5\n");
    let path = path.to_str().unwrap();
    let arguments = ["config", "show", "--config", path, "--listen", "127.0.0.1:4000"];
    let text = printed(&arguments, &[("INGESTD_LIMITS_DEPTH_MAX", "16")]);
    for (setting, origin) in [
        ("log_level = \"warn\"", &*format!("{path}:1:1")),
        ("log.hold_s = 5", &format!("{path}:4:3")),
        ("limits.depth_max = 16", "INGESTD_LIMITS_DEPTH_MAX"),
        ("server.listen = \"127.0.0.1:4000\"", "--listen"),
        ("dedup.window_s = 3600", "default"),
    ] {
        let line = text.lines().find(|line| line.starts_with(setting)).unwrap_or_else(|| panic!("{setting}: {text}"));
        assert!(line.ends_with(&format!("  # {origin}")), "{line}");
    }
    // What it prints is a file that says the same.
    let again = file(dir.path(), &text);
    let shown = |path: &str| -> Vec<(Value, Value)> {
        let json = printed(&["config", "show", "--json", "--config", path], &[]);
        let settings: Vec<Value> = serde_json::from_str(&json).unwrap();
        settings.into_iter().map(|mut setting| (setting["key"].take(), setting["value"].take())).collect()
    };
    let settings = shown(again.to_str().unwrap());
    assert!(settings.contains(&("limits.depth_max".into(), 16.into())));
    assert!(settings.contains(&("server.listen".into(), "127.0.0.1:4000".into())));
}

#[test]
fn the_default_file_is_taken_and_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), &printed(&["config", "default"], &[]));
    let values = |arguments: &[&str]| -> Vec<Value> {
        let settings: Vec<Value> = serde_json::from_str(&printed(arguments, &[])).unwrap();
        settings.into_iter().map(|mut setting| setting["value"].take()).collect()
    };
    let with = values(&["config", "show", "--json", "--config", path.to_str().unwrap()]);
    assert_eq!(with, values(&["config", "show", "--json"]));
    assert!(
        printed(&["config", "reference"], &[]).contains("| `log.hold_s` | `3600` | seconds, 0 to 31622400 | hot |")
    );
}

#[test]
fn a_daemon_does_not_start_with_mistakes_and_tells_them_all() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "[log]\nholds = 5\ngroup_events_max = 0\n");
    let data = dir.path().join("data");
    let arguments = ["serve", "--config", path.to_str().unwrap(), "--data-dir", data.to_str().unwrap()];
    let output = run(&arguments, &[("INGESTD_LIMITS_DEPHT_MAX", "16")]);
    assert_eq!(output.status.code(), Some(64));
    let text = String::from_utf8(output.stderr).unwrap();
    let mut lines = text.lines();
    for wanted in [
        &*format!("ingestd: {}:2:1: unknown key `log.holds`; did you mean `log.hold_s`?", path.display()),
        &format!("ingestd: {}:3:1: `log.group_events_max` must be from 1 to 1000000 (events), is 0", path.display()),
        "ingestd: environment variable INGESTD_LIMITS_DEPHT_MAX: unknown variable; did you mean \
         `INGESTD_LIMITS_DEPTH_MAX`?",
    ] {
        assert_eq!(lines.next(), Some(wanted), "{text}");
    }
    assert_eq!(lines.next(), None);
    assert!(!data.exists());
}

#[test]
fn an_unknown_key_is_told_with_the_one_that_is_called_nearly_so() {
    let dir = tempfile::tempdir().unwrap();
    let text = "[clickhouse]\npassword = \"x\"\n[kafka]\nbrokers = \"x\"\n[tls]\ncert = \"x\"\n";
    let output = run(&["check", "--config-only", "--config", file(dir.path(), text).to_str().unwrap()], &[]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(64), "{said}");
    for wanted in [
        "`clickhouse.password`; did you mean `clickhouse.password_file`?",
        "`kafka.brokers`; did you mean `kafka.bootstrap_servers`?",
        "`tls.cert`; did you mean `tls.cert_file`?",
    ] {
        assert!(said.contains(wanted), "{said}");
    }
}

#[test]
fn a_shell_can_complete_every_command() {
    let script = printed(&["completions", "bash"], &[]);
    for word in ["config-only", "forget-sink", "reload", "--data-dir"] {
        assert!(script.contains(word), "{word}");
    }
    // `complete` is there only in an interactive bash: that the script can be read is what counts.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ingestd.bash");
    std::fs::write(&path, script).unwrap();
    assert!(Command::new("bash").arg("-n").arg(&path).status().unwrap().success());
    for shell in ["zsh", "fish", "elvish", "powershell"] {
        assert!(printed(&["completions", shell], &[]).contains("forget-sink"), "{shell}");
    }
    assert_eq!(run(&["completions", "ksh"], &[]).status.code(), Some(2));
}

#[test]
fn there_is_a_man_page_for_every_command() {
    let dir = tempfile::tempdir().unwrap();
    let pages = dir.path().join("man");
    printed(&["man", pages.to_str().unwrap()], &[]);
    for page in ["ingestd", "ingestd-serve", "ingestd-check", "ingestd-config-show", "ingestd-admin-config-reload"] {
        let text = std::fs::read_to_string(pages.join(format!("{page}.1"))).unwrap();
        assert!(text.contains(&format!(".TH {page} 1")) && text.contains(".SH SYNOPSIS"), "{page}: {text}");
    }
    let file = dir.path().join("file");
    std::fs::write(&file, "").unwrap();
    let output = run(&["man", file.to_str().unwrap()], &[]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8(output.stderr).unwrap().starts_with("ingestd: cannot write man pages"));
}
