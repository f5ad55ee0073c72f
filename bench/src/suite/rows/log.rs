//! The log: commits without a network, and what the device writes over an event's whole life.

use crate::commits::CommitFigures;
use crate::device;
use crate::suite::Bench;
use crate::suite::image::Image;
use crate::suite::load::{Side, Spread, load, settle};
use crate::suite::results::Outcome;
use crate::table::short;
use crate::wal_loop::WalFigures;
use anyhow::{Context, Result};
use serde::de::DeserializeOwned;
use std::path::Path;
use std::time::{Duration, Instant};

/// A tool prepares its files and ends in this time.
const TOOL_LIMIT: Duration = Duration::from_secs(120);
/// Row 7: dedup window; id lists go to the device and are trimmed like events, only the window later.
const WINDOW_S: u64 = 10;
/// The device counts as quiet when it wrote less than this in two looks.
const QUIET_BYTES: u64 = 1 << 20;
const LOOK: Duration = Duration::from_secs(2);
/// Waiting for quiet ends here, as other programs may never be.
const QUIET_LIMIT: Duration = Duration::from_secs(60);

/// Row 4.
pub(super) fn commits(bench: &Bench) -> Result<Outcome> {
    let seconds = bench.options.seconds;
    let (mut warm, mut cold, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        settle();
        raw.push(tool::<CommitFigures>(bench, round, "raw-log", &format!("--groups 512 --seconds {seconds}"))?);
        settle();
        warm.push(tool::<WalFigures>(bench, round, "wal-commit", &format!("--groups 512 --seconds {seconds}"))?);
        settle();
        let args = format!("--groups 512 --seconds {} --warm-mib 0", seconds.min(0.5));
        cold.push(tool::<WalFigures>(bench, round, "wal-commit", &args)?);
    }
    let pairs = warm.iter().zip(&raw);
    let ratio = Spread::of(pairs.map(|(warm, raw)| warm.commits.events_per_s / raw.events_per_s.max(1.0)));
    let ratio = ratio.context("no rounds")?;
    let of = |figures: &[WalFigures]| {
        Spread::of(figures.iter().map(|figures| figures.commits.events_per_s)).context("no rounds")
    };
    let limit = Spread::of(raw.iter().map(|raw| raw.events_per_s)).context("no rounds")?;
    let recycled: Vec<String> =
        warm.iter().map(|figures| format!("{} of {}", figures.recycled, figures.files)).collect();
    let tails = Spread::of(warm.iter().map(|figures| figures.commits.p999_us)).context("no rounds")?;
    Ok(Outcome {
        ours: format!("{} ev/s", of(&warm)?),
        limit: format!("raw-log {limit} ev/s"),
        reached: ratio.median >= 0.3,
        dreamt: ratio.median >= 0.6,
        ratio: Some(ratio),
        notes: vec![
            format!("`wal-commit --groups 512 --seconds {seconds}`, `raw-log --groups 512 --seconds {seconds}`"),
            format!("pool of WAL files warm: {} files recycled", recycled.join(", ")),
            format!("p99.9 {tails} µs"),
            format!("first half second after a start, pool empty: {} ev/s", of(&cold)?),
        ],
    })
}

/// Runs a tool once and reads its line of JSON.
fn tool<T: DeserializeOwned>(bench: &Bench, round: usize, name: &str, args: &str) -> Result<T> {
    let mut command = bench.launcher.command(&bench.program(name));
    command.args(args.split_whitespace()).args(["--rounds", "1", "--json", "--dir"]).arg(bench.place.folder());
    let log = bench.place.folder().join(format!("{name}.log"));
    let printed = bench.launcher.start(command, &log)?.finish(TOOL_LIMIT)?;
    bench.note_raw(4, round, name, printed.trim())?;
    eprintln!("  4.{round} {name} {args}: {}", printed.trim());
    serde_json::from_str(printed.trim()).with_context(|| format!("{name} printed {printed}"))
}

/// Row 7.
pub(super) fn device_bytes(bench: &Bench) -> Result<Outcome> {
    let size = (bench.options.life_mib * 4 + 2048) << 20;
    let (image, notice) = match Image::mount(bench.place.folder(), size) {
        Ok(image) => (Some(image), "a device of its own (loop)".to_owned()),
        Err(error) => (None, format!("**the device is shared with other programs** ({error:#})")),
    };
    let place = image.as_ref().map_or(bench.place.folder(), Image::folder);
    let data = place.join("data");
    let window = WINDOW_S.to_string();
    let settings = [("PARQUET_ENABLED", "false"), ("LOG_HOLD_S", "0"), ("DEDUP_WINDOW_S", window.as_str())];
    // About 483 bytes each; the report has the exact number.
    let events = (bench.options.life_mib << 20) / 483 / 100 * 100;
    let args = format!("http --batch 100 --connections 16 --events {events} --time-limit 600");
    settle();
    let before = device::counts(place)?;
    let server = bench.daemon(&data, &settings)?;
    let found = load(bench, 7, 1, Side { who: "ours", server: &server, args: &args })?;
    // What is still in memory is written by the start after a stop; then everything is trimmed.
    std::thread::sleep(Duration::from_secs(WINDOW_S));
    quiet(place)?;
    server.process.stop()?;
    let server = bench.daemon(&data, &settings)?;
    quiet(place)?;
    let written = device::counts(place)?.since(&before).written_bytes;
    server.process.stop()?;
    let event_bytes = events as f64 * found.message_bytes as f64;
    let ours = written as f64 / event_bytes;
    let summary = serde_json::json!({"device_bytes": written, "event_bytes": event_bytes});
    bench.note_raw(7, 1, "device", &summary.to_string())?;
    Ok(Outcome {
        ours: short(ours),
        limit: short(1.0),
        ratio: Spread::of([ours]),
        reached: ours <= 2.5,
        dreamt: ours <= 1.3,
        notes: vec![
            format!("{} of events of {} B each, `loadgen {args}`, no sink", mib(event_bytes), found.message_bytes),
            format!(
                "dedup window {WINDOW_S} s (3600 by default), hold 0 (3600 by default): all of it is trimmed within the run"
            ),
            format!("left after trimming {}", mib(folder_bytes(&data) as f64)),
            notice,
        ],
    })
}

/// Waits until the device has little to do.
fn quiet(folder: &Path) -> Result<()> {
    let end = Instant::now() + QUIET_LIMIT;
    let mut before = device::counts(folder)?;
    loop {
        std::thread::sleep(LOOK);
        rustix::fs::sync();
        let now = device::counts(folder)?;
        if now.since(&before).written_bytes < QUIET_BYTES || Instant::now() > end {
            return Ok(());
        }
        before = now;
    }
}

fn folder_bytes(folder: &Path) -> u64 {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    let size = |entry: std::fs::DirEntry| match entry.metadata() {
        Ok(metadata) if metadata.is_dir() => folder_bytes(&entry.path()),
        Ok(metadata) => metadata.len(),
        Err(_) => 0,
    };
    entries.map(size).sum()
}

fn mib(count: f64) -> String {
    format!("{} MiB", short(count / 1_048_576.0))
}
