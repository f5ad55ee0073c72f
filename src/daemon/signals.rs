//! SIGTERM and SIGINT drain; a second one exits at once, which loses nothing that was acknowledged. SIGHUP has the
//! configuration read again; where it comes because the daemon's terminal is gone, it drains.

use super::drain::Running;
use super::systemd::{self, Reload};
use super::threads::Fatal;
use crate::control::audit::{Actor, AuditLog, Entry, Outcome, Via};
use crate::control::config::Reloader;
use serde_json::json;
use std::io::IsTerminal;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::signal::unix::{Signal, SignalKind, signal};

/// For so long after the first signal another one counts as the same.
const ECHO: Duration = Duration::from_millis(300);

/// The signals that end the daemon, caught: from here on they drain it, and the system's own way (die at once) is off.
pub struct Signals {
    runtime: Runtime,
    term: Signal,
    interrupt: Signal,
    hangup: Signal,
}

/// SIGHUP, caught: it must not end a daemon that only starts, for a service manager would take that for a clean end.
pub struct Hangup {
    runtime: Runtime,
    hangup: Signal,
}

impl Hangup {
    /// Catches it. To be called first; one that comes during the start has the configuration read again behind it.
    ///
    /// # Errors
    /// What the system said.
    pub fn catch() -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let hangup = {
            let _guard = runtime.enter();
            signal(SignalKind::hangup())?
        };
        Ok(Hangup { runtime, hangup })
    }

    /// Catches the others, too. To be called before the daemon says that it listens: whoever reads that may signal at
    /// once.
    ///
    /// # Errors
    /// What the system said.
    pub fn and_the_others(self) -> std::io::Result<Signals> {
        let Hangup { runtime, hangup } = self;
        let (term, interrupt) = {
            let _guard = runtime.enter();
            (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
        };
        Ok(Signals { runtime, term, interrupt, hangup })
    }
}

/// Whether there is a terminal; one that is closed is none any more.
fn has_terminal() -> bool {
    std::io::stdin().is_terminal() || std::io::stderr().is_terminal()
}

/// Reads the configuration again at each SIGHUP, until the terminal is gone that the daemon was started from, if any.
async fn terminal_gone(hangup: &mut Signal, reloader: &Arc<Reloader>, audit: &Arc<AuditLog>) {
    let had_terminal = has_terminal();
    while hangup.recv().await.is_some() {
        if had_terminal && !has_terminal() {
            return;
        }
        let _reload = Reload::begin();
        tracing::info!("SIGHUP: reading the configuration again");
        let (reloader, audit) = (Arc::clone(reloader), Arc::clone(audit));
        // On a thread of its own: on a file system that hangs it takes for ever, and SIGTERM is to be heard all the same.
        tokio::task::spawn_blocking(move || reload(&reloader, &audit)).await.ok();
    }
    std::future::pending().await
}

/// Reads the configuration again, between two entries of the audit log. It is logged what has come of it, and there is
/// nobody else to tell.
fn reload(reloader: &Reloader, audit: &AuditLog) {
    let entry = Entry::new(Actor::unknown(Via::Signal), "config_reload");
    let of = match audit.append(&entry.clone().outcome(Outcome::Begun)) {
        Ok(of) => of,
        Err(error) => return tracing::error!(%error, "the audit log cannot be written, so nothing is reloaded"),
    };
    let entry = match reloader.reload() {
        Ok(reloaded) => entry.with(reloaded.to_json()),
        Err(mistakes) => entry.outcome(Outcome::Failed).with(json!({"error": mistakes.to_string()})),
    };
    if let Err(error) = audit.record(Entry { of: Some(of), ..entry }) {
        tracing::error!(%error, "the audit log does not say what has come of the reload");
    }
}

/// Waits for a signal, an order to drain or a fatal failure, then drains.
///
/// # Errors
/// What made the daemon end, where it was not a signal.
pub fn run_until_signal(mut running: Running, signals: Signals) -> Result<(), String> {
    let Signals { runtime, mut term, mut interrupt, mut hangup } = signals;
    systemd::ready(&running.url);
    let (reloader, audit, drain) =
        (Arc::clone(&running.reloader), Arc::clone(&running.audit), Arc::clone(&running.drain));
    let (fatal, cause) = runtime.block_on(async {
        let (fatal, cause) = tokio::select! {
            _ = term.recv() => (None, "SIGTERM"),
            _ = interrupt.recv() => (None, "SIGINT"),
            () = terminal_gone(&mut hangup, &reloader, &audit) => (None, "SIGHUP"),
            () = drain.notified() => (None, "admin drain"),
            fatal = running.fatal.recv() => (fatal, "failure"),
        };
        // From here on a further signal means: now. Not the same one twice, though: a terminal, or whoever signals a
        // process and then its group, sends it to us more than once.
        tokio::spawn(async move {
            tokio::time::sleep(ECHO).await;
            for echo in [&mut term, &mut interrupt] {
                tokio::time::timeout(Duration::ZERO, echo.recv()).await.ok();
            }
            tokio::select! {
                _ = term.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("second signal: exiting at once");
            std::process::exit(1);
        });
        (fatal, cause)
    });
    systemd::stopping();
    let via = if cause.starts_with("SIG") { Via::Signal } else { Via::Daemon };
    let reason = fatal.as_ref().map(|Fatal(reason)| reason);
    let stop = Entry::new(Actor::unknown(via), "stop").with(json!({"cause": cause, "failure": reason}));
    if let Some(Fatal(reason)) = &fatal {
        tracing::error!("{reason}");
    } else {
        tracing::info!("stopping: finishing what is under way");
    }
    // The second-signal task needs a turning runtime while this thread drains.
    let drained = std::thread::scope(|scope| {
        let failed = fatal.is_some();
        // Beside the drain: a disk that hangs is not to keep the daemon from refusing what comes.
        let told = scope.spawn(move || match audit.record(stop) {
            // What the daemon has failed for is to be the last word.
            Err(error) if !failed => tracing::error!(%error, "the audit log does not say that the daemon stops"),
            _ => {}
        });
        let drain = scope.spawn(move || running.drain(failed));
        runtime.block_on(async {
            while !(drain.is_finished() && told.is_finished()) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        drain.join().unwrap_or_else(|_| Err("the drain panicked".into()))
    });
    // A reload that hangs is not waited for.
    runtime.shutdown_background();
    // Whoever else met the same failure says the same.
    if let Err(reason) = &drained
        && fatal.as_ref().is_none_or(|Fatal(first)| first != reason)
    {
        tracing::error!("{reason}");
    }
    match fatal {
        Some(Fatal(reason)) => Err(reason),
        None => drained,
    }
}
