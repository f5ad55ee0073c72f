//! Reading the layers and saying exactly what is wrong with them.

use super::sections::Config;
use crate::control::logging::parse_level;
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Variables that are not configuration keys.
const OTHER_VARIABLES: [&str; 6] =
    ["INGESTD_CONFIG", "INGESTD_URL", "INGESTD_TOKEN", "INGESTD_BIN", "INGESTD_CACHE", "INGESTD_LOG_FORMAT"];

/// Older or shorter names of keys.
const ALIASES: [(&str, &str); 1] = [("LOG_LEVEL", "log_level")];

/// What is wrong with a configuration.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The file has a mistake.
    #[error("{}{line}: {what}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// `:line`, where it is known.
        line: String,
        /// What is wrong there.
        what: String,
    },
    /// A variable has a mistake.
    #[error("environment variable {name}: {what}")]
    Variable {
        /// The variable.
        name: String,
        /// What is wrong with it.
        what: String,
    },
    /// Values that do not fit together.
    #[error("{0}")]
    Check(String),
}

/// Reads file (if any) and environment over the defaults; flags are the caller's.
///
/// # Errors
/// The first mistake, with its place and the nearest known key.
pub fn load(file: Option<&Path>, environment: impl Iterator<Item = (String, String)>) -> Result<Config, ConfigError> {
    let mut table = match file {
        None => Table::new(),
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|cause| ConfigError::Read { path: path.into(), cause })?;
            // Checked on its own first, so that a mistake is reported with its line.
            toml::from_str::<Config>(&text).map_err(|error| in_file(path, &text, &error))?;
            text.parse::<Table>().map_err(|error| in_file(path, &text, &error))?
        }
    };
    let known = known_keys();
    // Aliases first: our own names go before them.
    let mut environment: Vec<_> = environment.collect();
    environment.sort_by_key(|(name, _)| name.starts_with("INGESTD_"));
    for (name, value) in environment {
        apply(&mut table, &known, &name, &value)?;
    }
    Config::deserialize(table)
}

/// Smallest budget of the log: twice what may be in memory before it is written to tables, which alone can be trimmed.
const LOG_BUDGET_MIN: u64 = 256 << 20;

/// Longest time that may be configured.
const YEAR_S: u64 = 366 * 24 * 3600;

impl Config {
    fn deserialize(table: Table) -> Result<Config, ConfigError> {
        table.try_into().map_err(|error: toml::de::Error| ConfigError::Check(error.message().to_owned()))
    }

