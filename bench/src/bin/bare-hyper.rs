//! The least an HTTP intake costs: hyper reads each request's body and answers 200 with a few fixed bytes.

use anyhow::Result;
use bench::serve::{ServeOptions, serve};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// Read buffer of a connection.
const BUFFER_BYTES: usize = 16 << 10;

fn main() -> Result<()> {
    serve(ServeOptions::from_args(8081)?, connection)
}

async fn connection(stream: TcpStream) {
    let served = http1::Builder::new()
        .max_buf_size(BUFFER_BYTES)
        .serve_connection(TokioIo::new(stream), service_fn(answer))
        .await;
    // A peer that goes away in the middle is no news.
    drop(served);
}

async fn answer(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    let text =
        if body.is_empty() { Bytes::from_static(b"{}") } else { Bytes::from_static(b"{\"status\":\"accepted\"}") };
    Ok(Response::new(Full::new(text)))
}
