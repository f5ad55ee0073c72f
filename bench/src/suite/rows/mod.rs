//! The promises, each with what is to be reached and what is hoped for.

mod http;
mod life;
mod log;
mod ship;
mod ws;

use super::Bench;
use super::results::Outcome;
use anyhow::Result;

/// A promise and how it is measured.
#[derive(Debug)]
pub struct Row {
    /// Its place in the table.
    pub number: u8,
    /// What is done.
    pub work: &'static str,
    /// What must be.
    pub reach: &'static str,
    /// What would be fine.
    pub dream: &'static str,
    /// Measures it.
    pub measure: fn(&Bench) -> Result<Outcome>,
}

/// All of them.
pub const ROWS: [Row; 14] = [
    Row {
        number: 1,
        work: "one event per POST, 256 keep-alive connections, closed loop",
        reach: "≥ 0.65",
        dream: "≥ 0.85",
        measure: http::single,
    },
    Row {
        number: 2,
        work: "100 events per POST, 16 connections, closed loop",
        reach: "≥ 0.5 and ≥ 500k ev/s",
        dream: "≥ 0.8 and ≥ 1M ev/s",
        measure: http::batch,
    },
    Row {
        number: 3,
        work: "open loop, 10,000 single events/s: p50 / p99 / p99.9",
        reach: "each < 0.6 ms, < 2 ms, < 5 ms or ≤ 1.5 × the limit's",
        dream: "p99 < 1 ms, p99.9 < 2 ms",
        measure: http::open,
    },
    Row { number: 4, work: "the log alone, groups of 512", reach: "≥ 0.3", dream: "≥ 0.6", measure: log::commits },
    Row {
        number: 5,
        work: "WebSocket, one event per message and its ack, 1,000 connections, closed loop",
        reach: "≥ 0.5",
        dream: "≥ 0.75",
        measure: ws::messages,
    },
    Row {
        number: 6,
        work: "idle WebSockets, 15,000: resident memory of each",
        reach: "≤ 4 KiB",
        dream: "≤ 2.5 KiB",
        measure: ws::idle,
    },
    Row {
        number: 7,
        work: "device bytes per event byte over the whole life: batches in, flushed, trimmed",
        reach: "≤ 2.5",
        dream: "≤ 1.3",
        measure: log::device_bytes,
    },
    Row {
        number: 8,
        work: "start after kill -9 with all known events pending: exec to ready",
        reach: "< 10 s",
        dream: "< 2 s",
        measure: life::start,
    },
    Row {
        number: 9,
        work: "100 % duplicates in batches of 100, beside new events",
        reach: "≥ 0.5",
        dream: "≥ 0.5",
        measure: http::duplicates,
    },
    Row {
        number: 10,
        work: "memory at 10,000 events/s with the sink stopped: start → end, slope",
        reach: "< 64 MiB/h",
        dream: "< 8 MiB/h",
        measure: life::memory,
    },
    Row {
        number: 11,
        work: "a backlog into ClickHouse, two tables, exactly once",
        reach: "≥ 0.6",
        dream: "≥ 0.9",
        measure: ship::clickhouse,
    },
    Row {
        number: 12,
        work: "a backlog into Kafka, three topics, exactly once",
        reach: "≥ 0.5",
        dream: "≥ 0.8",
        measure: ship::kafka,
    },
    Row {
        number: 13,
        work: "both sinks, 10,000 events/s in requests of ten: p99 from commit to visible",
        reach: "ClickHouse < 2 s, Kafka < 300 ms, intake p99 < 5 ms",
        dream: "< 1.2 s, < 100 ms, < 2 ms",
        measure: ship::end_to_end,
    },
    Row {
        number: 14,
        work: "both sinks away at 10,000 events/s: intake p50 / p99 / p99.9; and back",
        reach: "p99 ≤ 1.2 × that with them, drain ≥ 5 × the live rate",
        dream: "≤ 1.0, ≥ 10",
        measure: ship::away,
    },
];
