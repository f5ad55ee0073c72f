//! What a run found, for people and for programs.

use crate::figures::{Counts, Errors, Outcome, Tally, curve};
use crate::options::{Mode, Options};
use crate::process;
use crate::run::ServerUsage;
use hdrhistogram::Histogram;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

/// An engine busier than this may be what holds the rate down.
const BUSY_LIMIT: f64 = 0.95;
/// The generator's own lag matters from this share of the latency on.
const OWN_SHARE: f64 = 0.2;
/// An open loop that gets less than this share of its rate was not sustained.
const SUSTAINED: f64 = 0.99;

/// Quantiles in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Quantiles {
    /// Median.
    pub p50: f64,
    /// 90 %.
    pub p90: f64,
    /// 99 %.
    pub p99: f64,
    /// 99.9 %.
    pub p999: f64,
    /// Longest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
}

impl Quantiles {
    fn of(histogram: &Histogram<u64>) -> Self {
        let us = |nanos: u64| nanos as f64 / 1e3;
        let at = |quantile: f64| us(histogram.value_at_quantile(quantile));
        Self {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: us(histogram.max()),
            mean: histogram.mean() / 1e3,
        }
    }
}

/// How the run is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// The figures are the server's.
    Ok,
    /// The generator itself was late: the latencies are not the server's.
    Inconclusive,
    /// The server did not keep up with the rate asked for.
    NotSustained,
    /// Answers were not what their requests called for.
    Wrong,
    /// Nothing was answered.
    Nothing,
}

/// CPU of the generator in the measured stretch.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct GeneratorCpu {
    /// CPU seconds.
    pub cpu_s: f64,
    /// CPU per request in microseconds.
    pub us_per_request: f64,
    /// Share of its threads' time spent running.
    pub busy: f64,
    /// Share of its threads' time spent waiting for a core.
    pub waited: f64,
}

/// The server's process, if it was named.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Server {
    /// CPU seconds in the measured stretch.
    pub cpu_s: f64,
    /// CPU per request in microseconds.
    pub us_per_request: f64,
    /// Resident memory before the first connection.
    pub rss_before_kib: u64,
    /// Resident memory at the end of the measured stretch.
    pub rss_kib: u64,
    /// The most that it has been.
    pub peak_rss_kib: u64,
    /// Growth since before the first connection, per connection.
    pub rss_per_connection_kib: f64,
}

/// All that a run found.
#[derive(Clone, Debug, Serialize)]
pub struct Report {
    /// http, ws or ws-idle; open or closed loop.
    pub mode: String,
    /// Connections asked for.
    pub connections: usize,
    /// Connections up at the end.
    pub connections_up: usize,
    /// Requests outstanding per connection at most.
    pub depth: usize,
    /// Events in a request.
    pub batch: usize,
    /// Engine threads.
    pub threads: usize,
    /// Length of the measured stretch.
    pub seconds: f64,
    /// Requests per second asked for (open loop).
    pub rate_asked: Option<f64>,
    /// Answers per second.
    pub requests_per_s: f64,
    /// Acknowledged events per second.
    pub events_per_s: f64,
    /// Latency in microseconds.
    pub latency_us: Quantiles,
    /// More of its quantiles, each with its microseconds.
    pub percentiles_us: Vec<(f64, f64)>,
    /// Open loop: how late requests were sent, for whatever reason.
    pub lag_us: Option<Quantiles>,
    /// Open loop: how late the generator itself made them: a connection was free, or would have been had it not been
    /// kept from running.
    pub own_lag_us: Option<Quantiles>,
    /// Open loop: due, but never sent.
    pub unsent: u64,
    /// In the measured stretch and the draining after it.
    pub counts: Counts,
    /// In the whole run, warm-up included.
    pub total: Counts,
    /// In the whole run.
    pub errors: Errors,
    /// Answers by HTTP status, in the whole run.
    pub statuses: BTreeMap<String, u64>,
    /// The generator's CPU.
    pub generator: GeneratorCpu,
    /// The server's process.
    pub server: Option<Server>,
    /// How to take all this.
    pub verdict: Verdict,
    /// Why, where it is not plainly fine.
    pub remarks: Vec<String>,
    /// Ids follow from seed and counter.
    pub seed: u64,
    /// Lowest counter used.
    pub first: u64,
    /// Counters used by thread t: first + t + k * threads, for k below this.
    pub numbers: Vec<u64>,
    /// Mean bytes of an event with its wrapping.
    pub message_bytes: usize,
    /// The machine's load average at the end.
    pub load_average: String,
}

