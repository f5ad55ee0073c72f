//! Every thread by name, and what its end means.
//!
//! | thread | its end means |
//! |---|---|
//! | `writer` | normal after the drain; otherwise the daemon ends with the log's first error |
//! | `accept-N` | normal after the stop; otherwise the daemon ends |
//! | `ship-NAME` | normal after the stop; a failure is retried inside |
//! | `letters` | normal after the stop, once the orders that were begun are done; otherwise the daemon ends |
//! | `maintenance` | normal after the stop |
//! | `key-files` | normal after the stop, which does not wait for it |
//! | `jwt-files`, `cert-files` | normal once the files were looked at, which nothing waits for |
//! | `key-saver` | normal after the stop, which does not wait for it |
//! | `save-keys` | begun by the stop, which waits for it a little |
//! | `figures` | normal after the stop; otherwise the daemon ends |
//! | `stall` | normal after the stop |
//! | `alerts` | normal after the stop; only where there is a webhook |
//! | `traces` | normal after the stop; only where there is a collector |
//! | `admin` | normal after the stop; otherwise the daemon ends |
//! | `systemd` | runs until the process ends; without it no watchdog is fed |
//! | `long-start` | normal once the log is open |
//! | `wal-mark` | owned by the log |
//! | `log` | owned by `control::logging`; runs until the process ends |

use std::thread::{Builder, JoinHandle};
use tokio::sync::mpsc;

/// Why the daemon must end.
#[derive(Debug)]
pub(super) struct Fatal(pub(super) String);

/// Starts a named thread whose failure or panic ends the daemon.
pub(super) fn spawn(
    name: impl Into<String>,
    fatal: &mpsc::UnboundedSender<Fatal>,
    body: impl FnOnce() -> Result<(), String> + Send + 'static,
) -> std::io::Result<JoinHandle<()>> {
    let name = name.into();
    let fatal = fatal.clone();
    Builder::new().name(name.clone()).spawn(move || {
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        let reason = match ended {
            Ok(Ok(())) => return,
            Ok(Err(reason)) => reason,
            Err(_) => format!("thread {name} panicked"),
        };
        // The main thread may be gone already.
        fatal.send(Fatal(reason)).ok();
    })
}
