//! The ClickHouse sink: from the log's events and dead letters to the tables of crate `clickhouse_sink`.
//!
//! A batch of events is two inserts, into `events_raw` and `events_processed`, one of dead letters one, into
//! `events_errors`. All of a batch's inserts go to the server that its manifest names, under tokens that follow from its
//! range; a batch that may have been sent before is counted first, row by row where it is there in part.

use super::super::verify::{Asked, Census, Held};
use super::super::{Cursor, Destination, Fault, Letter, Manifest, Origin, Refused, Sent, Shipper, Start};
use crate::commit::{Control, Tail};
use clickhouse_sink::{
    Batch, Client, Config, ErrorRow, EventRow, Failure, Misfit, Partition, ProcessedRow, RawRow, Remedy, Settled,
    Severity, Span, Table, Target,
};
use event::{Seq, Source, UnixMicros};
use prepare::processed::{Envelope, Extractor};
use record::EventView;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::Reader;

/// Commits of so much time are read at once: batches take about a second.
const LINGER: Duration = Duration::from_millis(100);
/// Version of the rows; see crate `clickhouse_sink`.
const LAYOUT: u8 = 1;
/// While the server has too many parts, batches grow older, up to this.
const AGE_MAX: Duration = Duration::from_secs(30);

/// The ClickHouse sink.
pub type ClickHouseSink = Shipper<ClickHouseTables>;

impl ClickHouseSink {
    /// A sink that inserts as `client` is configured, following the log from its stored cursor on. `node` is on every
    /// row; `age` is how old a batch may become.
    #[must_use]
    pub fn new(client: Client, node: u128, age: Duration, reader: Reader, control: Control, tail: Tail) -> Self {
        Shipper::to(ClickHouseTables::new(client, node, age), reader, control, tail)
    }
}

/// ClickHouse tables as a destination.
pub struct ClickHouseTables {
    client: Client,
    node: u128,
    age: Duration,
    /// The present age: longer than configured while the server asks for it.
    patience: Duration,
    raw: Batch,
    processed: Batch,
    errors: Batch,
    extractor: Extractor,
    open: Option<Open>,
    started: bool,
    unreadable: u64,
}

/// What is known of the open batch.
#[derive(Debug, Clone, Copy)]
struct Open {
    origin: Origin,
    since: Instant,
    first: Seq,
    last: Seq,
    dead: bool,
}

impl ClickHouseTables {
    /// Tables of `client`; nothing is connected to yet.
    #[must_use]
    pub fn new(client: Client, node: u128, age: Duration) -> Self {
        let origin = clickhouse_sink::Origin { node, incarnation: 0 };
        let batch = |table| Batch::new(table, origin, client.config());
        let (raw, processed, errors) = (batch(Table::Raw), batch(Table::Processed), batch(Table::Errors));
        ClickHouseTables {
            client,
            node,
            age,
            patience: age,
            raw,
            processed,
            errors,
            extractor: Extractor::new(),
            open: None,
            started: false,
            unreadable: 0,
        }
    }

    /// Opens a batch, or adds to the one that is open.
    fn widen(&mut self, seq: Seq, origin: Origin, dead: bool) {
        if let Some(open) = &mut self.open {
            open.last = seq;
            return;
        }
        let of = clickhouse_sink::Origin { node: self.node, incarnation: origin.incarnation };
        self.raw.begin(of);
        self.processed.begin(of);
        self.errors.begin(of);
        self.open = Some(Open { origin, since: Instant::now(), first: seq, last: seq, dead });
    }

    /// Makes the tables, and sees that there is nothing in them that this log has not sent.
    async fn prepare(&self, start: &Start<'_>) -> Result<(), Fault> {
        for (table, what) in self.client.prepare().await.map_err(fault)? {
            tracing::info!(table = ?table, "ClickHouse table: {what:?}");
        }
        for problem in self.client.check().await {
            match problem.severity {
                Severity::Warning => tracing::warn!("ClickHouse: {problem}"),
                // It went away after the tables were made: it may come back.
                Severity::Away => return Err(Fault::Retry(problem.to_string())),
                Severity::Refusal => return Err(Fault::Final(problem.to_string())),
            }
        }
        for (table, next) in [
            (Table::Raw, start.end.next),
            (Table::Processed, start.end.next),
            (Table::Errors, Seq::new(start.end.next_dead)),
        ] {
            let newest =
                self.client.newest(&self.client.target(), table, self.node, start.since).await.map_err(fault)?;
            let is_ours = |id: u64| id == 0 || start.history.iter().any(|known| known.id == id);
            if let Some(foreign) = newest.iter().find(|held| held.last >= next || !is_ours(held.incarnation)) {
                return Err(Fault::Final(format!(
                    "table {} holds rows of this node that this log has not sent (up to {} of start {:016x}; the log \
                     ends before {next}): the log is a copy, or older than the table. Bring back the newer data folder; or \
                     give this one tables of its own: stop the daemon, `ingestd wal forget-sink clickhouse`, another \
                     clickhouse.table_prefix",
                    self.client.config().place(table),
                    foreign.last,
                    foreign.incarnation,
                )));
            }
        }
        Ok(())
    }

