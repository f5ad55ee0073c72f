//! How far everything has come on its way: the log, each sink, the dead letters; and whether the counts balance.

use crate::commit::Tail;
use crate::deliver::verify::{self, Finding, Ranges};
use crate::deliver::{Handle, Snapshot, State};
use crate::metrics::{put_head, put_metric, put_series};
use event::{Seq, UnixMicros};
use serde_json::{Value, json};
use std::ops::ControlFlow;
use std::sync::{Arc, OnceLock};
use wal::Reader;

/// What is known of the way from the log to the sinks; clones share it.
#[derive(Clone)]
pub struct Pipeline {
    reader: Reader,
    tail: Tail,
    sinks: Arc<OnceLock<Vec<Handle>>>,
}

impl Pipeline {
    /// Without sinks yet.
    #[must_use]
    pub fn new(reader: Reader, tail: Tail) -> Self {
        Pipeline { reader, tail, sinks: Arc::default() }
    }

    /// Names the sinks, once, when they run.
    pub fn set_sinks(&self, sinks: Vec<Handle>) {
        // A second time would be a bug of whoever starts them; the first ones stay.
        self.sinks.set(sinks).ok();
    }

    /// The sinks that run.
    #[must_use]
    pub fn sinks(&self) -> &[Handle] {
        self.sinks.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// The log.
    #[must_use]
    pub fn reader(&self) -> &Reader {
        &self.reader
    }

    /// Its end.
    #[must_use]
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// Room that events take in the log, bytes.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        let size = self.reader.size();
        size.tables + size.memory
    }

    /// Everything, as `GET /pipeline/status` tells it.
    #[must_use]
    pub fn status(&self) -> Value {
        json!({
            "log": {
                "start": self.reader.start().get(),
                "committed": self.tail.committed().get(),
                "bytes": self.log_bytes(),
            },
            "deadLetters": {"next": self.tail.next_dead()},
            "sinks": self.sinks().iter().map(|sink| self.sink(&sink.status().snapshot())).collect::<Vec<_>>(),
            "timestamp": UnixMicros::now().to_string(),
        })
    }

    /// One sink.
    #[must_use]
    pub fn sink(&self, sink: &Snapshot) -> Value {
        let ledger = &sink.ledger;
        json!({
            "sink": sink.sink,
            "state": sink.state.as_str(),
            "reason": match &sink.state {
                State::Failed { reason } => Some(reason),
                _ => None,
            },
            "since": sink.since.to_string(),
            "cursor": sink.cursor.get(),
            "lagEvents": self.pending(sink),
            "lagSeconds": self.lag_seconds(sink),
            "inFlight": sink.in_flight,
            "nextDeadLetter": (sink.next_dead > 0).then_some(sink.next_dead),
            "ledger": {
                "delivered": ledger.delivered,
                "pending": self.pending(sink),
                "dead": ledger.dead,
                "expired": ledger.expired,
                "lost": ledger.lost,
                "base": ledger.base.get(),
            },
            "batches": sink.batches,
            "bytes": sink.bytes,
            "lastBatchRows": sink.last_rows,
            "failures": sink.failures,
            "lastDelivery": sink.last_delivery.map(|at| at.to_string()),
            "lastError": sink.last_error.as_ref().map(|error| json!({"text": error.text, "at": error.at.to_string()})),
        })
    }

    /// What does not balance, one line each; nothing if every accepted event is somewhere.
    #[must_use]
    pub fn audit(&self) -> Vec<String> {
        self.sinks().iter().flat_map(|sink| self.audit_sink(&sink.status().snapshot())).collect()
    }

    /// The same for one sink.
    pub(super) fn audit_sink(&self, sink: &Snapshot) -> Vec<String> {
        let mut wrong = Vec::new();
        let (ledger, cursor) = (sink.ledger, sink.cursor);
        if !ledger.balances(cursor) {
            wrong.push(format!(
                "sink {}: from event {} to its cursor {cursor} there are {} events, but {} are accounted for",
                sink.sink,
                ledger.base,
                cursor.get().saturating_sub(ledger.base.get()),
                ledger.total(),
            ));
        }
        if cursor > self.tail.committed().next() {
            wrong.push(format!("sink {}: its cursor {cursor} is behind the end of the log", sink.sink));
        }
        wrong
    }

