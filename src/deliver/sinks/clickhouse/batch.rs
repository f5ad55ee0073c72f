use crate::encode::{Row, header, put_u64, put_uuid};
use crate::{Config, Partition, Table};
use event::{Seq, UnixMicros};
use std::ops::{Range, RangeInclusive};

/// An empty range that any moment widens to itself.
const NEVER: RangeInclusive<UnixMicros> = UnixMicros::new(i64::MAX)..=UnixMicros::new(i64::MIN);

/// The log that rows come from: on every row, so that what a table holds can be told apart and counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Origin {
    /// Random id of the node; stays with its data.
    pub node: u128,
    /// Random id of the start of the daemon that committed the rows.
    pub incarnation: u64,
}

/// Rows of one table, one partition and one origin, encoded: what is inserted as one block under one token.
///
/// Encoded as they come, so that nothing is borrowed and halves of a batch cost nothing.
#[derive(Debug, Clone)]
pub struct Batch {
    table: Table,
    origin: Origin,
    rows_max: usize,
    bytes_max: usize,
    partition: Option<Partition>,
    /// When the last row was committed: the next one is mostly of the same moment, and then of the same partition.
    committed_at: UnixMicros,
    /// When the first and the last of them were committed, by the clock.
    committed: RangeInclusive<UnixMicros>,
    bytes: Vec<u8>,
    /// Where each row ends in `bytes`.
    ends: Vec<usize>,
    positions: Vec<Seq>,
}

/// A row that cannot join a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Misfit {
    /// A row of another table.
    #[error("a row of {row:?} cannot join a batch of {batch:?}")]
    Table {
        /// The batch's.
        batch: Table,
        /// The row's.
        row: Table,
    },
    /// A row of another partition: end the batch and begin another.
    #[error("a row of partition {row} cannot join a batch of partition {batch}")]
    Partition {
        /// The batch's.
        batch: Partition,
        /// The row's.
        row: Partition,
    },
    /// Positions only grow.
    #[error("row {row} cannot follow row {last}")]
    Order {
        /// The last row of the batch.
        last: Seq,
        /// The row.
        row: Seq,
    },
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new(table: Table, origin: Origin, config: &Config) -> Self {
        Batch {
            table,
            origin,
            rows_max: config.batch_rows_max,
            bytes_max: config.batch_bytes_max,
            partition: None,
            committed_at: UnixMicros::default(),
            committed: NEVER,
            bytes: Vec::new(),
            ends: Vec::new(),
            positions: Vec::new(),
        }
    }

    /// Empties it for rows of `origin`, keeping its memory.
    pub fn begin(&mut self, origin: Origin) {
        self.origin = origin;
        self.partition = None;
        self.committed = NEVER;
        self.bytes.clear();
        self.ends.clear();
        self.positions.clear();
    }

    /// Whether a row committed then may join: any may while it is empty.
    #[must_use]
    pub fn admits(&self, committed_at: UnixMicros) -> bool {
        self.partition.is_none_or(|partition| partition == self.partition_of(committed_at))
    }

    /// Adds a row.
    ///
    /// # Errors
    /// [`Misfit`]; the batch is as before.
    pub fn push<R: Row>(&mut self, row: &R) -> Result<(), Misfit> {
        if R::TABLE != self.table {
            return Err(Misfit::Table { batch: self.table, row: R::TABLE });
        }
        let partition = self.partition_of(row.committed_at());
        if let Some(batch) = self.partition.filter(|batch| *batch != partition) {
            return Err(Misfit::Partition { batch, row: partition });
        }
        if let Some(last) = self.positions.last().copied().filter(|last| *last >= row.position()) {
            return Err(Misfit::Order { last, row: row.position() });
        }
        self.partition = Some(partition);
        self.committed_at = row.committed_at();
        let (first, last) = (*self.committed.start(), *self.committed.end());
        self.committed = first.min(self.committed_at)..=last.max(self.committed_at);
        put_uuid(&mut self.bytes, self.origin.node);
        put_u64(&mut self.bytes, self.origin.incarnation);
        row.put(&mut self.bytes);
        self.ends.push(self.bytes.len());
        self.positions.push(row.position());
        Ok(())
    }

    fn partition_of(&self, committed_at: UnixMicros) -> Partition {
        match self.partition {
            Some(partition) if committed_at == self.committed_at => partition,
            _ => Partition::of(committed_at),
        }
    }

    /// Whether it has as many rows or bytes as a batch should.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.rows() >= self.rows_max || self.bytes.len() >= self.bytes_max
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> usize {
        self.positions.len()
    }

    /// Size of its rows, unpacked.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.len()
    }

    /// Its table.
    #[must_use]
    pub fn table(&self) -> Table {
        self.table
    }

    /// Positions of its rows, growing.
    #[must_use]
    pub fn positions(&self) -> &[Seq] {
        &self.positions
    }

    /// Where its rows lie in the table; `None` while it is empty.
    #[must_use]
    pub fn span(&self) -> Option<Span> {
        let range = *self.positions.first()?..=*self.positions.last()?;
        Some(Span { table: self.table, origin: self.origin, range, committed: self.committed.clone() })
    }

    pub(crate) fn whole(&self) -> Part<'_> {
        Part { batch: self, rows: 0..self.rows() }
    }
}

/// Rows of a table from one origin, by their positions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// The table.
    pub table: Table,
    /// The log they come from.
    pub origin: Origin,
    /// First and last position.
    pub range: RangeInclusive<Seq>,
    /// When the first and the last of them were committed: the server looks into no part of another time.
    pub committed: RangeInclusive<UnixMicros>,
}

/// Some rows of a batch that follow each other.
#[derive(Debug, Clone)]
pub(crate) struct Part<'a> {
    pub(crate) batch: &'a Batch,
    pub(crate) rows: Range<usize>,
}

impl<'a> Part<'a> {
    /// The rows alone, without what a table has to be told before them.
    pub(crate) fn body(&self) -> &'a [u8] {
        let start = if self.rows.start == 0 { Some(&0) } else { self.batch.ends.get(self.rows.start - 1) };
        let end = if self.rows.is_empty() { start } else { self.batch.ends.get(self.rows.end - 1) };
        match (start, end) {
            (Some(start), Some(end)) => self.batch.bytes.get(*start..*end).unwrap_or_default(),
            _ => &[],
        }
    }

    pub(crate) fn header(&self) -> Vec<u8> {
        header(self.batch.table)
    }

    pub(crate) fn positions(&self) -> &'a [Seq] {
        self.batch.positions.get(self.rows.clone()).unwrap_or_default()
    }

    pub(crate) fn len(&self) -> usize {
        self.rows.len()
    }

    /// Where these rows lie in the table; `None` when there are none.
    pub(crate) fn span(&self) -> Option<Span> {
        let positions = self.positions();
        let range = *positions.first()?..=*positions.last()?;
        Some(Span { range, ..self.batch.span()? })
    }

    /// Both halves, the first not smaller.
    pub(crate) fn halves(&self) -> [Part<'a>; 2] {
        let middle = self.rows.start + self.rows.len().div_ceil(2);
        [
            Part { batch: self.batch, rows: self.rows.start..middle },
            Part { batch: self.batch, rows: middle..self.rows.end },
        ]
    }

    /// The token of these rows when the whole batch goes under `token`: always the same one, so that a repeat after a
    /// crash is known to the server.
    pub(crate) fn token(&self, token: &str) -> String {
        match (self.positions().first(), self.positions().last()) {
            (Some(first), Some(last)) if self.len() < self.batch.rows() => format!("{token}/{first}-{last}"),
            _ => token.to_owned(),
        }
    }
}
