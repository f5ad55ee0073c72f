//! What of the configuration holds from one moment to the next: the one list of what a reload can change.

use crate::access::limits::{PerSecond, Policy};
use crate::access::{AccessError, Prepared, Rules};
use crate::commit::{DeadLetterLimits, IdempotencyLimits};
use crate::control::audit::{self, AuditLog};
use crate::control::config::{Commit, Config, Unusable};
use crate::control::set_log_level;
use crate::intake::{Cors, Deadlines, Settings, ShareLimits, Shared};
use crate::net::tls::{TlsError, TlsSettings};
use crate::net::{self, Proxies};
use arc_swap::ArcSwap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

/// What clients may leave unread of large answers, as a part of what they may have on its way to the log: beside it, so
/// that neither keeps the other out.
const ANSWERS_PART: usize = 4;

/// The values of every key that is reloadable, as the rooms take them.
#[derive(Debug, Clone)]
pub(super) struct Live {
    pub(super) settings: Settings,
    pub(super) rules: Rules,
    pub(super) inflight_requests: usize,
    pub(super) inflight_bytes: usize,
    pub(super) connections: usize,
    pub(super) ack_waiters: usize,
    pub(super) idempotency: IdempotencyLimits,
    pub(super) dead_letters: DeadLetterLimits,
    pub(super) upkeep: Upkeep,
    pub(super) log_level: String,
    pub(super) audit: audit::Limits,
    pub(super) tls: TlsSettings,
}

/// What the maintenance thread goes by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Upkeep {
    pub(super) disk_reserve_bytes: u64,
    pub(super) log_budget_bytes: u64,
    pub(super) hold: Duration,
}

impl Live {
    pub(super) fn of(config: &Config) -> Self {
        let (server, limits, log) = (&config.server, &config.limits, &config.log);
        let policy = policy(config);
        Live {
            settings: Settings {
                limits: prepare::Limits {
                    event_bytes_max: limits.event_bytes_max,
                    batch_events_max: limits.batch_events_max,
                    depth_max: limits.depth_max,
                    id_bytes_max: limits.id_bytes_max,
                    future_max: (limits.future_max_s > 0).then(|| Duration::from_secs(limits.future_max_s)),
                },
                body_bytes_max: limits.body_bytes_max,
                deadlines: Deadlines {
                    head: Duration::from_secs(server.head_timeout_s),
                    body: Duration::from_secs(server.body_timeout_s),
                    ping: Duration::from_secs(server.ping_interval_s),
                    write: Duration::from_secs(server.write_timeout_s),
                    request: Duration::from_secs(server.request_timeout_s),
                    ack: Duration::from_secs(server.ack_timeout_s),
                    drain: Duration::from_secs(server.drain_timeout_s),
                },
                // Whatever is not checked here was when it was read.
                proxies: Proxies::parse(&server.trusted_proxies).unwrap_or_default(),
                proxy_protocol: server.proxy_protocol,
                connections_per_address_max: server.connections_per_address_max,
                share: ShareLimits::new(
                    limits.address_share_percent,
                    limits.inflight_requests_max,
                    limits.inflight_bytes_max,
                    limits.body_bytes_max,
                ),
                unread_bytes_max: limits.inflight_bytes_max / ANSWERS_PART,
                policy_field: policy.field().into(),
                policy,
                cors: cors(config),
            },
            rules: config.auth.rules(),
            inflight_requests: limits.inflight_requests_max,
            inflight_bytes: limits.inflight_bytes_max,
            connections: server.connections_max,
            ack_waiters: limits.ack_waiters_max,
            idempotency: IdempotencyLimits {
                keys_max: limits.idempotency_keys_max,
                bytes_max: limits.idempotency_bytes_max,
                age_max: Duration::from_secs(limits.idempotency_age_s),
            },
            dead_letters: DeadLetterLimits {
                tenant_bytes_max: limits.dead_letter_bytes_max,
                age_max: Duration::from_secs(limits.dead_letter_age_s),
            },
            upkeep: Upkeep {
                disk_reserve_bytes: log.disk_reserve_bytes,
                log_budget_bytes: log.budget_bytes,
                hold: Duration::from_secs(log.hold_s),
            },
            log_level: config.log_level.clone(),
            audit: audit::Limits { file_bytes_max: config.audit.file_bytes_max, files_max: config.audit.files_max },
            tls: config.tls.settings(),
        }
    }
}

fn policy(config: &Config) -> Policy {
    let rates = &config.rate_limits;
    Policy {
        address: PerSecond { requests: rates.address_requests_per_s, events: rates.address_events_per_s },
        key: PerSecond { requests: rates.key_requests_per_s, events: rates.key_events_per_s },
        tenant: PerSecond { requests: rates.tenant_requests_per_s, events: rates.tenant_events_per_s },
        tenant_events_per_day: rates.tenant_events_per_day,
        burst_s: rates.burst_s,
        ipv6_prefix_bits: config.server.ipv6_prefix_bits,
    }
}

