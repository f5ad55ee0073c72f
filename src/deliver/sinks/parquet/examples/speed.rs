//! How fast stored events become Parquet, in one thread: real events, each with an id of its own.
//!
//! ```text
//! cargo run --release -p parquet-sink --example speed -- examples/cart-events.ndjson [rounds] [zstd level] [folder] [rows of a group]
//! ```

#![allow(clippy::unwrap_used, reason = "a measurement")]

use event::{Seq, UnixMicros};
use parquet_sink::{Config, Folder, Row, UtcDate};
use prepare::processed::Extractor;
use record::{DEFAULT_TENANT, EventView, SegmentMeta};
use std::time::{Duration, Instant};

const NOON: UnixMicros = UnixMicros::new(1_714_564_800_000_000);

fn main() {
    let arguments: Vec<_> = std::env::args().collect();
    let number = |place: usize, default: i64| arguments.get(place).map_or(default, |text| text.parse().unwrap());
    let text = std::fs::read_to_string(&arguments[1]).unwrap();
    let (rounds, level) = (number(2, 50), number(3, 1));
    let place = tempfile::tempdir().unwrap();
    let folder = arguments.get(4).map_or_else(|| place.path().to_path_buf(), Into::into);

    let mut config = Config::new(folder);
    config.zstd_level = level as i32;
    config.row_group_rows_max = number(5, config.row_group_rows_max as i64) as usize;
    let folder = Folder::new(config);
    let mut extractor = Extractor::new();
    let lines: Vec<_> = text.lines().map(str::to_owned).collect();
    let (mut extracting, mut seq, mut raw_bytes) = (Duration::ZERO, 0, 0);
    let (cpu, began) = (cpu_time(), Instant::now());
    let mut making = Duration::ZERO;
    let mut draft = folder.begin(UtcDate::of(NOON), Seq::FIRST).unwrap();
    for round in 0..rounds {
        // Ids of their own, as real events have, and not what a dictionary would make of repeats.
        let start = cpu_time();
        let fresh: Vec<_> = lines.iter().map(|line| with_other_id(line, round)).collect();
        making += cpu_time() - start;
        for (line, raw) in lines.iter().zip(&fresh) {
            seq += 1;
            raw_bytes += line.len();
            let event = view(seq, raw);
            let envelope = extractor.extract(&event).unwrap();
            draft.push(&row(&event, raw, &envelope)).unwrap();
        }
    }
    let mark = draft.finish(1).unwrap();
    let (took, cpu) = (began.elapsed(), cpu_time() - cpu - making);
    let file = folder.publish(UtcDate::of(NOON), mark.first, mark.last).unwrap();

    let start = cpu_time();
    for raw in &lines {
        std::hint::black_box(extractor.extract(&view(1, raw)).unwrap());
    }
    extracting += cpu_time() - start;
    let per = |time: Duration, count: usize| time.as_nanos() as f64 / count as f64 / 1e3;
    let rows = mark.rows as usize;
    println!("rows {rows}, {} bytes of events each on average", raw_bytes / rows);
    println!("file {} bytes, {:.1} per row", file.bytes, file.bytes as f64 / rows as f64);
    println!("{:.0} rows per CPU second, {:.2} µs of CPU per row", 1e6 / per(cpu, rows), per(cpu, rows));
    println!("of which taking apart {:.2} µs; wall clock {took:.2?}", per(extracting, lines.len()));
    println!("peak memory {} KiB, of which the events of a round {} KiB", peak_kib(), 2 * text.len() / 1024);
}

fn view(seq: u64, raw: &str) -> EventView<'_> {
    let segment = SegmentMeta { tenant: DEFAULT_TENANT, source: 1, received_at: NOON, traceparent: None };
    EventView {
        seq: Seq::new(seq),
        committed_at: NOON.plus(Duration::from_micros(seq / 100 * 1_700)),
        segment,
        event_type: 0,
        event_id: None,
        timestamp: None,
        raw: raw.as_bytes(),
    }
}

fn row<'a>(event: &EventView<'a>, raw: &'a str, envelope: &prepare::processed::Envelope<'a>) -> Row<'a> {
    Row {
        seq: event.seq,
        tenant: event.segment.tenant,
        event_id: envelope.event_id,
        event_type: envelope.event_type,
        timestamp: envelope.timestamp,
        user_id: envelope.user_id,
        session_id: envelope.session_id,
        store_id: envelope.store_id,
        data: envelope.data,
        metadata: envelope.metadata,
        raw,
        received_at: event.segment.received_at,
        committed_at: event.committed_at,
    }
}

/// The line with another UUID, as random as the one it has.
fn with_other_id(line: &str, round: i64) -> String {
    let (head, rest) = line.split_once(r#""eventId":""#).unwrap();
    let (id, rest) = rest.split_once('"').unwrap();
    let mut state = round as u64 + 1;
    let id: String = id
        .bytes()
        .map(|byte| {
            state = (state ^ u64::from(byte)).wrapping_mul(0x9E37_79B9_7F4A_7C15).rotate_left(23);
            if byte == b'-' { '-' } else { char::from(b"0123456789abcdef"[(state >> 60) as usize]) }
        })
        .collect();
    format!(r#"{head}"eventId":"{id}"{rest}"#)
}

/// CPU time of this thread so far.
fn cpu_time() -> Duration {
    let figures = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    Duration::from_nanos(figures.split_whitespace().next().unwrap().parse().unwrap())
}

fn peak_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}
