//! The running daemon and its orderly end: stop accepting → finish what is in flight → ring closes → writer empties it
//! → shippers flush and store their cursors → log closes.

use super::threads::Fatal;
use crate::commit::StopHandle;
use crate::control::Phase;
use crate::intake::Shared;
use event::Refusal;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::JoinHandle;
use tokio::sync::{Notify, mpsc, watch};

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
        // When keys were last used is for people, and no reason to fail.
        if let Err(error) = self.shared.access.keyring.save() {
            tracing::warn!(%error, "when API keys were last used is not written down");
        }
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
