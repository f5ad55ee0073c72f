//! Every code that a client or an operator can meet has a page in `docs/errors/`, and every page is of such a code.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use event::{Refusal, RejectCode};
use ingestd::daemon::StartCode;
use ingestd::deliver::FailureCode;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use support::{Daemon, Place, event};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &str) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in fs::read_dir(root().join(folder)).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            out.append(&mut sources(path.strip_prefix(root()).unwrap().to_str().unwrap()));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            out.push(path);
        }
    }
    out
}

/// Words that stand between `before` and the next quotation mark, wherever that is in the sources of a folder.
fn quoted(folder: &str, before: &str) -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for file in sources(folder) {
        // However it is broken into lines.
        let text: String = fs::read_to_string(file).unwrap().split_whitespace().collect::<Vec<_>>().join(" ");
        for (at, _) in text.match_indices(before) {
            let word: String = text[at + before.len()..]
                .chars()
                .take_while(|letter| letter.is_ascii_lowercase() || *letter == '_')
                .collect();
            out.insert(word);
        }
    }
    assert!(!out.is_empty(), "nothing in {folder} begins with {before}: is this test still right?");
    out
}

/// Codes that are in no enum: those that stand in the source as texts.
fn loose() -> BTreeSet<String> {
    let mut out = BTreeSet::new();
    for (folder, before) in [
        ("src/intake", "(\"code\", \""),
        ("src/intake", ".code().map_or(\""),
        ("src/intake", "DUPLICATE_DIFFERS: &str = \""),
        // With one argument a line, and with all on one.
        ("src/intake/websocket", "Step::Error(\""),
        ("src/intake/websocket", "Step::Error( \""),
        ("src/net", "\\\"reason\\\":\\\""),
        ("src/intake", "\\\"reason\\\":\\\""),
        ("src/control", "Phase::Starting => vec![\""),
        ("src/control", "Phase::Stopping => vec![\""),
        ("src/deliver/sinks", "=> (\"kafka"),
    ] {
        let prefix = before.rsplit('"').next().unwrap();
        out.extend(
            quoted(folder, before).into_iter().filter(|word| !word.is_empty()).map(|word| format!("{prefix}{word}")),
        );
    }
    // Where somebody is not let in, the code stands beside the status; elsewhere a sentence does.
    for status in ["UNAUTHORIZED", "BAD_REQUEST", "FORBIDDEN"] {
        let codes = quoted("src/intake", &format!("(StatusCode::{status}, \""));
        out.extend(codes.into_iter().filter(|word| word.contains('_')));
    }
    out
}

/// Numbers that a command ends with, as the sources of each have them.
fn exits() -> BTreeSet<u8> {
    let mut out = BTreeSet::new();
    for (file, base, before, behind) in [
        ("src/main.rs", 0, "ExitCode::from(", ")"),
        ("src/config_tool.rs", 0, ": u8 = ", ";"),
        ("src/admin_tool/exit.rs", 0, ": u8 = ", ";"),
        ("src/admin_tool/top/terminal.rs", 128, "=> 128 + ", ","),
        ("src/send/exit.rs", 0, " = ", ","),
    ] {
        let text = fs::read_to_string(root().join(file)).unwrap();
        let words = text.split(before).skip(1).filter_map(|rest| rest.split(behind).next());
        let numbers: Vec<u8> = words.filter_map(|word| Some(base + word.parse::<u8>().ok()?)).collect();
        assert!(!numbers.is_empty(), "{file}: is this test still right?");
        out.extend(numbers.into_iter().filter(|number| *number > 0));
    }
    // Of usage, by clap.
    out.insert(2);
    out
}

fn codes() -> BTreeSet<String> {
    let mut out = loose();
    out.extend(RejectCode::ALL.iter().map(|code| code.as_str().to_owned()));
    out.extend(Refusal::ALL.iter().map(|reason| reason.as_str().to_owned()));
    out.extend(StartCode::ALL.iter().map(|code| code.as_str().to_owned()));
    out.extend(FailureCode::ALL.iter().map(|code| code.as_str().to_owned()));
    // The server's numbers, which all have one meaning.
    assert!(fs::read_to_string(root().join("src/deliver/sinks/clickhouse.rs")).unwrap().contains("\"clickhouse_{}\""));
    out.insert("clickhouse_row".into());
    out.extend(exits().iter().map(|exit| format!("exit_{exit}")));
    // How an admin command is refused.
    out.extend(quoted("src/control/admin", "code: \""));
    let tool = fs::read_to_string(root().join("src/wal_tool.rs")).unwrap();
    for (at, _) in tool.match_indices("tell!(\"") {
        let word: String = tool[at + 7..].chars().take_while(char::is_ascii_uppercase).collect();
        if word.len() > 3 {
            out.insert(format!("verify_{}", word.to_lowercase()));
        }
    }
    assert!(tool.contains("\"recorded earlier: "));
    out.insert("verify_recorded".into());
    out
}

