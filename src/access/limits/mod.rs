//! How much a client may send: one limit for all acceptors, whoever it comes by.
//!
//! `policy` says which limits there are, `bucket` keeps the rates, `quota` the days.

mod bucket;
mod policy;
mod quota;

pub use bucket::{Buckets, Holder, Left, Rate};
pub use policy::{Limit, PerSecond, Policy};
pub use quota::{Day, Quotas, Unstored, Usage};

use super::Caller;
use event::UnixMicros;
use std::time::Duration;

/// Seconds of a day.
pub(super) const DAY_S: u64 = 24 * 3600;
/// Keys and tenants whose rates are kept.
const ACCOUNTS_MAX: usize = 1 << 16;

/// Who pays.
#[derive(Debug, Clone, Copy)]
pub struct Payer<'a> {
    /// What counts as its address.
    pub block: u128,
    /// Its API key, where it has shown one.
    pub key: Option<u64>,
    /// For whom it acts, where that is known.
    pub tenant: Option<&'a str>,
}

/// What is left of the limit that is nearest to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Standing {
    /// Which.
    pub limit: Limit,
    /// How much.
    pub left: u64,
    /// Seconds until all of it is there again.
    pub full_in_s: u64,
    /// How much there is when nothing is used.
    pub capacity: u64,
}

/// A limit that is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exceeded {
    /// Which.
    pub limit: Limit,
    /// When it is worth trying again.
    pub wait: Duration,
}

/// The limits' memory.
#[derive(Debug)]
pub struct Limits {
    addresses: Buckets,
    accounts: Buckets,
    /// What tenants have sent today.
    pub quotas: Quotas,
}

/// What one limit asks for.
#[derive(Clone, Copy)]
struct Charge<'a> {
    limit: Limit,
    buckets: &'a Buckets,
    holder: Holder,
    rate: Rate,
    tokens: u64,
}

impl<'a> Payer<'a> {
    /// Whoever sends pays.
    #[must_use]
    pub fn of(caller: &'a Caller, block: u128) -> Self {
        Payer { block, key: caller.key(), tenant: Some(&caller.tenant) }
    }

    /// Somebody who acts for nobody here pays with its address alone.
    #[must_use]
    pub fn stranger(block: u128) -> Self {
        Payer { block, key: None, tenant: None }
    }
}

impl Exceeded {
    /// Whole seconds to wait, at least one.
    #[must_use]
    pub fn wait_s(&self) -> u64 {
        (self.wait.as_secs() + u64::from(self.wait.subsec_nanos() > 0)).max(1)
    }
}

impl Limits {
    /// For so many addresses at once.
    #[must_use]
    pub fn new(addresses_max: usize) -> Self {
        Limits {
            // Requests and events of each.
            addresses: Buckets::new(addresses_max.saturating_mul(2)),
            accounts: Buckets::new(ACCOUNTS_MAX),
            quotas: Quotas::default(),
        }
    }

    /// Charges all limits, or none of them where one is used up. What stands nearest to its end, if there are limits.
    ///
    /// # Errors
    /// The first limit that is used up.
    pub fn charge(
        &self,
        policy: &Policy,
        payer: Payer<'_>,
        requests: u64,
        events: u64,
        now: UnixMicros,
    ) -> Result<Option<Standing>, Exceeded> {
        if policy.is_off() {
            return Ok(None);
        }
        let charges = Limit::ALL.map(|limit| self.price(policy, payer, limit, requests, events));
        let mut tightest = None;
        for (at, charge) in charges.iter().enumerate() {
            let Some(Charge { limit, buckets, holder, rate, tokens }) = *charge else { continue };
            match buckets.take(holder, rate, tokens) {
                Ok(left) => {
                    let full_in_s = left.full_in.as_secs() + u64::from(left.full_in.subsec_nanos() > 0);
                    let capacity = rate.burst();
                    tightest = tighter(tightest, Standing { limit, left: left.tokens, full_in_s, capacity });
                }
                Err(wait) => {
                    give_back(&charges[..at]);
                    return Err(Exceeded { limit, wait });
                }
            }
        }
        let of_day = self.charge_day(policy, payer, events, now).inspect_err(|_| give_back(&charges))?;
        Ok(of_day.map_or(tightest, |of_day| tighter(tightest, of_day)))
    }

