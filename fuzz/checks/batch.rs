use event::{Batch, FingerprintKey, Source, UnixMicros};
use prepare::{BatchOptions, BatchSummary, Failure, Limits, Parser};
use serde_json::value::RawValue;
use std::cell::RefCell;

const NOW: UnixMicros = UnixMicros::new(1_714_564_800_000_000);

thread_local! {
    static PARSERS: RefCell<[Parser; 2]> = RefCell::new([parser(), parser()]);
}

fn parser() -> Parser {
    Parser::new(Limits { depth_max: 6, batch_events_max: 50, ..Limits::default() }, FingerprintKey::new([7; 192]))
}

pub fn check(input: &[u8]) {
    PARSERS.with_borrow_mut(|[parser, alone]| {
        let (mut out, mut failures) = (empty(), Vec::new());
        let array = std::str::from_utf8(input).ok().and_then(|text| serde_json::from_str::<Vec<&RawValue>>(text).ok());
        match parser.batch(input, BatchOptions::default(), NOW, &mut out, &mut failures) {
            Ok(summary) => {
                if let Some(array) = array {
                    let elements: Vec<&[u8]> = array.iter().map(|element| element.get().as_bytes()).collect();
                    compare(alone, input, summary, &out, &failures, &elements);
                }
            }
            Err(_) => {
                assert!(out.records.is_empty() && out.entries.is_empty() && failures.is_empty());
                assert!(array.is_none_or(|array| array.len() > 50 || input.len() > 1_000));
            }
        }
        let (mut out, mut failures) = (empty(), Vec::new());
        if let Ok(summary) = parser.ndjson(input, BatchOptions::default(), NOW, &mut out, &mut failures) {
            let lines = input.split(|byte| *byte == b'\n').map(trim).filter(|line| !line.is_empty());
            compare(alone, input, summary, &out, &failures, &lines.collect::<Vec<_>>());
        }
    });
}

fn empty() -> Batch {
    Batch::new("default", Source::Http, NOW)
}

fn trim(line: &[u8]) -> &[u8] {
    let space = |byte: &u8| b" \t\r\n".contains(byte);
    let start = line.iter().position(|byte| !space(byte)).unwrap_or(line.len());
    let end = line.iter().rposition(|byte| !space(byte)).map_or(start, |last| last + 1);
    &line[start..end]
}

/// Every element has the verdict it gets alone, and its own bytes.
fn compare(
    alone: &mut Parser,
    input: &[u8],
    summary: BatchSummary,
    out: &Batch,
    failures: &[Failure],
    elements: &[&[u8]],
) {
    assert_eq!(summary.total as usize, elements.len());
    let (mut expected, mut failures) = (empty(), failures.iter());
    for (index, element) in elements.iter().enumerate() {
        if let Err(rejection) = alone.single(element, NOW, &mut expected) {
            let failure = failures.next().expect("rejected alone, rejected in the batch");
            assert_eq!((failure.index as usize, &failure.rejection), (index, &rejection));
            assert_eq!(&input[failure.raw.clone()], *element);
        }
    }
    assert!(failures.next().is_none());
    assert_eq!((&out.records, &out.entries), (&expected.records, &expected.entries));
}