impl Report {
    /// Puts the engines' outcomes together.
    pub fn new(options: &Options, outcomes: &[Outcome], server: Option<ServerUsage>) -> Self {
        let (mut main, mut total) = (Tally::default(), Tally::default());
        let (mut answers, mut acknowledged, mut longest, mut cpu, mut waited) =
            (0, 0, Duration::ZERO, Duration::ZERO, Duration::ZERO);
        for outcome in outcomes {
            main.add(&outcome.main);
            total.add(&outcome.main);
            total.add(&outcome.warm);
            answers += outcome.window.answers;
            acknowledged += outcome.window.acknowledged();
            longest = longest.max(outcome.measured);
            cpu += outcome.cpu;
            waited += outcome.run_delay;
        }
        let seconds = longest.as_secs_f64().max(1e-9);
        let thread_seconds = seconds * outcomes.len() as f64;
        let per_request = |cpu: Duration| cpu.as_secs_f64() * 1e6 / (answers.max(1)) as f64;
        let open = options.rate.is_some();
        let mut report = Self {
            mode: mode_name(options),
            connections: options.connections,
            connections_up: outcomes.iter().map(|outcome| outcome.up).sum(),
            depth: options.depth,
            batch: options.batch,
            threads: options.threads,
            seconds,
            rate_asked: options.rate,
            requests_per_s: answers as f64 / seconds,
            events_per_s: acknowledged as f64 / seconds,
            latency_us: Quantiles::of(&main.latency),
            percentiles_us: curve(&main.latency),
            lag_us: open.then(|| Quantiles::of(&main.lag)),
            own_lag_us: open.then(|| Quantiles::of(&main.own_lag)),
            unsent: outcomes.iter().map(|outcome| outcome.unsent).sum(),
            counts: main.counts,
            total: total.counts,
            errors: total.errors,
            statuses: statuses(&total),
            generator: GeneratorCpu {
                cpu_s: cpu.as_secs_f64(),
                us_per_request: per_request(cpu),
                busy: cpu.as_secs_f64() / thread_seconds,
                // A wait that began before the stretch is charged when it ends.
                waited: (waited.as_secs_f64() / thread_seconds).min(1.0),
            },
            server: server.map(|usage| {
                let cpu = usage.end.cpu.saturating_sub(usage.start.cpu);
                let growth = usage.end.rss_kib as f64 - usage.before.rss_kib as f64;
                Server {
                    cpu_s: cpu.as_secs_f64(),
                    us_per_request: per_request(cpu),
                    rss_before_kib: usage.before.rss_kib,
                    rss_kib: usage.end.rss_kib,
                    peak_rss_kib: usage.end.peak_rss_kib,
                    rss_per_connection_kib: growth / options.connections as f64,
                }
            }),
            verdict: Verdict::Ok,
            remarks: Vec::new(),
            seed: options.seed,
            first: options.first,
            numbers: outcomes.iter().map(|outcome| outcome.numbers).collect(),
            message_bytes: outcomes.first().map_or(0, |outcome| outcome.message_bytes),
            load_average: process::load_average(),
        };
        report.judge(options);
        report
    }

    fn judge(&mut self, options: &Options) {
        self.judge_pace(options);
        if self.connections_up < self.connections {
            self.remarks.push(format!("{} of {} connections up at the end", self.connections_up, self.connections));
        }
        if self.errors.unexpected > 0 || self.errors.protocol > 0 {
            self.verdict = Verdict::Wrong;
        }
        if self.total.answers == 0 && options.mode != Mode::WsIdle {
            self.verdict = Verdict::Nothing;
        }
    }

    /// Whether the server or the generator is to blame for what was slow.
    fn judge_pace(&mut self, options: &Options) {
        let busy = self.generator.busy;
        if busy > BUSY_LIMIT {
            // Alone no verdict on an open loop: each sleep and wake of a virtual CPU costs as much as a few requests,
            // so that even a generator with time to spare may be busy throughout. Its lag tells.
            self.remarks.push(format!("the generator was busy {:.0} % of the time", busy * 100.0));
        }
        let (Some(own), Some(asked)) = (self.own_lag_us, self.rate_asked) else { return };
        let limit_us = options.lag_limit.as_secs_f64() * 1e6;
        let matters = |own: f64, latency: f64| own > limit_us && own > latency * OWN_SHARE;
        if matters(own.p99, self.latency_us.p99) {
            self.verdict = Verdict::Inconclusive;
            self.remarks.push(format!("the generator itself was late: own lag p99 {:.0} µs", own.p99));
        } else if matters(own.p999, self.latency_us.p999) {
            self.remarks.push(format!("beyond p99 the generator itself was late: own lag p99.9 {:.0} µs", own.p999));
        }
        let answered = self.requests_per_s;
        if (answered < asked * SUSTAINED && options.events.is_none()) || self.unsent > 0 {
            // Behind because of the generator is not the server's fault.
            self.verdict = if busy > BUSY_LIMIT { Verdict::Inconclusive } else { self.verdict };
            if self.verdict == Verdict::Ok {
                self.verdict = Verdict::NotSustained;
            }
            self.remarks.push(format!("{answered:.0} of {asked:.0} requests/s answered, {} never sent", self.unsent));
        }
    }

    /// Whether a script should go on.
    pub fn is_usable(&self) -> bool {
        !matches!(self.verdict, Verdict::Wrong | Verdict::Nothing)
    }
}