    /// Gives events back that were charged `then`, by these limits, and came to nothing.
    pub fn give_back(&self, policy: &Policy, payer: Payer<'_>, events: u64, then: UnixMicros) {
        give_back(&Limit::ALL.map(|limit| self.price(policy, payer, limit, 0, events)));
        if let Some(tenant) = payer.tenant.filter(|_| policy.tenant_events_per_day > 0) {
            self.quotas.give_back(day(then).0, tenant, events);
        }
    }

    /// What a limit asks for; `None` where it does not hold, or nothing of it is used.
    fn price(&self, policy: &Policy, payer: Payer<'_>, limit: Limit, requests: u64, events: u64) -> Option<Charge<'_>> {
        let rate = policy.rate(limit)?;
        let tokens = if limit.counts_events() { events } else { requests };
        if tokens == 0 {
            return None;
        }
        // With its rate, for what is owed is kept as the time in which it comes: with another rate that would be another
        // number of tokens, so that a bucket begins anew.
        let (buckets, holder) = match limit {
            Limit::AddressRequests | Limit::AddressEvents => {
                (&self.addresses, self.addresses.holder((limit, rate, payer.block)))
            }
            Limit::KeyRequests | Limit::KeyEvents => (&self.accounts, self.accounts.holder((limit, rate, payer.key?))),
            _ => (&self.accounts, self.accounts.holder((limit, rate, payer.tenant?))),
        };
        Some(Charge { limit, buckets, holder, rate, tokens })
    }

    fn charge_day(
        &self,
        policy: &Policy,
        payer: Payer<'_>,
        events: u64,
        now: UnixMicros,
    ) -> Result<Option<Standing>, Exceeded> {
        let max = policy.tenant_events_per_day;
        let Some(tenant) = payer.tenant.filter(|_| max > 0 && events > 0) else { return Ok(None) };
        let (today, ends_in) = day(now);
        let limit = Limit::TenantDay;
        match self.quotas.take(today, tenant, events, max) {
            Some(left) => Ok(Some(Standing { limit, left, full_in_s: ends_in.as_secs() + 1, capacity: max })),
            None => Err(Exceeded { limit, wait: ends_in }),
        }
    }
}

/// The day of a moment, and the time until it ends.
#[must_use]
pub fn day(now: UnixMicros) -> (Day, Duration) {
    const DAY_MICROS: u64 = DAY_S * 1_000_000;
    let micros = u64::try_from(now.get()).unwrap_or_default();
    let day = Day::try_from(micros / DAY_MICROS).unwrap_or(Day::MAX);
    (day, Duration::from_micros(DAY_MICROS - micros % DAY_MICROS))
}

fn give_back(charges: &[Option<Charge<'_>>]) {
    for Charge { buckets, holder, rate, tokens, .. } in charges.iter().flatten() {
        buckets.give_back(*holder, *rate, *tokens);
    }
}

/// Whichever has less of its own left.
fn tighter(one: Option<Standing>, other: Standing) -> Option<Standing> {
    let share = |standing: &Standing, of: &Standing| u128::from(standing.left) * u128::from(of.capacity);
    match one {
        Some(one) if share(&one, &other) <= share(&other, &one) => Some(one),
        _ => Some(other),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOON: u64 = 20_000 * DAY_S + DAY_S / 2;

    fn payer(tenant: &str) -> Payer<'_> {
        Payer { block: 1, key: None, tenant: Some(tenant) }
    }

    fn charge(limits: &Limits, policy: &Policy, payer: Payer<'_>, events: u64) -> Result<Option<Standing>, Exceeded> {
        limits.charge(policy, payer, 1, events, UnixMicros::new(NOON as i64 * 1_000_000))
    }

    #[test]
    fn a_limit_that_refuses_leaves_the_others_as_they_were() {
        let limits = Limits::new(100);
        let policy = Policy {
            address: PerSecond { requests: 10, events: 0 },
            tenant: PerSecond { requests: 0, events: 1 },
            burst_s: 2,
            ..Policy::default()
        };
        assert!(charge(&limits, &policy, payer("a"), 2).is_ok());
        for _ in 0..100 {
            assert_eq!(charge(&limits, &policy, payer("a"), 1).unwrap_err().limit, Limit::TenantEvents);
        }
        // Of 20 requests one was used.
        let standing = charge(&limits, &policy, payer("b"), 0).unwrap().unwrap();
        assert!(standing.limit == Limit::AddressRequests && standing.left >= 18, "{standing:?}");
    }

    #[test]
    fn a_key_is_limited_beside_its_tenant() {
        let limits = Limits::new(100);
        let policy = Policy { key: PerSecond { requests: 1, events: 0 }, burst_s: 1, ..Policy::default() };
        let with = |key| Payer { key, ..payer("a") };
        assert!(charge(&limits, &policy, with(Some(1)), 1).is_ok());
        assert_eq!(charge(&limits, &policy, with(Some(1)), 1).unwrap_err().limit, Limit::KeyRequests);
        assert!(charge(&limits, &policy, with(Some(2)), 1).is_ok());
        assert_eq!(charge(&limits, &policy, with(None), 1), Ok(None));
    }

    #[test]
    fn events_that_are_given_back_are_there_again_and_requests_are_not() {
        let limits = Limits::new(100);
        let tenant = PerSecond { requests: 1, events: 1 };
        let policy = Policy { tenant, tenant_events_per_day: 60, burst_s: 100, ..Policy::default() };
        let now = UnixMicros::new(NOON as i64 * 1_000_000);
        for _ in 0..5 {
            assert!(charge(&limits, &policy, payer("a"), 60).is_ok());
            limits.give_back(&policy, payer("a"), 60, now);
        }
        let standing = charge(&limits, &policy, payer("a"), 0).unwrap().unwrap();
        assert!(standing.limit == Limit::TenantRequests && (94..98).contains(&standing.left), "{standing:?}");
        assert!(charge(&limits, &policy, payer("a"), 60).is_ok());
        // Those of another day are not counted any more.
        let tomorrow = UnixMicros::new((NOON + DAY_S / 2) as i64 * 1_000_000);
        limits.give_back(&policy, payer("a"), 60, tomorrow);
        assert_eq!(charge(&limits, &policy, payer("a"), 60).unwrap_err().limit, Limit::TenantDay);
    }

    #[test]
    fn another_rate_or_burst_leaves_nothing_owed_of_that_limit_alone() {
        let limits = Limits::new(100);
        let tenant = |events, burst_s| Policy {
            address: PerSecond { requests: 1, events: 0 },
            tenant: PerSecond { requests: 0, events },
            burst_s,
            ..Policy::default()
        };
        let first = tenant(1, 100);
        // More than fits: owed for a thousand seconds.
        assert!(charge(&limits, &first, payer("a"), 1000).is_ok());
        assert_eq!(charge(&limits, &first, payer("a"), 1).unwrap_err().limit, Limit::TenantEvents);
        for other in [tenant(1_000_000, 100), tenant(2, 100), tenant(1, 50)] {
            let standing = charge(&limits, &other, payer("a"), 1);
            assert!(standing.is_ok(), "{standing:?}");
        }
        // Of requests, whose limit is the same all along but once, all are remembered.
        let standing = charge(&limits, &tenant(3, 100), payer("b"), 0).unwrap().unwrap();
        assert!(standing.limit == Limit::AddressRequests && (96..=97).contains(&standing.left), "{standing:?}");
    }

    #[test]
    fn a_day_that_is_used_up_ends_at_midnight_utc_and_charges_no_rate() {
        let limits = Limits::new(100);
        let policy =
            Policy { tenant: PerSecond { requests: 0, events: 1000 }, tenant_events_per_day: 10, ..Policy::default() };
        let standing = charge(&limits, &policy, payer("a"), 4).unwrap().unwrap();
        assert_eq!((standing.limit, standing.left), (Limit::TenantDay, 6));
        let exceeded = charge(&limits, &policy, payer("a"), 7).unwrap_err();
        assert_eq!((exceeded.limit, exceeded.wait_s()), (Limit::TenantDay, DAY_S / 2));
        assert!(charge(&limits, &policy, payer("a"), 6).is_ok());
        let tomorrow = UnixMicros::new((NOON + DAY_S / 2) as i64 * 1_000_000);
        assert!(limits.charge(&policy, payer("a"), 1, 10, tomorrow).is_ok());
    }
}
