//! Arguments in, exit code out.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 64 configuration; those of `admin` are in `admin_tool/exit.rs`.

mod admin_tool;
mod cli;
mod config_tool;
mod wal_tool;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;
use cli::{Cli, Command, Run};
use ingestd::{control, daemon};
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(missing) = check_cpu() {
        control::complain(format_args!("this CPU lacks {missing}, which this build needs (x86-64-v2 and pclmulqdq)"));
        return ExitCode::from(1);
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    match cli.command {
        Command::Serve(arguments) => {
            let code = serve(&arguments);
            control::flush_log();
            code
        }
        Command::Send(options) => ExitCode::from(send::run(&options).code()),
        Command::Check(arguments) => config_tool::check(&arguments),
        Command::Config(what) => config_tool::show(&what),
        Command::Wal(command) => wal_tool::run(&command),
        Command::Admin(admin) => admin_tool::run(&admin),
        Command::Completions { shell } => completions(shell),
        Command::Man { dir } => man(&dir),
    }
}

/// Prints what clap has to say: help, the version, or what is wrong with the arguments.
fn usage(error: &clap::Error) -> ExitCode {
    // Whoever reads may have seen enough.
    error.print().ok();
    let is_admin = std::env::args_os().nth(1).is_some_and(|command| command == "admin");
    match error.exit_code() {
        0 => ExitCode::SUCCESS,
        _ if is_admin => admin_tool::USAGE.into(),
        code => ExitCode::from(code as u8),
    }
}

#[cfg(target_arch = "x86_64")]
fn check_cpu() -> Result<(), &'static str> {
    for (there, name) in [
        (std::is_x86_feature_detected!("sse4.2"), "SSE4.2"),
        (std::is_x86_feature_detected!("popcnt"), "POPCNT"),
        (std::is_x86_feature_detected!("pclmulqdq"), "PCLMULQDQ"),
    ] {
        if !there {
            return Err(name);
        }
    }
    Ok(())
}

#[cfg(not(target_arch = "x86_64"))]
fn check_cpu() -> Result<(), &'static str> {
    Ok(())
}

/// Prints completions for a shell.
fn completions(shell: Shell) -> ExitCode {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "ingestd", &mut out);
    // Whoever reads may have seen enough.
    std::io::stdout().write_all(&out).ok();
    ExitCode::SUCCESS
}

/// Writes the man pages, one for each command.
fn man(dir: &Path) -> ExitCode {
    let written = std::fs::create_dir_all(dir).and_then(|()| clap_mangen::generate_to(Cli::command(), dir));
    match written {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            control::complain(format_args!("cannot write man pages to {}: {error}", dir.display()));
            ExitCode::FAILURE
        }
    }
}

fn serve(arguments: &Run) -> ExitCode {
    let loaded = match config_tool::sources(&arguments.layers).load() {
        Ok(loaded) => loaded,
        Err(mistakes) => {
            mistakes.0.iter().for_each(control::complain);
            return ExitCode::from(config_tool::MISTAKEN);
        }
    };
    let config = loaded.config();
    control::start_logging(&config.log_level, config.log_format);
    let data = config.data_dir.clone();
    // Until the log is open a signal ends the process at once: a recovery may take long, and there is nothing to drain.
    let started = daemon::Hangup::catch().map_err(daemon::StartError::Signals).and_then(|hangup| {
        let bound = daemon::Bound::new(loaded, copy_as(arguments))?;
        Ok((hangup.and_the_others().map_err(daemon::StartError::Signals)?, bound.start()?))
    });
    let (signals, running) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!(code = error.code().as_str(), "{error}");
            // No restart mends what is configured.
            return if error.is_about_settings() { ExitCode::from(64) } else { ExitCode::FAILURE };
        }
    };
    if let Some(figures) = running.figures {
        control::say(format_args!("health and figures on http://{figures}"));
    }
    control::say(format_args!("listening on {}", running.url));
    control::say(format_args!("data in {}", data.canonicalize().unwrap_or(data).display()));
    match daemon::run_until_signal(running, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the data folder, a checkpoint, is used as.
fn copy_as(arguments: &Run) -> Option<wal::CopyUse> {
    match (arguments.as_new_node, arguments.replace) {
        (true, _) => Some(wal::CopyUse::AsNewNode),
        (false, true) => Some(wal::CopyUse::Replace),
        (false, false) => None,
    }
}
