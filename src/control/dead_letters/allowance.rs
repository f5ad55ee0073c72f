//! How much of the audit log one caller may fill over HTTP: what somebody does must not wash out what others have done.

use crate::access::Caller;
use crate::access::limits::{Buckets, Rate};
use std::time::Duration;

/// Orders that change something: so many at once, and one a second. Each is two entries of some 450 bytes, so that a caller
/// takes more than a day to write as much as the audit log keeps by default.
const CHANGES: Rate = Rate { per_s: 1, burst_s: 1000 };
/// Entries about orders that have changed nothing: ten at once, and one a minute.
const REMARKS: Rate = Rate { per_s: 1, burst_s: 10 * REMARK_S };
const REMARK_S: u64 = 60;
/// Callers whose allowances are kept, twice.
const HOLDERS_MAX: usize = 2 << 12;

/// Who somebody is, from wherever he asks: a tenant, and of that an API key or the subject of a token.
pub(super) type Who = (Box<str>, Option<u64>, Option<Box<str>>);

pub(super) fn who(caller: &Caller) -> Who {
    (caller.tenant.clone(), caller.key(), caller.subject.clone())
}

/// What is left to each.
pub(super) struct Allowance(Buckets);

impl Default for Allowance {
    fn default() -> Self {
        Allowance(Buckets::new(HOLDERS_MAX))
    }
}

impl Allowance {
    /// Lets an order change something.
    ///
    /// # Errors
    /// When it is worth trying again.
    pub(super) fn change(&self, who: &Who) -> Result<(), Duration> {
        self.0.take(self.0.holder(("change", who)), CHANGES, 1).map(drop)
    }

    /// Whether an order that has changed nothing gets an entry of its own.
    pub(super) fn remark(&self, who: &Who) -> bool {
        self.0.take(self.0.holder(("remark", who)), REMARKS, REMARK_S).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_has_its_own_and_no_more() {
        let allowance = Allowance::default();
        let [one, two] = [Some(1), Some(2)].map(|key| (Box::from("tenant"), key, None));
        // The clock goes on meanwhile.
        let changes = (0..2000).filter(|_| allowance.change(&one).is_ok()).count();
        let remarks = (0..100).filter(|_| allowance.remark(&one)).count();
        assert!((1000..1100).contains(&changes) && (10..12).contains(&remarks), "{changes}, {remarks}");
        let wait = allowance.change(&one).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        assert!(allowance.change(&two).is_ok() && allowance.remark(&two));
    }
}
