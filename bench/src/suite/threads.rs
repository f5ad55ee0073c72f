//! Which threads of a server its CPU time went to.

use std::collections::BTreeMap;
use std::time::Duration;

/// Clock ticks per second in `/proc/PID/task/TID/stat`, see `process`.
const TICK: Duration = Duration::from_millis(10);

/// CPU time by thread name; threads whose names differ in their number only count together.
pub type ByName = BTreeMap<String, Duration>;

/// What a process's threads have used so far.
pub fn cpu(pid: u32) -> ByName {
    let mut sum = ByName::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten() {
        let stat = std::fs::read_to_string(task.path().join("stat")).unwrap_or_default();
        if let Some((name, used)) = parse(&stat) {
            *sum.entry(name).or_default() += used;
        }
    }
    sum
}

/// What has come on top of `before`, in microseconds for each of `answers`; the busiest first, idle ones left out.
pub fn per_answer(before: &ByName, after: &ByName, answers: u64) -> Vec<(String, f64)> {
    let used = after.iter().map(|(name, used)| {
        let used = used.saturating_sub(before.get(name).copied().unwrap_or_default());
        (name.clone(), used.as_secs_f64() * 1e6 / answers.max(1) as f64)
    });
    let mut used: Vec<_> = used.filter(|(_, us)| *us >= 0.05).collect();
    used.sort_by(|a, b| b.1.total_cmp(&a.1));
    used
}

fn parse(stat: &str) -> Option<(String, Duration)> {
    let (head, rest) = stat.rsplit_once(')')?;
    let name = head.split_once('(')?.1.trim_end_matches(|last: char| last.is_ascii_digit() || last == '-');
    let mut fields = rest.split_whitespace().skip(11).map(|field| field.parse::<u32>().ok());
    Some((name.to_owned(), TICK * (fields.next()?? + fields.next()??)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_with_numbers_count_together_by_what_they_used() {
        let stat = |name: &str, ticks: u32| format!("7 ({name}) S 1 1 1 0 -1 64 0 0 0 0 {ticks} 1 0 0 20 0 3 0 9");
        assert_eq!(parse(&stat("accept-1", 9)), Some(("accept".to_owned(), TICK * 10)));
        let name = |name: &str, ticks: u32| ByName::from([(name.to_owned(), TICK * ticks)]);
        let used = per_answer(&name("writer", 1), &name("writer", 3), 10);
        assert_eq!(used, [("writer".to_owned(), 2000.0)]);
        assert!(per_answer(&name("writer", 1), &name("writer", 1), 10).is_empty());
    }
}