    /// Brings one table's batch there; returns what the table can never take.
    async fn insert(&self, target: &Target, batch: &Batch, token: &str, again: bool) -> Result<Vec<Refused>, Failure> {
        let failure = match again {
            true => match self.client.settle(target, token, batch).await {
                Ok(Settled::Whole | Settled::Inserted) => return Ok(Vec::new()),
                Ok(Settled::Completed(refused)) => return Ok(refusals(batch, refused)),
                Err(failure) => failure,
            },
            false => match self.client.insert(target, token, batch).await {
                Ok(()) => return Ok(Vec::new()),
                Err(failure) => failure,
            },
        };
        match failure.remedy() {
            Remedy::Isolate => Ok(refusals(batch, self.client.isolate(target, token, batch).await?)),
            _ => Err(failure),
        }
    }

    /// Tokens differ by table, for the same range.
    fn token(&self, batch: &Manifest) -> String {
        let kind = if batch.dead { "dead" } else { "events" };
        format!("ingestd/{:032x}/{:016x}/{kind}/{}-{}", self.node, batch.incarnation, batch.first, batch.last)
    }
}

impl Destination for ClickHouseTables {
    const NAME: &'static str = "clickhouse";
    const FREEZES: bool = true;
    const TAKES_DEAD: bool = true;
    const LINGER: Duration = LINGER;

    async fn start(&mut self, start: &Start<'_>) -> Result<Cursor, Fault> {
        if !self.started {
            self.prepare(start).await?;
            self.started = true;
        }
        Ok(start.cursor())
    }

    fn admits(&self, origin: Origin) -> bool {
        self.open.is_none_or(|open| {
            open.origin.incarnation == origin.incarnation
                && Partition::of(open.origin.committed_at) == Partition::of(origin.committed_at)
        })
    }

    fn add(&mut self, event: &EventView<'_>, origin: Origin) -> Result<(), Fault> {
        self.widen(event.seq, origin, false);
        let envelope = match self.extractor.extract(event) {
            Ok(envelope) => envelope,
            Err(reason) => {
                self.unreadable += 1;
                tracing::error!(seq = event.seq.get(), %reason, "stored event cannot be taken apart");
                what_is_known(event)
            }
        };
        let row = event_row(event, &envelope);
        self.raw.push(&RawRow { event: row, raw: event.raw }).map_err(misfit)?;
        let clean = envelope.sanitised();
        let Envelope { data, metadata, .. } = clean.envelope();
        let event = event_row(event, &clean.envelope());
        let processed = ProcessedRow { event, schema_version: 0, data, metadata, enriched: "{}" };
        self.processed.push(&processed).map_err(misfit)
    }

    fn pass(&mut self, seq: Seq, origin: Origin) {
        self.widen(seq, origin, false);
    }

    fn add_dead(&mut self, letter: &Letter<'_>, origin: Origin) -> Result<(), Fault> {
        self.widen(Seq::new(letter.id), origin, true);
        let head = letter.head;
        let row = ErrorRow {
            dead_seq: Seq::new(letter.id),
            seq: head.seq.map(Seq::new),
            tenant: &head.tenant,
            source: Source::name_of(head.source),
            sink: head.sink.as_deref().unwrap_or_default(),
            code: &head.code,
            pointer: &head.pointer,
            message: &head.detail,
            event_id: head.event_id.as_deref(),
            event_type: "",
            store_id: "",
            received_at: UnixMicros::new(head.received_at),
            committed_at: origin.committed_at,
            raw: letter.raw,
        };
        self.errors.push(&row).map_err(misfit)
    }

    fn rows(&self) -> u64 {
        match self.open {
            None => 0,
            Some(open) if open.dead => self.errors.rows() as u64,
            // What was passed over counts as well: the cursor has to get past it.
            Some(open) => (self.raw.rows() as u64).max(u64::from(open.last >= open.first)),
        }
    }

    fn oldest(&self) -> Option<UnixMicros> {
        self.open.map(|open| open.origin.committed_at)
    }

    fn is_full(&self) -> bool {
        // Rows stay where they are until the next batch is opened.
        self.open.is_some() && (self.raw.is_full() || self.processed.is_full() || self.errors.is_full())
    }

    fn due(&self) -> Option<Instant> {
        self.open.map(|open| open.since + self.patience)
    }

    fn freeze(&mut self, as_before: Option<&Manifest>) -> Result<Manifest, Fault> {
        let open = self.open.ok_or_else(|| Fault::Retry("no batch is open".into()))?;
        let name = match (as_before, self.client.target()) {
            (Some(before), _) => before.name.clone(),
            (None, Target::Host(url)) => url,
            (None, Target::Any) => String::new(),
        };
        let rows = if open.dead { self.errors.rows() } else { self.raw.rows() };
        Ok(Manifest {
            dead: open.dead,
            layout: LAYOUT,
            day: open.origin.committed_at.get().div_euclid(86_400_000_000) as i32,
            first: open.first,
            last: open.last,
            rows: rows as u64,
            incarnation: open.origin.incarnation,
            name,
        })
    }

