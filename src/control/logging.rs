//! The log: to standard error, as text or one JSON object a line, or to the journal with every field of a line.

use super::config::LogFormat;
use super::journal::{self, Journal};
use super::outlet::Outlet;
use super::recent_log;
use super::terminal::printable_lines;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;
use std::io::Write;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;
use tracing::Subscriber;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, fmt, reload};

/// The way to the filter in use, which is as global as the subscriber it belongs to.
static FILTER: OnceLock<Box<dyn Fn(EnvFilter) + Send + Sync>> = OnceLock::new();

/// What that filter was made of.
static LEVEL: Mutex<String> = Mutex::new(String::new());

const LEVELS: [&str; 6] = ["off", "error", "warn", "info", "debug", "trace"];

/// Where the lines go, of the first that were written.
static OUTLET: OnceLock<Arc<Outlet>> = OnceLock::new();

/// How long the end waits for a reader of its last lines.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// Reads a level or a filter. A word alone is a level: as the name of a target, which it would be to the filter, it would
/// silence everything.
///
/// # Errors
/// What is wrong with it.
pub(super) fn parse_level(text: &str) -> Result<EnvFilter, String> {
    for directive in directives(text).map(str::trim) {
        let level = level_of(directive);
        // The filter takes numbers, too, and nothing for `error`: hardly what anybody means who leaves a variable empty.
        if let Some(level) = level.filter(|level| !LEVELS.iter().any(|known| known.eq_ignore_ascii_case(level))) {
            return Err(format!("`{level}` is none of {}", LEVELS.join(", ")));
        }
    }
    EnvFilter::try_new(text).map_err(|error| error.to_string())
}

/// The parts of a filter: what is between its commas, of which those between the braces of a span's fields are none.
fn directives(text: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    text.split(move |letter: char| {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        letter == ',' && depth == 0
    })
}

/// The level that a part of a filter names, unless it is a target or a span alone.
fn level_of(directive: &str) -> Option<&str> {
    // An equals sign between the braces belongs to a field.
    let outside = directive.rsplit_once('}').map_or(directive, |(_, outside)| outside);
    match outside.rsplit_once('=') {
        Some((_, level)) => Some(level.trim()),
        None => (!directive.contains("::") && !directive.contains('{')).then_some(directive),
    }
}

/// Starts logging at `level`, which may be any tracing filter, in `format`.
pub fn start_logging(level: &str, format: LogFormat) {
    let filter = parse_level(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let (filter, handle) = reload::Layer::new(filter);
    let started = tracing_subscriber::registry().with(filter).with(lines(format)).try_init();
    // Only a test that starts twice fails here, and the first subscriber serves it too.
    if started.is_ok() {
        FILTER.set(Box::new(move |filter| drop(handle.reload(filter)))).ok();
        *current() = level.to_owned();
    }
}

/// What writes the lines.
fn lines<S>(format: LogFormat) -> Box<dyn Layer<S> + Send + Sync>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
{
    let text = || fmt::layer().with_writer(|| Unfailing).with_target(false);
    let format = match format {
        LogFormat::Auto if is_connected_to_journal() => LogFormat::Journald,
        LogFormat::Auto => LogFormat::Text,
        format => format,
    };
    match format {
        LogFormat::Json => text().json().boxed(),
        LogFormat::Journald => match journal::connect() {
            Ok(write) => {
                let outlet = OUTLET.get_or_init(|| Outlet::start(write));
                // The newest lines are kept as text all the same.
                Journal::to(Arc::clone(outlet)).and_then(text().with_writer(|| Noted).with_ansi(false)).boxed()
            }
            Err(error) => {
                complain(format_args!("the journal takes no lines, they go to standard error: {error}"));
                text().with_ansi(false).boxed()
            }
        },
        _ => text().with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).boxed(),
    }
}

/// Whether standard error goes to the journal (systemd.exec(5), `JOURNAL_STREAM`).
fn is_connected_to_journal() -> bool {
    let (Ok(stream), Ok(stat)) = (std::env::var("JOURNAL_STREAM"), rustix::fs::fstat(std::io::stderr())) else {
        return false;
    };
    is_stream(&stream, stat.st_dev, stat.st_ino)
}

/// Whether `stream`, device and inode with a colon between, is that file. A child whose standard error was sent elsewhere
/// still has the variable.
fn is_stream(stream: &str, device: u64, inode: u64) -> bool {
    let numbers = stream.split_once(':').map(|(device, inode)| (device.parse(), inode.parse()));
    numbers == Some((Ok(device), Ok(inode)))
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

/// The newest lines, and nothing else.
struct Noted;

impl Write for Noted {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        recent_log::note(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Standard error that takes everything: where nobody reads it any more, or its disk is full, lines are lost and nothing
/// else is.
struct Unfailing;

impl Write for Unfailing {
    fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
        recent_log::note(line);
        OUTLET.get_or_init(|| Outlet::start(write_to_stderr)).put(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Writes a line, and says whether all of it was taken. Past the library's lock: whoever else says something must not wait
/// behind it.
fn write_to_stderr(mut line: &[u8]) -> bool {
    let stderr = std::io::stderr();
    while !line.is_empty() {
        match rustix::io::write(&stderr, line) {
            Err(Errno::INTR) => {}
            // Whoever shares the pipe may have made it one that never waits.
            Err(Errno::AGAIN) => drop(poll(&mut [PollFd::new(&stderr, PollFlags::OUT)], None)),
            Ok(0) | Err(_) => return false,
            Ok(written) => line = line.get(written..).unwrap_or_default(),
        }
    }
    true
}

/// Waits until the last lines are out, if somebody takes them. To be called when the process ends.
pub fn flush_log() {
    if let Some(outlet) = OUTLET.get() {
        outlet.flush(LAST_WORDS);
    }
}

/// How many lines of the log were lost, for nobody took them.
pub(super) fn lines_lost() -> u64 {
    OUTLET.get().map_or(0, |outlet| outlet.lost())
}

/// Prints a line for whoever started the program, if somebody reads it.
pub fn say(line: impl std::fmt::Display) {
    writeln!(std::io::stdout(), "{line}").ok();
}

/// Prints a complaint for whoever started the program, if somebody reads it. It may repeat what others have said.
pub fn complain(line: impl std::fmt::Display) {
    writeln!(std::io::stderr(), "ingestd: {}", printable_lines(&line.to_string())).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_is_a_word_and_never_nothing() {
        for level in
            ["info", "OFF", "info,hyper=warn", "warn,h2=off", "hyper::proto", "[span{a=1}]=debug,info", "[span{a}]=off"]
        {
            parse_level(level).unwrap();
        }
        let words = ["", " ", "3", "info,,", "info,", "loud", "hyper=", "hyper=3", "info,hyper=loud"];
        // What is asked of a span's fields says nothing of the parts beside it.
        let beside_fields = [
            "[a{b=1}]=debug,x=3",
            "[a{b=1}]=debug,x=",
            "[a{b=1}]=3",
            "[a{b=1}]=",
            "[a{b=1}]=debug,",
            "x=3,[a{b=1}]=debug",
        ];
        for level in words.into_iter().chain(beside_fields) {
            let wrong = parse_level(level).unwrap_err();
            assert!(wrong.contains("is none of off, error, warn, info, debug, trace"), "{level}: {wrong}");
        }
    }

    #[test]
    fn the_journal_is_told_from_another_file() {
        assert!(is_stream("8:4711", 8, 4711));
        for other in ["8:4712", "9:4711", "8", "", ":", "8:", "8:4711:1", "a:b"] {
            assert!(!is_stream(other, 8, 4711), "{other}");
        }
    }
}
