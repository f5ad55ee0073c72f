//! What a table holds: for batches of which nobody knows whether they arrived, and to notice a log that is not ours.

use crate::client::{Client, Target};
use crate::{Batch, Failure, Span, Table};
use event::{Seq, UnixMicros};
use std::collections::BTreeSet;

/// Rows of one start of one node's daemon in a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    /// The node.
    pub node: u128,
    /// The start of its daemon.
    pub incarnation: u64,
    /// Position of its first row there.
    pub first: Seq,
    /// Position of its newest row there.
    pub last: Seq,
    /// How many rows there are; more than positions when some are there twice.
    pub rows: u64,
    /// When the newest of them was committed.
    pub committed_at: UnixMicros,
}

impl Client {
    /// How many rows of a span the table holds. On a `Replicated…` table a server that lags behind counts too few.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out.
    pub async fn count(&self, target: &Target, span: &Span) -> Result<u64, Failure> {
        let sql = self.count_sql(span);
        self.on(target, async |host| host.one(&sql, &[]).await).await
    }

    pub(crate) fn count_sql(&self, span: &Span) -> String {
        format!("SELECT count() FROM {} WHERE {}", self.config().place(span.table), condition(span))
    }

    /// Positions of a batch that the table does not hold, growing.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out.
    pub async fn missing(&self, target: &Target, batch: &Batch) -> Result<Vec<Seq>, Failure> {
        let present = match batch.span() {
            Some(span) => self.present(target, &span).await?,
            None => BTreeSet::new(),
        };
        Ok(batch.positions().iter().copied().filter(|seq| !present.contains(seq)).collect())
    }

    /// What the table holds of each start of `node`, of what was committed from `since` on, in the order of positions.
    ///
    /// `since` is when the row at the cursor was committed: older parts of the table are not read. A start that the node's own log does not know, or a position that it has not reached, means that the log is
    /// older than the table: restored from a copy, or a clone is at work.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out.
    pub async fn newest(
        &self,
        target: &Target,
        table: Table,
        node: u128,
        since: UnixMicros,
    ) -> Result<Vec<Held>, Failure> {
        let at = table.position();
        let sql = format!(
            "SELECT incarnation, min({at}) AS first, max({at}) AS last, count(), \
             toUnixTimestamp64Micro(max(committed_at)) FROM {} \
             WHERE node = '{}' AND committed_at >= {} GROUP BY incarnation ORDER BY last, incarnation",
            self.config().place(table),
            uuid(node),
            moment(since),
        );
        let rows: Vec<(u64, u64, u64, u64, i64)> = self.on(target, async |host| host.all(&sql, &[]).await).await?;
        let held = |(incarnation, first, last, rows, committed_at)| Held {
            node,
            incarnation,
            first: Seq::new(first),
            last: Seq::new(last),
            rows,
            committed_at: UnixMicros::new(committed_at),
        };
        Ok(rows.into_iter().map(held).collect())
    }

    /// How often each position of a span is in the table, on all servers together where each has its own rows.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out of every one of them.
    pub async fn tally(&self, span: &Span) -> Result<Vec<(Seq, u64)>, Failure> {
        let at = span.table.position();
        let place = self.config().place(span.table);
        let sql = format!("SELECT {at}, count() FROM {place} WHERE {} GROUP BY {at}", condition(span));
        let mut found = Vec::new();
        for target in &self.targets() {
            let rows: Vec<(u64, u64)> = self.on(target, async |host| host.all(&sql, &[]).await).await?;
            found.extend(rows.into_iter().map(|(seq, times)| (Seq::new(seq), times)));
        }
        Ok(found)
    }

    /// Positions of a span that the table holds.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out.
    pub async fn present(&self, target: &Target, span: &Span) -> Result<BTreeSet<Seq>, Failure> {
        let at = span.table.position();
        let place = self.config().place(span.table);
        let sql = format!("SELECT DISTINCT {at} FROM {place} WHERE {}", condition(span));
        let found: Vec<u64> = self.on(target, async |host| host.all(&sql, &[]).await).await?;
        Ok(found.into_iter().map(Seq::new).collect())
    }
}

fn condition(span: &Span) -> String {
    format!(
        "node = '{}' AND incarnation = {} AND {} BETWEEN {} AND {} AND committed_at BETWEEN {} AND {}",
        uuid(span.origin.node),
        span.origin.incarnation,
        span.table.position(),
        span.range.start(),
        span.range.end(),
        moment(*span.committed.start()),
        moment(*span.committed.end()),
    )
}

/// A moment as the server takes it, exact.
fn moment(at: UnixMicros) -> String {
    format!("fromUnixTimestamp64Micro({}, 'UTC')", at.get())
}

/// A number as the server writes a UUID.
fn uuid(id: u128) -> String {
    let (a, b, c) = ((id >> 96) as u32, (id >> 80) as u16, (id >> 64) as u16);
    format!("{a:08x}-{b:04x}-{c:04x}-{:04x}-{:012x}", (id >> 48) as u16, id & 0xffff_ffff_ffff)
}
