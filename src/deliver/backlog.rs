//! Which events sinks that are away have to give up so that the log fits into its budget again.

use event::Seq;

/// Somebody for whom the log is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holder {
    /// The first event that it needs.
    pub needs: Seq,
    /// Whether it may lose its backlog: by policy, and because it does not run.
    pub gives_up: bool,
}

/// The room that is made beyond what is needed, as part of the budget, so that the next event does not ask again.
const MARGIN: u64 = 10;

/// Before which event those that may lose their backlog give it up; `None` where that would make no room: then somebody
/// else needs the oldest events.
///
/// The log has the events from `start` up to, not including, `end`, in `bytes`, of which `budget` are allowed. As few of
/// the oldest are given up as make room: what is newest is worth most.
#[must_use]
pub fn give_up(holders: &[Holder], start: Seq, end: Seq, bytes: u64, budget: u64) -> Option<Seq> {
    let too_many = bytes.saturating_sub(budget - budget / MARGIN);
    let events = u128::from(end.since(start)) * u128::from(too_many) / u128::from(bytes.max(1));
    let wanted = start.plus(events as u64 + 1).min(end);
    let kept = holders.iter().filter(|holder| !holder.gives_up).map(|holder| holder.needs).min();
    let until = kept.map_or(wanted, |kept| wanted.min(kept));
    let is_held = holders.iter().any(|holder| holder.gives_up && holder.needs < until);
    (until > start && is_held).then_some(until)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn holder(needs: u64, gives_up: bool) -> Holder {
        Holder { needs: Seq::new(needs), gives_up }
    }

    fn until(holders: &[Holder]) -> Option<u64> {
        give_up(holders, Seq::new(101), Seq::new(1101), 1000, 800).map(Seq::get)
    }

    #[test]
    fn only_as_much_is_given_up_as_makes_room() {
        // 28 % of the bytes are too many.
        assert_eq!(until(&[holder(101, true)]), Some(382));
        assert_eq!(until(&[holder(101, true), holder(1101, false)]), Some(382));
        assert_eq!(until(&[holder(101, true), holder(300, true)]), Some(382));
    }

    #[test]
    fn nothing_is_given_up_in_vain() {
        assert_eq!(until(&[holder(101, true), holder(101, false)]), None, "another one needs the same");
        assert_eq!(until(&[holder(101, true), holder(200, false)]), Some(200), "or the most of it");
        assert_eq!(until(&[holder(150, true), holder(120, false)]), None);
        assert_eq!(until(&[holder(1101, true)]), None, "it has everything");
        assert_eq!(until(&[holder(101, false)]), None);
        assert_eq!(until(&[]), None);
    }

    #[test]
    fn a_log_that_is_far_too_large_gives_up_all_that_it_may() {
        assert_eq!(give_up(&[holder(1, true)], Seq::FIRST, Seq::new(11), 1000, 1), Some(Seq::new(11)));
    }
}
