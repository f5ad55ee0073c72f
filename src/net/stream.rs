//! A connection's bytes: as they are, or under TLS.

use std::io::{self, BufRead};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

/// How long a peer may take for the last bytes of TLS.
const FAREWELL: Duration = Duration::from_secs(1);

/// An accepted connection. A plain one pays a branch for the other kind, no byte and no allocation.
#[derive(Debug)]
pub enum Stream {
    /// As it came.
    Plain(TcpStream),
    /// Behind a handshake.
    Tls(Box<TlsStream<TcpStream>>),
}

impl Stream {
    /// Resolves once a read would bring something: bytes, the end, or a failure. May be wrong.
    ///
    /// # Errors
    /// What the system says of the socket.
    pub async fn readable(&mut self) -> io::Result<()> {
        let tcp = match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => {
                let (tcp, session) = tls.get_mut();
                // What is deciphered already makes no socket readable.
                match session.reader().fill_buf() {
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => tcp,
                    _ => return Ok(()),
                }
            }
        };
        tcp.readable().await
    }

    /// The socket below.
    pub(super) fn tcp(&self) -> &TcpStream {
        match self {
            Stream::Plain(tcp) => tcp,
            Stream::Tls(tls) => tls.get_ref().0,
        }
    }

    /// Closes a connection on which both sides are done. Under TLS the peer is told (close_notify), or it could not tell
    /// the end from a cut.
    pub async fn close(mut self) {
        if let Stream::Tls(tls) = &mut self {
            // Fails where the peer has gone already, and then nobody is left to tell.
            drop(tokio::time::timeout(FAREWELL, tls.shutdown()).await);
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_read(context, out),
            Stream::Tls(tls) => Pin::new(tls).poll_read(context, out),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_write_vectored(context, bytes),
            Stream::Tls(tls) => Pin::new(tls).poll_write_vectored(context, bytes),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_flush(context),
            Stream::Tls(tls) => Pin::new(tls).poll_flush(context),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Plain(tcp) => Pin::new(tcp).poll_shutdown(context),
            Stream::Tls(tls) => Pin::new(tls).poll_shutdown(context),
        }
    }
}