    /// Checks what no type can say.
    ///
    /// # Errors
    /// Every mistake, one a line.
    pub fn check(&self) -> Result<(), ConfigError> {
        let mut wrong = Vec::new();
        if !self.server.listen.ip().is_loopback() && !self.server.allow_unauthenticated {
            wrong.push(format!(
                "server.listen = \"{}\" is reachable from outside and no authentication is configured: \
                 set server.allow_unauthenticated = true if that is meant",
                self.server.listen
            ));
        }
        for (name, value) in [
            ("limits.event_bytes_max", self.limits.event_bytes_max),
            ("limits.batch_events_max", self.limits.batch_events_max),
            ("limits.depth_max", self.limits.depth_max),
            ("limits.inflight_requests_max", self.limits.inflight_requests_max),
            ("log.group_events_max", self.log.group_events_max),
            ("server.connections_max", self.server.connections_max),
        ] {
            if value == 0 {
                wrong.push(format!("{name} must be greater than 0"));
            }
        }
        for (name, value, least) in [
            ("server.head_timeout_s", self.server.head_timeout_s, 1),
            ("server.body_timeout_s", self.server.body_timeout_s, 1),
            ("server.ping_interval_s", self.server.ping_interval_s, 1),
            ("server.write_timeout_s", self.server.write_timeout_s, 1),
            ("server.drain_timeout_s", self.server.drain_timeout_s, 0),
            ("server.request_timeout_s", self.server.request_timeout_s, 1),
            ("server.ack_timeout_s", self.server.ack_timeout_s, 1),
            ("dedup.window_s", self.dedup.window_s, 1),
            ("log.hold_s", self.log.hold_s, 0),
            ("log.sync_interval_ms", self.log.sync_interval_ms, 1),
            ("clickhouse.batch_age_ms", self.clickhouse.batch_age_ms, 1),
            ("kafka.batch_age_ms", self.kafka.batch_age_ms, 1),
            ("kafka.transaction_timeout_ms", self.kafka.transaction_timeout_ms, 1000),
            ("limits.dead_letter_age_s", self.limits.dead_letter_age_s, 1),
            ("limits.idempotency_age_s", self.limits.idempotency_age_s, 0),
        ] {
            if !(least..=YEAR_S).contains(&value) {
                wrong.push(format!("{name} must be from {least} to {YEAR_S}"));
            }
        }
        if let Err(error) = parse_level(&self.log_level) {
            wrong.push(format!("log_level = \"{}\": {error}", self.log_level));
        }
        if self.limits.body_bytes_max < self.limits.event_bytes_max {
            wrong.push("limits.body_bytes_max must not be smaller than limits.event_bytes_max".into());
        }
        if self.limits.inflight_bytes_max < self.limits.body_bytes_max.saturating_mul(2) {
            wrong.push("limits.inflight_bytes_max must be at least twice limits.body_bytes_max".into());
        }
        if self.log.budget_bytes > 0 && self.log.budget_bytes < LOG_BUDGET_MIN {
            wrong.push(format!(
                "log.budget_bytes must be 0 (no limit) or at least {LOG_BUDGET_MIN}: what is still in memory cannot be trimmed"
            ));
        }
        if wrong.is_empty() { Ok(()) } else { Err(ConfigError::Check(wrong.join("\n"))) }
    }
}

/// Every key with its default, `section.key`.
fn known_keys() -> Vec<(String, Value)> {
    let mut out = Vec::new();
    if let Ok(Value::Table(table)) = Value::try_from(Config::default()) {
        for (name, value) in table {
            match value {
                Value::Table(section) => {
                    out.extend(section.into_iter().map(|(key, value)| (format!("{name}.{key}"), value)));
                }
                value => out.push((name, value)),
            }
        }
    }
    out
}

fn apply(table: &mut Table, known: &[(String, Value)], name: &str, text: &str) -> Result<(), ConfigError> {
    let wrong = |what: String| ConfigError::Variable { name: name.into(), what };
    if name == "PORT" {
        let port: u16 = text.parse().map_err(|_| wrong(format!("`{text}` is no port")))?;
        return set(table, "server.listen", Value::String(format!("127.0.0.1:{port}"))).map_err(wrong);
    }
    let key = match ALIASES.iter().find(|(alias, _)| *alias == name) {
        Some((_, key)) => (*key).to_owned(),
        None => {
            if !name.starts_with("INGESTD_") || OTHER_VARIABLES.contains(&name) {
                return Ok(());
            }
            let variable = |key: &str| format!("INGESTD_{}", key.replace('.', "_").to_uppercase());
            match known.iter().find(|(key, _)| variable(key) == name) {
                Some((key, _)) => key.clone(),
                None if is_service_link(name, text) => return Ok(()),
                None => {
                    let names: Vec<_> = known.iter().map(|(key, _)| variable(key)).collect();
                    return Err(wrong(format!("unknown{}", nearest(name, names.iter().map(String::as_str)))));
                }
            }
        }
    };
    let default = known.iter().find(|(known, _)| *known == key).map(|(_, value)| value);
    let value = match default {
        Some(Value::Integer(_)) => {
            text.parse().map(Value::Integer).map_err(|_| wrong(format!("`{text}` is no whole number")))?
        }
        Some(Value::Array(_)) => {
            let parts = text.split(',').map(str::trim).filter(|part| !part.is_empty());
            Value::Array(parts.map(|part| Value::String(part.into())).collect())
        }
        Some(Value::Table(_)) => return Err(wrong("can only be set in the file".into())),
        Some(Value::Boolean(_)) => {
            text.parse().map(Value::Boolean).map_err(|_| wrong(format!("`{text}` is neither true nor false")))?
        }
        _ => Value::String(text.into()),
    };
    set(table, &key, value).map_err(wrong)
}

