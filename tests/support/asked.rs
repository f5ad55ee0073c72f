//! `ingestd admin` asked, and what it said; or its socket, line by line.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

use crate::support::Daemon;
use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::process::Output;

/// A conversation in raw lines.
pub struct Talk(pub BufReader<UnixStream>);

impl Talk {
    pub fn with(daemon: &Daemon) -> Self {
        Talk(BufReader::new(UnixStream::connect(daemon.data().join("admin.sock")).unwrap()))
    }

    pub fn say(&mut self, line: &str) -> Value {
        self.0.get_mut().write_all(format!("{line}\n").as_bytes()).unwrap();
        self.hear().unwrap()
    }

    pub fn hear(&mut self) -> Option<Value> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        (!line.is_empty()).then(|| serde_json::from_str(&line).unwrap())
    }
}

/// What a command prints, which must succeed.
#[track_caller]
pub fn says(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = daemon.admin(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[track_caller]
pub fn json_of(daemon: &Daemon, arguments: &[&str]) -> Value {
    serde_json::from_str(&says(daemon, &[arguments, &["--json"]].concat())).unwrap()
}

/// The code it ends with, and its complaint.
pub fn refused(output: &Output) -> (Option<i32>, String) {
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

/// The entries of an action.
#[track_caller]
pub fn recorded(daemon: &Daemon, action: &str) -> Vec<Value> {
    json_of(daemon, &["audit-log", "--action", action]).as_array().unwrap().clone()
}

pub fn outcomes(entries: &[Value]) -> Vec<&str> {
    entries.iter().map(|entry| entry["outcome"].as_str().unwrap()).collect()
}
