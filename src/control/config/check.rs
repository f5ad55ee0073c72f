//! What is wrong with values, as far as they themselves tell: nothing outside is looked at.

use super::auth::{self, AuthName};
use super::destinations;
use super::keys::{Key, LOG_BUDGET_MIN, table_of};
use super::mistake::nearest;
use super::repeat::{UNREPEATED, may_hold_secret, quoted, said_of};
use super::sections::{ClientAuthName, Config};
use crate::control::logging::parse_level;
use crate::control::redact::redact;
use crate::intake::Cors;
use crate::net::{self, Proxies};
use crate::traces;
use toml::{Table, Value};

/// What is wrong with one value.
#[derive(Debug)]
pub(super) struct Wrong {
    pub(super) what: String,
    pub(super) nearest: Option<String>,
}

impl From<String> for Wrong {
    fn from(what: String) -> Self {
        Wrong { what, nearest: None }
    }
}

/// Values that do not fit together, or one that works with no other.
pub(super) struct Contradiction {
    pub(super) keys: Vec<&'static str>,
    pub(super) what: String,
}

/// Whether a value works for its key: is of its kind, in its range and one of its choices.
pub(super) fn value(key: &'static Key, value: &Value) -> Result<(), Wrong> {
    let name = key.name;
    let defaults = table_of(&Config::default());
    let Some(default) = key.of(&defaults) else { return Err(format!("`{name}` has no default").into()) };
    if std::mem::discriminant(default) != std::mem::discriminant(value) {
        return Err(format!("`{name}` must be {}, is {}", kind(default), kind(value)).into());
    }
    if let (Some((least, most)), Value::Integer(number)) = (key.range, value)
        && !(least..=most).contains(number)
    {
        let unit = key.unit.map(|unit| format!(" ({unit})")).unwrap_or_default();
        let range = if most == i64::MAX { format!("at least {least}") } else { format!("from {least} to {most}") };
        return Err(format!("`{name}` must be {range}{unit}, is {number}").into());
    }
    if let (false, Value::String(text)) = (key.choices.is_empty(), value)
        && !key.choices.contains(&text.as_str())
    {
        let nearest = nearest(text, key.choices.iter().map(|choice| (*choice).to_owned()));
        let choices = key.choices.join("\", \"");
        return Err(Wrong { what: format!("`{name}` must be one of \"{choices}\", is {}", quoted(text)), nearest });
    }
    let mut alone = Table::new();
    key.set(&mut alone, value.clone());
    let tried = alone.try_into::<Config>();
    tried.map(drop).map_err(|error| match holds_secret(value) {
        // Nor is what was said of it, which may repeat it.
        true => format!("`{name}` does not take its value {UNREPEATED}").into(),
        false => format!("`{name}` = {value}: {}", error.message().replace('\n', ", ")).into(),
    })
}

/// Whether a secret may be in a value, or in one of those in it.
fn holds_secret(value: &Value) -> bool {
    match value {
        Value::String(text) => may_hold_secret(text),
        Value::Array(items) => items.iter().any(holds_secret),
        Value::Table(entries) => entries.values().any(holds_secret),
        _ => false,
    }
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::String(_) => "a text in quotes",
        Value::Integer(_) => "a whole number",
        Value::Float(_) => "a number with a fraction",
        Value::Boolean(_) => "true or false",
        Value::Datetime(_) => "a time",
        Value::Array(_) => "a list of texts",
        Value::Table(_) => "a table",
    }
}

const USER_OR_QUERY: &str =
    "user and password have keys of their own: take them out of the address, and the query that it may have";

/// Whether an address has more than scheme, host and port: a password may be in it.
pub(super) fn has_user_or_query(url: &str) -> bool {
    url.contains(['@', '?']) || may_hold_secret(url)
}

