//! Ending a connection so that the peer still gets what was written to it.

use super::Stream;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

/// Ends our side, then reads and drops what the peer still sends until it ends too or `within` is over.
///
/// Closing while something is unread answers the peer with a reset, and most systems then throw away what their
/// program has not read yet: our last words.
pub async fn linger(stream: &mut Stream, within: Duration) {
    let rest = async {
        // Fails where the peer has gone already.
        if stream.shutdown().await.is_err() {
            return;
        }
        // Nothing of it is looked at, so nothing of it is deciphered.
        let tcp = stream.tcp();
        while tcp.readable().await.is_ok() {
            if !more(tcp) {
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
