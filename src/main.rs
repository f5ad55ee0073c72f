//! Arguments in, exit code out.
//!
//! Exit codes: 0 done, 1 failed, 2 usage, 64 configuration.

mod admin_tool;
mod cli;
mod wal_tool;

use clap::Parser;
use cli::{Cli, Command, Serve};
use ingestd::control::config::{self, Config};
use ingestd::{control, daemon};
use std::ffi::OsString;
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    if let Err(missing) = check_cpu() {
        control::complain(format_args!("this CPU lacks {missing}, which this build needs (x86-64-v2 and pclmulqdq)"));
        return ExitCode::from(1);
    }
    match Cli::parse().command {
        Command::Serve(arguments) => serve(&arguments),
        Command::Send(options) => ExitCode::from(send::run(&options).code()),
        Command::Check(arguments) => check(&arguments),
        Command::Wal(command) => wal_tool::run(&command),
        Command::Admin(admin) => admin_tool::run(&admin),
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

/// A variable as text: whatever is no UTF-8 is none of ours, and a value that should be is found wrong where it is read.
fn lossy((name, value): (OsString, OsString)) -> (String, String) {
    (name.to_string_lossy().into_owned(), value.to_string_lossy().into_owned())
}

fn configuration(arguments: &Serve) -> Result<Config, config::ConfigError> {
    let mut config = config::load(arguments.config.as_deref(), std::env::vars_os().map(lossy))?;
    if let Some(data) = &arguments.data_dir {
        config.data_dir.clone_from(data);
    }
    if let Some(listen) = arguments.listen {
        config.server.listen = listen;
    }
    config.check()?;
    Ok(config)
}

fn check(arguments: &Serve) -> ExitCode {
    match configuration(arguments) {
        Ok(_) => {
            control::say("configuration is valid");
            ExitCode::SUCCESS
        }
        Err(error) => {
            control::complain(error);
            ExitCode::from(64)
        }
    }
}

fn serve(arguments: &Serve) -> ExitCode {
    let config = match configuration(arguments) {
        Ok(config) => config,
        Err(error) => {
            control::complain(error);
            return ExitCode::from(64);
        }
    };
    control::start_logging(&config.log_level);
    if !config.server.listen.ip().is_loopback() {
        tracing::warn!(listen = %config.server.listen, "listening beyond loopback without authentication");
    }
    let data = config.data_dir.clone();
    // Until the log is open a signal ends the process at once: a recovery may take long, and there is nothing to drain.
    let started = daemon::Bound::new(config)
        .and_then(|bound| Ok((daemon::Signals::catch().map_err(daemon::StartError::Signals)?, bound.start()?)));
    let (signals, running) = match started {
        Ok(started) => started,
        Err(error) => {
            tracing::error!("{error}");
            // No restart mends what is configured.
            return if matches!(error, daemon::StartError::Config(_)) { ExitCode::from(64) } else { ExitCode::FAILURE };
        }
    };
    let address = running.address;
    control::say(format_args!("listening on http://{address}"));
    control::say(format_args!("data in {}", data.canonicalize().unwrap_or(data).display()));
    match daemon::run_until_signal(running, signals) {
        Ok(()) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}
