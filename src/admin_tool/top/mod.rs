//! `ingestd admin top`: the daemon, live.
//!
//! `watch` asks it again and again, on a thread of its own, and says when it is away; `screen` is what is shown, `draw` puts it
//! onto the terminal, `terminal` gives that back as it was, whatever happens.

mod draw;
mod screen;
mod terminal;
mod watch;
mod words;

use super::exit::{FAILED, USAGE};
use super::{failed, print};
use crate::cli::Top;
use ingestd::control::admin::{AskError, Connection};
use ingestd::control::complain;
use serde_json::json;
use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

/// Shows the daemon until somebody has seen enough.
pub(super) fn run(socket: &Path, how: &Top, json: bool) -> ExitCode {
    let interval = Duration::from_secs_f64(how.interval);
    if json {
        return lines(socket, interval, how.count.unwrap_or(u64::MAX));
    }
    if !std::io::stdout().is_terminal() {
        complain("the output is no terminal: `admin top --json` prints one object for each look");
        return USAGE.into();
    }
    // Where it is not there at all, that is better said without a screen.
    let connection = match Connection::open(socket, Some(watch::PATIENCE)) {
        Ok(connection) => connection,
        Err(error) => return failed(&error),
    };
    match terminal::show(socket, connection, interval) {
        Ok(code) => code,
        Err(error) => {
            complain(format_args!("the terminal cannot be used: {error}"));
            FAILED.into()
        }
    }
}

/// One object a line for each look; goes on when the daemon comes back.
fn lines(socket: &Path, interval: Duration, count: u64) -> ExitCode {
    let open = || Connection::open(socket, Some(watch::PATIENCE));
    let mut connection = match open() {
        Ok(connection) => Some(connection),
        Err(error) => return failed(&error),
    };
    let mut left = count;
    while left > 0 {
        let looked = match connection.take() {
            Some(connection) => Ok(connection),
            None => open(),
        };
        match looked.and_then(|mut there| there.ask(&json!({"command": "figures"})).map(|figures| (there, figures))) {
            Ok((there, figures)) => {
                connection = Some(there);
                left -= 1;
                if !print(&format!("{figures}\n")) {
                    break;
                }
            }
            Err(error @ AskError::Reach { .. }) => complain(format_args!("{error}; trying again")),
            Err(error) => return failed(&error),
        }
        if left > 0 {
            std::thread::sleep(interval);
        }
    }
    ExitCode::SUCCESS
}