    /// Has a sink give up what it has not got before `until`; returns where it goes on, which is later where a batch of
    /// which nobody knows whether it has arrived ends later. Durable once it returns.
    ///
    /// # Errors
    /// When there is no such event to go on with, for a person.
    pub async fn skip(&self, sink: &Handle, until: u64) -> Result<Seq, String> {
        let (snapshot, end) = (sink.status().snapshot(), self.tail.committed().next());
        let until = Seq::new(until);
        if snapshot.sink == "parquet" {
            return Err("the files are the log's own: they skip nothing".into());
        }
        if until <= snapshot.cursor || until > end {
            return Err(format!(
                "{} is at event {}, the log ends before {end}: until is between them",
                snapshot.sink, snapshot.cursor
            ));
        }
        sink.skip(until).await.map_err(|error| error.to_string())
    }

    /// Has a sink begin again with event `from`, whatever it holds; what lies before counts as handed over. Durable once
    /// it returns.
    ///
    /// # Errors
    /// When there is no such event to go on with, for a person.
    pub async fn reconcile(&self, sink: &Handle, from: u64) -> Result<Seq, String> {
        if sink.status().snapshot().sink == "parquet" {
            return Err("the files are the log's own: move away those that are not, then resume the sink".into());
        }
        sink.reconcile(Seq::new(from)).await.map_err(|error| error.to_string())
    }

    /// Compares what a sink holds with the log, from event `from` on, as much as is done at once. Without a range:
    /// everything that the log still has and the sink says it has. Blocks.
    ///
    /// # Errors
    /// Why that cannot be found out, for a person.
    pub fn verify(&self, sink: &Handle, from: Option<u64>, to: Option<u64>) -> Result<Value, String> {
        let snapshot = sink.status().snapshot();
        let (oldest, newest) = (self.reader.start().max(snapshot.ledger.base), snapshot.cursor.prev());
        let from = from.map_or(oldest, Seq::new);
        let until = to.map_or(newest, Seq::new);
        // Where nothing has come since, whoever goes on behind what he has seen finds nothing wrong.
        if from < oldest || from > newest.next() || until > newest {
            return Err(format!(
                "only events {oldest} to {newest} are both in the log and handed to {}",
                snapshot.sink
            ));
        }
        if from > until {
            let range = json!({"from": from.get(), "to": until.get(), "until": until.get()});
            return Ok(json!({"range": range, "events": 0, "dead": 0, "places": [], "equal": true}));
        }
        let report = verify::verify(&self.reader, snapshot.sink, &**sink.census(), &(from..=until))?;
        let (from, to) = (report.range.start().get(), report.range.end().get());
        Ok(json!({
            "range": {"from": from, "to": to, "until": until.get()},
            "events": report.events,
            "dead": report.dead,
            "expired": snapshot.ledger.expired,
            "places": report.findings.iter().map(finding).collect::<Vec<_>>(),
            "equal": report.findings.iter().all(Finding::is_right),
        }))
    }

