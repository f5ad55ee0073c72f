//! What the log alone does: groups of real events with their ids through its writer, no network, no sink.

use anyhow::{Context, Result};
use bench::process::load_average;
use bench::table::{median_run, short};
use bench::wal_loop::{Log, WalFigures};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "wal-commit [--dir DIR] [--groups 1,8,64,512,4096] [--seconds S] [--rounds N] [--warm-mib M] [--json]\n\
                    --warm-mib: written before the first round, so that there are WAL files to recycle (1536); \
                    0: as after a start";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let (mut directory, mut groups) = (std::env::temp_dir(), "1,8,64,512,4096".to_owned());
    let (mut seconds, mut rounds, mut warm_mib, mut json) = (1.0f64, 3usize, 1536u64, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => directory = PathBuf::from(parser.value()?),
            Long("groups") => groups = parser.value()?.string()?,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("warm-mib") => warm_mib = parser.value()?.parse()?,
            Long("json") => json = true,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    let groups = groups.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>().context("--groups")?;
    let duration = Duration::from_secs_f64(seconds.min(60.0));
    let mut log = Log::open(&directory)?;
    log.warm_up(warm_mib << 20)?;
    for group in groups {
        let runs = (0..rounds.max(1)).map(|_| log.run(group.clamp(1, 16_384), duration));
        let runs = runs.collect::<Result<Vec<WalFigures>>>()?;
        let spread: Vec<String> = runs.iter().map(|run| short(run.commits.events_per_s)).collect();
        let Some(middle) = median_run(runs, |run| run.commits.events_per_s) else { continue };
        if json {
            println!("{}", serde_json::to_string(&middle)?);
            continue;
        }
        let commits = &middle.commits;
        println!(
            "wal-commit group={group}: {} ev/s ({}) {} commits/s of {} B | p50 {:.0} p99 {:.0} p99.9 {:.0} µs | \
             WAL files recycled {} of {} | device/committed {:.2} | load {}",
            short(commits.events_per_s),
            spread.join(" "),
            short(commits.commits_per_s),
            commits.commit_bytes,
            commits.p50_us,
            commits.p99_us,
            commits.p999_us,
            middle.recycled,
            middle.files,
            commits.device_bytes_per_byte.unwrap_or(f64::NAN),
            load_average()
        );
    }
    Ok(())
}
