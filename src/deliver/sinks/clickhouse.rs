//! The ClickHouse sink: from the log's events and dead letters to the tables of crate `clickhouse_sink`.
//!
//! A batch of events is two inserts, into `events_raw` and `events_processed`, one of dead letters one, into
//! `events_errors`. All of a batch's inserts go to the server that its manifest names, under tokens that follow from its
//! range; a batch that may have been sent before is counted first, row by row where it is there in part.

use super::super::verify::Census;
use super::super::{Cursor, Destination, FailureCode, Fault, Letter, Manifest, Origin, Refused, Sent, Shipper, Start};
use super::clickhouse_rows::{event_row, what_is_known};
use super::clickhouse_survey::{Past, Survey, TableCensus};
use crate::commit::{Control, Tail};
use clickhouse_sink::{
    Batch, Client, ErrorRow, Failure, Misfit, Outcome, Partition, ProcessedRow, RawRow, Remedy, Settled, Severity,
    Span, Table, Target,
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
const DAY_MICROS: i64 = 86_400_000_000;
/// As long as any, and a day.
const MONTH: Duration = Duration::from_secs(32 * 86_400);

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
    /// What the tables hold; `None` until they are made.
    survey: Option<Survey>,
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
            survey: None,
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
    async fn prepare(&self, start: &Start<'_>) -> Result<Survey, Fault> {
        for (table, what) in self.client.prepare().await.map_err(fault)? {
            tracing::info!(table = ?table, "ClickHouse table: {what:?}");
        }
        for problem in self.client.check().await {
            match problem.severity {
                Severity::Warning => tracing::warn!("ClickHouse: {problem}"),
                // It went away after the tables were made: it may come back.
                Severity::Away => return Err(Fault::Retry(problem.to_string())),
                Severity::Refusal => return Err(Fault::of(FailureCode::DestinationRefuses, problem)),
            }
        }
        let mut survey = Survey::new(start);
        survey.ask_all(&self.client, self.node).await?;
        Ok(survey)
    }

    /// Whether rows of a batch may be there already, and where. A server that was away when the sink began is asked first.
    async fn past_of(&mut self, target: &Target, manifest: &Manifest, again: bool) -> Result<Past, Fault> {
        let Some(survey) = &mut self.survey else { return Err(Fault::Elsewhere) };
        survey.ask(&self.client, self.node, target).await?;
        Ok(survey.past(target, manifest, again))
    }

    /// Brings one table's batch there; returns what the table can never take.
    async fn insert(&self, target: &Target, batch: &Batch, token: &str, past: Past) -> Result<Vec<Refused>, Failure> {
        let settled = match past {
            Past::None => self.client.insert(target, token, batch).await.map(|()| Settled::Inserted),
            Past::There => self.client.settle(target, token, batch).await,
            Past::Anywhere => self.client.settle_anywhere(target, token, batch).await,
        };
        match settled {
            Ok(Settled::Whole | Settled::Inserted) => Ok(Vec::new()),
            Ok(Settled::Completed(refused)) => Ok(refusals(batch, refused)),
            Err(failure) if failure.remedy() == Remedy::Isolate => {
                let refused = self.client.isolate(target, token, batch).await;
                // Parts of it may be there by then, whatever the last one says of itself.
                let refused = refused.map_err(|failure| Failure { outcome: Outcome::Unknown, ..failure })?;
                Ok(refusals(batch, refused))
            }
            Err(failure) => Err(failure),
        }
    }

    /// Brings all of a batch there, its tables side by side.
    async fn insert_all(
        &self,
        target: &Target,
        manifest: &Manifest,
        past: Past,
    ) -> Result<BTreeMap<Seq, Refused>, Vec<Failure>> {
        let token = self.token(manifest);
        let done = match manifest.dead {
            true => [self.insert(target, &self.errors, &token, past).await, Ok(Vec::new())],
            false => {
                let raw = self.insert(target, &self.raw, &token, past);
                let processed = self.insert(target, &self.processed, &token, past);
                // None is broken off when the other one fails.
                let (raw, processed) = tokio::join!(raw, processed);
                [raw, processed]
            }
        };
        let (mut refused, mut failures) = (BTreeMap::new(), Vec::new());
        for done in done {
            match done {
                Ok(rows) => refused.extend(rows.into_iter().map(|row| (row.seq, row))),
                Err(failure) => failures.push(failure),
            }
        }
        if failures.is_empty() { Ok(refused) } else { Err(failures) }
    }

    /// What a batch's failures come to.
    fn judge(&mut self, mut failures: Vec<Failure>, manifest: &Manifest, past: Past) -> Fault {
        if failures.iter().any(|failure| failure.remedy() == Remedy::SlowDown) {
            self.patience = (self.patience * 2).min(AGE_MAX);
        }
        let tables = if manifest.dead { 1 } else { 2 };
        let is_unsent = past == Past::None
            && failures.len() == tables
            && failures.iter().all(|failure| failure.outcome == Outcome::NotApplied);
        // What an operator has to look at counts most.
        failures.sort_by_key(|failure| failure.remedy() != Remedy::Final);
        match failures.into_iter().next().map(fault) {
            Some(Fault::Retry(reason)) if is_unsent => Fault::Unsent(reason),
            Some(fault) => fault,
            None => Fault::Retry("the batch failed without a reason".into()),
        }
    }

    /// After a batch that was taken: the next one need not grow that old.
    fn hasten(&mut self) {
        self.patience = self.age.max(self.patience - self.patience / 8);
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
        if self.survey.is_none() || start.adopts {
            self.survey = Some(self.prepare(start).await?);
        }
        Ok(start.cursor)
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
            event_type: head.event_type.as_deref().unwrap_or_default(),
            store_id: head.store_id.as_deref().unwrap_or_default(),
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
            day: open.origin.committed_at.get().div_euclid(DAY_MICROS) as i32,
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
        let target = target_of(manifest);
        let past = match self.past_of(&target, manifest, again).await {
            Err(Fault::Retry(reason)) if !again => return Err(Fault::Unsent(reason)),
            past => past?,
        };
        let mut refused = match self.insert_all(&target, manifest, past).await {
            Ok(refused) => refused,
            Err(failures) => return Err(self.judge(failures, manifest, past)),
        };
        let batches: &[&Batch] = if manifest.dead { &[&self.errors] } else { &[&self.raw, &self.processed] };
        let bytes = batches.iter().map(|batch| batch.bytes() as u64).sum();
        self.hasten();
        self.open = None;
        if manifest.dead && !refused.is_empty() {
            tracing::error!(rows = refused.len(), "dead letters that ClickHouse cannot take are left out");
            refused.clear();
        }
        Ok(Sent { bytes, refused: refused.into_values().collect() })
    }

    async fn count(&mut self, batch: &Manifest) -> Result<u64, Fault> {
        let target = target_of(batch);
        if let Target::Host(url) = &target
            && !self.client.config().urls.contains(url)
        {
            tracing::warn!("ClickHouse: {url} is not named any more, so what it has of a given-up batch is not known");
            return Ok(0);
        }
        let day = UnixMicros::new(i64::from(batch.day) * DAY_MICROS);
        let span = |table| Span {
            table,
            origin: clickhouse_sink::Origin { node: self.node, incarnation: batch.incarnation },
            range: batch.first..=batch.last,
            // All of it was committed in one month.
            committed: day..=day.plus(MONTH),
        };
        let (raw, processed) = (span(Table::Raw), span(Table::Processed));
        let (raw, processed) =
            tokio::join!(self.client.present(&target, &raw), self.client.present(&target, &processed));
        // What one of the tables lacks was not delivered.
        Ok(raw.map_err(fault)?.intersection(&processed.map_err(fault)?).count() as u64)
    }

    async fn ping(&mut self) -> Result<(), Fault> {
        let answered = self.client.ping().await;
        if answered.is_err() {
            // It is to be reached before the sink says again that it runs.
            self.survey = None;
        }
        answered.map_err(fault)
    }

    fn discard(&mut self) {
        self.open = None;
    }

    fn revive(&mut self) {
        self.survey = None;
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

/// The server that a batch is bound to.
fn target_of(batch: &Manifest) -> Target {
    match batch.name.as_str() {
        "" => Target::Any,
        url => Target::Host(url.to_owned()),
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

pub(super) fn fault(failure: Failure) -> Fault {
    match failure.remedy() {
        Remedy::Final => Fault::of(FailureCode::DestinationRefuses, failure),
        _ => Fault::Retry(failure.to_string()),
    }
}

fn misfit(misfit: Misfit) -> Fault {
    Fault::Retry(misfit.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use clickhouse_sink::{Config, Kind};

    #[test]
    fn while_there_are_too_many_parts_batches_grow_older_and_then_younger_again() {
        let client = Client::new(Config::new(["http://127.0.0.1:9"])).unwrap();
        let mut tables = ClickHouseTables::new(client, 1, Duration::from_secs(1));
        tables.pass(Seq::FIRST, Origin { incarnation: 1, committed_at: UnixMicros::default() });
        let batch = tables.freeze(None).unwrap();
        let since = tables.open.unwrap().since;
        let age = |tables: &ClickHouseTables| (tables.due().unwrap() - since).as_millis();
        let mut fail = |kind: Kind| {
            let (host, message) = (String::new(), String::new());
            let failure = Failure { kind, outcome: Outcome::Unknown, code: None, host, message };
            assert!(matches!(tables.judge(vec![failure], &batch, Past::None), Fault::Retry(_)));
            age(&tables)
        };
        assert_eq!(fail(Kind::Disk), 1_000, "older batches are no help there");
        let ages = [(); 6].map(|()| fail(Kind::TooManyParts));
        assert_eq!(ages, [2_000, 4_000, 8_000, 16_000, 30_000, 30_000]);
        tables.hasten();
        assert_eq!(age(&tables), 26_250);
        (0..40).for_each(|_| tables.hasten());
        assert_eq!(age(&tables), 1_000, "as configured");
    }
}
