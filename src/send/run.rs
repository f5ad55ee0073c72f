use crate::plan::Plan;
use crate::progress::Progress;
use crate::stop::Stop;
use crate::{Exit, Observer, Options, Silent, Summary, Tuning, UsageError, engine, render};
use std::io::{self, IsTerminal, Write};
use std::sync::Arc;
use tokio::runtime;
use tokio::signal::unix::{SignalKind, signal};

/// Who asks the run to stop, besides the holder of the [`Stop`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signals {
    /// Nobody.
    Leave,
    /// SIGINT.
    Heed,
}

/// The whole command: sends, shows progress on standard error and prints the summary on standard output. SIGINT makes
/// it read no more, finish what is in flight and print the summary; a second one makes it not wait for that.
#[must_use]
pub fn run(options: &Options) -> Exit {
    let observer: Arc<dyn Observer> =
        if options.quiet { Arc::new(Silent) } else { Arc::new(Progress::new(io::stderr().is_terminal())) };
    match start(options, Tuning::default(), observer, Stop::default(), Signals::Heed) {
        Ok(summary) => {
            report(options, &summary);
            summary.exit()
        }
        Err(error) => {
            complain(&error.to_string());
            Exit::Usage
        }
    }
}

/// Sends, and leaves terminal and signals to the caller. Blocks; not to be called from within an async runtime.
///
/// # Errors
/// [`UsageError`] where nothing could be sent at all; everything later is in the [`Summary`].
pub fn send(options: &Options, tuning: Tuning, observer: Arc<dyn Observer>, stop: Stop) -> Result<Summary, UsageError> {
    start(options, tuning, observer, stop, Signals::Leave)
}

fn start(
    options: &Options,
    tuning: Tuning,
    observer: Arc<dyn Observer>,
    stop: Stop,
    signals: Signals,
) -> Result<Summary, UsageError> {
    let plan = Plan::check(options)?;
    let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(UsageError::runtime)?;
    let summary = runtime.block_on(async {
        if signals == Signals::Heed {
            let mut interrupts = signal(SignalKind::interrupt())?;
            let stop = stop.clone();
            tokio::spawn(async move {
                while interrupts.recv().await.is_some() {
                    stop.stop();
                }
            });
        }
        engine::drive(plan, tuning, observer, stop).await
    });
    // A look-up of the server's name may still be waiting in a thread.
    runtime.shutdown_background();
    summary.map_err(UsageError::runtime)
}

fn report(options: &Options, summary: &Summary) {
    let text =
        if options.json { Some(render::json(summary)) } else { Some(render::text(summary)).filter(|_| !options.quiet) };
    if options.quiet || options.json {
        summary.stopped.iter().chain(&summary.io_errors).for_each(|error| complain(error));
    }
    // Where nobody reads the summary, the exit code still says it.
    if let Some(text) = text {
        drop(io::stdout().lock().write_all(text.as_bytes()));
    }
}

fn complain(error: &str) {
    // There is nobody left to tell.
    drop(writeln!(io::stderr().lock(), "ingestd send: {}", render::printable(error)));
}
