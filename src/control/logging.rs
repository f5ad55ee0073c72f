//! Logs to stderr: for people on a terminal, with the level as a prefix systemd understands otherwise.

use super::recent_log;
use std::io::Write;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;

/// The way to the filter in use, which is as global as the subscriber it belongs to.
static FILTER: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// What that filter was made of.
static LEVEL: Mutex<String> = Mutex::new(String::new());

/// Reads a level or a filter. A word alone is a level: as the name of a target, which it would be to the filter, it would
/// silence everything.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_level(text: &str) -> Result<EnvFilter, String> {
    for word in text.split(',').map(str::trim).filter(|word| !word.contains('=') && !word.contains("::")) {
        if word.parse::<LevelFilter>().is_err() {
            return Err(format!("`{word}` is none of off, error, warn, info, debug, trace"));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// Starts logging at `level`, which may be any tracing filter; `INGESTD_LOG_FORMAT=json` gives one object a line.
pub fn start_logging(level: &str) {
    let filter = parse_level(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(|| Unfailing).with_target(false);
    let (started, replace): (_, Box<dyn Fn(EnvFilter) + Send + Sync>) =
        if std::env::var("INGESTD_LOG_FORMAT").is_ok_and(|format| format == "json") {
            let builder = builder.json().with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter))))
        } else {
            let builder = builder.with_ansi(terminal).with_filter_reloading();
            let handle = builder.reload_handle();
            (builder.try_init(), Box::new(move |filter| drop(handle.reload(filter))))
        };
    // Only a test that starts twice fails here, and the first subscriber serves it too.
    if started.is_ok() {
        FILTER.set(replace).ok();
        *current() = level.to_owned();
    }
}

/// Logs at another level from now on; one that cannot be read changes nothing.
///
/// # Errors
/// What is wrong with it.
pub fn set_log_level(level: &str) -> Result<(), String> {
    let filter = parse_level(level)?;
    if let Some(replace) = FILTER.get() {
        replace(filter);
    }
    *current() = level.to_owned();
    Ok(())
}

/// The level that is logged at now.
#[must_use]
pub fn log_level() -> String {
    current().clone()
}

fn current() -> MutexGuard<'static, String> {
    LEVEL.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Standard error that takes everything: where nobody reads it any more, or its disk is full, lines are lost and nothing
/// else is.
struct Unfailing;

impl Write for Unfailing {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        recent_log::note(line);
        std::io::stderr().write_all(line).ok();
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Prints a line for whoever started the program, if somebody reads it.
pub fn say(line: impl std::fmt::Display) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Prints a complaint for whoever started the program, if somebody reads it.
pub fn complain(line: impl std::fmt::Display) {
    writeln!(std::io::stderr(), "ingestd: {line}").ok();
}
