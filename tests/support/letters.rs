//! Dead letters as clients and operators meet them.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

use crate::support::{Answer, Daemon, event};
use serde_json::Value;
use std::io::Write;
use std::process::{Output, Stdio};

/// Posts something that is rejected; the id of its dead letter.
#[track_caller]
pub fn reject(daemon: &Daemon, body: impl AsRef<[u8]>) -> String {
    let body = daemon.post("/events", body).with_status(400);
    body["deadLetterId"].as_str().unwrap().to_owned()
}

/// An event whose type nobody knows.
pub fn bad(id: &str) -> String {
    let mut event = event(id);
    event["eventType"] = "cart_eaten".into();
    event.to_string()
}

#[track_caller]
pub fn put(daemon: &Daemon, id: &str, body: &str) -> Answer {
    daemon.request("PUT", &format!("/dead-letters/{id}"), &[], body.as_bytes())
}

#[track_caller]
pub fn show(daemon: &Daemon, id: &str) -> Value {
    daemon.get(&format!("/dead-letters/{id}")).with_status(200)
}

#[track_caller]
pub fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
}

#[track_caller]
pub fn list(daemon: &Daemon, query: &str) -> Value {
    daemon.get(&format!("/dead-letters{query}")).with_status(200)
}

#[track_caller]
pub fn printed(output: &Output) -> String {
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// `ingestd admin dead-letters` with these arguments and this input.
pub fn admin(daemon: &Daemon, arguments: &[&str], input: &str) -> Output {
    let mut command = daemon.place().command(&[&["admin", "dead-letters"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}
