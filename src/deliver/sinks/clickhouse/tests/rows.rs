//! Rows to send: made up, or the real events of examples/.

use super::server::{Server, read};
use crate::{Batch, Client, EventRow, Origin, ProcessedRow, RawRow, Table};
use event::{Seq, UnixMicros};
use prepare::processed::Extractor;
use record::{DEFAULT_TENANT, EventView, SegmentMeta};
use std::collections::BTreeSet;
use std::ops::RangeInclusive;
use std::sync::OnceLock;

pub(super) const ORIGIN: Origin = Origin { node: 0x0123_4567_89ab_cdef_0011_2233_4455_6677, incarnation: 0xfeed_f00d };

/// When all rows were committed: now, for a table lets go of what is old.
pub(super) fn noon() -> UnixMicros {
    static NOON: OnceLock<UnixMicros> = OnceLock::new();
    *NOON.get_or_init(UnixMicros::now)
}

pub(super) fn event(seq: u64) -> EventRow<'static> {
    EventRow {
        seq: Seq::new(seq),
        tenant: "default",
        source: "http",
        event_id: "id",
        event_type: "cart_created",
        timestamp: UnixMicros::new(1_291_191_960_000_000),
        user_id: Some("u"),
        session_id: "s",
        store_id: "st",
        received_at: noon(),
        committed_at: noon(),
    }
}

/// A batch of `events_raw` in which row `n` has `raw` = `n`.
pub(super) fn numbered(client: &Client, range: RangeInclusive<u64>) -> Batch {
    let mut batch = Batch::new(Table::Raw, ORIGIN, client.config());
    for seq in range {
        batch.push(&RawRow { event: event(seq), raw: seq.to_string().as_bytes() }).unwrap();
    }
    batch
}

/// The lines of the example file, each id once, as the daemon accepts them.
pub(super) fn real_lines() -> Vec<String> {
    let mut ids = BTreeSet::new();
    let mut extractor = Extractor::new();
    let mut lines: Vec<_> = read("examples/cart-events.ndjson").lines().map(str::to_owned).collect();
    lines.retain(|line| ids.insert(extractor.extract(&stored(1, line)).unwrap().event_id.to_owned()));
    lines
}

/// All of them as rows of `events_raw` and of `events_processed`.
pub(super) fn real_batches(client: &Client, lines: &[String]) -> (Batch, Batch) {
    let mut raw = Batch::new(Table::Raw, ORIGIN, client.config());
    let mut processed = Batch::new(Table::Processed, ORIGIN, client.config());
    let mut extractor = Extractor::new();
    for (seq, line) in (1..).zip(lines) {
        let stored = stored(seq, line);
        let envelope = extractor.extract(&stored).unwrap();
        let event = EventRow {
            seq: stored.seq,
            tenant: stored.segment.tenant,
            source: "http",
            event_id: envelope.event_id,
            event_type: envelope.event_type,
            timestamp: envelope.timestamp,
            user_id: envelope.user_id,
            session_id: envelope.session_id,
            store_id: envelope.store_id,
            received_at: noon(),
            committed_at: noon(),
        };
        let (data, metadata) = (envelope.data, envelope.metadata);
        raw.push(&RawRow { event, raw: stored.raw }).unwrap();
        processed.push(&ProcessedRow { event, schema_version: 0, data, metadata, enriched: "{}" }).unwrap();
    }
    (raw, processed)
}

fn stored(seq: u64, line: &str) -> EventView<'_> {
    let segment = SegmentMeta { tenant: DEFAULT_TENANT, source: 1, received_at: noon(), traceparent: None };
    EventView {
        seq: Seq::new(seq),
        committed_at: noon(),
        segment,
        event_type: 0,
        event_id: None,
        timestamp: None,
        raw: line.as_bytes(),
    }
}

/// Rows of `events_raw`, and how many different ones, as another program sees them.
pub(super) fn seen(server: &Server, client: &Client) -> (u64, u64) {
    let place = client.config().place(Table::Raw);
    let counts = server.sql(&format!("SELECT count(), uniqExact(seq) FROM {place}"));
    let (rows, different) = counts.split_once('\t').unwrap();
    (rows.parse().unwrap(), different.parse().unwrap())
}
