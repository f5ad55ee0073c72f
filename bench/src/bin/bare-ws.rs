//! The least a WebSocket intake costs: fastwebsockets reads each message and answers with a few fixed bytes.
//!
//! The WebSocket is built when a connection's first byte arrives, so that idle ones cost a socket and a task only.

use anyhow::Result;
use bench::serve::{ServeOptions, serve};
use bytes::Bytes;
use fastwebsockets::{Frame, OpCode, Payload, Role, WebSocket, WebSocketError, upgrade};
use http_body_util::Empty;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::upgrade::Upgraded;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

const BUFFER_BYTES: usize = 8 << 10;
const MESSAGE_BYTES_MAX: usize = 1 << 20;
const ACK: &[u8] = b"{\"status\":\"accepted\"}";

fn main() -> Result<()> {
    serve(ServeOptions::from_args(8082)?, connection)
}

async fn connection(stream: TcpStream) {
    let served = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(accept))
        .with_upgrades()
        .await;
    // A peer that goes away in the middle is no news.
    drop(served);
}

async fn accept(mut request: Request<Incoming>) -> Result<Response<Empty<Bytes>>, WebSocketError> {
    let (response, upgraded) = upgrade::upgrade(&mut request)?;
    tokio::task::spawn_local(async move {
        if let Some(stream) = upgraded.await.ok().and_then(plain_stream) {
            // A task of its own, as the upgrade's is larger than an idle connection needs.
            tokio::task::spawn_local(talk_when_spoken_to(stream));
        }
    });
    Ok(response)
}

/// The socket below the upgrade; clients that send before the handshake's answer are not served.
fn plain_stream(websocket: WebSocket<TokioIo<Upgraded>>) -> Option<TcpStream> {
    let parts = websocket.into_inner().into_inner().downcast::<TokioIo<TcpStream>>().ok()?;
    parts.read_buf.is_empty().then(|| parts.io.into_inner())
}

async fn talk_when_spoken_to(stream: TcpStream) {
    if stream.readable().await.is_ok() {
        // The peer's end, however it comes, is the end.
        drop(Box::pin(talk(stream)).await);
    }
}

async fn talk(stream: TcpStream) -> Result<(), WebSocketError> {
    let mut websocket = WebSocket::after_handshake(stream, Role::Server);
    websocket.set_auto_apply_mask(true);
    websocket.set_max_message_size(MESSAGE_BYTES_MAX);
    loop {
        match websocket.read_frame().await?.opcode {
            OpCode::Close => return Ok(()),
            OpCode::Text | OpCode::Binary => {
                websocket.write_frame(Frame::text(Payload::Borrowed(ACK))).await?;
            }
            _ => {}
        }
    }
}
