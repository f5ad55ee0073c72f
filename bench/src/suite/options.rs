//! The runner's command line.

use super::children::Background;
use super::rows::ROWS;
use anyhow::{Context, Result, bail, ensure};
use lexopt::prelude::*;
use std::path::PathBuf;

/// Rows that share the cores with two servers, and so want another scheduling than the rest.
const SINKS: std::ops::RangeInclusive<u8> = 11..=14;

/// What `bench suite --help` prints.
pub const HELP: &str = "\
bench suite [options]    measure each promise beside the machine's limit and write the table

  --only 1,4        these rows only; the table keeps its other rows (without: 1 to 10; 11 to 14, about sinks, want
                    --no-realtime, Java 17, Maven and Python)
  --rounds N        interleaved rounds (3)
  --short           about a tenth of the time and of the data: to see that it works, not to be quoted
  --out FILE        the table (bench/RESULTS.md; with --short a file beside the raw figures)
  --seconds S       length of a closed-loop run (4)
  --open-seconds S  length of an open-loop run, rows 3, 13, 14 (60; 600 for the record)
  --memory-seconds S  length of row 10 (300; 3600 for the record)
  --ids N           ids that are known beforehand (10000000)
  --life-mib N      events written in row 7 (2048)
  --cache DIR       where prefilled folders lie and runs work ($INGESTD_CACHE or ~/.cache/ingestd, then /bench)
  --bins DIR        where ingestd, loadgen and the yardsticks lie (beside this program)
  --no-realtime     do not run under SCHED_RR
  --background P    how RocksDB's and other background threads run: other (SCHED_OTHER, the default), low
                    (SCHED_RR 1), same";

/// A checked command line.
#[derive(Clone, Debug)]
pub struct Options {
    /// Rows to measure, in order.
    pub only: Vec<u8>,
    /// Interleaved rounds.
    pub rounds: usize,
    /// Whether the figures are a rehearsal.
    pub short: bool,
    /// Where the table goes.
    pub out: Option<PathBuf>,
    /// Closed loops.
    pub seconds: f64,
    /// Open loops.
    pub open_seconds: f64,
    /// Row 10.
    pub memory_seconds: f64,
    /// Known ids.
    pub ids: u64,
    /// Row 7.
    pub life_mib: u64,
    /// Prefilled folders and working folders.
    pub cache: PathBuf,
    /// Programs.
    pub bins: PathBuf,
    /// Whether to run under SCHED_RR.
    pub realtime: bool,
    /// How background threads run.
    pub background: Background,
    /// The command line as it was given.
    pub given: String,
}

impl Options {
    /// Reads the arguments after `suite`; `None` when help was asked for.
    pub fn parse(mut parser: lexopt::Parser) -> Result<Option<Self>> {
        let given = std::env::args().skip(1).collect::<Vec<_>>().join(" ");
        let short = std::env::args().any(|argument| argument == "--short");
        let mut options = Self::defaults(short, given)?;
        while let Some(arg) = parser.next()? {
            match arg {
                Short('h') | Long("help") => return Ok(None),
                Long("short") => {}
                Long("only") => options.only = list(&parser.value()?.string()?)?,
                Long("rounds") => options.rounds = parser.value()?.parse()?,
                Long("out") => options.out = Some(parser.value()?.into()),
                Long("seconds") => options.seconds = parser.value()?.parse()?,
                Long("open-seconds") => options.open_seconds = parser.value()?.parse()?,
                Long("memory-seconds") => options.memory_seconds = parser.value()?.parse()?,
                Long("ids") => options.ids = parser.value()?.parse()?,
                Long("life-mib") => options.life_mib = parser.value()?.parse()?,
                Long("cache") => options.cache = parser.value()?.into(),
                Long("bins") => options.bins = parser.value()?.into(),
                Long("no-realtime") => options.realtime = false,
                Long("background") => options.background = background(&parser.value()?.string()?)?,
                other => return Err(other.unexpected()).context(HELP),
            }
        }
        ensure!((1..=99).contains(&options.rounds), "--rounds goes from 1 to 99");
        let durations = [options.seconds, options.open_seconds, options.memory_seconds];
        ensure!(durations.iter().all(|s| (0.1..=86_400.0).contains(s)), "durations go from 0.1 s to a day");
        ensure!(options.ids >= 1 && options.life_mib >= 1, "--ids and --life-mib must be at least 1");
        Ok(Some(options))
    }

    fn defaults(short: bool, given: String) -> Result<Self> {
        let home = || std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cache"));
        let cache = std::env::var_os("INGESTD_CACHE").map(PathBuf::from).or_else(|| {
            let caches = std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from).or_else(home);
            caches.map(|caches| caches.join("ingestd"))
        });
        let program = std::env::current_exe()?;
        let scale = if short { 0.1 } else { 1.0 };
        Ok(Self {
            only: ROWS.iter().map(|row| row.number).filter(|number| !SINKS.contains(number)).collect(),
            rounds: 3,
            short,
            out: None,
            seconds: if short { 1.0 } else { 4.0 },
            open_seconds: 60.0 * scale,
            memory_seconds: 300.0 * scale,
            ids: if short { 1_000_000 } else { 10_000_000 },
            life_mib: if short { 256 } else { 2048 },
            cache: cache.context("neither INGESTD_CACHE nor HOME is set; give --cache")?.join("bench"),
            bins: program.parent().context("this program has no folder")?.to_owned(),
            realtime: true,
            background: Background::Other,
            given,
        })
    }
}

fn background(word: &str) -> Result<Background> {
    Ok(match word {
        "other" => Background::Other,
        "low" => Background::Low,
        "same" => Background::Same,
        _ => bail!("--background is other, low or same"),
    })
}

fn list(text: &str) -> Result<Vec<u8>> {
    let mut rows = Vec::new();
    for word in text.split(',') {
        let number = word.trim().parse().with_context(|| format!("--only {word:?}"))?;
        ensure!(ROWS.iter().any(|row| row.number == number), "there is no row {number}");
        rows.push(number);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_rows_that_there_are() {
        assert_eq!(list("1, 4").unwrap(), [1, 4]);
        assert!(list("0").is_err() && list("1,,2").is_err() && list("15").is_err());
    }

    #[test]
    fn a_short_run_is_short() {
        let options = Options::defaults(true, String::new()).unwrap();
        assert!(options.seconds <= 1.0 && options.ids <= 1_000_000);
    }
}
