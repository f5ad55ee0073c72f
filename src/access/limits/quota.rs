//! How many events each tenant has sent on a day (UTC).

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Tenants that are counted each; those beyond share one count.
const TENANTS_MAX: usize = 100_000;
/// The count of those beyond.
const BEYOND: &str = "";

/// A day, counted from 1970-01-01.
pub type Day = u32;

/// A tenant's count that is to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Whose.
    pub tenant: Box<str>,
    /// Which day.
    pub day: Day,
    /// Events of that day.
    pub events: u64,
}

/// What is to be stored.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Unstored {
    /// Nothing of this day is stored yet: what is there can go.
    pub is_new_day: bool,
    /// Counts that have changed.
    pub usages: Vec<Usage>,
}

/// The counts of one day.
#[derive(Debug, Default)]
pub struct Quotas(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    day: Day,
    is_new_day: bool,
    tenants: HashMap<Box<str>, Count>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Count {
    events: u64,
    /// Differs from what is stored.
    is_changed: bool,
}

impl Quotas {
    /// Goes on from what was stored, as far as it is of `today`.
    pub fn load(&self, today: Day, stored: impl IntoIterator<Item = Usage>) {
        let mut counts = self.counts();
        counts.turn(today);
        for Usage { tenant, events, .. } in stored.into_iter().filter(|usage| usage.day == today) {
            // Stored anew with the first that changes: rows of other days go then.
            *counts.of(&tenant) = Count { events, is_changed: true };
        }
    }

    /// Counts events; what is left of `max` then. `None` where there is not enough left: nothing was counted.
    #[must_use]
    pub fn take(&self, today: Day, tenant: &str, events: u64, max: u64) -> Option<u64> {
        let mut counts = self.counts();
        counts.turn(today);
        let count = counts.of(tenant);
        let sum = count.events.saturating_add(events);
        let left = max.checked_sub(sum)?;
        *count = Count { events: sum, is_changed: count.is_changed || events > 0 };
        Some(left)
    }

    /// Counts events of that day no longer.
    pub fn give_back(&self, day: Day, tenant: &str, events: u64) {
        let mut counts = self.counts();
        if counts.day == day {
            let count = counts.of(tenant);
            *count = Count { events: count.events.saturating_sub(events), is_changed: true };
        }
    }

    /// What has changed since the last time.
    pub fn unstored(&self) -> Unstored {
        let mut counts = self.counts();
        let day = counts.day;
        let mut usages = Vec::new();
        for (tenant, count) in &mut counts.tenants {
            if std::mem::take(&mut count.is_changed) {
                usages.push(Usage { tenant: tenant.clone(), day, events: count.events });
            }
        }
        // With nothing to store, the old day's rows can stay for a while.
        let is_new_day = !usages.is_empty() && std::mem::take(&mut counts.is_new_day);
        Unstored { is_new_day, usages }
    }

    /// Notes that this could not be stored.
    pub fn take_back(&self, unstored: &Unstored) {
        let mut counts = self.counts();
        for usage in &unstored.usages {
            if usage.day == counts.day {
                counts.of(&usage.tenant).is_changed = true;
            }
        }
        counts.is_new_day |= unstored.is_new_day;
    }

    fn counts(&self) -> MutexGuard<'_, Counts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Counts {
    /// Begins a new day. A clock that was set back begins one, too: counts of a day that is to come would else keep
    /// tenants out until it has.
    fn turn(&mut self, today: Day) {
        if self.day != today {
            *self = Counts { day: today, is_new_day: true, tenants: HashMap::new() };
        }
    }

    fn of(&mut self, tenant: &str) -> &mut Count {
        let is_beyond = self.tenants.len() >= TENANTS_MAX && !self.tenants.contains_key(tenant);
        let tenant = if is_beyond { BEYOND } else { tenant };
        if !self.tenants.contains_key(tenant) {
            self.tenants.insert(tenant.into(), Count::default());
        }
        // It is there now.
        self.tenants.entry(tenant.into()).or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn usage(tenant: &str, day: Day, events: u64) -> Usage {
        Usage { tenant: tenant.into(), day, events }
    }

    #[test]
    fn a_tenant_has_its_quota_each_day_and_all_of_a_batch_fits_or_none() {
        let quotas = Quotas::default();
        assert_eq!(quotas.take(1, "a", 6, 10), Some(4));
        assert_eq!(quotas.take(1, "a", 5, 10), None);
        assert_eq!(quotas.take(1, "a", 4, 10), Some(0));
        assert_eq!(quotas.take(1, "b", 10, 10), Some(0));
        assert_eq!(quotas.take(2, "a", 10, 10), Some(0));
        // Set back.
        assert_eq!(quotas.take(1, "a", 1, 10), Some(9));
    }

    #[test]
    fn what_is_given_back_is_there_again_and_stored_so() {
        let quotas = Quotas::default();
        quotas.take(7, "a", 6, 10).unwrap();
        quotas.unstored();
        quotas.give_back(7, "a", 4);
        assert_eq!(quotas.unstored().usages, [usage("a", 7, 2)]);
        assert_eq!(quotas.take(7, "a", 8, 10), Some(0));
        // That day is over.
        quotas.give_back(6, "a", 8);
        assert_eq!(quotas.take(7, "a", 1, 10), None);
        quotas.give_back(7, "a", 100);
        assert_eq!(quotas.take(7, "a", 10, 10), Some(0));
    }

    #[test]
    fn what_changed_is_told_once_and_counts_on_after_a_restart() {
        let quotas = Quotas::default();
        quotas.take(7, "a", 6, 10).unwrap();
        let unstored = Unstored { is_new_day: true, usages: vec![usage("a", 7, 6)] };
        assert_eq!(quotas.unstored(), unstored);
        assert_eq!(quotas.unstored(), Unstored::default());
        quotas.take_back(&unstored);
        assert_eq!(quotas.unstored(), unstored);
        let again = Quotas::default();
        again.load(7, [usage("a", 7, 6), usage("b", 6, 10)]);
        assert_eq!(again.unstored(), unstored);
        assert_eq!(again.take(7, "a", 5, 10), None);
        assert_eq!(again.take(7, "b", 5, 10), Some(5));
    }

    #[test]
    fn tenants_are_bounded() {
        let quotas = Quotas::default();
        for tenant in 0..TENANTS_MAX + 10 {
            quotas.take(1, &tenant.to_string(), 1, 100).unwrap();
        }
        assert_eq!(quotas.counts().tenants.len(), TENANTS_MAX + 1);
        assert_eq!(quotas.take(1, "yet another", 1, 100), Some(89));
    }
}
