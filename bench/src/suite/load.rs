//! One run of the load generator, and runs against two servers in turn.

use super::children::Server;
use super::witness::{Seen, Witness};
use super::{Bench, threads};
use crate::table::{median, short};
use anyhow::{Context, Result};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// What the rows need of `loadgen`'s report.
#[derive(Clone, Debug, Deserialize)]
pub struct Load {
    /// Acknowledged events per second.
    pub events_per_s: f64,
    /// Answers per second.
    pub requests_per_s: f64,
    /// Latency in microseconds.
    pub latency_us: Latency,
    /// The server's process.
    pub server: Option<ServerFigures>,
    /// In the whole run, warm-up included.
    pub total: Counts,
    /// CPU of the server's threads in the whole run, in microseconds per answer.
    #[serde(skip)]
    pub threads: Vec<(String, f64)>,
    /// Mean bytes of an event with its wrapping.
    pub message_bytes: usize,
    /// `ok` and others.
    pub verdict: String,
    /// Connections up at the end.
    pub connections_up: usize,
    /// What the machine did meanwhile to a writer beside it, where latency is measured.
    #[serde(skip)]
    pub seen: Option<Seen>,
}

impl Load {
    /// The server's CPU per request in microseconds.
    pub fn cpu_us(&self) -> f64 {
        self.server.map_or(0.0, |server| server.us_per_request)
    }
}

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Latency {
    /// Median.
    pub p50: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Longest.
    pub max: f64,
}

/// The server's process.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct ServerFigures {
    /// CPU per request.
    pub us_per_request: f64,
    /// Memory growth per connection.
    pub rss_per_connection_kib: f64,
}

/// How requests fared.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Counts {
    /// Requests answered.
    pub answers: u64,
}

/// A server and how it is loaded.
#[derive(Clone, Copy, Debug)]
pub struct Side<'a> {
    /// `ours`, or the limit's name.
    pub who: &'static str,
    /// Where.
    pub server: &'a Server,
    /// `loadgen`'s arguments, blanks between them.
    pub args: &'a str,
}

/// Loads one server.
pub fn load(bench: &Bench, row: u8, round: usize, side: Side<'_>) -> Result<Load> {
    let report = bench.place.folder().join("load.json");
    let mut command = bench.launcher.command(&bench.program("loadgen"));
    command.args(side.args.split_whitespace());
    command.args(["--address", &side.server.port.to_string(), "--pid", &side.server.process.pid().to_string()]);
    command.arg("--json").arg(&report);
    let log = bench.place.folder().join("loadgen.log");
    // The generator ends by itself well before.
    let limit = Duration::from_secs_f64(bench.options.open_seconds.max(bench.options.memory_seconds) + 300.0);
    let pid = side.server.process.pid();
    let before = threads::cpu(pid);
    let open = side.args.contains("--rate");
    let witness = open.then(|| Witness::start(bench.place.folder())).transpose()?;
    let printed =
        bench.launcher.start(command, &log)?.finish(limit).with_context(|| format!("loadgen {}", side.args))?;
    let text = std::fs::read_to_string(&report).with_context(|| format!("no report: {printed}"))?;
    bench.note_raw(row, round, side.who, &text)?;
    eprintln!("  {row}.{round} {}: {}", side.who, printed.trim());
    let mut load: Load = serde_json::from_str(&text).context("loadgen's report")?;
    load.seen = witness.map(Witness::end).transpose()?;
    load.threads = threads::per_answer(&before, &threads::cpu(pid), load.total.answers);
    Ok(load)
}

/// Loads two servers in turn, as often as there are rounds, each while the other is stopped.
pub fn interleave(bench: &Bench, row: u8, ours: Side<'_>, limit: Side<'_>) -> Result<Vec<(Load, Load)>> {
    let (mut first, mut second) = (Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        let mut turns = [(ours, limit, &mut first), (limit, ours, &mut second)];
        // Who goes first changes, so that neither profits from it.
        if round % 2 == 0 {
            turns.swap(0, 1);
        }
        for (side, other, loads) in turns {
            other.server.pause();
            side.server.resume();
            settle();
            loads.push(load(bench, row, round, side)?);
        }
    }
    ours.server.resume();
    limit.server.resume();
    Ok(first.into_iter().zip(second).collect())
}

/// Where the server's CPU time went: the median of the rounds for each thread, in microseconds per request.
pub fn cpu_note<'a>(loads: impl Iterator<Item = &'a Load>) -> String {
    let mut by_thread = BTreeMap::<&str, Vec<f64>>::new();
    let mut rounds = 0;
    for load in loads {
        rounds += 1;
        for (name, us) in &load.threads {
            by_thread.entry(name).or_default().push(*us);
        }
    }
    let mut medians: Vec<(&str, f64)> = Vec::new();
    for (name, mut values) in by_thread {
        values.resize(rounds, 0.0);
        medians.push((name, median(&values).unwrap_or(0.0)));
    }
    medians.retain(|(_, us)| *us >= 0.05);
    medians.sort_by(|a, b| b.1.total_cmp(&a.1));
    let words: Vec<String> = medians.iter().map(|(name, us)| format!("{name} {}", short(*us))).collect();
    format!("server CPU per request, µs: {}", words.join(", "))
}

/// What a writer beside the runs saw, in words.
pub fn seen_note<'a>(loads: impl Iterator<Item = &'a Load>) -> String {
    let seen: Vec<Seen> = loads.filter_map(|load| load.seen).collect();
    let longest = |of: fn(&Seen) -> Duration| {
        let values: Vec<_> = seen.iter().map(|seen| short(of(seen).as_secs_f64() * 1e3)).collect();
        values.join(", ")
    };
    format!("{} ms, {} ms late", longest(|seen| seen.longest), longest(|seen| seen.late))
}

/// Lets what the last run left to the kernel reach the disk.
pub fn settle() {
    rustix::fs::sync();
    std::thread::sleep(Duration::from_millis(200));
}

/// A figure over the rounds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    /// The middle.
    pub median: f64,
    /// The least.
    pub low: f64,
    /// The most.
    pub high: f64,
}

impl Spread {
    /// Over at least one value; nothing of nothing.
    pub fn of(values: impl IntoIterator<Item = f64>) -> Option<Self> {
        let values: Vec<f64> = values.into_iter().collect();
        let fold = |with: fn(f64, f64) -> f64| values.iter().copied().reduce(with);
        Some(Self { median: median(&values)?, low: fold(f64::min)?, high: fold(f64::max)? })
    }

    /// One figure of each of the pairs over the other's.
    pub fn of_ratios(pairs: &[(Load, Load)], figure: impl Fn(&Load) -> f64) -> Option<Self> {
        Self::of(pairs.iter().map(|(ours, limit)| figure(ours) / figure(limit).max(1e-9)))
    }
}

impl fmt::Display for Spread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}–{})", short(self.median), short(self.low), short(self.high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_names_the_middle_and_both_ends() {
        let spread = Spread::of([3.0, 1.0, 2.0]).unwrap();
        assert_eq!(spread, Spread { median: 2.0, low: 1.0, high: 3.0 });
        assert_eq!(spread.to_string(), "2.00 (1.00–3.00)");
        assert_eq!(Spread::of([]), None);
    }
}