fn mode_name(options: &Options) -> String {
    let loop_kind = if options.rate.is_some() { "open" } else { "closed" };
    match options.mode {
        Mode::Http => format!("http {loop_kind}"),
        Mode::Ws => format!("ws {loop_kind}"),
        Mode::WsIdle => "ws-idle".to_owned(),
        Mode::Ids => "ids".to_owned(),
    }
}

fn statuses(tally: &Tally) -> BTreeMap<String, u64> {
    let seen = tally.statuses.iter().enumerate().filter(|(_, count)| **count > 0);
    seen.map(|(status, count)| (status.to_string(), *count)).collect()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} c={}", self.mode, self.connections)?;
        for (name, value) in [("d", self.depth), ("b", self.batch), ("t", self.threads)] {
            if value > 1 {
                write!(f, " {name}={value}")?;
            }
        }
        if let Some(rate) = self.rate_asked {
            write!(f, " rate={rate:.0}")?;
        }
        write!(f, ": {:.0} req/s {:.0} ev/s", self.requests_per_s, self.events_per_s)?;
        let Quantiles { p50, p90, p99, p999, max, .. } = self.latency_us;
        write!(f, " | p50 {p50:.0} p90 {p90:.0} p99 {p99:.0} p99.9 {p999:.0} max {max:.0} µs")?;
        let GeneratorCpu { us_per_request, busy, waited, .. } = self.generator;
        write!(f, " | gen {us_per_request:.2} µs/req busy {:.0}% waited {:.0}%", busy * 100.0, waited * 100.0)?;
        if let (Some(lag), Some(own)) = (self.lag_us, self.own_lag_us) {
            write!(f, " lag p99 {:.0} own p50 {:.0} p99 {:.0} p99.9 {:.0} µs", lag.p99, own.p50, own.p99, own.p999)?;
        }
        if let Some(server) = self.server {
            write!(f, " | srv {:.2} µs/req rss {} MiB", server.us_per_request, server.rss_kib / 1024)?;
            write!(f, " ({:.2} KiB/conn)", server.rss_per_connection_kib)?;
        }
        let counts = self.counts;
        for (name, value) in [
            ("dup", counts.duplicates),
            ("rejected", counts.rejected),
            ("refused", counts.refused),
            ("failed", counts.failed),
        ] {
            if value > 0 {
                write!(f, " | {name} {value}")?;
            }
        }
        if self.errors != Errors::default() {
            let Errors { connect, handshake, closed, protocol, lost, unexpected } = self.errors;
            write!(
                f,
                " | errors: connect {connect} handshake {handshake} closed {closed} protocol {protocol} lost {lost}"
            )?;
            write!(f, " unexpected {unexpected}")?;
        }
        if self.statuses.keys().any(|status| status != "202") {
            let list: Vec<String> = self.statuses.iter().map(|(status, count)| format!("{status}:{count}")).collect();
            write!(f, " | {}", list.join(" "))?;
        }
        write!(f, " | load {} | {:?}", self.load_average, self.verdict)?;
        for remark in &self.remarks {
            write!(f, "; {remark}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A report of an open loop at 1,000 requests/s with that share answered, latency, and own lag.
    fn report(answered: u64, latency_ns: u64, own_ns: u64, busy: Duration) -> Report {
        let words = ["http", "--rate", "1000", "--duration", "1"].map(str::to_owned);
        let options = Options::parse(words).unwrap().unwrap();
        let mut main = Tally::default();
        for _ in 0..answered {
            main.latency.record(latency_ns).unwrap();
            main.own_lag.record(own_ns).unwrap();
        }
        main.counts.answers = answered;
        let outcome = Outcome {
            warm: Tally::default(),
            window: main.counts,
            main,
            measured: Duration::from_secs(1),
            cpu: busy,
            run_delay: Duration::ZERO,
            numbers: answered,
            unsent: 0,
            up: options.connections,
            message_bytes: 480,
        };
        Report::new(&options, &[outcome], None)
    }

    #[test]
    fn the_verdict_tells_the_generators_lateness_from_the_servers() {
        let idle = Duration::from_millis(100);
        assert_eq!(report(1000, 400_000, 20_000, idle).verdict, Verdict::Ok);
        assert_eq!(report(1000, 5_000_000, 3_000_000, idle).verdict, Verdict::Inconclusive);
        assert_eq!(report(1000, 90_000_000, 3_000_000, idle).verdict, Verdict::Ok);
        assert_eq!(report(900, 90_000_000, 3_000_000, idle).verdict, Verdict::NotSustained);
        assert_eq!(report(900, 90_000_000, 60_000_000, idle).verdict, Verdict::Inconclusive);
        let busy = Duration::from_millis(990);
        assert_eq!(report(1000, 400_000, 20_000, busy).verdict, Verdict::Ok);
        assert_eq!(report(900, 90_000_000, 20_000, busy).verdict, Verdict::Inconclusive);
        assert_eq!(report(0, 1, 1, idle).verdict, Verdict::Nothing);
    }
}