    async fn find(&mut self, _: &Manifest) -> Result<Option<Sent>, Fault> {
        // Only the rows themselves tell.
        Ok(None)
    }

    async fn send(&mut self, manifest: &Manifest, again: bool) -> Result<Sent, Fault> {
        let target = match manifest.name.as_str() {
            "" => Target::Any,
            url => Target::Host(url.to_owned()),
        };
        let token = self.token(manifest);
        let batches: &[&Batch] = if manifest.dead { &[&self.errors] } else { &[&self.raw, &self.processed] };
        let mut refused = BTreeMap::new();
        let mut bytes = 0;
        for batch in batches {
            match self.insert(&target, batch, &token, again).await {
                Ok(rows) => refused.extend(rows.into_iter().map(|row| (row.seq, row))),
                Err(failure) => {
                    if failure.remedy() == Remedy::SlowDown {
                        self.patience = (self.patience * 2).min(AGE_MAX);
                    }
                    return Err(fault(failure));
                }
            }
            bytes += batch.bytes() as u64;
        }
        self.patience = self.age.max(self.patience - self.patience / 8);
        self.open = None;
        if manifest.dead && !refused.is_empty() {
            tracing::error!(rows = refused.len(), "dead letters that ClickHouse cannot take are left out");
            refused.clear();
        }
        Ok(Sent { bytes, refused: refused.into_values().collect() })
    }

    fn discard(&mut self) {
        self.open = None;
    }

    fn revive(&mut self) {
        self.started = false;
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    fn census(&self) -> Arc<dyn Census> {
        Arc::new(TableCensus { config: self.client.config().clone(), node: self.node })
    }
}

struct TableCensus {
    config: Config,
    node: u128,
}

impl TableCensus {
    async fn tally(&self, client: &Client, table: Table, asked: &Asked) -> Result<Held, Failure> {
        let mut held = asked.nothing_in(self.config.place(table));
        for stretch in asked.stretches() {
            let origin = clickhouse_sink::Origin { node: self.node, incarnation: stretch.incarnation };
            let span = Span { table, origin, range: stretch.range.clone(), committed: stretch.committed.clone() };
            client.tally(&span).await?.into_iter().for_each(|(seq, times)| held.add(seq, times));
        }
        Ok(held)
    }
}

impl Census for TableCensus {
    fn events_max(&self) -> u64 {
        200_000
    }

    fn count(&self, asked: &Asked) -> Result<Vec<Held>, String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        // Connections of its own: the shipper's belong to another runtime, and would die with this one.
        let client = Client::new(self.config.clone()).map_err(|error| error.to_string())?;
        runtime.map_err(|error| error.to_string())?.block_on(async {
            let raw = self.tally(&client, Table::Raw, asked).await;
            let processed = self.tally(&client, Table::Processed, asked).await;
            [raw, processed].into_iter().map(|held| held.map_err(|failure| failure.to_string())).collect()
        })
    }
}

fn event_row<'a>(event: &EventView<'a>, envelope: &Envelope<'a>) -> EventRow<'a> {
    EventRow {
        seq: event.seq,
        tenant: event.segment.tenant,
        source: Source::name_of(event.segment.source),
        event_id: envelope.event_id,
        event_type: envelope.event_type,
        timestamp: envelope.timestamp,
        user_id: envelope.user_id,
        session_id: envelope.session_id,
        store_id: envelope.store_id,
        received_at: event.segment.received_at,
        committed_at: event.committed_at,
    }
}

/// The parts of an event that cannot be taken apart.
fn what_is_known(event: &EventView<'_>) -> Envelope<'static> {
    Envelope {
        event_id: "",
        event_type: prepare::EVENT_TYPES.get(usize::from(event.event_type)).copied().unwrap_or_default(),
        timestamp: event.segment.received_at,
        timestamp_text: "",
        user_id: None,
        session_id: "",
        store_id: "",
        data: "{}",
        metadata: None,
    }
}

fn refusals(batch: &Batch, refused: Vec<clickhouse_sink::Refused>) -> Vec<Refused> {
    let table = batch.table();
    let place =
        |column: Option<String>| format!("{table:?}{}", column.map(|name| format!(".{name}")).unwrap_or_default());
    let refusal = |row: clickhouse_sink::Refused| Refused {
        seq: row.position,
        code: format!("clickhouse_{}", row.code),
        pointer: place(row.column),
        detail: row.message,
    };
    refused.into_iter().map(refusal).collect()
}

fn fault(failure: Failure) -> Fault {
    match failure.remedy() {
        Remedy::Final => Fault::Final(failure.to_string()),
        _ => Fault::Retry(failure.to_string()),
    }
}

fn misfit(misfit: Misfit) -> Fault {
    Fault::Retry(misfit.to_string())
}
