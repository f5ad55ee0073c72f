//! The running daemon and its orderly end: stop accepting → finish what is in flight → ring closes → writer empties it
//! → shippers flush and store their cursors → log closes.

use super::threads::Fatal;
use crate::access::Access;
use crate::commit::StopHandle;
use crate::control::Phase;
use crate::intake::Shared;
use event::Refusal;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, mpsc as std_mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// How long the file of keys may take: a disk that hangs, or whoever waits for it, must not hold the stop up.
const KEYS_PATIENCE: Duration = Duration::from_secs(5);

/// A daemon that serves.
pub struct Running {
    /// Where it listens.
    pub address: SocketAddr,
    /// The same with its scheme.
    pub url: String,
    /// Where health and figures are answered, if not there.
    pub figures: Option<SocketAddr>,
    pub(super) shared: Arc<Shared>,
    pub(super) health: Arc<crate::control::Health>,
    pub(super) reloader: Arc<crate::control::config::Reloader>,
    pub(super) audit: Arc<crate::control::audit::AuditLog>,
    /// Told when the admin socket asks for the drain.
    pub(super) drain: Arc<Notify>,
    pub(super) stop_accepting: watch::Sender<bool>,
    pub(super) stop_shipping: watch::Sender<bool>,
    pub(super) acceptors: Vec<JoinHandle<()>>,
    pub(super) shippers: Vec<JoinHandle<()>>,
    pub(super) writer: JoinHandle<()>,
    pub(super) stop_writer: StopHandle,
    pub(super) fatal: mpsc::UnboundedReceiver<Fatal>,
}

impl Running {
    /// Ends in order; each step has its own deadline inside. `failed`: because something broke.
    ///
    /// # Errors
    /// What went wrong on the way; nothing acknowledged is lost by it.
    pub fn drain(mut self, failed: bool) -> Result<(), String> {
        self.health.set_phase(Phase::Stopping);
        // In this order: whoever is refused and connects again is not accepted by us a second time.
        self.stop_accepting.send_replace(true);
        self.shared.admission.set(Refusal::ShuttingDown, true);
        for acceptor in self.acceptors {
            drop(acceptor.join());
        }
        // Cursors go through the writer, so the shippers end before it.
        self.stop_shipping.send_replace(true);
        for shipper in self.shippers {
            drop(shipper.join());
        }
        save_keys(Arc::clone(&self.shared.access));
        self.stop_writer.stop();
        drop(self.writer.join());
        match self.fatal.try_recv() {
            Ok(Fatal(reason)) => Err(reason),
            Err(_) if failed => Ok(()),
            Err(_) => {
                tracing::info!("stopped; everything acknowledged is in the log");
                Ok(())
            }
        }
    }
}

/// Writes the keys down once more. When they were last used is for people, and no reason to fail.
fn save_keys(access: Arc<Access>) {
    let (done, saved) = std_mpsc::channel();
    // Whoever has waited long enough may be gone.
    let save = move || drop(done.send(access.keyring.save()));
    let late = |_| Err(io::Error::new(io::ErrorKind::TimedOut, "the disk does not answer in time"));
    let spawned = Builder::new().name("save-keys".to_owned()).spawn(save);
    if let Err(error) = spawned.and_then(|_| saved.recv_timeout(KEYS_PATIENCE).unwrap_or_else(late)) {
        tracing::warn!(
            %error,
            "the API keys are not written down: when they were last used, and a revocation that was not confirmed, may be \
             forgotten"
        );
    }
}
