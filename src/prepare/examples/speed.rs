//! Nanoseconds per real event, parsing to record all included: `cargo run --release -p prepare --example speed`.
//!
//! Each figure is the median over rounds of the whole file. Nothing is written to disk and nothing crosses threads.

use event::{Batch, FingerprintKey, Source, UnixMicros};
use prepare::processed::Extractor;
use prepare::{BatchOptions, Limits, Parser, parse_timestamp};
use std::hint::black_box;
use std::time::Instant;

const EVENTS: &[u8] = include_bytes!("../../../examples/cart-events.ndjson");
const ROUNDS: usize = 31;

fn main() {
    let lines: Vec<&[u8]> = EVENTS.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()).collect();
    let bytes: usize = lines.iter().map(|line| line.len()).sum();
    println!("{} events, {} bytes on average", lines.len(), bytes / lines.len());
    let mut rig = Rig::new(lines.len());
    rig.measure("single", &lines, |rig, body| rig.parser.single(body, rig.now, &mut rig.out).is_ok());
    for size in [10, 100, 1_000] {
        rig.measure(&format!("batch of {size}"), &bodies(&lines, size, b"{\"events\":[", b",", b"]}"), whole);
    }
    rig.measure("bare array of 1000", &bodies(&lines, 1_000, b"[", b",", b"]"), whole);
    rig.measure("ndjson of 1000", &bodies(&lines, 1_000, b"", b"\n", b"\n"), |rig, body| {
        let options = BatchOptions::default();
        rig.parser.ndjson(body, options, rig.now, &mut rig.out, &mut rig.failures).is_ok()
    });
    rig.measure(
        "message of 1",
        &bodies(&lines, 1, b"{\"type\":\"cart_event\",\"payload\":", b"", b"}"),
        |rig, body| rig.parser.message(body, rig.now, &mut rig.out, &mut rig.failures).is_ok(),
    );
    extraction(&lines);
    timestamps();
    hostile();
}

/// Bodies of 8 MiB that are made to be slow: none may take much longer than its bytes' worth of real events.
fn hostile() {
    const MIB: usize = 1024 * 1024;
    let fill = |open: &str, piece: &str, close: &str| {
        let count = (8 * MIB - open.len() - close.len()) / piece.len();
        format!("{open}{}{close}", piece.repeat(count))
    };
    let events = |inner: &str, pieces: usize| {
        let event = format!("{{\"data\":{{{}}}}}", vec![inner; pieces].join(","));
        format!("[{}]", vec![event; 1_000].join(","))
    };
    let mut rig = Rig::new(0);
    for (name, body) in [
        ("one-digit numbers", fill("[", "1,", "1]")),
        ("white space", fill("[{\"a\":1}", " ", "]")),
        ("brackets", fill("", "[", "")),
        ("empty objects", fill("[", "{},", "{}]")),
        ("one key, doubled", fill("[{", "\"data\":1,", "\"data\":1}]")),
        ("backslashes", fill("[{\"eventId\":\"", "\\\\", "\"}]")),
        ("one long number", fill("[", "9", "]")),
        ("huge numbers", events("\"a\":1e999", 800)),
        ("half pairs", events("\"a\":\"\\ud800\"", 600)),
        ("deep values", events(&format!("\"a\":{}{}", "[".repeat(33), "]".repeat(33)), 110)),
        ("broken numbers", fill("[", "1\"1\"", "")),
    ] {
        let start = Instant::now();
        let fails = !whole(&mut rig, black_box(body.as_bytes()));
        let (mib, outcome) = (body.len() as f64 / MIB as f64, if fails { "fails" } else { "read" });
        println!("{name:20} {:6.1} ms for {mib:.1} MiB, {outcome}", start.elapsed().as_secs_f64() * 1e3);
        rig.failures.clear();
    }
}

fn whole(rig: &mut Rig, body: &[u8]) -> bool {
    rig.parser.batch(body, BatchOptions::default(), rig.now, &mut rig.out, &mut rig.failures).is_ok()
}

fn bodies(lines: &[&[u8]], size: usize, open: &[u8], between: &[u8], close: &[u8]) -> Vec<Vec<u8>> {
    lines.chunks(size).map(|chunk| [open, &chunk.join(between), close].concat()).collect()
}

struct Rig {
    parser: Parser,
    out: Batch,
    failures: Vec<prepare::Failure>,
    now: UnixMicros,
    events: usize,
}

impl Rig {
    fn new(events: usize) -> Self {
        let key = FingerprintKey::new(std::array::from_fn(|n| (n * n * 31 % 251) as u8));
        let now = UnixMicros::now();
        let out = Batch::new("default", Source::Http, now);
        Rig { parser: Parser::new(Limits::default(), key), out, failures: Vec::new(), now, events }
    }

    fn measure<B: AsRef<[u8]>>(&mut self, name: &str, bodies: &[B], mut call: impl FnMut(&mut Rig, &[u8]) -> bool) {
        let mut rounds = Vec::new();
        for _ in 0..ROUNDS {
            let mut events = 0;
            let start = Instant::now();
            for body in bodies {
                self.out.records.clear();
                self.out.entries.clear();
                assert!(call(self, black_box(body.as_ref())), "{name} fails");
                events += black_box(&self.out).entries.len();
            }
            rounds.push(start.elapsed().as_nanos() as f64 / self.events as f64);
            assert_eq!(events, self.events, "{name} loses events");
        }
        report(name, rounds);
    }
}

fn extraction(lines: &[&[u8]]) {
    let mut extractor = Extractor::new();
    let segment =
        record::SegmentMeta { tenant: "default", source: 1, received_at: UnixMicros::new(0), traceparent: None };
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for raw in lines {
            let event = record::EventView {
                seq: event::Seq::FIRST,
                committed_at: UnixMicros::new(0),
                segment,
                event_type: 0,
                event_id: None,
                timestamp: None,
                raw,
            };
            assert!(black_box(extractor.extract(black_box(&event))).is_ok(), "extraction fails");
        }
        rounds.push(start.elapsed().as_nanos() as f64 / lines.len() as f64);
    }
    report("extract for a sink", rounds);
}

fn timestamps() {
    let mut rounds = Vec::new();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for _ in 0..100_000 {
            assert!(parse_timestamp(black_box("2010-12-01T08:26:00.123+01:00")).is_ok(), "timestamp fails");
        }
        rounds.push(start.elapsed().as_nanos() as f64 / 100_000.0);
    }
    report("timestamp", rounds);
}

fn report(name: &str, mut rounds: Vec<f64>) {
    rounds.sort_by(f64::total_cmp);
    println!("{name:20} {:6.0} ns (best {:.0})", rounds[rounds.len() / 2], rounds[0]);
}
