//! What comes before a connection's first request: whose it is, and whether its address may have one more.

use super::acceptor::Acceptor;
use crate::net::{Share, block_of, read_proxy_header, turn_away};
use std::net::IpAddr;
use std::sync::atomic::Ordering::Relaxed;
use tokio::net::TcpStream;

/// What a peer that has too many connections is told.
const TOO_MANY: (u16, &str, &str) = (
    429,
    "Too Many Requests",
    "\"reason\":\"connections_per_address\",\"detail\":\"too many connections are open from this address; use the open \
     ones, or close some\"",
);

/// A connection that is let in.
pub(super) struct Arrived {
    pub(super) stream: TcpStream,
    /// Whose it is.
    pub(super) client: IpAddr,
    /// Who says so, where its header was asked for.
    pub(super) proxy: Option<IpAddr>,
    /// Its place among those of its address; a proxy stands for many and has none.
    pub(super) place: Option<Share>,
}

/// Lets a connection in; `None` where it has ended.
pub(super) async fn arrive(acceptor: &Acceptor, mut stream: TcpStream, peer: IpAddr) -> Option<Arrived> {
    let shared = &acceptor.shared;
    let settings = shared.settings.load_full();
    let peer = peer.to_canonical();
    let proxy = settings.proxy_protocol.then_some(peer);
    let client = match settings.proxy_protocol {
        true => Box::pin(announced(acceptor, &mut stream, peer)).await?,
        false => peer,
    };
    if settings.proxies.trusts(client) {
        return Some(Arrived { stream, client, proxy, place: None });
    }
    // Counted also while there is no limit: one that a reload sets holds for what is open then.
    let max = if settings.connections_per_address_max == 0 { usize::MAX } else { settings.connections_per_address_max };
    match shared.guests.enter(block_of(client, settings.policy.ipv6_prefix_bits), max) {
        Some(place) => Some(Arrived { stream, client, proxy, place: Some(place) }),
        None => {
            shared.metrics.connections_refused_address.fetch_add(1, Relaxed);
            turn_away(stream, &shared.gate, TOO_MANY);
            None
        }
    }
}

/// The address that the PROXY protocol header names, or the proxy's own. Nobody else may send one, and nobody may leave
/// it out: whoever reaches the port past the proxy could else be anybody.
async fn announced(acceptor: &Acceptor, stream: &mut TcpStream, peer: IpAddr) -> Option<IpAddr> {
    let shared = &acceptor.shared;
    let refuse = |cause: &dyn std::fmt::Display| {
        shared.metrics.proxy_headers_refused.fetch_add(1, Relaxed);
        tracing::debug!(%peer, %cause, "a connection was closed: server.proxy_protocol is on");
        None
    };
    if !shared.settings.load().proxies.trusts(peer) {
        return refuse(&"the peer is none of server.trusted_proxies");
    }
    match read_proxy_header(stream, shared.deadlines().head).await {
        Ok(client) => Some(client.unwrap_or(peer)),
        Err(error) => refuse(&error),
    }
}
