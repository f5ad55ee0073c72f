//! What the tables hold of this node: whether its log can have put that there, and where it reaches beyond the cursor.

use super::super::verify::{Asked, Census, Held};
use super::super::{FailureCode, Fault, Manifest, Start};
use super::clickhouse::fault;
use clickhouse_sink::{Client, Config, Failure, Span, Table, Target};
use event::{Seq, UnixMicros};
use std::collections::{BTreeMap, BTreeSet};

/// Whether rows of a batch may be there before it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Past {
    /// It is new.
    None,
    /// On the server that it goes to: it may have been sent before.
    There,
    /// On any: the tables hold rows that nobody here knows to have been sent.
    Anywhere,
}

/// What was known of the log when the sink began, and what the servers that were asked since hold.
#[derive(Debug, Default)]
pub(super) struct Survey {
    known: Known,
    /// Servers that were asked.
    asked: Vec<Target>,
    /// By dead letters or not, and start: on which server, the newest position in a table where that is not before the
    /// cursor.
    held: BTreeMap<(bool, u64), Vec<(Target, Seq)>>,
}

/// A [`Start`] that can be kept.
#[derive(Debug, Default)]
struct Known {
    next: Seq,
    next_dead: u64,
    end_dead: u64,
    since: UnixMicros,
    reconciled_at: UnixMicros,
    is_new: bool,
    /// Where the events of each start end.
    ends: BTreeMap<u64, Seq>,
    dead_letter_starts: BTreeSet<u64>,
}

impl Survey {
    /// Nothing was asked yet.
    pub(super) fn new(start: &Start<'_>) -> Self {
        let mut dead_letter_starts: BTreeSet<u64> = start.dead_letter_starts.iter().copied().collect();
        // Older releases named no start before the first event.
        dead_letter_starts.extend(start.history.iter().map(|start| start.id).chain([0]));
        let ends = start.history.iter().skip(1).map(|start| start.first).chain([start.end.next]);
        let known = Known {
            next: start.cursor.next,
            next_dead: start.cursor.next_dead,
            end_dead: start.end.next_dead,
            since: start.since,
            reconciled_at: start.reconciled_at,
            is_new: start.is_new(),
            ends: start.history.iter().map(|start| start.id).zip(ends).collect(),
            dead_letter_starts,
        };
        Survey { known, ..Survey::default() }
    }

    /// Asks every server; those that cannot be reached are asked when a batch is to go there, unless the sink is new:
    /// then nobody knows what they hold.
    pub(super) async fn ask_all(&mut self, client: &Client, node: u128) -> Result<(), Fault> {
        let mut away = None;
        for target in client.targets() {
            match self.ask(client, node, &target).await {
                Err(Fault::Retry(reason)) if !self.known.is_new => away = Some(reason),
                done => done?,
            }
        }
        if let Some(reason) = away {
            if self.asked.is_empty() {
                return Err(Fault::Retry(reason));
            }
            tracing::warn!("ClickHouse: {reason}; the other servers are used");
        }
        Ok(())
    }

    /// Asks one server, if it was not asked before.
    pub(super) async fn ask(&mut self, client: &Client, node: u128, target: &Target) -> Result<(), Fault> {
        if self.asked.contains(target) {
            return Ok(());
        }
        for table in Table::ALL {
            let held = client.newest(target, table, node, self.known.since).await.map_err(fault)?;
            for held in &held {
                if !self.known.explains(table, held) {
                    return Err(self.known.diverged(&client.config().place(table), held));
                }
                let dead = table == Table::Errors;
                let next = if dead { Seq::new(self.known.next_dead) } else { self.known.next };
                if held.last >= next {
                    self.held.entry((dead, held.incarnation)).or_default().push((target.clone(), held.last));
                }
            }
        }
        self.asked.push(target.clone());
        Ok(())
    }

    /// Whether rows of a batch that goes to `target` may be in the tables; `again`: it may have been sent before.
    pub(super) fn past(&self, target: &Target, batch: &Manifest, again: bool) -> Past {
        let held = self.held(batch.dead, batch.incarnation, batch.first);
        // As long as it is no more than what this batch explains, where it was sent.
        let is_its_own = held.iter().all(|(server, newest)| *server == target && *newest <= batch.last);
        match held.is_empty() {
            true if again => Past::There,
            true => Past::None,
            false if again && is_its_own => Past::There,
            false => Past::Anywhere,
        }
    }

