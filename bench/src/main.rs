//! `bench suite` measures the promises and writes the table; `bench prefill` writes a data folder with a past.

use anyhow::{Context, Result, bail};
use bench::prefill::{self, Prefill};
use bench::suite::{self, options};
use lexopt::prelude::*;
use std::path::PathBuf;

const HELP: &str = "\
bench suite [options]                            see bench suite --help
bench prefill --dir DIR --ids N [--pending]      a data folder that remembers N ids, all committed now; with
                                                 --pending their events wait for the sinks";

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> Result<()> {
    let mut parser = lexopt::Parser::from_env();
    let command = match parser.next()? {
        Some(Value(word)) => word.string()?,
        _ => bail!("{HELP}"),
    };
    match command.as_str() {
        "suite" => match options::Options::parse(parser)? {
            Some(options) => suite::run(options),
            None => {
                println!("{}", options::HELP);
                Ok(())
            }
        },
        "prefill" => prefill(parser),
        _ => bail!("{HELP}"),
    }
}

fn prefill(mut parser: lexopt::Parser) -> Result<()> {
    let (mut folder, mut ids, mut pending) = (None, None, false);
    while let Some(arg) = parser.next()? {
        match arg {
            Long("dir") => folder = Some(PathBuf::from(parser.value()?)),
            Long("ids") => ids = Some(parser.value()?.parse()?),
            Long("pending") => pending = true,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    prefill::write(&folder.context(HELP)?, Prefill { ids: ids.context(HELP)?, pending })
}
