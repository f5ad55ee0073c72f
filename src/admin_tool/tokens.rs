//! `ingestd admin tokens`: API keys of the running daemon.

use super::render::text;
use crate::cli::TokensCommand;
use serde_json::{Value, json};

/// What to ask, and how to tell the answer.
pub(crate) fn question(command: &TokensCommand) -> (Value, fn(&Value) -> String) {
    match command {
        TokensCommand::Add { tenant, scope, name, expires } => {
            let scopes: Vec<_> = scope.iter().map(|scope| scope.as_str()).collect();
            let request = json!({
                "command": "tokens_add",
                "tenant": tenant,
                "scopes": scopes,
                "name": name,
                "expires": expires,
            });
            (request, added)
        }
        TokensCommand::List => (json!({"command": "tokens_list"}), listed),
        TokensCommand::Revoke { id } => (json!({"command": "tokens_revoke", "id": id}), |key| {
            format!("{} is refused from now on\n", text(&key["id"]))
        }),
    }
}

/// The key alone on the first line, so that a script can take it.
fn added(key: &Value) -> String {
    format!(
        "{}\nThis is key {}. It is shown this once, and kept nowhere: put it where only its user can read it.\n",
        text(&key["token"]),
        text(&key["id"])
    )
}

fn listed(keys: &Value) -> String {
    let head = row(["ID", "STATE", "TENANT", "SCOPES", "EXPIRES", "LAST USED", "NAME"]);
    let line = |key: &Value| {
        let scopes: Vec<_> = key["scopes"].as_array().into_iter().flatten().map(text).collect();
        // Dates are enough for people.
        let [expires, used] = ["expiresAt", "lastUsedAt"].map(|when| key[when].as_str().map_or("-", minute));
        let [id, state, tenant, name] = ["id", "state", "tenant", "name"].map(|what| text(&key[what]));
        row([&id, &state, &tenant, &scopes.join(","), expires, used, &name])
    };
    head + &keys.as_array().into_iter().flatten().map(line).collect::<String>()
}

fn row([id, state, tenant, scopes, expires, used, name]: [&str; 7]) -> String {
    let line = format!("{id:<16}  {state:<7}  {tenant:<16}  {scopes:<18}  {expires:<16}  {used:<16}  {name}");
    format!("{}\n", line.trim_end())
}

/// The part of a time that is shown: `2026-01-31T12:00`.
fn minute(time: &str) -> &str {
    time.get(..16).unwrap_or(time)
}
