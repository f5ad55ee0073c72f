//! A destination whose other side can be made to do at any moment what a server may do: be away, hang, lose an answer,
//! carry out what it was asked long after whoever asked has gone. It takes everything that is inserted, twice if it is
//! inserted twice, except under a token that it knows; a topic knows no tokens, but says how far it has everything.

use event::{Seq, UnixMicros};
use ingestd::deliver::{Cursor, Destination, Fault, Letter, Manifest, Origin, Sent, Shipper, Start};
use record::EventView;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::log::{Log, Running};

/// What the other side does.
#[derive(Debug, Default)]
pub struct State {
    /// It cannot be reached.
    pub is_away: bool,
    /// It takes a connection and says nothing.
    pub hangs: bool,
    /// It takes what is sent when it is let go on.
    pub holds: bool,
    /// It cannot say how much it has.
    pub cannot_count: bool,
    /// It takes what is sent next, and is away before anybody hears that it has.
    pub loses_answer: bool,
    /// It is asked to insert, and has not done it yet; nobody hears anything.
    pub is_slow: bool,
    /// Once it is told a place, it is away before anybody hears that it knows it.
    pub loses_place: bool,
    /// How far it says that it has everything: a topic does.
    mark: u64,
    /// Something about it is wrong, and an operator has to look.
    pub is_wrong: bool,
    rows: Vec<u64>,
    tokens: HashSet<String>,
    asked: Vec<(String, Vec<u64>)>,
}

/// The other side; clones are the same one.
#[derive(Clone, Default)]
pub struct Table(Arc<Mutex<State>>);

impl Table {
    pub fn set(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state());
    }

    /// Its rows, in order.
    pub fn rows(&self) -> Vec<u64> {
        let mut rows = self.state().rows.clone();
        rows.sort_unstable();
        rows
    }

    /// How far it says that it has everything.
    pub fn mark(&self) -> u64 {
        self.state().mark
    }

    /// Inserts that it was asked for and has not carried out.
    pub fn asked(&self) -> usize {
        self.state().asked.len()
    }

    /// Carries out what it was asked for, now.
    pub fn catch_up(&self) {
        let mut state = self.state();
        for (token, rows) in std::mem::take(&mut state.asked) {
            state.insert(token, &rows);
        }
    }

    /// Loses rows, as when somebody has brought back an older copy.
    pub fn lose_from(&self, seq: u64) {
        self.state().rows.retain(|row| *row < seq);
    }

    /// Has a sink follow the log there.
    pub fn follow<const FREEZES: bool>(&self, log: &Log) -> Running {
        let destination = Sink::<FREEZES> { table: self.clone(), open: None };
        let shipper = Shipper::to(destination, log.reader.clone(), log.control.clone(), log.tail.clone());
        let backoff = ingestd::deliver::Backoff::new(Duration::from_millis(10), Duration::from_millis(50));
        Running::start(shipper.with_backoff(backoff).with_drain(|| Duration::from_secs(1)))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }

    /// Whether it answers at all, and what is wrong with it.
    async fn answers(&self) -> Result<(), Fault> {
        while self.state().hangs {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        match &*self.state() {
            State { is_wrong: true, .. } => Err(Fault::Final("diverged: it is wrong".into())),
            State { is_away: true, .. } => Err(Fault::Retry("it is away".into())),
            _ => Ok(()),
        }
    }
}

impl State {
    fn insert(&mut self, token: String, rows: &[u64]) {
        if self.tokens.insert(token) {
            self.mark = self.mark.max(rows.iter().copied().max().unwrap_or(0));
            self.rows.extend(rows);
        }
    }

    fn has(&self, batch: &Manifest) -> Vec<u64> {
        self.rows.iter().copied().filter(|row| (batch.first.get()..=batch.last.get()).contains(row)).collect()
    }
}

/// The sink to it: a table, where `FREEZES`, or else a topic.
pub struct Sink<const FREEZES: bool> {
    table: Table,
    open: Option<(Vec<u64>, Origin)>,
}

impl<const FREEZES: bool> Sink<FREEZES> {
    async fn insert(&self, token: String, rows: Vec<u64>) -> Result<(), Fault> {
        while self.table.state().holds {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        if self.table.state().is_slow {
            self.table.state().asked.push((token, rows));
            std::future::pending::<()>().await;
            return Ok(());
        }
        let mut state = self.table.state();
        state.insert(token, &rows);
        if !std::mem::take(&mut state.loses_answer) {
            return Ok(());
        }
        state.is_away = true;
        Err(Fault::Retry("the answer was lost".into()))
    }
}

impl<const FREEZES: bool> Destination for Sink<FREEZES> {
    const NAME: &'static str = "table";
    const FREEZES: bool = FREEZES;
    const TAKES_DEAD: bool = false;
    const LINGER: Duration = Duration::ZERO;

