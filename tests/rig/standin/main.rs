//! A stand-in for the daemon, for testing the rigs and nothing else.
//!
//! It keeps events in one checksummed append-only file, is durable and exact as it stands, and has bugs that can be
//! switched on with `STANDIN_BUG`: each rig must stay silent without a bug and speak up with one. It speaks only the
//! part of the daemon's interface that the rigs use: `serve`, `wal verify`, `wal dump`, `POST /events`,
//! `POST /events/batch`, `WS /events/stream`, `GET /health/ready`.

mod intake;
mod store;
mod stream;

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use store::{Bug, Opened, Store};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let after = |flag: &str| words.iter().position(|word| *word == flag).and_then(|index| words.get(index + 1));
    let Some(data) = after("--data-dir").map(PathBuf::from) else {
        eprintln!("rig-standin: --data-dir is missing");
        return ExitCode::from(64);
    };
    let outcome = match words[..] {
        ["serve", ..] => serve(&data, after("--listen").copied().unwrap_or("127.0.0.1:0")),
        ["wal", "verify", ..] => verify(&data),
        ["wal", "dump", ..] => dump(&data),
        _ => Err("usage: serve | wal verify | wal dump".to_owned()),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("rig-standin: {why}");
            ExitCode::FAILURE
        }
    }
}

fn serve(data: &Path, listen: &str) -> Result<(), String> {
    let term = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGTERM, Arc::clone(&term)).map_err(|error| error.to_string())?;
    let store = Store::open(data, Bug::from_env()).map_err(|error| format!("{}: {error}", data.display()))?;
    let listener = std::net::TcpListener::bind(listen).map_err(|error| format!("{listen}: {error}"))?;
    let address = listener.local_addr().map_err(|error| error.to_string())?;
    println!("listening on http://{address}");
    let store = Arc::new(store);
    intake::accept(listener, Arc::clone(&store));
    while !term.load(Ordering::Relaxed) {
        std::thread::sleep(std::time::Duration::from_millis(5));
    }
    // Whoever still waits for an answer loses the connection: nothing is acknowledged after the last sync.
    store.close();
    Ok(())
}

fn verify(data: &Path) -> Result<(), String> {
    let Opened { events, missing, .. } = store::read(data).map_err(|error| error.to_string())?;
    println!("{} events", events.len());
    match missing {
        Some((first, last)) if Bug::from_env() != Bug::SilentDamage => Err(format!("missing seq {first}..={last}")),
        _ => Ok(()),
    }
}

fn dump(data: &Path) -> Result<(), String> {
    let opened = store::read(data).map_err(|error| error.to_string())?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    for (seq, id) in opened.events {
        writeln!(out, "{{\"seq\":{seq},\"eventId\":\"{id}\"}}").map_err(|error| error.to_string())?;
    }
    out.flush().map_err(|error| error.to_string())
}
