//! Speed and memory of the filter: `cargo run --release -p dedup --example speed [ids in millions, default 36]`.
//!
//! Prints one line per measurement. The group is 4096 entries, as large as the writer makes it under load; the budget
//! is large enough that nothing spills, except in the last part.

use dedup::{Config, Dedup};
use event::{Entry, Seq, UnixMicros, Verdict};
use std::path::Path;
use std::time::{Duration, Instant};

const GROUP: usize = 4096;
/// Requests for which `touch` is called in a row.
const TOUCHED: usize = 64;

type Failed = Box<dyn std::error::Error>;

/// A bijection that looks random: the n-th id's fingerprint, without remembering any.
fn fingerprint(n: u64) -> u128 {
    let mix = |x: u64| {
        let x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        x ^ (x >> 31)
    };
    u128::from(mix(n.wrapping_mul(0x9e37_79b9_7f4a_7c15))) << 64 | u128::from(mix(!n))
}

fn entry(n: u64) -> Entry {
    Entry { fingerprint: fingerprint(n), content: n as u32, start: 0, end: 0, id_start: 0, id_len: 0, event_type: 0 }
}

fn cpu_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

fn resident_bytes() -> u64 {
    let statm = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    statm.split(' ').nth(1).and_then(|pages| pages.parse::<u64>().ok()).unwrap_or(0) * 4096
}

/// How the writer asks about a group.
#[derive(Clone, Copy, PartialEq)]
enum Ask {
    /// One call: a request with as many events.
    Whole,
    /// A call for each entry: requests of one event.
    One,
    /// The same, after calling `touch` for some dozen requests in a row.
    OneTouched,
}

struct Bench {
    ask: Ask,
    dedup: Dedup,
    /// The next id that was never used.
    fresh: u64,
    now: i64,
    step: i64,
    random: u64,
    verdicts: Vec<Verdict>,
}

/// What a row of groups took, per group: time of the thread on a core, which is what is left when neighbours use the
/// machine too, and time elapsed.
#[derive(Default)]
struct Took {
    groups: Vec<(Duration, Duration)>,
    begin_worst: Duration,
    duplicates: u64,
}

impl Took {
    fn print(mut self, what: &str) {
        let count = self.groups.len().max(1);
        let per_id = |time: Duration| time.as_nanos() as f64 / GROUP as f64;
        let mean = per_id(self.groups.iter().map(|group| group.0).sum()) / count as f64;
        self.groups.sort_unstable();
        let median = per_id(self.groups[count / 2].0);
        let worst = self.groups.iter().map(|group| group.1).max().unwrap_or_default();
        println!(
            "{what:<33} {mean:6.1} ns/id (median group {median:6.1})  {:5.1} % duplicates  worst group: {:5} us on the \
             core, {:5} us elapsed, of which begin <= {} us",
            self.duplicates as f64 * 100.0 / (count * GROUP) as f64,
            self.groups[count - 1].0.as_micros(),
            worst.as_micros(),
            self.begin_worst.as_micros()
        );
    }
}

impl Bench {
    fn new(dir: &Path, budget_bytes: u64, window: Duration, step: Duration) -> Result<Self, Failed> {
        let dedup = Dedup::new(Config { window, budget_bytes, spill_dir: dir.to_owned() }, Seq::FIRST)?;
        let step = step.as_micros() as i64;
        Ok(Bench { ask: Ask::Whole, dedup, fresh: 0, now: 0, step, random: 1, verdicts: Vec::new() })
    }

    fn random(&mut self) -> u64 {
        self.random = self.random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        self.random >> 20
    }

    fn check(&mut self, group: &[Entry]) -> Result<(), Failed> {
        if self.ask == Ask::Whole {
            return Ok(self.dedup.check(group, &mut self.verdicts)?);
        }
        for requests in group.chunks(TOUCHED) {
            if self.ask == Ask::OneTouched {
                requests.chunks(1).for_each(|request| self.dedup.touch(request));
            }
            for request in requests.chunks(1) {
                self.dedup.check(request, &mut self.verdicts)?;
            }
        }
        Ok(())
    }

    /// Groups of which `duplicates` in 16 entries repeat one of the last `known` ids.
    fn run(&mut self, ids: u64, duplicates: u64, known: u64) -> Result<Took, Failed> {
        let mut took = Took::default();
        let mut group = Vec::with_capacity(GROUP);
        for _ in 0..ids / GROUP as u64 {
            group.clear();
            let newest = self.fresh;
            for n in 0..GROUP as u64 {
                if n % 16 < duplicates {
                    let back = 1 + self.random() % known.min(newest);
                    group.push(entry(newest - back));
                } else {
                    group.push(entry(self.fresh));
                    self.fresh += 1;
                }
            }
            self.now += self.step;
            self.verdicts.clear();
            let (cpu, start) = (cpu_time(), Instant::now());
            self.dedup.begin_group(UnixMicros::new(self.now))?;
            took.begin_worst = took.begin_worst.max(cpu_time() - cpu);
            self.check(&group)?;
            took.groups.push((cpu_time() - cpu, start.elapsed()));
            took.duplicates +=
                self.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Duplicate { .. })).count() as u64;
        }
        Ok(took)
    }
}

