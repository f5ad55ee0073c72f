//! API keys, as they are added, listed and revoked.

use crate::access::{Key, Keyring, NewKey, Scope, Scopes};
use event::UnixMicros;
use serde_json::{Value, json};
use std::time::Duration;

/// Answers one command about keys.
///
/// # Errors
/// What is wrong with it, or why it could not be carried out.
pub(super) fn answer(keyring: &Keyring, command: &str, request: &Value) -> Result<Value, String> {
    let now = UnixMicros::now();
    match command {
        "tokens_add" => {
            let (key, text) = keyring.add(wanted(request, now)?, now).map_err(|error| error.to_string())?;
            tracing::info!(id = %key.id, tenant = %key.tenant, "API key added");
            let mut told = told(&key, now);
            told["token"] = text.into();
            Ok(told)
        }
        "tokens_revoke" => {
            let id = request["id"].as_str().ok_or("revoke wants `id`, that of a key")?;
            let key = keyring.revoke(id, now).map_err(|error| error.to_string())?;
            tracing::info!(id = %key.id, tenant = %key.tenant, "API key revoked");
            Ok(told(&key, now))
        }
        _ => Ok(keyring.list().iter().map(|key| told(key, now)).collect()),
    }
}

fn wanted(request: &Value, now: UnixMicros) -> Result<NewKey, String> {
    let tenant = request["tenant"].as_str().ok_or("a key needs `tenant`, the owner of its events")?;
    let scope = |value: &Value| {
        let name = value.as_str().unwrap_or_default();
        Scope::of(name).ok_or_else(|| format!("there is no scope `{name}`; there are intake, read and manage"))
    };
    let scopes = request["scopes"].as_array().into_iter().flatten().map(scope).collect::<Result<Scopes, _>>()?;
    let expires_at = request["expires"].as_str().map(|text| moment(text, now)).transpose()?;
    let name = request["name"].as_str().unwrap_or_default().to_owned();
    Ok(NewKey { name, tenant: tenant.to_owned(), scopes, expires_at })
}

/// RFC 3339, or a number of seconds, minutes, hours or days from now.
fn moment(text: &str, now: UnixMicros) -> Result<UnixMicros, String> {
    if let Ok(moment) = prepare::parse_timestamp(text) {
        return Ok(moment);
    }
    let wrong = || format!("`{text}` is no time: write 2027-01-31T00:00:00Z, or a time from now such as 12h or 90d");
    let (number, unit) = text.split_at_checked(text.len().saturating_sub(1)).ok_or_else(wrong)?;
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 60 * 60,
        "d" => 24 * 60 * 60,
        _ => return Err(wrong()),
    };
    let number: u32 = number.parse().map_err(|_| wrong())?;
    Ok(now.plus(Duration::from_secs(u64::from(number) * seconds)))
}

fn told(key: &Key, now: UnixMicros) -> Value {
    let time = |moment: Option<UnixMicros>| moment.map(|moment| moment.to_string());
    let state = match (key.revoked_at, key.expires_at) {
        (Some(_), _) => "revoked",
        (None, Some(end)) if end <= now => "expired",
        _ => "active",
    };
    json!({
        "id": key.id.to_string(),
        "name": key.name,
        "tenant": key.tenant,
        "scopes": key.scopes.iter().map(Scope::as_str).collect::<Vec<_>>(),
        "state": state,
        "createdAt": key.created_at.to_string(),
        "expiresAt": time(key.expires_at),
        "lastUsedAt": time(key.last_used_at()),
        "revokedAt": time(key.revoked_at),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_given_as_it_is_or_from_now() {
        let now = UnixMicros::new(1_000_000);
        for (text, seconds) in [("1s", 2), ("2m", 121), ("3h", 10_801), ("90d", 7_776_001), ("1970-01-01T00:00:05Z", 5)]
        {
            assert_eq!(moment(text, now), Ok(UnixMicros::new(seconds * 1_000_000)), "{text}");
        }
        for text in ["", "d", "5", "-1d", "1.5h", "5y", "tomorrow", "99999999999d", "\u{e4}"] {
            assert!(moment(text, now).is_err(), "{text}");
        }
    }
}
