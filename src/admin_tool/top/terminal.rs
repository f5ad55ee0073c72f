//! The terminal: taken, and given back as it was, at the end, on a panic, on a signal.

use super::draw::draw;
use super::screen::{Screen, Turn};
use super::watch::{Look, watch};
use ingestd::control::admin::Connection;
use ratatui::crossterm::event::{self, Event};
use std::io;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// The signals that end it.
struct Signals {
    hangup: Signal,
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn catch() -> io::Result<Self> {
        let (hangup, interrupt) = (signal(SignalKind::hangup())?, signal(SignalKind::interrupt())?);
        Ok(Signals { hangup, interrupt, terminate: signal(SignalKind::terminate())? })
    }

    /// Waits for one; what a shell says of a process that it has ended.
    async fn any(&mut self) -> u8 {
        tokio::select! {
            _ = self.hangup.recv() => 128 + 1,
            _ = self.interrupt.recv() => 128 + 2,
            _ = self.terminate.recv() => 128 + 15,
        }
    }
}

/// Gives the terminal back when it goes.
struct Taken(ratatui::DefaultTerminal);

impl Taken {
    /// Takes it; a panic gives it back before it says anything.
    fn take() -> io::Result<Self> {
        ratatui::try_init().map(Taken)
    }
}

impl Drop for Taken {
    fn drop(&mut self) {
        // Where the terminal is gone there is nothing to give back.
        ratatui::try_restore().ok();
    }
}

/// Shows the daemon until a key or a signal ends it.
pub(super) fn show(socket: &Path, connection: Connection, interval: Duration) -> io::Result<ExitCode> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (looks_in, looks) = mpsc::unbounded_channel();
    let (events_in, events) = mpsc::unbounded_channel();
    let socket = socket.to_owned();
    // Caught before the terminal is taken: whatever comes from here on gives it back.
    let signals = {
        let _within = runtime.enter();
        Signals::catch()?
    };
    let taken = Taken::take()?;
    std::thread::Builder::new().name("watch".into()).spawn(move || watch(socket, connection, interval, &looks_in))?;
    // Ends with the process: nothing else ends a read of the terminal.
    std::thread::Builder::new().name("keys".into()).spawn(move || while events_in.send(event::read()).is_ok() {})?;
    runtime.block_on(run(taken, signals, looks, events))
}

async fn run(
    mut terminal: Taken,
    mut signals: Signals,
    mut looks: mpsc::UnboundedReceiver<Look>,
    mut events: mpsc::UnboundedReceiver<io::Result<Event>>,
) -> io::Result<ExitCode> {
    let mut screen = Screen::default();
    loop {
        terminal.0.draw(|frame| draw(frame, &mut screen))?;
        tokio::select! {
            code = signals.any() => return Ok(code.into()),
            look = looks.recv() => match look {
                Some(look) => screen.look(look),
                None => return Err(io::Error::other("nobody looks any more")),
            },
            event = events.recv() => match event {
                Some(Ok(event)) => if screen.event(&event) == Turn::Quit {
                    return Ok(ExitCode::SUCCESS);
                },
                Some(Err(error)) => return Err(error),
                None => return Err(io::Error::other("no key can be read")),
            },
        }
    }
}
