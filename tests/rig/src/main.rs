//! The rigs' front door: chooses scenarios, prints their reports, exits with 1 if any promise was broken.

use std::path::Path;
use std::process::ExitCode;

use rig::cli::{self, Options};

fn main() -> ExitCode {
    // As process 1 of a guest there are no arguments; the kernel hands the plan over in the environment.
    if let Ok(plan) = std::env::var("rig_guest") {
        let error = rig::guest::run(Path::new(&plan)).err();
        eprintln!("rig guest: {error:?}");
        return ExitCode::FAILURE;
    }
    let options = match Options::parse(lexopt::Parser::from_env()) {
        Ok(Some(options)) => options,
        Ok(None) => {
            println!("{}", cli::USAGE);
            return ExitCode::SUCCESS;
        }
        Err(why) => {
            eprintln!("rig: {why}\n\n{}", cli::USAGE);
            return ExitCode::from(64);
        }
    };
    match cli::run(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("rig: {error}");
            ExitCode::FAILURE
        }
    }
}
