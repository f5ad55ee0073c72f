//! Starts the engines, watches the server's process, and puts the figures together.

use crate::engine::{Engine, Note, Shared};
use crate::figures::{Outcome, Second};
use crate::options::{Mode, Options};
use crate::process::{self, Usage};
use crate::report::Report;
use anyhow::{Context, Result, bail};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// From the decision to start until the start, so that all engines see it in time.
const GO_DELAY: Duration = Duration::from_millis(2);
/// How long after the time limit an engine may still take to end.
const GRACE: Duration = Duration::from_secs(3);

/// What the server's process used, at the moments that matter.
#[derive(Clone, Copy, Debug, Default)]
pub struct ServerUsage {
    /// Before the first connection.
    pub before: Usage,
    /// At the start of the measured stretch.
    pub start: Usage,
    /// At its end.
    pub end: Usage,
}

/// Runs the load to its end.
pub fn run(options: &Options) -> Result<Report> {
    let before = sample(options)?;
    let shared = Arc::new(Shared::default());
    let (notes, inbox) = channel();
    let mut threads = Vec::new();
    for thread in 0..options.threads {
        let engine = Engine::new(options, thread, Arc::clone(&shared), notes.clone())?;
        let notes = notes.clone();
        let body = move || {
            match engine.run() {
                Ok(outcome) => drop(notes.send(Note::Finished(Box::new(outcome)))),
                Err(error) => eprintln!("loadgen: {error:#}"),
            };
        };
        let name = format!("engine-{thread}");
        threads.push(std::thread::Builder::new().name(name).spawn(body).context("starting a thread")?);
    }
    drop(notes);
    let mut watch = Watch::new(options, inbox)?;
    watch.start(&shared)?;
    let server = watch.measure(&shared, before)?;
    let outcomes = watch.outcomes(&shared)?;
    for thread in threads {
        if thread.join().is_err() {
            bail!("an engine panicked");
        }
    }
    Ok(Report::new(options, &outcomes, options.pid.map(|_| server)))
}

fn sample(options: &Options) -> Result<Usage> {
    options.pid.map_or(Ok(Usage::default()), process::usage)
}

/// The runner's side of the engines' notes.
struct Watch<'a> {
    options: &'a Options,
    inbox: Receiver<Note>,
    deadline: Instant,
    connected: usize,
    outcomes: Vec<Outcome>,
    series: Option<Series>,
}

impl<'a> Watch<'a> {
    fn new(options: &'a Options, inbox: Receiver<Note>) -> Result<Self> {
        let series = options.series.as_deref().map(|path| Series::create(path, options.threads)).transpose()?;
        let deadline = Instant::now() + options.time_limit + GRACE;
        Ok(Self { options, inbox, deadline, connected: 0, outcomes: Vec::new(), series })
    }

    /// Waits for the connections, then lets the load start.
    fn start(&mut self, shared: &Shared) -> Result<()> {
        let until = Instant::now() + self.options.connect_timeout;
        let threads = self.options.threads;
        self.listen(until, |watch| watch.connected == threads)?;
        if shared.up.load(Ordering::Relaxed) == 0 {
            shared.stop.store(true, Ordering::Relaxed);
            bail!("no connection to {} within {:?}", self.options.address, self.options.connect_timeout);
        }
        let go = shared.origin.elapsed() + GO_DELAY;
        shared.go_ns.store(go.as_nanos() as u64, Ordering::Release);
        Ok(())
    }

    /// Samples the server at both ends of the measured stretch.
    fn measure(&mut self, shared: &Shared, before: Usage) -> Result<ServerUsage> {
        let go = shared.origin + Duration::from_nanos(shared.go_ns.load(Ordering::Acquire));
        let start_at = go + self.options.warmup;
        // Idle sockets close at the end: look just before.
        let early = if self.options.mode == Mode::WsIdle { self.options.duration / 20 } else { Duration::ZERO };
        let end_at = start_at + self.options.duration - early;
        let threads = self.options.threads;
        self.listen(start_at, |watch| watch.outcomes.len() == threads)?;
        let start = sample(self.options).unwrap_or(before);
        self.listen(end_at, |watch| watch.outcomes.len() == threads)?;
        // The server may be gone by now, and that may be what the run is about.
        let end = sample(self.options).unwrap_or(start);
        Ok(ServerUsage { before, start, end })
    }

    fn outcomes(&mut self, shared: &Shared) -> Result<Vec<Outcome>> {
        let threads = self.options.threads;
        self.listen(self.deadline, |watch| watch.outcomes.len() == threads)?;
        shared.stop.store(true, Ordering::Relaxed);
        if self.outcomes.len() < threads {
            bail!("an engine did not end");
        }
        if let Some(series) = &mut self.series {
            series.finish()?;
        }
        Ok(std::mem::take(&mut self.outcomes))
    }

    /// Takes in notes until that moment, or until `enough`.
    fn listen(&mut self, until: Instant, enough: impl Fn(&Self) -> bool) -> Result<()> {
        while !enough(self) {
            let left = until.min(self.deadline).saturating_duration_since(Instant::now());
            match self.inbox.recv_timeout(left) {
                Ok(Note::Connected) => self.connected += 1,
                Ok(Note::Second(second)) => {
                    if let Some(series) = &mut self.series {
                        series.add(second)?;
                    }
                }
                Ok(Note::Finished(outcome)) => self.outcomes.push(*outcome),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }
}

/// The CSV of seconds; a second is written once every engine has told of it.
struct Series {
    file: File,
    threads: usize,
    open: BTreeMap<u64, (usize, Second)>,
}

impl Series {
    fn create(path: &std::path::Path, threads: usize) -> Result<Self> {
        let mut file = File::create(path).with_context(|| format!("series {}", path.display()))?;
        writeln!(file, "second,requests,events,errors,p50_us,p99_us,max_us")?;
        Ok(Self { file, threads, open: BTreeMap::new() })
    }

    fn add(&mut self, second: Second) -> Result<()> {
        let index = second.index;
        let (told, sum) = self.open.entry(index).or_insert_with(|| (0, Second::new(index)));
        *told += 1;
        sum.answers += second.answers;
        sum.events += second.events;
        sum.errors += second.errors;
        sum.latency.add(&second.latency).context("adding up a second")?;
        if *told == self.threads {
            let sum = sum.clone();
            self.open.remove(&index);
            self.write(&sum)?;
        }
        Ok(())
    }

    fn write(&mut self, second: &Second) -> Result<()> {
        let us = |nanos: u64| nanos / 1000;
        let Second { index, answers, events, errors, latency } = second;
        let (p50, p99) = (latency.value_at_quantile(0.5), latency.value_at_quantile(0.99));
        writeln!(self.file, "{index},{answers},{events},{errors},{},{},{}", us(p50), us(p99), us(latency.max()))?;
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        for (_, (_, second)) in std::mem::take(&mut self.open) {
            self.write(&second)?;
        }
        Ok(())
    }
}