fn cors(config: &Config) -> Cors {
    let cors = &config.cors;
    // As above; nobody is let in by a list that cannot be read.
    Cors::new(&cors.allowed_origins, cors.allow_credentials, cors.max_age_s).unwrap_or_else(|_| Cors::nobody())
}

/// Where those values are used.
pub(super) struct Places {
    pub(super) shared: Arc<Shared>,
    pub(super) dead_letters: Arc<ArcSwap<DeadLetterLimits>>,
    pub(super) upkeep: Arc<ArcSwap<Upkeep>>,
    pub(super) audit: Arc<AuditLog>,
}

impl Places {
    /// Reads what the values name; what then has every place use them cannot fail.
    ///
    /// # Errors
    /// What cannot be used.
    pub(super) fn prepare(self: Arc<Self>, mut live: Live) -> Result<Commit, Unusable> {
        let rules = std::mem::take(&mut live.rules);
        let secret = rules.jwt.secret_file.clone();
        let access = Prepared::read(rules).map_err(|error| unreadable(&error, secret.as_deref()))?;
        let identity = match &self.shared.tls {
            None => None,
            Some(tls) => tls.next(&live.tls).map_err(unusable)?,
        };
        Ok(Box::new(move || {
            if let (Some(tls), Some(identity)) = (&self.shared.tls, identity) {
                tls.replace(identity);
            }
            self.take(live, access);
        }))
    }

    fn take(&self, live: Live, access: Prepared) {
        let shared = &self.shared;
        shared.access.take(access);
        shared.settings.store(Arc::new(live.settings));
        shared.admission.resize(live.inflight_requests, live.inflight_bytes);
        if shared.gate.max() != possible(live.connections) {
            shared.gate.resize(connections(live.connections));
        }
        shared.ack_places.resize(live.ack_waiters, 0);
        shared.idempotency.set_limits(live.idempotency);
        self.dead_letters.store(Arc::new(live.dead_letters));
        self.upkeep.store(Arc::new(live.upkeep));
        self.audit.set_limits(live.audit);
        // Checked before, like the rest.
        set_log_level(&live.log_level).ok();
    }
}

/// As the configuration's complaint, by the key that names the file.
fn unreadable(error: &AccessError, secret: Option<&Path>) -> Unusable {
    let is_secret = matches!(error, AccessError::Jwt(wrong) if secret == Some(wrong.file()));
    let key = if is_secret { "auth.hs256_secret_file" } else { "auth.jwks_files" };
    Unusable { key, what: error.to_string() }
}

/// As the configuration's complaint.
fn unusable(error: TlsError) -> Unusable {
    Unusable { key: error.key(), what: error.to_string() }
}

/// How many connections are let in: as many as configured, or as there are descriptors for.
fn possible(configured: usize) -> usize {
    net::connections_possible().min(configured)
}

/// The same; says it, where they are fewer than configured.
pub(super) fn connections(configured: usize) -> usize {
    let possible = possible(configured);
    if possible < configured {
        tracing::warn!(
            possible,
            configured,
            "the limit of open files leaves room for fewer connections than server.connections_max: raise LimitNOFILE"
        );
    }
    possible
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::config::{KEYS, Reload};

    /// The configuration with another value for one key.
    fn with_another(name: &str) -> Config {
        let mut table = toml::Table::try_from(Config::default()).unwrap();
        let place = match name.split_once('.') {
            None => table.get_mut(name),
            Some((section, key)) => table.get_mut(section).and_then(|section| section.get_mut(key)),
        };
        let value = place.unwrap();
        *value = match (name, &*value) {
            ("server.listen", _) => "127.0.0.1:1".into(),
            ("server.trusted_proxies", _) => toml::Value::Array(vec!["10.0.0.0/8".into()]),
            ("log.durability", _) => "os".into(),
            ("auth.intake" | "auth.read" | "auth.manage", _) => "key".into(),
            ("log_format", _) => "json".into(),
            ("kafka.delivery", _) => "at-least-once".into(),
            ("server.admin_listen", _) => "127.0.0.1:2".into(),
            ("tls.client_auth", _) => "optional".into(),
            ("tls.min_version", _) => "1.3".into(),
            ("clickhouse.backlog" | "kafka.backlog", _) => "expire".into(),
            (_, toml::Value::Float(number)) => (number / 2.0).into(),
            (_, toml::Value::Integer(number)) => (number + 1).into(),
            (_, toml::Value::Boolean(flag)) => (!flag).into(),
            (_, toml::Value::String(text)) => format!("{text}x").into(),
            (_, toml::Value::Array(_)) => toml::Value::Array(vec!["http://x:1".into()]),
            (_, other) => {
                toml::Value::Table([("x".to_owned(), toml::Value::from(format!("{other}")))].into_iter().collect())
            }
        };
        table.try_into().unwrap()
    }

    #[test]
    fn what_is_said_to_be_reloadable_is_and_nothing_else() {
        let show = |config: &Config| format!("{:?}", Live::of(config));
        let before = show(&Config::default());
        for key in KEYS {
            let config = with_another(key.name);
            assert_ne!(config, Config::default(), "{}", key.name);
            assert_eq!(show(&config) != before, key.reload == Reload::Hot, "{}", key.name);
        }
    }
}