/// Whether Kubernetes sets such a variable in every container beside a Service called `ingestd` or `ingestd-…`: it is not
/// the operator's.
fn is_service_link(name: &str, value: &str) -> bool {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    // INGESTD_SERVICE_HOST, INGESTD_SERVICE_PORT, INGESTD_SERVICE_PORT_HTTP
    if name.ends_with("_SERVICE_HOST") || name.ends_with("_SERVICE_PORT") || name.contains("_SERVICE_PORT_") {
        return true;
    }
    // INGESTD_PORT=tcp://10.0.0.1:3001
    if name.ends_with("_PORT") && ["tcp://", "udp://", "sctp://"].iter().any(|scheme| value.starts_with(scheme)) {
        return true;
    }
    // INGESTD_PORT_3001_TCP, and the same with _ADDR, _PORT or _PROTO behind it
    name.rsplit_once("_PORT_").is_some_and(|(_, rest)| {
        let mut parts = rest.split('_');
        let (number, protocol, part) = (parts.next(), parts.next(), parts.next());
        number.is_some_and(is_number)
            && protocol.is_some_and(|protocol| ["TCP", "UDP", "SCTP"].contains(&protocol))
            && part.is_none_or(|part| ["ADDR", "PORT", "PROTO"].contains(&part))
    })
}

fn set(table: &mut Table, key: &str, value: Value) -> Result<(), String> {
    match key.split_once('.') {
        None => {
            table.insert(key.into(), value);
            Ok(())
        }
        Some((section, key)) => {
            let section = table.entry(section).or_insert_with(|| Value::Table(Table::new()));
            let section = section.as_table_mut().ok_or_else(|| format!("{key} is not in a section"))?;
            section.insert(key.into(), value);
            Ok(())
        }
    }
}

fn in_file(path: &Path, text: &str, error: &toml::de::Error) -> ConfigError {
    let line = error.span().map(|span| text[..span.start.min(text.len())].matches('\n').count() + 1);
    let mut what = error.message().to_owned();
    if let Some(name) = what.strip_prefix("unknown field `").and_then(|rest| rest.split('`').next()) {
        let known = known_keys();
        let names = known.iter().flat_map(|(key, _)| [key.as_str(), key.rsplit('.').next().unwrap_or(key)]);
        what = format!("unknown key `{name}`{}", nearest(name, names));
    }
    ConfigError::File { path: path.into(), line: line.map(|line| format!(":{line}")).unwrap_or_default(), what }
}

