//! Holds what a table or a topic has against what the log has: each event there once, and nothing else.

use std::collections::{BTreeMap, HashMap};

use crate::event::{Key, Tag};
use crate::ledger::Entry;
use crate::report::{Kind, Violation};

/// A row or record as read back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// The part of the place inside which rows have an order; 0 where they have none.
    pub lane: i32,
    /// Its position among the events, or among the dead letters.
    pub position: u64,
    /// The event's id.
    pub id: String,
}

/// How a place differs from the log: `accepted` is what the log holds.
pub fn compare(place: &str, accepted: &BTreeMap<u64, String>, rows: &[Row]) -> Vec<Violation> {
    let mut violations = once_each(place, accepted.keys().copied(), rows);
    let strangers = rows.iter().filter(|row| accepted.get(&row.position).is_some_and(|id| *id != row.id));
    violations.extend(strangers.map(|row| {
        let detail = format!("{place}: seq {} is {}, in the log another event", row.position, row.id);
        Violation::new(Kind::Moved, detail)
    }));
    violations
}

/// Whether each event's rows in a lane come in the order of the log.
pub fn in_order(place: &str, rows: &[Row]) -> Vec<Violation> {
    let mut newest: HashMap<i32, u64> = HashMap::new();
    let mut violations = Vec::new();
    for row in rows {
        let before = newest.insert(row.lane, row.position);
        if let Some(before) = before.filter(|before| *before > row.position) {
            let detail = format!("{place}, partition {}: {} comes after {before}", row.lane, row.position);
            violations.push(Violation::new(Kind::Sink, detail));
        }
    }
    violations
}

/// How a place of dead letters differs from what was rejected: `count` of them are in the log, dense from 1.
///
/// How often a wrong event was rejected is known only in bounds: at least as often as an answer said so, at most as
/// often as it was sent.
pub fn compare_dead(place: &str, count: u64, events: &HashMap<Key, Entry>, tag: &Tag, rows: &[Row]) -> Vec<Violation> {
    let mut violations = once_each(place, 1..=count, rows);
    let mut found: HashMap<Key, u32> = HashMap::new();
    for row in rows {
        match tag.key_of(&row.id) {
            Some(key) => *found.entry(key).or_default() += 1,
            None => {
                let detail = format!("{place}: dead letter {} is {:?}, which nobody sent", row.position, row.id);
                violations.push(Violation::new(Kind::Phantom, detail));
            }
        }
    }
    for (key, entry) in events {
        let found = found.remove(key).unwrap_or(0);
        let kind = match found {
            found if found < entry.rejected => Kind::Lost,
            found if found > entry.sent_wrong => Kind::Doubled,
            _ => continue,
        };
        let detail = format!(
            "{place}: {key} is there {found} times, was sent {} times, and was rejected {} times for all that is known",
            entry.sent_wrong, entry.rejected
        );
        violations.push(Violation::new(kind, detail));
    }
    let unknown = found.keys().map(|key| Violation::new(Kind::Phantom, format!("{place}: {key} was never sent")));
    violations.extend(unknown);
    violations
}

/// What is missing, there more than once, or not to be there.
fn once_each(place: &str, wanted: impl Iterator<Item = u64>, rows: &[Row]) -> Vec<Violation> {
    let mut found: HashMap<u64, u64> = HashMap::with_capacity(rows.len());
    for row in rows {
        *found.entry(row.position).or_default() += 1;
    }
    let mut violations = Vec::new();
    for position in wanted {
        match found.remove(&position) {
            Some(1) => {}
            None => violations.push(Violation::new(Kind::Lost, format!("{place}: {position} is not there"))),
            Some(times) => {
                let detail = format!("{place}: {position} is there {times} times");
                // Each surplus row is one.
                violations.extend((1..times).map(|_| Violation::new(Kind::Doubled, detail.clone())));
            }
        }
    }
    let surplus = found.keys().map(|position| format!("{place}: {position} is there, but not in the log"));
    violations.extend(surplus.map(|detail| Violation::new(Kind::Phantom, detail)));
    violations
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: u32) -> Key {
        Key { round: 1, client: 0, number }
    }

    fn id(number: u32) -> String {
        Tag::of_seed(1).event_id(key(number))
    }

    fn row(position: u64, number: u32) -> Row {
        Row { lane: 0, position, id: id(number) }
    }

    fn kinds(violations: &[Violation]) -> Vec<Kind> {
        violations.iter().map(|violation| violation.kind).collect()
    }

    fn against_the_log(rows: &[Row]) -> Vec<Kind> {
        let accepted = (1..=3).map(|number| (u64::from(number), id(number))).collect();
        kinds(&compare("events_raw", &accepted, rows))
    }

    #[test]
    fn each_event_once_is_sound_in_any_order() {
        assert_eq!(against_the_log(&[row(3, 3), row(1, 1), row(2, 2)]), []);
    }

    #[test]
    fn a_planted_miss_and_a_planted_double_are_noticed() {
        assert_eq!(against_the_log(&[row(1, 1), row(3, 3)]), [Kind::Lost]);
        assert_eq!(against_the_log(&[row(1, 1), row(2, 2), row(3, 3), row(2, 2)]), [Kind::Doubled]);
        assert_eq!(
            against_the_log(&[row(1, 1), row(2, 2), row(2, 2), row(2, 2)]),
            [Kind::Doubled, Kind::Doubled, Kind::Lost]
        );
        assert_eq!(against_the_log(&[]), [Kind::Lost; 3]);
    }

    #[test]
    fn what_is_not_in_the_log_is_noticed() {
        assert_eq!(against_the_log(&[row(1, 1), row(2, 2), row(3, 3), row(4, 4)]), [Kind::Phantom]);
        assert_eq!(against_the_log(&[row(1, 1), row(2, 3), row(3, 3)]), [Kind::Moved]);
    }

    #[test]
    fn order_counts_inside_a_partition_only() {
        let at = |lane, position| Row { lane, position, id: String::new() };
        assert_eq!(kinds(&in_order("raw", &[at(0, 5), at(1, 1), at(0, 6), at(1, 2)])), []);
        assert_eq!(kinds(&in_order("raw", &[at(0, 5), at(1, 1), at(0, 4)])), [Kind::Sink]);
    }

    #[test]
    fn dead_letters_are_held_to_what_was_rejected() {
        let wrong = Entry { forbidden: true, sent_wrong: 2, rejected: 1, ..Entry::default() };
        let events = HashMap::from([(key(1), wrong), (key(2), Entry { acked: true, ..Entry::default() })]);
        let against = |count, rows: &[Row]| kinds(&compare_dead("dlq", count, &events, &Tag::of_seed(1), rows));
        assert_eq!(against(1, &[row(1, 1)]), []);
        assert_eq!(against(2, &[row(1, 1), row(2, 1)]), []);
        assert_eq!(against(0, &[]), [Kind::Lost], "its rejection was answered");
        assert_eq!(against(3, &[row(1, 1), row(2, 1), row(3, 1)]), [Kind::Doubled], "it was sent twice only");
        assert_eq!(against(2, &[row(1, 1), row(2, 2)]), [Kind::Doubled], "it was accepted");
        assert_eq!(against(1, &[row(1, 1), row(1, 1)]), [Kind::Doubled]);
        assert_eq!(against(2, &[row(1, 1)]), [Kind::Lost]);
        assert_eq!(against(2, &[row(1, 1), row(2, 9)]), [Kind::Phantom]);
    }
}