fn pages() -> BTreeSet<String> {
    let files = fs::read_dir(root().join("docs/errors")).unwrap();
    let names = files.map(|file| file.unwrap().path().file_stem().unwrap().to_str().unwrap().to_owned());
    names.filter(|name| name != "README").collect()
}

#[test]
fn every_code_has_a_page_and_every_page_a_code() {
    let (codes, pages) = (codes(), pages());
    let missing: Vec<_> = codes.difference(&pages).collect();
    assert!(missing.is_empty(), "without a page: {missing:?}");
    let orphans: Vec<_> = pages.difference(&codes).collect();
    assert!(orphans.is_empty(), "pages of codes that do not exist: {orphans:?}");
    assert!(codes.len() > 50);
}

#[test]
fn no_sink_fails_without_a_code() {
    for file in sources("src/deliver") {
        for line in fs::read_to_string(&file).unwrap().lines().map(str::trim) {
            let is_matched = line.starts_with("//") || line.contains("=>") || line.contains("let ");
            let makes = line.contains("Fault::Final(") || line.contains("map_err(Fault::Final)");
            let is_the_maker = file.ends_with("destination.rs");
            assert!(!makes || is_matched || is_the_maker, "{}: {line}: use Fault::of", file.display());
        }
    }
}

#[test]
fn every_page_says_what_it_means_where_it_is_met_and_what_to_do() {
    let index = fs::read_to_string(root().join("docs/errors/README.md")).unwrap();
    for page in pages() {
        let text = fs::read_to_string(root().join("docs/errors").join(format!("{page}.md"))).unwrap();
        assert!(text.starts_with(&format!("# {page}\n\n")), "{page}");
        for part in ["\n\n**Where:** ", "\n\n**What to do:** "] {
            let said = text.split(part).nth(1).unwrap_or_else(|| panic!("{page} has no {part:?}"));
            assert!(said.trim().len() > 5, "{page}: {part:?}");
        }
        assert!(index.contains(&format!("| [{page}]({page}.md) | ")), "{page} is not in the index");
        for (at, _) in text.match_indices("](") {
            let target: String = text[at + 2..].chars().take_while(|letter| *letter != ')').collect();
            assert!(root().join("docs/errors").join(&target).exists(), "{page} points to {target}");
        }
    }
}

/// What a start says that must fail, and its exit code.
fn failed_start(data: &Path, listen: &str) -> (String, Option<i32>) {
    let mut command = Command::new(support::PROGRAM);
    command.env_clear().args(["serve", "--listen", listen, "--data-dir"]).arg(data);
    let output = command.output().unwrap();
    (String::from_utf8_lossy(&output.stderr).into_owned(), output.status.code())
}

#[test]
fn a_failed_start_names_its_code() {
    let daemon = Daemon::start();
    let place = Place::with(&[]);
    let (said, code) = failed_start(&daemon.data(), "127.0.0.1:0");
    assert!(said.contains("start_log_in_use") && code == Some(1), "{code:?}: {said}");
    let (said, code) = failed_start(&place.data(), &daemon.address.to_string());
    assert!(said.contains("start_bind") && code == Some(1), "{code:?}: {said}");
}

#[test]
fn clients_meet_the_codes_that_the_pages_tell_of() {
    let daemon = Daemon::with(&[("INGESTD_LIMITS_BATCH_EVENTS_MAX", "2")]);
    let pages = pages();
    let batch = |count: usize| format!("[{}]", vec![event("e").to_string(); count].join(","));
    for (answer, member) in [
        (daemon.post("/events", "{}").with_status(400), "code"),
        (daemon.post("/events/batch", batch(3)).with_status(400), "code"),
        (daemon.post("/events?ack=nobody", event("a").to_string()).with_status(400), "code"),
    ] {
        let code = answer[member].as_str().unwrap();
        assert!(pages.contains(code), "{code}");
    }
}
