//! Random histories of a log against a plain model of it.

mod support;

use event::Seq;
use proptest::prelude::*;
use support::{append, crash_image, open, positions};
use wal::{Family, Group, Write};

#[derive(Debug, Clone)]
enum Step {
    Append(u32),
    Put(u8, u8),
    Flush,
    Trim(prop::sample::Index),
    CleanRestart,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (1u32..30).prop_map(Step::Append),
        2 => (any::<u8>(), any::<u8>()).prop_map(|(key, value)| Step::Put(key % 4, value)),
        1 => Just(Step::Flush),
        1 => any::<prop::sample::Index>().prop_map(Step::Trim),
        1 => Just(Step::CleanRestart),
        2 => Just(Step::Crash),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_log_is_what_was_committed_to_it(steps in prop::collection::vec(step(), 1..25)) {
        let mut dir = tempfile::tempdir().unwrap();
        let mut log = open(dir.path());
        let (mut start, mut last) = (1u64, 0u64);
        let mut cursors = std::collections::BTreeMap::new();
        for step in steps {
            match step {
                Step::Append(events) => last = append(&mut log.writer, events, 64).get(),
                Step::Put(key, value) => {
                    let writes = [Write::Put(Family::Cursor, vec![key], vec![value])];
                    log.writer.commit(&Group { events: None, writes: &writes }).unwrap();
                    cursors.insert(key, value);
                }
                Step::Flush => log.reader.flush().unwrap(),
                Step::Trim(at) => {
                    if last > 0 {
                        let to = start + at.index((last - start + 1) as usize) as u64;
                        log.trimmer.trim(Seq::new(to), Seq::ZERO).unwrap();
                        start = to;
                    }
                }
                Step::CleanRestart => {
                    log.writer.close().unwrap();
                    drop((log.reader, log.trimmer));
                    log = open(dir.path());
                    prop_assert!(log.recovery.clean);
                }
                Step::Crash => {
                    let image = tempfile::tempdir().unwrap();
                    crash_image(dir.path(), image.path());
                    drop((log.writer, log.reader, log.trimmer));
                    log = open(image.path());
                    dir = image;
                }
            }
            prop_assert_eq!(log.writer.next().get(), last + 1);
            prop_assert_eq!(log.reader.start().get(), start);
            if last > 0 {
                let expected: Vec<_> = (start..=last).collect();
                prop_assert_eq!(positions(&log.reader, Seq::new(start), 64).unwrap(), expected);
            }
            for (key, value) in &cursors {
                let stored = log.reader.get(Family::Cursor, &[*key]).unwrap();
                prop_assert_eq!(stored, Some(vec![*value]));
            }
        }
    }
}
