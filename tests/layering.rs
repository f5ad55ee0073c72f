//! Who may import whom: the table of docs/architecture.md, held to the code.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Rooms of the daemon and the rooms they may name.
const ROOMS: [(&str, &[&str]); 8] = [
    ("access", &["metrics"]),
    ("traces", &["net", "metrics"]),
    ("net", &["metrics"]),
    ("commit", &["metrics"]),
    ("intake", &["access", "net", "commit", "metrics", "traces"]),
    ("deliver", &["commit", "metrics", "traces"]),
    ("control", &["access", "net", "commit", "intake", "deliver", "metrics", "traces"]),
    ("daemon", &["access", "net", "commit", "intake", "deliver", "control", "metrics", "traces"]),
];

/// Crates of the workspace and the crates they may depend on.
const CRATES: [(&str, &[&str]); 9] = [
    ("src/event", &[]),
    ("src/record", &["event"]),
    ("src/prepare", &["event", "record"]),
    ("src/commit/dedup", &["event"]),
    ("src/net/frame", &[]),
    ("src/deliver/sinks/parquet", &["event"]),
    ("src/deliver/sinks/clickhouse", &["event"]),
    ("src/deliver/sinks/kafka", &["event"]),
    ("wal", &["event", "record"]),
];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        // A folder with a manifest is a crate of its own.
        if path.is_dir() && !path.join("Cargo.toml").exists() {
            sources(&path, out);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
}

/// Rooms that a source text names through `crate::`, also inside braces.
fn named(text: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (at, _) in text.match_indices("crate::") {
        let rest = &text[at + "crate::".len()..];
        let names = match rest.strip_prefix('{') {
            Some(list) => list.split('}').next().unwrap_or_default(),
            None => rest,
        };
        for name in names.split(',') {
            let word: String =
                name.trim().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect();
            out.insert(word);
            if !rest.starts_with('{') {
                break;
            }
        }
    }
    out
}

#[test]
fn rooms_name_only_the_rooms_they_may() {
    for (room, allowed) in ROOMS {
        let mut files = Vec::new();
        sources(&root().join("src").join(room), &mut files);
        assert!(!files.is_empty(), "room {room} is empty");
        for file in files {
            let text = fs::read_to_string(&file).unwrap();
            for name in named(&text) {
                let is_room = ROOMS.iter().any(|(other, _)| *other == name) || name == "metrics";
                assert!(
                    !is_room || name == room || allowed.contains(&name.as_str()),
                    "{} names {name}, which {room} must not know",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn crates_depend_only_on_the_crates_they_may() {
    let all = [
        "event",
        "record",
        "prepare",
        "dedup",
        "frame",
        "parquet-sink",
        "clickhouse-sink",
        "kafka-sink",
        "wal",
        "ingestd",
    ];
    for (folder, allowed) in CRATES {
        let manifest = fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap();
        let dependencies = manifest.split("[dependencies]").nth(1).unwrap_or_default();
        let dependencies = dependencies.split("\n[").next().unwrap_or_default();
        for line in dependencies.lines() {
            let name: String =
                line.chars().take_while(|letter| letter.is_alphanumeric() || "-_".contains(*letter)).collect();
            assert!(!all.contains(&name.as_str()) || allowed.contains(&name.as_str()), "{folder} depends on {name}");
        }
    }
}

#[test]
fn only_the_log_knows_its_store() {
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        let code = text.lines().filter(|line| !line.trim_start().starts_with("//"));
        for line in code {
            assert!(!line.contains("rocksdb::"), "{}: {line}", file.display());
        }
    }
}

#[test]
fn the_check_sees_a_forbidden_import() {
    assert!(named("use crate::intake::Answer;").contains("intake"));
    assert!(named("use crate::{commit::Tail, intake};").contains("intake"));
}