fn in_memory(dir: &Path, ids: u64) -> Result<(), Failed> {
    let before = resident_bytes();
    // The window is just over what the prefill takes, so that afterwards each new id pushes an old one out.
    let window = Duration::from_millis(ids / GROUP as u64 + 10);
    let mut bench = Bench::new(dir, ids * 42 + (1 << 20), window, Duration::from_millis(1))?;
    bench.run(ids, 0, 1)?.print("new, filling up");
    let resident = resident_bytes() - before;
    let stats = bench.dedup.stats();
    println!(
        "memory at {} ids: {:.1} bytes/id resident, {:.1} counted, of which index {:.1}",
        stats.ids_in_memory,
        resident as f64 / ids as f64,
        stats.bytes_in_memory as f64 / ids as f64,
        stats.index_bytes as f64 / ids as f64
    );
    // Time stands still, so that what is measured stays in the window.
    bench.step = 0;
    bench.run(4_000_000, 16, ids)?.print("duplicates of any age");
    bench.run(4_000_000, 16, 100_000)?.print("duplicates of the last 100,000");
    bench.run(4_000_000, 8, ids)?.print("half new, half duplicates");
    bench.step = 1000;
    bench.run(ids / 2, 0, 1)?.print("new, as many leaving the window");
    bench.run(4_000_000, 2, ids / 2)?.print("the same with 1 in 8 duplicates");
    bench.ask = Ask::One;
    bench.run(4_000_000, 0, 1)?.print("new, one entry a call");
    bench.ask = Ask::OneTouched;
    bench.run(4_000_000, 0, 1)?.print("new, one entry a call, touched");
    let resident = resident_bytes() - before;
    let stats = bench.dedup.stats();
    println!("memory afterwards: {:.1} bytes/id resident; {stats:?}", resident as f64 / stats.ids_in_memory as f64);
    Ok(())
}

fn load(dir: &Path, ids: u64) -> Result<(), Failed> {
    let mut bench = Bench::new(dir, ids * 42 + (1 << 20), Duration::from_secs(3600), Duration::ZERO)?;
    let start = Instant::now();
    let group = |first: u64| (first..(first + GROUP as u64).min(ids)).map(|n| (fingerprint(n), n as u32));
    for first in (0..ids).step_by(GROUP) {
        bench.dedup.load(Seq::new(first + 1), UnixMicros::new(first as i64), group(first))?;
    }
    let gathered = start.elapsed();
    bench.dedup.finish_load();
    println!("load of {ids} ids: {:.3?}, of which indexing {:.3?}", start.elapsed(), start.elapsed() - gathered);
    Ok(())
}

fn over_budget(dir: &Path, ids: u64, budget_bytes: u64) -> Result<(), Failed> {
    let mut bench = Bench::new(dir, budget_bytes, Duration::from_secs(3600), Duration::from_millis(1))?;
    bench.run(ids, 0, 1)?.print("over budget: new");
    let stats = bench.dedup.stats();
    println!(
        "over budget: {} MB, {} MB counted, {} ids in memory, {} on disk in {} spans, {} reads, {} waits",
        budget_bytes >> 20,
        stats.bytes_in_memory >> 20,
        stats.ids_in_memory,
        stats.ids_on_disk,
        stats.spans,
        stats.disk_reads,
        stats.spill_waits
    );
    bench.run(1_000_000, 0, 1)?.print("over budget: new, then");
    bench.run(1_000_000, 16, ids)?.print("over budget: duplicates of any age");
    Ok(())
}

fn main() -> Result<(), Failed> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let millions = arguments.first().map_or(Ok(36), |text| text.parse::<u64>())?;
    let ids = millions * 1_000_000;
    let dir = std::env::temp_dir().join(format!("dedup-speed-{}", std::process::id()));
    match arguments.get(1).map(String::as_str) {
        Some("memory") => in_memory(&dir, ids)?,
        Some("load") => load(&dir, 10_000_000)?,
        Some("disk") => over_budget(&dir, ids, 256 << 20)?,
        _ => {
            // A process for each part: what the allocator kept of one would blur the next one's memory and stalls.
            for part in ["memory", "load", "disk"] {
                let exe = std::env::current_exe()?;
                let status = std::process::Command::new(exe).args([&millions.to_string(), part]).status()?;
                if !status.success() {
                    return Err(format!("part {part}: {status}").into());
                }
            }
            return Ok(());
        }
    }
    std::fs::remove_dir(&dir)?;
    Ok(())
}
