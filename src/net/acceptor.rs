//! The accept loop: a limit on connections with a clear refusal beyond it, and a stop.

use super::last_words::{alert, last_words};
use super::{Stream, linger};
use socket2::SockRef;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::task::Poll;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How long a refused peer may take to read why.
const REFUSAL_LINGER: Duration = Duration::from_secs(1);
/// Refused peers that are given that time at once, over all acceptors; they hold descriptors, of which there are too
/// few already.
const REFUSED_LINGERING_MAX: usize = 128;
/// Connections that are still taken over from the kernel once the stop has come.
const LAST_ACCEPTS_MAX: usize = 4096;

/// What peers beyond the gate are told.
const TOO_MANY: (u16, &str, &str) =
    (503, "Service Unavailable", "\"reason\":\"connections\",\"detail\":\"too many connections are open; try again\"");

/// Counts open connections over all acceptors.
#[derive(Debug)]
pub struct ConnectionGate {
    open: AtomicUsize,
    max: AtomicUsize,
    /// Peers that were refused and may still read why.
    lingering: AtomicUsize,
    /// Whether who comes in speaks TLS.
    encrypted: AtomicBool,
}

/// One open connection, given back when dropped.
#[derive(Debug)]
pub struct ConnectionPermit(Arc<ConnectionGate>);

impl ConnectionGate {
    /// A gate that lets so many in at once.
    #[must_use]
    pub fn new(max: usize) -> Arc<Self> {
        Arc::new(ConnectionGate {
            open: AtomicUsize::new(0),
            max: AtomicUsize::new(max),
            lingering: AtomicUsize::new(0),
            encrypted: AtomicBool::new(false),
        })
    }

    /// Has those who are refused be told in TLS's own way.
    pub fn speak_tls(&self) {
        self.encrypted.store(true, Ordering::Relaxed);
    }

    /// How many are in.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// How many are let in.
    #[must_use]
    pub fn max(&self) -> usize {
        self.max.load(Ordering::Relaxed)
    }

    /// Lets so many in from now on; who is in stays.
    pub fn resize(&self, max: usize) {
        self.max.store(max, Ordering::Relaxed);
    }

    fn enter(self: &Arc<Self>) -> Option<ConnectionPermit> {
        let max = self.max();
        let enter = |open| (open < max).then_some(open + 1);
        self.open.fetch_update(Ordering::Relaxed, Ordering::Relaxed, enter).ok()?;
        Some(ConnectionPermit(Arc::clone(self)))
    }

    fn linger(self: &Arc<Self>) -> Option<Lingering> {
        let more = |lingering| (lingering < REFUSED_LINGERING_MAX).then_some(lingering + 1);
        self.lingering.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more).ok()?;
        Some(Lingering(Arc::clone(self)))
    }
}

/// A refused peer's time, given back when dropped.
struct Lingering(Arc<ConnectionGate>);

impl Drop for Lingering {
    fn drop(&mut self) {
        self.0.lingering.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for ConnectionPermit {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until `stop` says so, calling `serve` for each connection that is let in and `refused` for each that is not.
/// `held`: somebody else holds the socket, too, and keeps its backlog for the next daemon.
pub async fn accept(
    listener: &TcpListener,
    held: bool,
    gate: &Arc<ConnectionGate>,
    mut stop: watch::Receiver<bool>,
    serve: impl Fn(TcpStream, SocketAddr, ConnectionPermit),
    refused: impl Fn(),
) {
    let admit = |stream: TcpStream, peer: SocketAddr| {
        // Answers are small and complete: waiting for more would only add latency. A socket that refuses the option
        // still works.
        stream.set_nodelay(true).ok();
        match gate.enter() {
            Some(permit) => serve(stream, peer, permit),
            None => {
                refused();
                turn_away(stream, gate, TOO_MANY);
            }
        }
    };
    loop {
        let accepted = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, peer)) => admit(stream, peer),
            // Out of descriptors or memory: the connection stays in the backlog; without a pause this would spin.
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }
    if held {
        return;
    }
    // Who is in the backlog has connected before the stop, and may have sent a request: a reset would leave it
    // without an answer. The pause lets the runtime hear of the newest.
    tokio::task::yield_now().await;
    for _ in 0..LAST_ACCEPTS_MAX {
        let Some(Ok((stream, peer))) = waiting(listener).await else { return };
        admit(stream, peer);
    }
}

/// A connection that waits in the backlog, if there is one.
async fn waiting(listener: &TcpListener) -> Option<io::Result<(TcpStream, SocketAddr)>> {
    std::future::poll_fn(|context| {
        Poll::Ready(match listener.poll_accept(context) {
            Poll::Ready(accepted) => Some(accepted),
            Poll::Pending => None,
        })
    })
    .await
}

/// Tells a peer in an answer's status, title and members why it is not let in, and ends its connection.
pub fn turn_away(stream: TcpStream, gate: &Arc<ConnectionGate>, (status, title, members): (u16, &str, &str)) {
    // Fits the buffer of a new socket. The peer may already be gone.
    let refusal = match gate.encrypted.load(Ordering::Relaxed) {
        // A handshake for the sake of a refusal would cost more than what is refused.
        true => alert().to_vec(),
        false => last_words(status, title, "retry-after: 1\r\n", members),
    };
    SockRef::from(&stream).send(&refusal).ok();
    if let Some(place) = gate.linger() {
        let mut stream = Stream::Plain(stream);
        tokio::task::spawn_local(async move {
            linger(&mut stream, REFUSAL_LINGER).await;
            drop(place);
        });
    }
}
