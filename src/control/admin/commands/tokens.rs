//! API keys, as they are added, listed and revoked.

use super::super::request::{Refusal, Request};
use super::super::server::AdminParts;
use super::aside;
use crate::access::{Key, KeyId, Keyring, NewKey, Scope, Scopes, TokenError};
use event::UnixMicros;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::Duration;

/// Makes a key; the answer is the only place where its text stands.
pub(super) async fn add(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let now = UnixMicros::now();
    let (wanted, access) = (wanted(request, now)?, Arc::clone(&parts.access));
    // It writes a file, and waits for the disk.
    let (key, text) = aside(move || access.keyring.add(wanted, now)).await?.map_err(refused)?;
    tracing::info!(id = %key.id, tenant = %key.tenant, "API key added");
    let mut told = told(&key, now);
    told["token"] = text.into();
    Ok(told)
}

/// Puts the id in the place of a whole key, whose secret is for no record. What is neither may be a part of a secret, and is
/// not repeated.
pub(super) fn name_by_id(request: &mut Request) -> Result<(), Refusal> {
    let id = given(request)?.to_string();
    request.fields.insert("id".to_owned(), id.into());
    Ok(())
}

fn given(request: &Request) -> Result<KeyId, Refusal> {
    let what = "`id` is neither a key nor the id of one, the 16 digits (0-9, a-f) between its underscores; `ingestd admin \
                tokens list` names them";
    KeyId::given(request.needed_text("id")?).ok_or_else(|| Refusal::bad_request(what))
}

/// Has a key refused in memory. Here and now: it waits for no disk, and not for a thread, all of which may.
pub(super) fn refuse(parts: &AdminParts, request: &Request) -> Result<(), Refusal> {
    parts.access.keyring.refuse(given(request)?, UnixMicros::now()).map(drop).map_err(refused)
}

/// Has a key refused from now on.
pub(super) async fn revoke(parts: &AdminParts, request: &Request) -> Result<Value, Refusal> {
    let now = UnixMicros::now();
    let (id, access) = (given(request)?, Arc::clone(&parts.access));
    let key = aside(move || access.keyring.revoke(id, now)).await?.map_err(refused)?;
    tracing::info!(id = %key.id, tenant = %key.tenant, "API key revoked");
    Ok(told(&key, now))
}

/// Every key, without its text.
pub(super) fn list(keyring: &Keyring) -> Value {
    let now = UnixMicros::now();
    keyring.list().iter().map(|key| told(key, now)).collect()
}

fn wanted(request: &Request, now: UnixMicros) -> Result<NewKey, Refusal> {
    let tenant = request.needed_text("tenant")?.to_owned();
    let scope = |name: &str| {
        let none = || Refusal::bad_request(format!("there is no scope `{name}`; there are intake, read and manage"));
        Scope::of(name).ok_or_else(none)
    };
    let scopes = request.texts("scopes").map(scope).collect::<Result<Scopes, _>>()?;
    let expires_at = request.text("expires").map(|text| moment(text, now)).transpose().map_err(Refusal::bad_request)?;
    let name = request.text("name").unwrap_or_default().to_owned();
    Ok(NewKey { name, tenant, scopes, expires_at })
}

fn refused(error: TokenError) -> Refusal {
    match error {
        TokenError::Tenant(_) | TokenError::Name | TokenError::Scopes | TokenError::Expired => {
            Refusal::bad_request(error.to_string())
        }
        _ => error.to_string().into(),
    }
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
