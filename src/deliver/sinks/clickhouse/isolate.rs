//! Finding the rows that a server refuses, by halving.
//!
//! ```text
//! 1..8 under T  refused ─► 1..4 under T/1-4  taken
//!                      └─► 5..8 under T/5-8  refused ─► 5..6 under T/5-6  taken
//!                                                   └─► 7..8 under T/7-8  refused ─► 7  refused: found
//!                                                                                └─► 8 under T/8-8  taken
//! ```
//!
//! Which parts there are depends on the batch alone, each is one block, and what the table holds already is left out:
//! so it may be broken off anywhere and begun again, also after a crash, and also when the table remembers none of the
//! tokens any more.

use crate::batch::Part;
use crate::client::{Client, Target};
use crate::{Batch, Failure, Kind};
use event::Seq;
use std::collections::BTreeSet;

/// A row that the server does not take.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its position.
    pub position: Seq,
    /// The server's number for the error.
    pub code: u32,
    /// The first column that the server names.
    pub column: Option<String>,
    /// What the server said, without values of the row.
    pub message: String,
}

/// What became of a batch that was found to have been begun.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Settled {
    /// The table had all of it.
    Whole,
    /// The table had none of it: it was inserted now.
    Inserted,
    /// The table had some of it, and has the rest now, but for the rows that it refuses.
    Completed(Vec<Refused>),
}

impl Client {
    /// Brings all rows of a batch into the table, once each, except those that the server refuses; returns these.
    ///
    /// For after [`Client::insert`] has failed with [`Kind::Row`]; to the same target, under the same token. After
    /// another error, or a crash, it is to be done again from the beginning, or [`Client::settle`] called.
    ///
    /// # Errors
    /// [`Failure`] of any other kind than [`Kind::Row`]; [`Kind::Schema`] also when more rows are refused than
    /// `refused_rows_max`, or when not the table but a view on it refuses them.
    pub async fn isolate(&self, target: &Target, token: &str, batch: &Batch) -> Result<Vec<Refused>, Failure> {
        let present = match batch.span() {
            Some(span) => self.present(target, &span).await?,
            None => return Ok(Vec::new()),
        };
        if batch.positions().iter().all(|seq| present.contains(seq)) {
            return Err(self.refused_by_view(batch));
        }
        self.complete(target, token, batch, &present).await
    }

    /// Brings a batch of an earlier run, of which nobody knows how far it came, into the table: once each row.
    ///
    /// # Errors
    /// [`Failure`]; of kind [`Kind::Row`] when none of it is there and some row is refused.
    pub async fn settle(&self, target: &Target, token: &str, batch: &Batch) -> Result<Settled, Failure> {
        self.settle_among(std::slice::from_ref(target), target, token, batch).await
    }

    /// The same for rows that may be on any server: what is on none of them goes to `target`.
    ///
    /// # Errors
    /// As [`Client::settle`]; also when one of the servers cannot be asked.
    pub async fn settle_anywhere(&self, target: &Target, token: &str, batch: &Batch) -> Result<Settled, Failure> {
        self.settle_among(&self.targets(), target, token, batch).await
    }

    async fn settle_among(
        &self,
        places: &[Target],
        target: &Target,
        token: &str,
        batch: &Batch,
    ) -> Result<Settled, Failure> {
        let Some(span) = batch.span() else { return Ok(Settled::Whole) };
        let mut count = 0;
        for place in places {
            count += self.count(place, &span).await?;
        }
        if count == 0 {
            // It may be on its way in this very moment: the token takes care of that.
            return self.insert(target, token, batch).await.map(|()| Settled::Inserted);
        }
        let mut present = BTreeSet::new();
        for place in places {
            present.extend(self.present(place, &span).await?);
        }
        if batch.positions().iter().all(|seq| present.contains(seq)) {
            return Ok(Settled::Whole);
        }
        self.complete(target, token, batch, &present).await.map(Settled::Completed)
    }

    async fn complete(
        &self,
        target: &Target,
        token: &str,
        batch: &Batch,
        present: &BTreeSet<Seq>,
    ) -> Result<Vec<Refused>, Failure> {
        let mut refused = Vec::new();
        // The next part is the last element, so that rows go in order.
        let mut open: Vec<_> = if batch.rows() == 1 { vec![batch.whole()] } else { reversed(&batch.whole()).into() };
        while let Some(part) = open.pop() {
            let there = part.positions().iter().filter(|seq| present.contains(seq)).count();
            if there == part.len() {
                continue;
            }
            if there > 0 {
                open.extend(reversed(&part));
                continue;
            }
            let Err(failure) = self.insert_part(target, token, &part).await else { continue };
            let Kind::Row { column } = &failure.kind else { return Err(failure) };
            self.ensure_absent(target, &part).await?;
            if part.len() > 1 {
                open.extend(reversed(&part));
                continue;
            }
            refused.extend(part.positions().iter().map(|position| Refused {
                position: *position,
                code: failure.code.unwrap_or_default(),
                column: column.clone(),
                message: failure.message.clone(),
            }));
            self.ensure_few(&refused, &failure)?;
        }
        Ok(refused)
    }

    /// Refused and yet there: halving would insert the rows a second time, under other tokens.
    async fn ensure_absent(&self, target: &Target, part: &Part<'_>) -> Result<(), Failure> {
        match part.span() {
            Some(span) if self.count(target, &span).await? > 0 => Err(self.refused_by_view(part.batch)),
            _ => Ok(()),
        }
    }

    fn refused_by_view(&self, batch: &Batch) -> Failure {
        let place = self.config().place(batch.table());
        let text = "holds rows that were answered with an error: a view on it refuses them; mend the view, or drop it";
        Failure::schema(&self.config().urls.join(", "), format!("table {place} {text}"))
    }

    fn ensure_few(&self, refused: &[Refused], failure: &Failure) -> Result<(), Failure> {
        if refused.len() <= self.config().refused_rows_max {
            return Ok(());
        }
        let (rows, message) = (self.config().refused_rows_max, &failure.message);
        let text =
            format!("more than {rows} rows of one batch are refused, so the table is taken to be wrong: {message}");
        Err(Failure::schema(&failure.host, text))
    }
}

fn reversed<'a>(part: &Part<'a>) -> [Part<'a>; 2] {
    let [first, second] = part.halves();
    [second, first]
}
