//! The `loadgen` binary: parse, run, print.

use anyhow::{Context, Result};
use loadtest::ids::Ids;
use loadtest::options::{HELP, Mode, Options};
use loadtest::plan::Planned;
use loadtest::report::Report;
use std::io::{BufWriter, Write};
use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(Some(options)) => options,
        Ok(None) => {
            print!("{HELP}");
            return ExitCode::SUCCESS;
        }
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            return ExitCode::from(64);
        }
    };
    match act(&options) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("loadgen: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn act(options: &Options) -> Result<ExitCode> {
    if options.mode == Mode::Ids {
        print_ids(options)?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = loadtest::run::run(options)?;
    publish(options, &report)?;
    Ok(if report.is_usable() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn publish(options: &Options, report: &Report) -> Result<()> {
    let json = || serde_json::to_string_pretty(report).context("writing the report");
    match options.json.as_deref() {
        Some(path) if path == Path::new("-") => {
            eprintln!("{report}");
            println!("{}", json()?);
        }
        Some(path) => {
            println!("{report}");
            std::fs::write(path, json()? + "\n").with_context(|| format!("report {}", path.display()))?;
        }
        None => println!("{report}"),
    }
    Ok(())
}

/// One line for each number: what it is, and its id.
fn print_ids(options: &Options) -> Result<()> {
    let (ids, plan) = (Ids::new(options.seed), options.plan());
    let mut out = BufWriter::new(std::io::stdout().lock());
    for number in options.first..options.first + options.events.unwrap_or(10) {
        let planned = plan.of(number);
        let kind = match planned {
            Planned::Fresh(_) => "fresh",
            Planned::Repeat(_) => "repeat",
            Planned::Bad(_) => "bad",
        };
        writeln!(out, "{number} {kind} {}", String::from_utf8_lossy(&ids.text(planned.counter())))?;
    }
    Ok(out.flush()?)
}
