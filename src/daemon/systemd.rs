//! The service manager's side of life: the socket that it holds over restarts, what it is told, the watchdog that is fed.
//!
//! Where nobody listens (no `NOTIFY_SOCKET`) nothing is told; where no watchdog is set (no `WATCHDOG_USEC`) none is fed.

use crate::commit::Probe;
use crate::control::Health;
use crate::control::config::Config;
use listenfd::ListenFd;
use rustix::time::{ClockId, clock_gettime};
use sd_notify::NotifyState::{self, ExtendTimeoutUsec, Ready, Reloading, Status, Stopping, Watchdog};
use std::io;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// How often more time is asked for during a start, and how much of it.
const EXTEND_EVERY: Duration = Duration::from_secs(5);
const EXTENSION: Duration = Duration::from_secs(60);
/// Processor time between two such requests that counts as getting on: far more than asking takes, far less than
/// reading a log from the slowest disk.
const PROGRESS: Duration = Duration::from_millis(1);

/// How often the status line is looked after where no watchdog asks for more.
const STATUS_EVERY: Duration = Duration::from_secs(10);
/// How many times in the watchdog's time it is fed.
const MEALS: u32 = 3;

/// Takes the listening socket that was handed in, if one was; its address goes before the configured one. To be called
/// first: the variables that name it are taken away.
///
/// # Errors
/// When it is not exactly one TCP socket.
pub(super) fn inherit(config: &mut Config) -> io::Result<Option<TcpListener>> {
    let mut handed = ListenFd::from_env();
    if handed.len() > 1 {
        let what = "several, but one is wanted: keep one ListenStream= (\"[::]:3001\" takes IPv4, too)";
        return Err(io::Error::new(io::ErrorKind::InvalidInput, what));
    }
    let Some(socket) = handed.take_tcp_listener(0)? else { return Ok(None) };
    let address = socket.local_addr()?;
    let configured = std::mem::replace(&mut config.server.listen, address);
    if address != configured {
        tracing::info!(%address, %configured, "listening on the socket that was handed in, not on server.listen");
    }
    Ok(Some(socket))
}

/// Tells the service manager. The daemon's work does not hang on whether it hears.
fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::warn!(%error, "the service manager cannot be told how the daemon is");
    }
}

/// Says what is being done, before the daemon is ready.
pub(super) fn starting(what: &str) {
    tell(&[Status(what)]);
}

/// Says that everything is bound and requests are answered.
pub(super) fn ready(url: &str) {
    tell(&[Ready, Status(&listening(url))]);
}

fn listening(url: &str) -> String {
    format!("listening on {url}")
}

/// Says that the configuration is read anew while it lives.
pub(super) struct Reload;

impl Reload {
    pub(super) fn begin() -> Self {
        // Newer service managers want to know when, to tell this reload from an earlier one.
        match NotifyState::monotonic_usec_now() {
            Ok(now) => tell(&[Reloading, now]),
            Err(_) => tell(&[Reloading]),
        }
        Reload
    }
}

impl Drop for Reload {
    fn drop(&mut self) {
        tell(&[Ready]);
    }
}

/// Says that the daemon stops.
pub(super) fn stopping() {
    tell(&[Stopping, Status("stopping: finishing what is under way")]);
}

/// Asks for more time to start in while it lives and the start gets on. A log that takes long to read is no reason to be
/// killed; one that never comes is.
pub(super) struct LongStart {
    _started: mpsc::Sender<()>,
}

impl LongStart {
    pub(super) fn begin() -> io::Result<Self> {
        let (started, ended) = mpsc::channel();
        if std::env::var_os("NOTIFY_SOCKET").is_some() {
            let more = || tell(&[ExtendTimeoutUsec(EXTENSION.as_micros() as u32)]);
            let name = std::thread::Builder::new().name("long-start".into());
            name.spawn(move || extend(&ended, EXTEND_EVERY, processor_time, more))?;
        }
        Ok(LongStart { _started: started })
    }
}

fn extend(ended: &mpsc::Receiver<()>, every: Duration, spent: impl Fn() -> Duration, more: impl Fn()) {
    let mut seen = spent();
    while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(every) {
        let now = spent();
        if now.saturating_sub(seen) >= PROGRESS {
            more();
        }
        seen = now;
    }
}

fn processor_time() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ProcessCPUTime)).unwrap_or_default()
}

/// Feeds the watchdog as long as a probe comes back from every acceptor and the writer, and keeps the status line.
pub(super) struct Keeper {
    pub(super) probe: Probe,
    pub(super) health: Arc<Health>,
    pub(super) url: String,
    /// Set when the daemon stops accepting.
    pub(super) stopping: watch::Receiver<bool>,
}

impl Keeper {
    /// Runs until the process ends.
    pub(super) fn run(mut self) {
        let watchdog = sd_notify::watchdog_enabled();
        let every = watchdog.map_or(STATUS_EVERY, |within| within / MEALS).min(STATUS_EVERY);
        let (unfed, fed) = match watchdog {
            Some(_) => (": the watchdog is not fed", ": the watchdog is fed"),
            None => ("", ""),
        };
        let (mut told, mut is_stuck) = (listening(&self.url), false);
        loop {
            let started = Instant::now();
            let passed = self.probe.pass(every);
            if *self.stopping.borrow() {
                // No acceptor lets a probe pass any more. How long the drain may take is said by the stop's own timeout.
                tell(&[Watchdog]);
            } else if let Err(stuck) = passed {
                told = format!("{stuck}{unfed}");
                tracing::error!("{told}");
                tell(&[Status(&told)]);
                is_stuck = true;
            } else {
                if std::mem::take(&mut is_stuck) {
                    tracing::warn!("acceptors and writer turn again{fed}");
                }
                let status = self.status();
                if status == told {
                    tell(&[Watchdog]);
                } else {
                    tell(&[Watchdog, Status(&status)]);
                    told = status;
                }
            }
            std::thread::sleep(every.saturating_sub(started.elapsed()));
        }
    }

    fn status(&self) -> String {
        match self.health.not_ready().as_slice() {
            [] => listening(&self.url),
            reasons => format!("refusing events: {}", reasons.join(", ")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::cell::{Cell, RefCell};

    #[test]
    fn more_time_is_asked_for_only_where_the_start_gets_on() {
        let (started, ended) = mpsc::channel();
        let spent = RefCell::new([10, 10, 12, 12, 20].into_iter());
        let asked = Cell::new(0);
        let started = Cell::new(Some(started));
        let clock = || {
            let mut spent = spent.borrow_mut();
            let now = spent.next().unwrap();
            if spent.len() == 0 {
                started.take();
            }
            Duration::from_millis(now)
        };
        extend(&ended, Duration::from_millis(1), clock, || asked.set(asked.get() + 1));
        assert_eq!(asked.get(), 2);
    }

    #[test]
    fn what_the_process_does_takes_processor_time() {
        let before = processor_time();
        let mut number = 1_u64;
        while processor_time() < before + PROGRESS {
            number = std::hint::black_box(number.wrapping_mul(3));
        }
        assert_ne!(number, 0);
    }
}
