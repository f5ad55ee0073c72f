//! Anything may fail but for ever: which requests fail how, and what the lines are, is random.

use super::daemon::Act;
use super::*;
use proptest::prelude::*;
use serde_json::json;
use std::collections::BTreeSet;
use std::fs;

#[derive(Debug, Clone)]
enum Line {
    Good(u8),
    NoId,
    NoJson,
    Blank,
}

fn line() -> impl Strategy<Value = Line> {
    prop_oneof![
        10 => any::<u8>().prop_map(Line::Good),
        1 => Just(Line::NoId),
        1 => Just(Line::NoJson),
        1 => Just(Line::Blank),
    ]
}

fn act() -> impl Strategy<Value = Act> {
    let later = prop_oneof![Just(408), Just(429), Just(500), Just(503)];
    prop_oneof![
        4 => Just(Act::Obey),
        1 => Just(Act::Drop),
        1 => Just(Act::StoreAndDropMidAnswer),
        1 => later.prop_map(|status| Act::Answer { status, retry_after: None, body: json!(null) }),
        1 => Just(Act::Answer { status: 503, retry_after: Some(0), body: json!({"detail": "busy"}) }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_line_ends_once_whatever_fails_on_the_way(
        lines in prop::collection::vec(line(), 0..200),
        acts in prop::collection::vec(act(), 0..30),
        batch in 1_u16..50,
        batch_events_max in 1_usize..60,
        body_bytes_max in 500_usize..8000,
        concurrency in 1_u16..5,
    ) {
        let (daemon, desk) = (Daemon::start(), Desk::new());
        daemon.script(acts);
        daemon.rules().batch_events_max = batch_events_max;
        daemon.rules().body_bytes_max = body_bytes_max;
        let text: String = lines.iter().map(|line| match line {
            Line::Good(id) => event(&id.to_string()) + "\n",
            Line::NoId => "{}\n".to_owned(),
            Line::NoJson => "{\n".to_owned(),
            Line::Blank => " \r\n".to_owned(),
        }).collect();
        let file = desk.file("a.ndjson", text);
        let rejects = desk.path("rejects");
        let (batch, concurrency) = (batch.to_string(), concurrency.to_string());
        let summary = send(&daemon, &file, &["--retry-for", "0", "--rejects", rejects.to_str().unwrap(),
            "--batch", &batch, "--concurrency", &concurrency]);

        let good: Vec<u8> = lines.iter().filter_map(|line| match line { Line::Good(id) => Some(*id), _ => None }).collect();
        let distinct = good.iter().collect::<BTreeSet<_>>().len();
        prop_assert_eq!(daemon.stored(), distinct);
        prop_assert_eq!(summary.unsent, 0);
        prop_assert_eq!((summary.accepted + summary.duplicates) as usize, good.len());
        prop_assert!(summary.accepted as usize <= distinct);
        prop_assert!((summary.accepted + summary.duplicates_after_retry) as usize >= distinct);
        let bad: Vec<u64> = (1..).zip(&lines)
            .filter(|(_, line)| matches!(line, Line::NoId | Line::NoJson)).map(|(number, _)| number).collect();
        let mut reported: Vec<u64> = fs::read_to_string(rejects).unwrap().lines()
            .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["line"].as_u64().unwrap()).collect();
        reported.sort_unstable();
        prop_assert_eq!(reported, bad);
    }
}