fn nearest<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|known| (strsim::damerau_levenshtein(name, known), known))
        .min()
        .filter(|(distance, known)| *distance <= known.len() / 2)
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(text: &str) -> Result<Config, ConfigError> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, text).unwrap();
        load(Some(&path), std::iter::empty())
    }

    #[test]
    fn an_unknown_key_is_named_with_its_line_and_the_nearest_one() {
        let error = file("data_dir = \"x\"\n[server]\nlisten_ = \"127.0.0.1:1\"\n").unwrap_err().to_string();
        assert!(error.contains("config.toml:3: unknown key `listen_`; did you mean `listen`?"), "{error}");
    }

    #[test]
    fn a_variable_goes_before_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.toml");
        std::fs::write(&path, "[log]\nhold_s = 5\n").unwrap();
        let environment = [("INGESTD_LOG_HOLD_S".to_owned(), "7".to_owned()), ("HOME".into(), "/".into())];
        assert_eq!(load(Some(&path), environment.into_iter()).unwrap().log.hold_s, 7);
    }

    #[test]
    fn an_unknown_variable_is_an_error_that_names_the_nearest() {
        let environment = [("INGESTD_LOG_HOLDS".to_owned(), "7".to_owned())];
        let error = load(None, environment.into_iter()).unwrap_err().to_string();
        assert!(error.contains("did you mean `INGESTD_LOG_HOLD_S`?"), "{error}");
    }

    #[test]
    fn variables_that_kubernetes_sets_for_a_service_called_ingestd_are_not_ours() {
        for (name, value) in [
            ("INGESTD_SERVICE_HOST", "10.0.0.1"),
            ("INGESTD_SERVICE_PORT", "3001"),
            ("INGESTD_SERVICE_PORT_HTTP", "3001"),
            ("INGESTD_PORT", "tcp://10.0.0.1:3001"),
            ("INGESTD_PORT_3001_TCP", "tcp://10.0.0.1:3001"),
            ("INGESTD_PORT_3001_TCP_PROTO", "tcp"),
            ("INGESTD_PORT_3001_TCP_PORT", "3001"),
            ("INGESTD_PORT_3001_TCP_ADDR", "10.0.0.1"),
            ("INGESTD_ADMIN_SERVICE_HOST", "10.0.0.2"),
            ("INGESTD_ADMIN_PORT", "tcp://10.0.0.2:1"),
        ] {
            let loaded = load(None, [(name.to_owned(), value.to_owned())].into_iter());
            assert_eq!(loaded.unwrap(), Config::default(), "{name}");
        }
        for name in [
            "INGESTD_SERVICE",
            "INGESTD_PORT",
            "INGESTD_LISTEN_PORT",
            "INGESTD_PORT_HTTP",
            "INGESTD_SERVER_LISTEM",
            "INGESTD_PORT_3001_TCP_X",
        ] {
            let error = load(None, [(name.to_owned(), "1".to_owned())].into_iter()).unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("unknown"), "{error}");
        }
    }

    #[test]
    fn the_shipped_file_says_the_defaults_and_every_key() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("config.toml");
        assert_eq!(load(Some(&path), std::iter::empty()).unwrap(), Config::default());
        let table: Table = std::fs::read_to_string(path).unwrap().parse().unwrap();
        for (key, _) in known_keys() {
            let found = match key.split_once('.') {
                Some((section, key)) => table.get(section).and_then(|section| section.get(key)),
                None => table.get(&key),
            };
            assert!(found.is_some(), "{key} is not in config.toml");
        }
    }

    #[test]
    fn port_is_an_alias() {
        let config = load(None, [("PORT".to_owned(), "8080".to_owned())].into_iter()).unwrap();
        assert_eq!(config.server.listen.to_string(), "127.0.0.1:8080");
    }

    #[test]
    fn listening_beyond_loopback_must_be_meant() {
        let config = file("[server]\nlisten = \"0.0.0.0:3001\"\n").unwrap();
        assert!(config.check().unwrap_err().to_string().contains("allow_unauthenticated"));
        let config = file("[server]\nlisten = \"0.0.0.0:3001\"\nallow_unauthenticated = true\n").unwrap();
        config.check().unwrap();
    }

    #[test]
    fn what_would_break_the_daemon_is_found_before_it_starts() {
        for (text, key) in [
            ("[server]\nping_interval_s = 0", "server.ping_interval_s"),
            ("[server]\nhead_timeout_s = 9223372036854775807", "server.head_timeout_s"),
            ("[dedup]\nwindow_s = 0", "dedup.window_s"),
            ("[log]\nsync_interval_ms = 0", "log.sync_interval_ms"),
            ("log_level = \"verbose\"", "log_level"),
            ("log_level = \"bogus=[\"", "log_level"),
        ] {
            let error = file(text).unwrap().check().unwrap_err().to_string();
            assert!(error.contains(key), "{text}: {error}");
        }
        for level in ["off", "WARN", "debug", "info,hyper=warn", "ingestd::commit=trace"] {
            file(&format!("log_level = \"{level}\"")).unwrap().check().unwrap();
        }
    }

    #[test]
    fn all_mistakes_are_told_at_once() {
        let config = file("[limits]\nevent_bytes_max = 0\nbatch_events_max = 0\n").unwrap();
        assert_eq!(config.check().unwrap_err().to_string().lines().count(), 2);
    }
}
