mod batches;
mod messages;
mod properties;
mod real_data;
mod reference;
mod rules;
mod sanitised;
mod stored;
mod texts;
mod timestamps;

use crate::{
    BatchError, BatchOptions, BatchSummary, Failure, Limits, Message, Parser, parsing_bytes, parsing_bytes_of_lines,
};
use event::{Batch, FingerprintKey, RejectCode, Rejection, Seq, Source, UnixMicros};
use record::{BlockWriter, SegmentMeta};

/// 2024-05-01T12:00:00Z.
const NOW: UnixMicros = UnixMicros::new(1_714_564_800_000_000);

/// An event that is accepted.
const GOOD: &str = r#"{"eventId":"e-1","eventType":"item_added","timestamp":"2024-05-01T11:59:00Z","sessionId":"s-1","storeId":"st-1","data":{}}"#;

fn key() -> FingerprintKey {
    FingerprintKey::new(std::array::from_fn(|n| (n * n * 31 % 251) as u8))
}

fn parser() -> Parser {
    Parser::new(Limits::default(), key())
}

fn empty() -> Batch {
    Batch::new("default", Source::Http, NOW)
}

/// [`GOOD`] with `member` (a key and a value) put in the place of the member of that key, or added.
fn with(member: &str) -> String {
    let (key, value) = member.split_once(':').unwrap();
    edited(key, Some(value))
}

/// [`GOOD`] without the member `key`.
fn without(key: &str) -> String {
    edited(&format!("\"{key}\""), None)
}

fn edited(key: &str, value: Option<&str>) -> String {
    let known = [
        ("\"eventId\"", "\"e-1\""),
        ("\"eventType\"", "\"item_added\""),
        ("\"timestamp\"", "\"2024-05-01T11:59:00Z\""),
        ("\"sessionId\"", "\"s-1\""),
        ("\"storeId\"", "\"st-1\""),
        ("\"data\"", "{}"),
    ];
    let kept = known.iter().filter(|(name, _)| *name != key).map(|(name, value)| (*name, *value));
    let members: Vec<String> =
        kept.chain(value.map(|value| (key, value))).map(|(name, value)| format!("{name}:{value}")).collect();
    format!("{{{}}}", members.join(","))
}

/// `{"a":{"a":…}}` with so many braces.
fn nested(levels: usize) -> String {
    format!("{}{}{}", "{\"a\":".repeat(levels - 1), "{}", "}".repeat(levels - 1))
}

/// The stored bytes of each event of `batch`, read back through the log's own format.
fn stored(batch: &Batch) -> Vec<Vec<u8>> {
    let mut raws = Vec::new();
    visit(batch, |event| raws.push(event.raw.to_vec()));
    raws
}

fn visit(batch: &Batch, each: impl FnMut(record::EventView<'_>)) {
    if batch.entries.is_empty() {
        return;
    }
    let mut writer = BlockWriter::default();
    writer.begin();
    let meta = SegmentMeta { tenant: &batch.tenant, source: 1, received_at: NOW, traceparent: None };
    writer.whole(&meta, &batch.records, batch.entries.len() as u32);
    let block = writer.finish(Seq::FIRST, NOW);
    record::Block::parse(Seq::FIRST, block).unwrap().visit(&mut Vec::new(), each).unwrap();
}

fn single(body: impl AsRef<[u8]>) -> Result<Batch, Rejection> {
    let mut out = empty();
    let result = parser().single(body.as_ref(), NOW, &mut out);
    assert_eq!(out.entries.len(), usize::from(result.is_ok()));
    if result.is_err() {
        assert!(out.records.is_empty(), "a rejected event leaves nothing behind");
    }
    result.map(|()| out)
}

/// The code and the pointers with which one event is rejected.
#[track_caller]
fn rejected(body: impl AsRef<[u8]>) -> (RejectCode, Vec<String>) {
    let rejection = single(body).unwrap_err();
    (rejection.code, rejection.errors.into_iter().map(|error| error.pointer).collect())
}

/// One call's whole outcome.
#[derive(Debug)]
struct Read {
    out: Batch,
    failures: Vec<Failure>,
    summary: BatchSummary,
}

impl Read {
    fn failed(&self) -> Vec<(u32, RejectCode)> {
        self.failures.iter().map(|failure| (failure.index, failure.rejection.code)).collect()
    }
}

fn batch(body: impl AsRef<[u8]>) -> Read {
    try_batch(body, BatchOptions::default()).unwrap()
}

fn try_batch(body: impl AsRef<[u8]>, query: BatchOptions) -> Result<Read, BatchError> {
    let (mut out, mut failures) = (empty(), Vec::new());
    let result = parser().batch(body.as_ref(), query, NOW, &mut out, &mut failures);
    if result.is_err() {
        assert!(out.records.is_empty() && out.entries.is_empty() && failures.is_empty(), "nothing is left behind");
    }
    result.map(|summary| Read { out, failures, summary })
}

fn ndjson(body: impl AsRef<[u8]>) -> Read {
    let (mut out, mut failures) = (empty(), Vec::new());
    let summary = parser().ndjson(body.as_ref(), BatchOptions::default(), NOW, &mut out, &mut failures).unwrap();
    Read { out, failures, summary }
}

fn message(text: impl AsRef<[u8]>) -> Result<(Message, Batch, Vec<Failure>), Rejection> {
    let (mut out, mut failures) = (empty(), Vec::new());
    let result = parser().message(text.as_ref(), NOW, &mut out, &mut failures);
    if result.is_err() {
        assert!(out.records.is_empty() && out.entries.is_empty() && failures.is_empty(), "nothing is left behind");
    }
    result.map(|message| (message, out, failures))
}

/// The configuration of property tests: fewer cases in a debug build, where each takes longer.
fn cases(release: u32) -> proptest::test_runner::Config {
    let cases = if cfg!(debug_assertions) { release / 20 } else { release };
    proptest::test_runner::Config { cases, failure_persistence: None, ..Default::default() }
}
