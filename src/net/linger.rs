//! Ending a connection so that the peer still gets what was written to it.

use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Ends our side, then reads and drops what the peer still sends until it ends too or `within` is over.
///
/// Closing while something is unread answers the peer with a reset, and most systems then throw away what their
/// program has not read yet: our last words.
pub async fn linger(stream: &mut TcpStream, within: Duration) {
    let rest = async {
        // Fails where the peer has gone already.
        if stream.shutdown().await.is_err() {
            return;
        }
        while stream.readable().await.is_ok() {
            if !more(stream) {
                return;
            }
        }
    };
    // The peer had its time.
    tokio::time::timeout(within, rest).await.ok();
}

/// Drops what is there; false at the end. The buffer must not outlive this call: many connections may linger.
fn more(stream: &TcpStream) -> bool {
    let mut sink = [0; 4096];
    match stream.try_read(&mut sink) {
        Ok(bytes) => bytes > 0,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}
