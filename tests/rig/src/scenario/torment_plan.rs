//! What happens to whom, and when, in one round of torment; all of it follows from the dice.

use std::fmt;

use crate::rng::Rng;

/// Whom it can hit.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Victim {
    Daemon,
    ClickHouse,
    Kafka,
}

impl Victim {
    pub(super) const ALL: [Self; 3] = [Self::Daemon, Self::ClickHouse, Self::Kafka];
}

/// What is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Deed {
    /// SIGKILL, also in a frozen state.
    Kill,
    /// SIGSTOP.
    Freeze,
    /// SIGTERM.
    Ask,
    /// SIGCONT.
    Thaw,
    /// Started again; whoever was asked to end and has not is killed first.
    Start,
}

/// One deed of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Act {
    pub(super) at_ms: u64,
    pub(super) victim: Victim,
    pub(super) deed: Deed,
}

impl fmt::Display for Act {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms {:?} {:?}", self.at_ms, self.deed, self.victim)
    }
}

/// The deeds of a round in order: one to three blows within `load_ms`, each at one, two or all three victims.
///
/// Everybody is back at the end. `abort_ms` is the time after which Kafka gives up on a transaction: some are frozen for
/// longer than that.
pub(super) fn acts(rng: &mut Rng, load_ms: u64, abort_ms: u64) -> Vec<Act> {
    let count = rng.between(1, 3);
    let mut blows: Vec<u64> = (0..count).map(|_| rng.below(load_ms)).collect();
    blows.sort_unstable();
    let mut busy_until = [0; 3];
    let mut acts = Vec::new();
    for blow in blows {
        let hit = hit(rng);
        for (index, victim) in Victim::ALL.into_iter().enumerate() {
            // Drawn in any case, so that a blow that finds its victim down changes nothing for the others.
            let (delay, first, away, second, after) = blow_at(rng, abort_ms);
            if !hit[index] || busy_until[index] > blow {
                continue;
            }
            let mut act = |at_ms, deed| acts.push(Act { at_ms, victim, deed });
            let at = blow + delay;
            act(at, first);
            act(at + away, second);
            if second == Deed::Kill {
                act(at + away + after, Deed::Start);
            }
            busy_until[index] = at + away + after + 1;
        }
    }
    acts.sort_unstable();
    acts
}

/// Whom a blow hits: mostly one.
fn hit(rng: &mut Rng) -> [bool; 3] {
    let one = rng.below(3) as usize;
    let mut hit = match rng.below(100) {
        0..60 => [false; 3],
        // All but one.
        60..82 => return std::array::from_fn(|index| index != one),
        _ => [true; 3],
    };
    hit[one] = true;
    hit
}

/// One blow: when after its moment, what, for how long, what then, and how long until a start that is still due.
fn blow_at(rng: &mut Rng, abort_ms: u64) -> (u64, Deed, u64, Deed, u64) {
    let delay = rng.below(60);
    let short = rng.between(1, 1_500);
    let away = match rng.below(100) {
        0..55 => short,
        55..85 => rng.between(1_500, abort_ms),
        _ => rng.between(abort_ms, abort_ms * 3),
    };
    let after = rng.between(1, 1_000);
    match rng.below(100) {
        0..45 => (delay, Deed::Kill, away.min(abort_ms), Deed::Start, 0),
        45..80 => (delay, Deed::Freeze, away, Deed::Thaw, 0),
        80..90 => (delay, Deed::Freeze, away, Deed::Kill, after),
        _ => (delay, Deed::Ask, away.min(abort_ms), Deed::Start, 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everybody_is_back_at_the_end_and_nobody_is_hit_while_away() {
        for seed in 0..20_000 {
            let acts = acts(&mut Rng::new(seed), 4_000, 4_000);
            assert!(!acts.is_empty());
            for victim in Victim::ALL {
                let mut state = Deed::Start;
                for act in acts.iter().filter(|act| act.victim == victim) {
                    let follows = match act.deed {
                        Deed::Freeze | Deed::Ask => matches!(state, Deed::Start | Deed::Thaw),
                        Deed::Kill => matches!(state, Deed::Start | Deed::Thaw | Deed::Freeze),
                        Deed::Thaw => state == Deed::Freeze,
                        Deed::Start => matches!(state, Deed::Kill | Deed::Ask),
                    };
                    assert!(follows, "{act} after {state:?} with seed {seed}");
                    state = act.deed;
                }
                assert!(matches!(state, Deed::Start | Deed::Thaw), "{victim:?} stays away with seed {seed}");
            }
        }
    }

    #[test]
    fn a_seed_repeats_its_plan_and_every_deed_happens_to_everybody() {
        let of = |seed| acts(&mut Rng::new(seed), 4_000, 4_000);
        assert_eq!(of(7), of(7));
        let all: Vec<Act> = (0..200).flat_map(of).collect();
        for victim in Victim::ALL {
            for deed in [Deed::Kill, Deed::Freeze, Deed::Ask] {
                assert!(all.iter().any(|act| act.victim == victim && act.deed == deed), "{deed:?} {victim:?}");
            }
        }
    }
}
