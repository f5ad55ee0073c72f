//! Which limits there are, and how they are written in header fields.

use super::bucket::Rate;
use std::fmt::Write as _;

/// What a client may do; 0 stands for no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PerSecond {
    /// Requests, WebSocket messages among them.
    pub requests: u64,
    /// Events.
    pub events: u64,
}

/// The limits in effect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Policy {
    /// Of one client address.
    pub address: PerSecond,
    /// Of one API key.
    pub key: PerSecond,
    /// Of one tenant, however many keys it has.
    pub tenant: PerSecond,
    /// Events of one tenant on one day (UTC); 0 stands for no limit.
    pub tenant_events_per_day: u64,
    /// How much may come at once, as the seconds in which a bucket fills.
    pub burst_s: u64,
    /// What counts as one IPv6 address.
    pub ipv6_prefix_bits: u8,
}

/// One limit, by its name in answers. The names are part of the API: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Limit {
    /// Requests of an address.
    AddressRequests,
    /// Events of an address.
    AddressEvents,
    /// Requests with a key.
    KeyRequests,
    /// Events with a key.
    KeyEvents,
    /// Requests of a tenant.
    TenantRequests,
    /// Events of a tenant.
    TenantEvents,
    /// Events of a tenant on a day.
    TenantDay,
}

impl Limit {
    /// Every limit, in a fixed order.
    pub const ALL: [Limit; 7] = [
        Limit::AddressRequests,
        Limit::AddressEvents,
        Limit::KeyRequests,
        Limit::KeyEvents,
        Limit::TenantRequests,
        Limit::TenantEvents,
        Limit::TenantDay,
    ];

    /// The name as clients see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Limit::AddressRequests => "address-requests",
            Limit::AddressEvents => "address-events",
            Limit::KeyRequests => "key-requests",
            Limit::KeyEvents => "key-events",
            Limit::TenantRequests => "tenant-requests",
            Limit::TenantEvents => "tenant-events",
            Limit::TenantDay => "tenant-events-per-day",
        }
    }

    /// Whether it counts events, not requests.
    #[must_use]
    pub const fn counts_events(self) -> bool {
        !matches!(self, Limit::AddressRequests | Limit::KeyRequests | Limit::TenantRequests)
    }
}

impl Default for Policy {
    /// No limits.
    fn default() -> Self {
        Policy {
            address: PerSecond::default(),
            key: PerSecond::default(),
            tenant: PerSecond::default(),
            tenant_events_per_day: 0,
            burst_s: 10,
            ipv6_prefix_bits: 64,
        }
    }
}

impl Policy {
    /// Whether there is no limit at all.
    #[must_use]
    pub fn is_off(&self) -> bool {
        self.tenant_events_per_day == 0 && [self.address, self.key, self.tenant] == [PerSecond::default(); 3]
    }

    /// The rate of a limit, if it holds.
    #[must_use]
    pub fn rate(&self, limit: Limit) -> Option<Rate> {
        let per_s = match limit {
            Limit::AddressRequests => self.address.requests,
            Limit::AddressEvents => self.address.events,
            Limit::KeyRequests => self.key.requests,
            Limit::KeyEvents => self.key.events,
            Limit::TenantRequests => self.tenant.requests,
            Limit::TenantEvents => self.tenant.events,
            Limit::TenantDay => 0,
        };
        (per_s > 0).then_some(Rate { per_s, burst_s: self.burst_s })
    }

    /// How much of it there is when nothing is used: the burst, or the quota.
    #[must_use]
    pub fn capacity(&self, limit: Limit) -> u64 {
        self.rate(limit).map_or(self.tenant_events_per_day, Rate::burst)
    }

    /// The `RateLimit-Policy` field (draft-ietf-httpapi-ratelimit-headers): every limit in effect, with its quota (`q`),
    /// the seconds in which that comes anew (`w`) and, where it is not requests that are counted, what is (`qu`).
    #[must_use]
    pub fn field(&self) -> String {
        let mut out = String::new();
        for limit in Limit::ALL {
            let window_s = match (limit, self.rate(limit)) {
                (_, Some(rate)) => rate.burst_s,
                (Limit::TenantDay, _) if self.tenant_events_per_day > 0 => super::DAY_S,
                _ => continue,
            };
            let comma = if out.is_empty() { "" } else { ", " };
            let unit = if limit.counts_events() { ";qu=\"events\"" } else { "" };
            let (name, quota) = (limit.as_str(), self.capacity(limit));
            // Writing to a string does not fail.
            write!(out, "{comma}\"{name}\";q={quota};w={window_s}{unit}").ok();
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_limits_in_effect_are_told() {
        assert!(Policy::default().is_off());
        assert_eq!(Policy::default().field(), "");
        let policy = Policy {
            address: PerSecond { requests: 5, events: 100 },
            tenant_events_per_day: 1000,
            ..Policy::default()
        };
        assert!(!policy.is_off());
        assert_eq!(
            policy.field(),
            "\"address-requests\";q=50;w=10, \"address-events\";q=1000;w=10;qu=\"events\", \
             \"tenant-events-per-day\";q=1000;w=86400;qu=\"events\""
        );
    }
}
