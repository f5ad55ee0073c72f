//! The table in `bench/RESULTS.md`: rows measured now replace their older ones, the rest stays as it was.

use super::Bench;
use super::load::Spread;
use super::rows::Row;
use crate::process::load_average;
use crate::table::short;
use anyhow::Result;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

const HEAD: &str = "| # | work | ours | limit beside it | ratio | reach | dream | command, notes |\n\
                    |---|---|---|---|---|---|---|---|\n";

/// What a row found.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Our figure, with its unit.
    pub ours: String,
    /// The yardstick's.
    pub limit: String,
    /// Ours over the limit, round by round.
    pub ratio: Option<Spread>,
    /// Whether what was promised was reached.
    pub reached: bool,
    /// Whether what is hoped for was.
    pub dreamt: bool,
    /// How it was measured, and what else there is to know.
    pub notes: Vec<String>,
}

/// The table's rows by number.
#[derive(Debug, Default)]
pub struct Results {
    rows: BTreeMap<u8, String>,
    started_load: String,
}

impl Results {
    /// The rows of an earlier run, if there was one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = match std::fs::read_to_string(path) {
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
            text => text?,
        };
        Ok(Self { rows: parse(&text), started_load: load_average() })
    }

    /// Puts a row in, and returns its line.
    pub fn put(&mut self, bench: &Bench, row: &Row, outcome: &Outcome) -> &str {
        let ratio = outcome.ratio.map_or_else(|| "–".to_owned(), |ratio| ratio.to_string());
        let verdict = |text: &str, met: bool| format!("{text} {}", if met { "✓" } else { "✗" });
        let mut notes = vec![format!("`bench suite --only {}`", row.number)];
        notes.extend(outcome.notes.iter().cloned());
        notes.push(format!("{}, load {}, {}", stamp(), load_average(), commit()));
        if bench.options.short {
            notes.push("**short run, not to be quoted**".to_owned());
        }
        let cells = [
            row.work.to_owned(),
            outcome.ours.clone(),
            outcome.limit.clone(),
            ratio,
            verdict(row.reach, outcome.reached),
            verdict(row.dream, outcome.dreamt),
            notes.join("; "),
        ];
        let cells = cells.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        let line = format!("| {} | {} |", row.number, cells.join(" | "));
        self.rows.insert(row.number, line);
        &self.rows[&row.number]
    }

    /// Writes the table with a description of the machine.
    pub fn write(&self, bench: &Bench, path: &Path) -> Result<()> {
        let mut text = String::from("# Results\n\n");
        text.push_str(ABOUT);
        write!(text, "\n{}\n", machine(bench, &self.started_load))?;
        text.push_str(HEAD);
        for line in self.rows.values() {
            writeln!(text, "{line}")?;
        }
        text.push_str(AGAIN);
        Ok(std::fs::write(path, text)?)
    }
}

const ABOUT: &str = "Each promise beside the least that the same work costs on the same machine, measured in turn in the \
same run: absolute figures drift with\nthe neighbours, ratios much less. Figures are medians of the rounds, in \
parentheses the lowest and the highest; a ratio is the median of the\nrounds' ratios. fsync is on, ids are known \
beforehand as the notes say, the load generator runs on the same cores.\n";

const AGAIN: &str = "\n## Again\n\n```\nmake bench                                   # all rows, about 25 minutes\n\
make bench ARGS='--only 1,2 --rounds 5'      # some rows, the others stay\n\
make bench ARGS='--only 3 --open-seconds 600'\nmake bench ARGS='--only 10 --memory-seconds 3600'\n\
make bench ARGS='--only 11,12,13,14 --no-realtime'\n```\n";

/// Table lines by their number.
fn parse(text: &str) -> BTreeMap<u8, String> {
    let numbered = text.lines().filter_map(|line| {
        let number = line.strip_prefix("| ")?.split_once(" |")?.0.parse().ok()?;
        Some((number, line.to_owned()))
    });
    numbered.collect()
}

fn machine(bench: &Bench, started_load: &str) -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    let cpu = cpu();
    let memory = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<f64>().ok());
    let kernel = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let disk =
        output("findmnt", &["-nro", "SOURCE,FSTYPE,OPTIONS", "--target", &bench.options.cache.to_string_lossy()]);
    let scheduling = match bench.launcher.realtime {
        true => format!("SCHED_RR 5; RocksDB's threads and nice ones: {:?}", bench.launcher.background),
        false => "SCHED_OTHER (no permission for, or no wish of, SCHED_RR)".to_owned(),
    };
    let ahead = if bench.launcher.ahead { ", session before others (autogroup -20)" } else { "" };
    let lines = [
        ("machine", format!("{cores} cores of {cpu}, {} GiB", short(memory.unwrap_or(0.0) / 1_048_576.0))),
        ("kernel", kernel.trim().to_owned()),
        ("disk", disk.unwrap_or_else(|| "unknown".to_owned())),
        ("scheduling", scheduling + ahead),
        ("load average", format!("{started_load} at the start, {} at the end of the last run", load_average())),
        ("last run", format!("{}, {}, `bench {}`", stamp(), commit(), bench.options.given)),
    ];
    lines.iter().map(|(name, value)| format!("- {name}: {value}\n")).collect()
}

/// The processor; guests are often told no more of its name than the maker's, so with family and model.
fn cpu() -> String {
    let told = |name| field("/proc/cpuinfo", name).unwrap_or_else(|| "?".to_owned());
    format!("{}, family {}, model {}, {} MHz", told("model name"), told("cpu family"), told("model\t"), told("cpu MHz"))
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn output(program: &str, args: &[&str]) -> Option<String> {
    let output = Command::new(program).args(args).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.lines().next()?.trim().to_owned()).filter(|_| output.status.success())
}

fn stamp() -> String {
    format!("{:.0}", jiff::Timestamp::now()).replace('T', " ")
}

/// The checkout's commit, with a mark when files other than the table differ from it.
fn commit() -> String {
    let Some(commit) = output("git", &["rev-parse", "--short", "HEAD"]) else { return "no commit".to_owned() };
    let others = ["status", "--porcelain", "--untracked-files=no", "--", ":/", ":(top,exclude)bench/RESULTS.md"];
    let changed = output("git", &others).is_some();
    if changed { format!("{commit} with changes") } else { commit }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_an_earlier_run_are_kept() {
        let text = "# Results\n\n| # | work |\n|---|---|\n| 1 | one |\n| 10 | ten |\n\ntext\n";
        let rows = parse(text);
        assert_eq!(rows.into_iter().collect::<Vec<_>>(), [(1, "| 1 | one |".into()), (10, "| 10 | ten |".into())]);
    }
}
