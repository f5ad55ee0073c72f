//! What shows over a daemon's life: its start after a crash, and its memory.

use crate::process;
use crate::suite::Bench;
use crate::suite::children::Server;
use crate::suite::load::{Side, Spread, load, settle};
use crate::suite::results::Outcome;
use crate::table::short;
use anyhow::{Context, Result};
use std::time::{Duration, Instant};

/// A start must be done by then.
const START_LIMIT: Duration = Duration::from_secs(300);
/// How often memory is looked at.
const SAMPLE: Duration = Duration::from_secs(1);

/// Row 8.
pub(super) fn start(bench: &Bench) -> Result<Outcome> {
    let mut seconds = Vec::new();
    let mut first_answer = Vec::new();
    let mut log_mib = 0;
    for round in 1..=bench.options.rounds {
        let data = bench.prefilled("data", true)?;
        // Crashed while it was busy, so that there is a WAL to read again.
        let server = bench.daemon(&data, &[("PARQUET_ENABLED", "false")])?;
        let args = "http --batch 100 --connections 16 --warmup 0 --duration 1";
        load(bench, 8, round, Side { who: "before the crash", server: &server, args })?;
        server.process.crash();
        log_mib = wal_bytes(&data.join("log")) >> 20;
        settle();
        let started = Instant::now();
        let mut server = bench.start_daemon(&data, &[])?;
        server.wait_ready(START_LIMIT)?;
        let ready = started.elapsed().as_secs_f64();
        first_answer.push(first_event(bench, round, &server)?);
        eprintln!("  8.{round} ready after {ready:.3} s");
        bench.note_raw(8, round, "ours", &serde_json::json!({"ready_s": ready}).to_string())?;
        seconds.push(ready);
    }
    let spread = Spread::of(seconds).context("no rounds")?;
    let first = Spread::of(first_answer).context("no rounds")?;
    Ok(Outcome {
        ours: format!("{spread} s"),
        limit: "–".to_owned(),
        ratio: None,
        reached: spread.median < 10.0,
        dreamt: spread.median < 2.0,
        notes: vec![
            format!("{} events pending, as many ids known, {log_mib} MiB of WAL", short(bench.options.ids as f64)),
            format!("slowest of the first 64 events after it {first} ms"),
            "the page cache is warm".to_owned(),
        ],
    })
}

/// How long the first events after a start took at most, in milliseconds.
fn first_event(bench: &Bench, round: usize, server: &Server) -> Result<f64> {
    let args = "http --connections 1 --events 64 --seed 1";
    let found = load(bench, 8, round, Side { who: "first events", server, args })?;
    Ok(found.latency_us.max / 1e3)
}

fn wal_bytes(folder: &std::path::Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let wals = entries.filter(|entry| entry.path().extension().is_some_and(|extension| extension == "log"));
    wals.filter_map(|entry| entry.metadata().ok()).map(|metadata| metadata.len()).sum()
}

/// Row 10.
pub(super) fn memory(bench: &Bench) -> Result<Outcome> {
    let seconds = bench.options.memory_seconds;
    // The filter grows until its window is full, which is not what is looked for: full after a sixth of the run.
    let window = ((seconds / 6.0) as u64).max(1).to_string();
    let settings = [("PARQUET_ENABLED", "false"), ("DEDUP_WINDOW_S", window.as_str())];
    let server = bench.daemon(&bench.place.fresh("data")?, &settings)?;
    let pid = server.process.pid();
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let sampler = std::thread::spawn(move || sample(pid, &stopped));
    let args = format!("http --rate 10k --connections 64 --warmup 1 --duration {seconds}");
    let found = load(bench, 10, 1, Side { who: "ours", server: &server, args: &args });
    drop(stop);
    let samples = sampler.join().map_err(|_| anyhow::anyhow!("the sampler panicked"))?;
    let found = found?;
    bench.note_raw(10, 1, "rss", &serde_json::json!({"s_and_mib": samples}).to_string())?;
    let (first, last) = samples.first().zip(samples.last()).context("no samples")?;
    let slope = slope(&samples[samples.len() / 2..]) * 3600.0;
    Ok(Outcome {
        ours: format!("{} → {} MiB, {} MiB/h", short(first.1), short(last.1), short(slope)),
        limit: "–".to_owned(),
        ratio: None,
        reached: slope < 64.0,
        dreamt: slope < 8.0,
        notes: vec![
            format!("{seconds:.0} s, `loadgen {args}`, Parquet off, nothing trimmed, no ids known before"),
            format!(
                "dedup window {window} s (3600 by default: the ids of the first hour then add some 33 bytes each, up to \
                 dedup.budget_bytes)"
            ),
            "the slope is that of the second half".to_owned(),
            format!("{:.0} events/s", found.events_per_s),
        ],
    })
}

/// Seconds and MiB until told to stop.
fn sample(pid: u32, stopped: &std::sync::mpsc::Receiver<()>) -> Vec<(f64, f64)> {
    let started = Instant::now();
    let mut samples = Vec::new();
    loop {
        if let Ok(usage) = process::usage(pid) {
            samples.push((started.elapsed().as_secs_f64(), usage.rss_kib as f64 / 1024.0));
        }
        match stopped.recv_timeout(SAMPLE) {
            Err(std::sync::mpsc::RecvTimeoutError::Timeout) => {}
            _ => return samples,
        }
    }
}

/// Least squares: MiB per second.
fn slope(samples: &[(f64, f64)]) -> f64 {
    let count = samples.len().max(1) as f64;
    let mean_x = samples.iter().map(|sample| sample.0).sum::<f64>() / count;
    let mean_y = samples.iter().map(|sample| sample.1).sum::<f64>() / count;
    let (mut over, mut under) = (0.0, 0.0);
    for (x, y) in samples {
        over += (x - mean_x) * (y - mean_y);
        under += (x - mean_x) * (x - mean_x);
    }
    if under > 0.0 { over / under } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_slope_of_a_line_is_its_own() {
        let samples: Vec<(f64, f64)> = (0..10).map(|x| (f64::from(x), 5.0 + 2.0 * f64::from(x))).collect();
        assert!((slope(&samples) - 2.0).abs() < 1e-9);
        assert!(slope(&[]).abs() < 1e-9);
    }
}
