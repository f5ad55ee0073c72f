//! Listening sockets: one `SO_REUSEPORT` socket per acceptor, so that the kernel spreads connections.

use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections the kernel keeps for us before they are accepted.
const BACKLOG: i32 = 4096;

/// Bound sockets, one per acceptor, and the address they share.
#[derive(Debug)]
pub struct Listeners {
    /// One per acceptor.
    pub sockets: Vec<TcpListener>,
    /// The address, with the port the system chose where 0 was asked for.
    pub address: SocketAddr,
}

/// Binds one socket for each of `count` acceptors.
///
/// # Errors
/// What the system says, for example that the address is in use.
pub fn bind(address: SocketAddr, count: usize) -> io::Result<Listeners> {
    // Without this first socket a second daemon on the same port would silently share the connections.
    drop(socket(address, false)?);
    let first = socket(address, true)?;
    let address = first.local_addr()?;
    let mut sockets = vec![first];
    for _ in 1..count {
        sockets.push(socket(address, true)?);
    }
    Ok(Listeners { sockets, address })
}

fn socket(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