/// Checks what no value can say alone.
pub(super) fn contradictions(config: &Config) -> Vec<Contradiction> {
    let (server, limits, kafka) = (&config.server, &config.limits, &config.kafka);
    let mut found = Vec::new();
    let mut look = |is_wrong: bool, keys: &[&'static str], what: &dyn Fn() -> String| {
        if is_wrong {
            found.push(Contradiction { keys: keys.to_vec(), what: what() });
        }
    };
    look(config.data_dir.as_os_str().is_empty(), &["data_dir"], &|| "`data_dir` is empty".into());
    let level = parse_level(&config.log_level);
    look(level.is_err(), &["log_level"], &|| {
        let what = level.as_ref().err().cloned().unwrap_or_default();
        format!("`log_level` = {}: {}", quoted(&config.log_level), said_of([&config.log_level], what))
    });
    look(
        !server.listen.ip().is_loopback() && !server.allow_unauthenticated && config.auth.intake == AuthName::None,
        &["server.listen", "server.allow_unauthenticated", "auth.intake"],
        &|| {
            format!(
                "`server.listen` = \"{}\" is reachable from outside and no authentication is configured: set auth.intake, \
                 or server.allow_unauthenticated = true if that is meant",
                server.listen
            )
        },
    );
    if let Some(address) = server.admin_listen.0 {
        let is_open = !address.ip().is_loopback() && !server.admin_allow_unauthenticated;
        look(is_open, &["server.admin_listen", "server.admin_allow_unauthenticated"], &|| {
            format!(
                "`server.admin_listen` = \"{address}\" is reachable from outside, and whoever reaches it is answered: set \
                 server.admin_allow_unauthenticated = true if that is meant"
            )
        });
        look(address == server.listen && address.port() != 0, &["server.admin_listen", "server.listen"], &|| {
            format!("`server.admin_listen` = \"{address}\" is server.listen: leave it empty, or choose another port")
        });
    }
    let tls = &config.tls;
    for (key, file) in [("tls.cert_file", &tls.cert_file), ("tls.key_file", &tls.key_file)] {
        let is_missing = tls.enabled && file.as_os_str().is_empty();
        look(is_missing, &[key, "tls.enabled"], &|| format!("`{key}` is empty, and tls.enabled = true wants it"));
    }
    let asks = tls.client_auth != ClientAuthName::None;
    let is_missing = tls.enabled && asks && tls.client_ca_file.as_os_str().is_empty();
    look(is_missing, &["tls.client_ca_file", "tls.client_auth"], &|| {
        "`tls.client_ca_file` is empty, and tls.client_auth other than \"none\" wants it".into()
    });
    look(limits.body_bytes_max < limits.event_bytes_max, &["limits.body_bytes_max", "limits.event_bytes_max"], &|| {
        let (body, event) = (limits.body_bytes_max, limits.event_bytes_max);
        format!("`limits.body_bytes_max` = {body} must not be smaller than limits.event_bytes_max = {event}")
    });
    look(
        limits.inflight_bytes_max < limits.body_bytes_max.saturating_mul(2),
        &["limits.inflight_bytes_max", "limits.body_bytes_max"],
        &|| {
            let (inflight, body) = (limits.inflight_bytes_max, limits.body_bytes_max);
            format!("`limits.inflight_bytes_max` = {inflight} must be at least twice limits.body_bytes_max = {body}")
        },
    );
    let proxies = Proxies::parse(&server.trusted_proxies);
    look(proxies.is_err(), &["server.trusted_proxies"], &|| {
        let what = proxies.as_ref().err().cloned().unwrap_or_default();
        format!("`server.trusted_proxies`: {}", said_of(&server.trusted_proxies, what))
    });
    look(
        server.proxy_protocol && server.trusted_proxies.is_empty(),
        &["server.proxy_protocol", "server.trusted_proxies"],
        &|| {
            "`server.proxy_protocol` = true closes every connection while server.trusted_proxies names nobody that may \
             send its header"
                .into()
        },
    );
    let cors = &config.cors;
    let is_any = cors.allowed_origins.iter().any(|origin| origin == "*");
    look(cors.allow_credentials && is_any, &["cors.allow_credentials", "cors.allowed_origins"], &|| {
        "`cors.allow_credentials` = true for every origin (\"*\") is what browsers refuse: name the origins".into()
    });
    let pages = Cors::new(&cors.allowed_origins, cors.allow_credentials && !is_any, cors.max_age_s);
    look(pages.is_err(), &["cors.allowed_origins"], &|| {
        let what = pages.as_ref().err().cloned().unwrap_or_default();
        format!("`cors.allowed_origins`: {}", said_of(&cors.allowed_origins, what))
    });
    let budget = config.log.budget_bytes;
    look(budget > 0 && budget < LOG_BUDGET_MIN, &["log.budget_bytes"], &|| {
        format!(
            "`log.budget_bytes` = {budget} must be 0 (no limit) or at least {LOG_BUDGET_MIN}: what is still in memory \
             cannot be trimmed"
        )
    });
    let (keep, roll) = (config.parquet.keep_bytes, config.parquet.roll_bytes);
    look(keep > 0 && keep < roll, &["parquet.keep_bytes", "parquet.roll_bytes"], &|| {
        format!("`parquet.keep_bytes` = {keep} must be 0 (files are kept) or at least parquet.roll_bytes = {roll}")
    });
    let is_idle = config.clickhouse.cluster.is_empty() && !config.clickhouse.distributed_suffix.is_empty();
    look(is_idle, &["clickhouse.distributed_suffix", "clickhouse.cluster"], &|| {
        "`clickhouse.distributed_suffix` is set, and without clickhouse.cluster there are no Distributed tables".into()
    });
    // Also where the sink is switched off: each change of a value is written down.
    let is_secret = config.clickhouse.urls.iter().any(|url| has_user_or_query(url));
    look(is_secret, &["clickhouse.urls"], &|| format!("`clickhouse.urls`: {USER_OR_QUERY}"));
    look(kafka.bootstrap_servers.contains('@'), &["kafka.bootstrap_servers"], &|| {
        "`kafka.bootstrap_servers`: an @ is in no host:port; user and password are options of their own (sasl.username, \
         and sasl.password in [kafka.option_files]): take them out"
            .into()
    });
    look(kafka.replication == 0, &["kafka.replication"], &|| {
        "`kafka.replication` must be -1 (the cluster's default) or at least 1, is 0".into()
    });
    look(
        kafka.transaction_timeout_ms <= kafka.batch_age_ms,
        &["kafka.transaction_timeout_ms", "kafka.batch_age_ms"],
        &|| {
            let (timeout, age) = (kafka.transaction_timeout_ms, kafka.batch_age_ms);
            format!("`kafka.transaction_timeout_ms` = {timeout} must be more than kafka.batch_age_ms = {age}")
        },
    );
    for (key, what) in auth::wrong(&config.auth) {
        // What is left out has no place of its own: that of what wants it is told.
        look(true, &[key, "auth.intake", "auth.read", "auth.manage"], &|| format!("`{key}` {what}"));
    }
    let (endpoint, ratio) = (&config.traces.endpoint, config.traces.sample_ratio);
    let tried = traces::endpoint(endpoint);
    look(!endpoint.is_empty() && tried.is_err(), &["traces.endpoint"], &|| {
        format!("`traces.endpoint` {}", tried.as_ref().err().map_or("", String::as_str))
    });
    let webhook = &config.alerts.webhook_url;
    let address = net::post_address(webhook);
    look(!webhook.is_empty() && address.is_err(), &["alerts.webhook_url"], &|| {
        format!("`alerts.webhook_url` {}", address.as_ref().err().map_or("", String::as_str))
    });
    look(!(0.0..=1.0).contains(&ratio), &["traces.sample_ratio"], &|| {
        format!("`traces.sample_ratio` must be from 0.0 to 1.0, is {ratio}")
    });
    for (key, what) in destinations::wrong(config) {
        look(true, &[key], &|| format!("`{key}`: {what}"));
    }
    found
}

/// Parts of names behind which librdkafka's settings hold secrets.
const SECRETS: [&str; 6] = ["password", "secret", "key", "pem", "token", "oauth"];

/// A value as it may be shown: without secrets.
pub(super) fn shown(key: &Key, value: &Value) -> Value {
    match value {
        Value::Table(entries) if key.name == "kafka.options" => {
            let is_secret = |name: &str| SECRETS.iter().any(|part| name.contains(part));
            let show = |(name, value): (&String, &Value)| {
                (name.clone(), if is_secret(name) { "(secret)".into() } else { without_user(value) })
            };
            Value::Table(entries.iter().map(show).collect())
        }
        Value::Array(items) => Value::Array(items.iter().map(without_user).collect()),
        // Its path is often what lets in.
        Value::String(url) if key.name == "alerts.webhook_url" && !url.is_empty() => {
            let host = url.splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
            without_user(&Value::String(format!("{host}/(secret)")))
        }
        other => without_user(other),
    }
}

/// A text without users and passwords of addresses, which do not belong into it.
fn without_user(item: &Value) -> Value {
    item.as_str().map_or_else(|| item.clone(), |text| redact(text).into())
}
