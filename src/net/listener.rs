//! Listening sockets. Our own are one `SO_REUSEPORT` socket per acceptor, so that the kernel spreads connections. One that
//! was handed in (systemd holds it over restarts) is duplicated: all acceptors accept from the same queue, whoever is free
//! first. A port group would not do there: a socket of another user cannot be joined.

use socket2::{Domain, Protocol, SockRef, Socket, Type};
use std::io;
use std::net::{SocketAddr, TcpListener};

/// Connections the kernel keeps for us before they are accepted.
const BACKLOG: i32 = 4096;
/// Bytes that the kernel takes of a connection beyond what its client's window lets out; accepted sockets inherit it. By
/// default it takes up to 4 MiB of what nobody reads, uncounted, for each.
const UNSENT_BYTES: u32 = 128 << 10;

/// One acceptor's socket.
#[derive(Debug)]
pub struct Listener {
    /// The socket.
    pub socket: TcpListener,
    /// Somebody else holds it, too: what is in its queue when we stop is for the next daemon.
    pub held: bool,
}

/// Bound sockets, one per acceptor, and the address they share.
#[derive(Debug)]
pub struct Listeners {
    /// One per acceptor.
    pub sockets: Vec<Listener>,
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
    let mut sockets = vec![Listener { socket: first, held: false }];
    for _ in 1..count {
        sockets.push(Listener { socket: socket(address, true)?, held: false });
    }
    Ok(Listeners { sockets, address })
}

/// Shares a socket that was handed in between `count` acceptors.
///
/// # Errors
/// When it does not listen, and what the system says.
pub fn adopt(socket: TcpListener, count: usize) -> io::Result<Listeners> {
    if !SockRef::from(&socket).is_listener()? {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "the socket does not listen"));
    }
    let address = socket.local_addr()?;
    socket.set_nonblocking(true)?;
    keep_little(&SockRef::from(&socket));
    let mut sockets = Vec::new();
    for _ in 1..count {
        sockets.push(Listener { socket: socket.try_clone()?, held: true });
    }
    sockets.push(Listener { socket, held: true });
    Ok(Listeners { sockets, address })
}

fn socket(address: SocketAddr, share: bool) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(share)?;
    socket.set_nonblocking(true)?;
    keep_little(&socket);
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}

fn keep_little(socket: &Socket) {
    // A system that does not know the option serves all the same, and keeps more.
    drop(socket.set_tcp_notsent_lowat(UNSENT_BYTES));
}