    async fn start(&mut self, start: &Start<'_>) -> Result<Cursor, Fault> {
        self.table.answers().await?;
        if FREEZES {
            return Ok(start.cursor);
        }
        let mut state = self.table.state();
        state.mark = state.mark.max(start.cursor.next.get() - 1);
        if std::mem::take(&mut state.loses_place) {
            state.is_away = true;
            return Err(Fault::Retry("the answer was lost".into()));
        }
        Ok(Cursor { next: Seq::new(state.mark + 1), next_dead: 0 })
    }

    async fn look(&mut self, _: &Start<'_>) -> Result<Option<Cursor>, Fault> {
        self.table.answers().await?;
        Ok((!FREEZES).then(|| Cursor { next: Seq::new(self.table.state().mark + 1), next_dead: 0 }))
    }

    fn admits(&self, _: Origin) -> bool {
        true
    }

    fn add(&mut self, event: &EventView<'_>, origin: Origin) -> Result<(), Fault> {
        self.open.get_or_insert_with(|| (Vec::new(), origin)).0.push(event.seq.get());
        Ok(())
    }

    fn pass(&mut self, _: Seq, _: Origin) {}

    fn add_dead(&mut self, _: &Letter<'_>, _: Origin) -> Result<(), Fault> {
        Ok(())
    }

    fn rows(&self) -> u64 {
        self.open.as_ref().map_or(0, |(rows, _)| rows.len() as u64)
    }

    fn oldest(&self) -> Option<UnixMicros> {
        self.open.as_ref().map(|(_, origin)| origin.committed_at)
    }

    fn is_full(&self) -> bool {
        false
    }

    fn due(&self) -> Option<Instant> {
        self.open.as_ref().map(|_| Instant::now())
    }

    fn freeze(&mut self, _: Option<&Manifest>) -> Result<Manifest, Fault> {
        let (rows, origin) = self.open.as_ref().ok_or_else(|| Fault::Retry("no batch is open".into()))?;
        let [first, last] = [rows[0], rows[rows.len() - 1]].map(Seq::new);
        let (rows, incarnation) = (rows.len() as u64, origin.incarnation);
        Ok(Manifest { dead: false, layout: 1, day: 0, first, last, rows, incarnation, name: String::new() })
    }

    async fn find(&mut self, _: &Manifest) -> Result<Option<Sent>, Fault> {
        Ok(None)
    }

    async fn send(&mut self, batch: &Manifest, again: bool) -> Result<Sent, Fault> {
        let mut rows = self.open.as_ref().map(|(rows, _)| rows.clone()).unwrap_or_default();
        match self.table.answers().await {
            Err(Fault::Retry(reason)) if !again => return Err(Fault::Unsent(reason)),
            answers => answers?,
        }
        let token = format!("{}-{}", batch.first, batch.last);
        if again {
            let there = self.table.state().has(batch);
            rows.retain(|row| !there.contains(row));
        }
        if !rows.is_empty() {
            self.insert(token, rows).await?;
        }
        self.open = None;
        Ok(Sent::default())
    }

    async fn count(&mut self, batch: &Manifest) -> Result<u64, Fault> {
        let state = self.table.state();
        if state.cannot_count {
            return Err(Fault::Retry("it cannot say".into()));
        }
        Ok(state.has(batch).len() as u64)
    }

    async fn ping(&mut self) -> Result<(), Fault> {
        self.table.answers().await
    }

    fn discard(&mut self) {
        self.open = None;
    }

    fn revive(&mut self) {}

    fn tidy(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn take_unreadable(&mut self) -> u64 {
        0
    }

    fn census(&self) -> Arc<dyn ingestd::deliver::verify::Census> {
        Arc::new(NoCensus)
    }
}

struct NoCensus;

impl ingestd::deliver::verify::Census for NoCensus {
    fn events_max(&self) -> u64 {
        0
    }

    fn count(&self, _: &ingestd::deliver::verify::Asked) -> Result<Vec<ingestd::deliver::verify::Held>, String> {
        Ok(Vec::new())
    }
}
