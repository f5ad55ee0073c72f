//! API keys of a running daemon.

use super::{Answer, Connection, Daemon, request};
use serde_json::Value;
use std::path::Path;

/// A key that was added.
pub struct ApiKey {
    pub id: String,
    /// What its user sends.
    pub text: String,
}

impl ApiKey {
    /// `ingestd admin tokens add`, with a tenant and scopes.
    #[track_caller]
    pub fn add(daemon: &Daemon, tenant: &str, scopes: &str) -> Self {
        let added = tokens(daemon, &["add", "--tenant", tenant, "--scope", scopes]);
        let text = |member: &str| added[member].as_str().unwrap().to_owned();
        ApiKey { id: text("id"), text: text("token") }
    }

    #[track_caller]
    pub fn revoke(&self, daemon: &Daemon) {
        assert_eq!(tokens(daemon, &["revoke", &self.id])["state"], "revoked");
    }

    /// The header of RFC 6750.
    pub fn bearer(&self) -> String {
        format!("Bearer {}", self.text)
    }
}

/// `ingestd admin tokens` with these arguments, which must succeed.
#[track_caller]
pub fn tokens(daemon: &Daemon, arguments: &[&str]) -> Value {
    let output = daemon.admin(&[&["tokens"], arguments, &["--json"]].concat());
    assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// Posts an event with an `Authorization` header.
#[track_caller]
pub fn post_as(daemon: &Daemon, authorization: &str, body: &Value) -> Answer {
    daemon.request("POST", "/events", &[("Authorization", authorization)], body.to_string().as_bytes())
}

/// Asks for a WebSocket with these headers beside those of the handshake.
#[track_caller]
pub fn upgrade(daemon: &Daemon, headers: &[(&str, &str)]) -> (Answer, Connection) {
    let handshake = [
        ("Connection", "Upgrade"),
        ("Upgrade", "websocket"),
        ("Sec-WebSocket-Version", "13"),
        ("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="),
    ];
    let mut connection = daemon.connect();
    connection.send(request("GET", "/events/stream", &[&handshake, headers].concat(), b""));
    (connection.answer(), connection)
}

/// What of a folder's files, and of texts, holds a secret.
pub fn leaks(folder: &Path, secret: &str, out: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            leaks(&path, secret, out);
        } else if let Ok(bytes) = std::fs::read(&path)
            && bytes.windows(secret.len()).any(|window| window == secret.as_bytes())
        {
            out.push(path.display().to_string());
        }
    }
}
