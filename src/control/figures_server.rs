//! Health and figures on an address and a thread of their own: they answer while intake is saturated, and whoever sends
//! events need not reach them.

use super::Exporter;
use crate::intake::Answer;
use crate::net::{ConnectionGate, ConnectionPermit, Patient, Stream, accept};
use hyper::Request;
use hyper::body::Incoming;
use hyper::header::{HeaderName, HeaderValue};
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::convert::Infallible;
use std::io;
use std::net;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::runtime::LocalOptions;
use tokio::sync::watch;

/// Connections at once: scrapers and people.
const CONNECTIONS_MAX: usize = 256;
/// Time for a request's head, and between requests.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Bytes of a head.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// Answers on `listener` until `stop`; `patience` says how long a peer may take nothing of what is written to it. Blocks:
/// it wants a thread to itself.
///
/// # Errors
/// When the runtime cannot be built.
pub fn serve_figures(
    exporter: Arc<Exporter>,
    listener: net::TcpListener,
    patience: impl Fn() -> Duration,
    stop: watch::Receiver<bool>,
) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let listener = TcpListener::from_std(listener)?;
        let gate = ConnectionGate::new(CONNECTIONS_MAX);
        let serve = |stream, _, permit| {
            let stream = Patient::new(Stream::Plain(stream), patience());
            tokio::task::spawn_local(converse(Arc::clone(&exporter), stream, permit));
        };
        accept(&listener, false, &gate, stop, serve, || {}).await;
        Ok(())
    })
}

async fn converse(exporter: Arc<Exporter>, stream: Patient, permit: ConnectionPermit) {
    let service = service_fn(|request: Request<Incoming>| {
        let answer = answer(&exporter, &request);
        async { Ok::<_, Infallible>(answer) }
    });
    // An error is the client's doing.
    Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(BUFFER_BYTES_MAX)
        .serve_connection(TokioIo::new(stream), service)
        .await
        .ok();
    drop(permit);
}

fn answer(exporter: &Exporter, request: &Request<Incoming>) -> Answer {
    let mut answer = exporter.answer(request.method(), request.uri().path(), request.uri().query(), request.headers());
    let id = HeaderValue::from_bytes(&crate::net::new_request_id());
    answer
        .headers_mut()
        .insert(HeaderName::from_static("x-request-id"), id.unwrap_or(HeaderValue::from_static("none")));
    answer
}