    /// Appends the metrics of the log and of the sinks in Prometheus' text format.
    pub fn put_metrics(&self, out: &mut String) {
        let size = self.reader.size();
        put_metric(out, "ingestd_log_bytes", "gauge", "Size of the log.", size.tables + size.memory);
        let letters = self.dead_letters();
        put_metric(out, "ingestd_dead_letters_total", "counter", "Dead letters kept, over all starts.", letters);
        let sinks: Vec<_> = self.sinks().iter().map(|sink| sink.status().snapshot()).collect();
        let mut family = |name: &str, kind: &str, help: &str, value: &dyn Fn(&Snapshot) -> f64| {
            put_head(out, name, kind, help);
            for sink in &sinks {
                put_series(out, name, &format!("sink=\"{}\"", sink.sink), value(sink));
            }
        };
        family(
            "ingestd_sink_ledger_imbalances",
            "gauge",
            "What does not balance in the sink's account, as `ingestd admin audit` tells it.",
            &|sink| self.audit_sink(sink).len() as f64,
        );
        family("ingestd_sink_delivered_total", "counter", "Events delivered, over all starts.", &|sink| {
            sink.ledger.delivered as f64
        });
        family("ingestd_sink_dead_total", "counter", "Events that the sink can never take.", &|sink| {
            sink.ledger.dead as f64
        });
        family("ingestd_sink_expired_total", "counter", "Events given up undelivered.", &|sink| {
            sink.ledger.expired as f64
        });
        family("ingestd_sink_lag_events", "gauge", "Committed events that the sink does not have.", &|sink| {
            self.pending(sink) as f64
        });
        family("ingestd_sink_lag_seconds", "gauge", "Age of the oldest event that the sink does not have.", &|sink| {
            self.lag_seconds(sink)
        });
        family("ingestd_sink_batches_total", "counter", "Batches delivered since the start.", &|sink| {
            sink.batches as f64
        });
        family(
            "ingestd_sink_read_from_log_total",
            "counter",
            "Events that had left memory when the sink came.",
            &|sink| sink.from_log as f64,
        );
        family("ingestd_sink_bytes_total", "counter", "Bytes of those.", &|sink| sink.bytes as f64);
        family("ingestd_sink_batch_rows", "gauge", "Rows of the newest batch.", &|sink| sink.last_rows as f64);
        family("ingestd_sink_failures_total", "counter", "Attempts that failed since the start.", &|sink| {
            sink.failures as f64
        });
        family(
            "ingestd_sink_state",
            "gauge",
            "0 running, 1 retrying, 2 circuit open, 3 paused, 4 failed, 5 stopped, 6 connecting.",
            &|sink| f64::from(state_number(&sink.state)),
        );
    }

    /// How many dead letters were ever kept: their ids are dense and begin with 1.
    pub(super) fn dead_letters(&self) -> u64 {
        self.tail.next_dead().saturating_sub(1)
    }

    fn pending(&self, sink: &Snapshot) -> u64 {
        let end = self.tail.committed().next();
        end.since(sink.cursor.min(end))
    }

    /// Looks since when each sink's next event waits. Reads the log, which may take as long as its disk does: whoever
    /// answers goes by what was found the last time.
    pub fn look(&self) {
        for sink in self.sinks() {
            let Snapshot { cursor, waiting, .. } = sink.status().snapshot();
            if waiting.is_none_or(|(seq, _)| seq != cursor) {
                sink.status().set_waiting(self.committed_at(cursor).map(|at| (cursor, at)));
            }
        }
    }

    /// Age of the oldest event that a sink does not have. Of one that it has not taken from the log, as of the last look.
    pub(super) fn lag_seconds(&self, sink: &Snapshot) -> f64 {
        // It may have got everything since.
        let waiting = sink.waiting.filter(|_| self.pending(sink) > 0).map(|(_, at)| at);
        sink.oldest_in_flight.or(waiting).map_or(0.0, |at| UnixMicros::now().since(at).as_secs_f64())
    }

    fn committed_at(&self, seq: Seq) -> Option<UnixMicros> {
        let mut found = None;
        // What cannot be read is told by the sink itself.
        self.reader
            .read(seq, |block, _| {
                found = Some(block.committed_at());
                ControlFlow::Break(())
            })
            .ok();
        found
    }
}

fn finding(finding: &Finding) -> Value {
    let ranges = |ranges: &Ranges| {
        let named = ranges.named.iter().map(|range| json!([range.start().get(), range.end().get()]));
        json!({"events": ranges.events, "ranges": named.collect::<Vec<_>>()})
    };
    json!({
        "place": finding.place,
        "present": finding.present,
        "missing": ranges(&finding.missing),
        "doubled": ranges(&finding.doubled),
    })
}

fn state_number(state: &State) -> u8 {
    match state {
        State::Running => 0,
        State::Retrying { .. } => 1,
        State::CircuitOpen { .. } => 2,
        State::Paused => 3,
        State::Failed { .. } => 4,
        State::Stopped => 5,
        State::Connecting => 6,
    }
}
