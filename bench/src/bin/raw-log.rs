//! The least a durable event costs: prepared groups of events appended to written blocks, fdatasync after each.

use anyhow::{Context, Result};
use bench::commits::{CommitFigures, WrittenFile, event_groups, run};
use bench::process::load_average;
use bench::table::{median_run, short};
use lexopt::prelude::*;
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "raw-log [--dir DIR] [--groups 1,8,64,512,4096] [--seconds S] [--rounds N] [--file-mib M] [--json]";

fn main() -> Result<()> {
    let (mut directory, mut groups) = (std::env::temp_dir(), "1,8,64,512,4096".to_owned());
    let (mut seconds, mut rounds, mut file_mib, mut json) = (1.0f64, 3usize, 512u64, false);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => directory = PathBuf::from(parser.value()?),
            Long("groups") => groups = parser.value()?.string()?,
            Long("seconds") => seconds = parser.value()?.parse()?,
            Long("rounds") => rounds = parser.value()?.parse()?,
            Long("file-mib") => file_mib = parser.value()?.parse()?,
            Long("json") => json = true,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    let groups = groups.split(',').map(str::parse).collect::<Result<Vec<u64>, _>>().context("--groups")?;
    let duration = Duration::from_secs_f64(seconds.min(60.0));
    let mut file = WrittenFile::prepare(&directory, file_mib.max(16) << 20)?;
    for group in groups {
        let payloads = event_groups(group.clamp(1, 16_384));
        let runs = (0..rounds.max(1)).map(|_| run(&mut file, &payloads, group, duration));
        let runs = runs.collect::<Result<Vec<CommitFigures>>>()?;
        let spread: Vec<String> = runs.iter().map(|run| short(run.events_per_s)).collect();
        let Some(middle) = median_run(runs, |run| run.events_per_s) else { continue };
        if json {
            println!("{}", serde_json::to_string(&middle)?);
            continue;
        }
        let CommitFigures { p50_us, p99_us, p999_us, commit_bytes, commits_per_s, .. } = middle;
        println!(
            "raw-log group={group}: {} ev/s ({}) {} commits/s of {commit_bytes} B | p50 {p50_us:.0} p99 {p99_us:.0} \
             p99.9 {p999_us:.0} µs | device/committed {:.2} | load {}",
            short(middle.events_per_s),
            spread.join(" "),
            short(commits_per_s),
            middle.device_bytes_per_byte.unwrap_or(f64::NAN),
            load_average()
        );
    }
    Ok(())
}