    /// The servers that had positions of a start at or after `from` when they were asked, and the newest of each table.
    fn held(&self, dead: bool, incarnation: u64, from: Seq) -> Vec<(&Target, Seq)> {
        let held = self.held.get(&(dead, incarnation)).into_iter().flatten();
        held.filter(|(_, newest)| *newest >= from).map(|(server, newest)| (server, *newest)).collect()
    }
}

impl Known {
    /// Whether this log can have put that there, or an operator has said that it is there by right.
    fn explains(&self, table: Table, held: &clickhouse_sink::Held) -> bool {
        let is_ours = match table {
            Table::Errors => self.dead_letter_starts.contains(&held.incarnation) && held.last.get() < self.end_dead,
            _ => self.ends.get(&held.incarnation).is_some_and(|end| held.last < *end),
        };
        is_ours || held.committed_at <= self.reconciled_at
    }

    fn diverged(&self, place: &str, held: &clickhouse_sink::Held) -> Fault {
        let reason = format!(
            "table {place} holds rows of this node that this log has not sent (up to {} of start {:016x}): the \
             log is a copy, or older than the table. Bring back the newer data folder; or have this one go on beside what \
             is there: `ingestd admin sinks reconcile clickhouse --from {}`; or give it tables of its own: stop the \
             daemon, `ingestd wal forget-sink clickhouse`, another clickhouse.table_prefix",
            held.last, held.incarnation, self.next,
        );
        Fault::of(FailureCode::Diverged, reason)
    }
}

/// Counts rows, beside the shipper.
pub(super) struct TableCensus {
    pub(super) config: Config,
    pub(super) node: u128,
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

#[cfg(test)]
mod tests {
    use super::*;

    const START: u64 = 7;

    fn server(name: &str) -> Target {
        Target::Host(format!("http://{name}:8123"))
    }

    /// A survey of two servers, with the newest positions that they had behind the cursor.
    fn survey(held: &[(&str, u64)]) -> Survey {
        let held = held.iter().map(|(name, newest)| (server(name), Seq::new(*newest))).collect();
        Survey { held: BTreeMap::from([((false, START), held)]), ..Survey::default() }
    }

    /// A batch of the events 101 to 200.
    fn batch() -> Manifest {
        let (first, last) = (Seq::new(101), Seq::new(200));
        Manifest { dead: false, layout: 1, day: 0, first, last, rows: 100, incarnation: START, name: String::new() }
    }

    #[test]
    fn a_batch_is_new_only_where_no_server_has_anything_of_it() {
        for (held, first_time, again) in [
            (&[][..], Past::None, Past::There),
            // What lies before it is of others.
            (&[("a", 100), ("b", 100)], Past::None, Past::There),
            // It explains what is on its own server, once it may have been sent, and nothing else.
            (&[("a", 150)], Past::Anywhere, Past::There),
            (&[("a", 201)], Past::Anywhere, Past::Anywhere),
            (&[("b", 150)], Past::Anywhere, Past::Anywhere),
            (&[("a", 150), ("b", 150)], Past::Anywhere, Past::Anywhere),
            (&[("a", 150), ("b", 100)], Past::Anywhere, Past::There),
        ] {
            let survey = survey(held);
            assert_eq!(survey.past(&server("a"), &batch(), false), first_time, "{held:?}");
            // However often: what another server had is not forgotten after the first attempt.
            for _ in 0..3 {
                assert_eq!(survey.past(&server("a"), &batch(), true), again, "{held:?}");
            }
        }
    }

    #[test]
    fn other_starts_and_dead_letters_are_counted_apart() {
        let survey = survey(&[("b", 150)]);
        for other in [Manifest { incarnation: 8, ..batch() }, Manifest { dead: true, ..batch() }] {
            assert_eq!(survey.past(&server("a"), &other, false), Past::None);
        }
    }
}
