//! The admin socket as a file: nobody takes another's, and what is no socket stays what it is.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
#[path = "support/asked.rs"]
mod asked;
#[cfg(test)]
mod support;

use asked::{json_of, says};
use serde_json::Value;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use support::{Daemon, PROGRAM, Place, event, eventually};

/// A place whose daemon wants its socket there.
fn place_at(socket: &Path) -> Place {
    Place::with(&[("INGESTD_ADMIN_SOCKET", socket.to_str().unwrap()), ("INGESTD_LOG_DISK_RESERVE_BYTES", "1")])
}

/// The process that answers at its socket.
fn who_answers(daemon: &Daemon) -> Value {
    json_of(daemon, &["top", "--count", "1"])["pid"].clone()
}

/// `check` of a place, and what it finds wrong with sockets.
fn checked(place: &Place) -> (Option<i32>, String) {
    let output = place.command(&["check", "--json", "--listen", "127.0.0.1:0"]).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let findings = report["findings"].as_array().unwrap().iter();
    let wrong = findings.filter(|finding| finding["about"] == "socket" && finding["level"] == "error");
    (output.status.code(), wrong.map(|finding| finding["message"].as_str().unwrap()).collect())
}

#[test]
fn a_living_daemon_keeps_its_socket() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let first = place_at(&socket).start();
    assert_eq!(who_answers(&first), first.pid());
    let (code, wrong) = checked(first.place());
    assert!(code == Some(0) && wrong.is_empty(), "its own socket is in nobody's way: {wrong}");

    let place = place_at(&socket);
    let (code, wrong) = checked(&place);
    let data = first.data().display().to_string();
    assert!(code == Some(1) && wrong.contains(&data) && wrong.contains("set admin.socket"), "{wrong}");
    let second = place.start();
    let log = second.log();
    assert!(log.contains("`ingestd admin` will not work") && log.contains("another process listens there"), "{log}");
    // Events are worth more than steering.
    second.post("/events", event("e").to_string()).with_status(202);
    assert_eq!(who_answers(&first), first.pid());
    second.stop();
    assert_eq!(who_answers(&first), first.pid());
    // What a crash has left is nobody's.
    let place = first.kill();
    assert!(socket.exists());
    assert_eq!(checked(&place).0, Some(0));
    let again = place.start();
    assert_eq!(who_answers(&again), again.pid());
    again.stop();
    assert!(!socket.exists());
}

#[test]
fn what_is_no_socket_stays() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("precious");
    std::fs::write(&path, "kept").unwrap();
    let place = place_at(&path);
    let (code, wrong) = checked(&place);
    assert!(code == Some(1) && wrong.contains("is no socket"), "{wrong}");
    let daemon = place.start();
    assert!(daemon.log().contains("what is there is no socket, and stays"), "{}", daemon.log());
    daemon.post("/events", event("e").to_string()).with_status(202);
    daemon.stop();
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "kept");
}

#[test]
fn a_socket_that_has_become_another_daemons_is_not_taken_along() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let first = place_at(&socket).start();
    // As somebody may who cleans up in /run.
    std::fs::rename(&socket, dir.path().join("away")).unwrap();
    let second = place_at(&socket).start();
    first.stop();
    assert_eq!(who_answers(&second), second.pid());
    assert_eq!(says(&second, &["drain"]), "the daemon stops: it finishes what is under way\n");
    second.drained();
}

#[test]
fn a_data_folder_of_the_same_name_elsewhere_is_another_daemons() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("admin.sock");
    let [here, elsewhere] = ["here", "elsewhere"].map(|name| dir.path().join(name));
    for folder in [&here, &elsewhere] {
        std::fs::create_dir(folder).unwrap();
    }
    let run = |folder: &Path, what: &str| {
        let mut command = Command::new(PROGRAM);
        command.env_clear().env("INGESTD_ADMIN_SOCKET", &socket).env("INGESTD_LOG_DISK_RESERVE_BYTES", "1");
        command.args([what, "--data-dir", "data", "--listen", "127.0.0.1:0"]).current_dir(folder);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        command
    };
    let mut daemon = run(&here, "serve").spawn().unwrap();
    eventually("its socket is there", || UnixStream::connect(&socket).is_ok());
    let [own, other] = [&here, &elsewhere].map(|folder| run(folder, "check").output().unwrap());
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    assert!(own.status.success(), "{own:?}");
    let said = String::from_utf8(other.stdout).unwrap();
    let theirs = here.join("data").display().to_string();
    assert!(other.status.code() == Some(1) && said.contains(&theirs), "{said}");
}
