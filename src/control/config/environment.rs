//! The variables: `INGESTD_SECTION_KEY`, the aliases, and what only looks like one of ours.

use super::check::Wrong;
use super::keys::{self, KEYS, Key, table_of};
use super::load::Layers;
use super::mistake::{Origin, nearest};
use super::repeat::{UNREPEATED, may_hold_secret};
use super::sections::Config;
use toml::Value;

const PREFIX: &str = "INGESTD_";

/// Variables that are not keys.
const OTHERS: [&str; 6] =
    ["INGESTD_CONFIG", "INGESTD_URL", "INGESTD_TOKEN", "INGESTD_BIN", "INGESTD_CACHE", "INGESTD_BOOT_ID"];

/// Shorter names, and the keys they stand for.
const ALIASES: [(&str, &str); 2] = [("PORT", "server.listen"), ("LOG_LEVEL", "log_level")];

/// Whether a variable may set a key.
pub(super) fn is_ours(name: &str) -> bool {
    name.starts_with(PREFIX) || ALIASES.iter().any(|(alias, _)| *alias == name)
}

/// Whether Kubernetes has set it for a service that is called as we are, or begins so.
fn is_of_a_service(name: &str, value: &str) -> bool {
    let Some(rest) = name.strip_prefix("INGESTD") else { return false };
    let is_address = ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme));
    let of_port = |rest: &str| {
        let mut words = rest.split('_');
        let is_number = words.next().is_some_and(|word| word.parse::<u16>().is_ok());
        is_number && words.next().is_some_and(|word| matches!(word, "TCP" | "UDP" | "SCTP"))
    };
    rest.ends_with("_SERVICE_HOST")
        || rest.ends_with("_SERVICE_PORT")
        || rest.contains("_SERVICE_PORT_")
        || (rest.ends_with("_PORT") && is_address)
        || rest.match_indices("_PORT_").any(|(at, word)| of_port(&rest[at + word.len()..]))
}

/// Reads what the variables set.
pub(super) fn read(layers: &mut Layers, variables: &[(String, String)]) {
    // Aliases first: our own names go before them.
    let (own, aliases): (Vec<_>, Vec<_>) = variables.iter().partition(|(name, _)| name.starts_with(PREFIX));
    for (name, text) in aliases.into_iter().chain(own) {
        if OTHERS.contains(&name.as_str()) || is_of_a_service(name, text) {
            continue;
        }
        let origin = Origin::Variable(name.clone());
        let Some(key) = key_of(name) else {
            let names = KEYS.iter().map(|key| key.variable()[PREFIX.len()..].to_owned());
            let nearest = nearest(&name[PREFIX.len()..], names).map(|name| format!("{PREFIX}{name}"));
            let wrong = Wrong { what: "unknown variable".into(), nearest };
            layers.complain(origin, None, wrong);
            continue;
        };
        match parse(key, name, text) {
            Ok(value) => layers.put(key, value, origin),
            Err(what) => layers.complain(origin, Some(key.name.to_owned()), what.into()),
        }
    }
}

fn key_of(name: &str) -> Option<&'static Key> {
    match ALIASES.iter().find(|(alias, _)| *alias == name) {
        Some((_, key)) => keys::find(key),
        None => KEYS.iter().find(|key| key.variable() == name),
    }
}

/// A text as what the key takes.
fn parse(key: &Key, name: &str, text: &str) -> Result<Value, String> {
    if name == "PORT" {
        let port: u16 = text.parse().map_err(|_| format!("{} is no port", told(text)))?;
        return Ok(Value::String(format!("127.0.0.1:{port}")));
    }
    let defaults = table_of(&Config::default());
    Ok(match key.of(&defaults) {
        Some(Value::Float(_)) => Value::Float(text.parse().map_err(|_| format!("{} is no number", told(text)))?),
        Some(Value::Integer(_)) => {
            Value::Integer(text.parse().map_err(|_| format!("{} is no whole number", told(text)))?)
        }
        Some(Value::Boolean(_)) => {
            Value::Boolean(text.parse().map_err(|_| format!("{} is neither true nor false", told(text)))?)
        }
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.into())).collect())
        }
        Some(Value::Table(_)) => return Err(format!("{} can only be set in the file", key.name)),
        _ => Value::String(text.into()),
    })
}

/// A value of a variable, if it may be repeated.
fn told(text: &str) -> String {
    if may_hold_secret(text) { format!("its value {UNREPEATED}") } else { format!("`{text}`") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_an_orchestrator_sets_for_a_service_of_our_name_is_told_from_a_misspelled_key() {
        for (name, value) in [
            ("INGESTD_SERVICE_HOST", "10.0.0.1"),
            ("INGESTD_SERVICE_PORT", "3001"),
            ("INGESTD_SERVICE_PORT_HTTP", "3001"),
            ("INGESTD_PORT", "tcp://10.0.0.1:3001"),
            ("INGESTD_PORT_3001_TCP", "tcp://10.0.0.1:3001"),
            ("INGESTD_PORT_3001_TCP_PROTO", "tcp"),
            ("INGESTD_PORT_3001_TCP_ADDR", "10.0.0.1"),
            ("INGESTD_ADMIN_SERVICE_HOST", "10.0.0.1"),
            ("INGESTD_ADMIN_PORT_80_UDP_PORT", "80"),
        ] {
            assert!(is_of_a_service(name, value), "{name}");
        }
        for (name, value) in [("INGESTD_PORT", "3001"), ("INGESTD_SERVER_PORT", "1"), ("INGESTD_LOG_PORT_X", "1")] {
            assert!(!is_of_a_service(name, value), "{name}");
        }
        let of_keys = KEYS.iter().map(Key::variable).filter(|name| is_of_a_service(name, "tcp://"));
        assert_eq!(of_keys.count(), 0);
    }
}
