//! What the disk can do: appends of fixed sizes into written blocks, fdatasync after each.

use anyhow::{Context, Result};
use bench::commits::{CommitFigures, WrittenFile, plain_payloads, run};
use bench::process::load_average;
use bench::table::{median_run, short};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "disk [--dir DIR] [--kib 4,64] [--seconds S] [--rounds N] [--file-mib M] [--json]";

fn main() -> Result<()> {
    let (mut directory, mut sizes) = (std::env::temp_dir(), "4,64".to_owned());
    let (mut seconds, mut rounds, mut file_mib, mut json) = (1.0f64, 3usize, 256u64, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => directory = PathBuf::from(parser.value()?),
            Long("kib") => sizes = parser.value()?.string()?,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("file-mib") => file_mib = parser.value()?.parse()?,
            Long("json") => json = true,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    let sizes = sizes.split(',').map(str::parse).collect::<Result<Vec<usize>, _>>().context("--kib")?;
    let duration = Duration::from_secs_f64(seconds.min(60.0));
    let mut file = WrittenFile::prepare(&directory, file_mib.max(16) << 20)?;
    for kib in sizes {
        let payloads = plain_payloads(kib.clamp(1, 8192) << 10);
        let runs = (0..rounds.max(1)).map(|_| run(&mut file, &payloads, 1, duration));
        let runs = runs.collect::<Result<Vec<CommitFigures>>>()?;
        let spread: Vec<String> = runs.iter().map(|run| short(run.commits_per_s)).collect();
        let Some(middle) = median_run(runs, |run| run.commits_per_s) else { continue };
        if json {
            println!("{}", serde_json::to_string(&middle)?);
            continue;
        }
        let CommitFigures { p50_us, p99_us, p999_us, commits_per_s, .. } = middle;
        println!(
            "disk {kib} KiB: {} syncs/s ({}) {:.0} MB/s | p50 {p50_us:.0} p99 {p99_us:.0} p99.9 {p999_us:.0} µs | load {}",
            short(commits_per_s),
            spread.join(" "),
            commits_per_s * (kib << 10) as f64 / 1e6,
            load_average()
        );
    }
    Ok(())
}
