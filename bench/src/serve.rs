//! The threading of the bare servers: a single-threaded runtime per core, each with its own listening socket.

use anyhow::{Context, Result};
use lexopt::prelude::*;
use socket2::{Domain, Protocol, Socket, Type};
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::LocalOptions;

/// Connections that may wait to be accepted.
const BACKLOG: i32 = 4096;

/// Command line of a bare server.
#[derive(Clone, Copy, Debug)]
pub struct ServeOptions {
    /// Where to listen.
    pub address: SocketAddr,
    /// Threads, each with its own socket.
    pub threads: usize,
    /// The server ends by itself after this long.
    pub time_limit: Duration,
}

impl ServeOptions {
    /// Reads `--port`, `--threads` and `--time-limit` (seconds).
    pub fn from_args(port: u16) -> Result<Self> {
        let (mut port, mut threads, mut seconds) = (port, 2usize, 60f64);
        let mut parser = lexopt::Parser::from_env();
        while let Some(arg) = parser.next()? {
            match arg {
                Long("port") => port = parser.value()?.parse()?,
                Long("threads") => threads = parser.value()?.parse()?,
                Long("time-limit") => seconds = parser.value()?.parse()?,
                other => return Err(other.unexpected()).context("--port P --threads N --time-limit SECONDS"),
            }
        }
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self { address, threads: threads.max(1), time_limit: Duration::from_secs_f64(seconds.min(1e6)) })
    }
}

/// Serves each connection with `handle` until the time limit.
pub fn serve<H, F>(options: ServeOptions, handle: H) -> Result<()>
where
    H: Fn(TcpStream) -> F + Copy + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    // Bind first, so that a taken port is an error and not a dead thread.
    let sockets = (0..options.threads).map(|_| listener(options.address)).collect::<Result<Vec<_>>>()?;
    let threads: Vec<_> = sockets
        .into_iter()
        .map(|socket| std::thread::spawn(move || serve_on(socket, options.time_limit, handle)))
        .collect();
    for thread in threads {
        thread.join().map_err(|_| anyhow::anyhow!("a server thread panicked"))??;
    }
    Ok(())
}

fn serve_on<H, F>(socket: std::net::TcpListener, time_limit: Duration, handle: H) -> Result<()>
where
    H: Fn(TcpStream) -> F + Copy + 'static,
    F: Future<Output = ()> + 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    let accept = async move {
        let listener = TcpListener::from_std(socket)?;
        loop {
            // A failed accept (no descriptors left, say) is the peer's loss, not the server's end.
            let Ok((stream, _)) = listener.accept().await else {
                tokio::time::sleep(Duration::from_millis(1)).await;
                continue;
            };
            if stream.set_nodelay(true).is_ok() {
                tokio::task::spawn_local(handle(stream));
            }
        }
    };
    runtime.block_on(async move { tokio::time::timeout(time_limit, accept).await.unwrap_or(Ok(())) })
}

fn listener(address: SocketAddr) -> Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into()).with_context(|| format!("binding {address}"))?;
    socket.listen(BACKLOG)?;
    Ok(socket.into())
}
