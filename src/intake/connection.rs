//! One HTTP connection from its first byte to its last, or to the WebSocket it becomes.

use super::acceptor::{Acceptor, Guest};
use super::answer::Answer;
use super::express::{self, End};
use super::{http, websocket};
use crate::metrics::Stage;
use crate::net::{ConnectionPermit, Patient, Rewound, last_words, linger};
use hyper::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection, Parts};
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::Cell;
use std::convert::Infallible;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes of request head and of buffered body per connection.
const BUFFER_BYTES_MAX: usize = 16 << 10;

/// How long, once the daemon stops, a request that is already on its way may take to arrive.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);

/// How long a peer that still sends may take to read the last answer.
const LINGER: Duration = Duration::from_secs(5);

/// What the answers of a connection say about its end.
#[derive(Debug, Default)]
pub(super) struct Fate {
    /// It goes on as a WebSocket.
    pub(super) upgraded: Cell<bool>,
    /// It ends with something unread.
    pub(super) unread: Cell<bool>,
}

/// Serves one connection, taken over from the system at `taken`, to its end.
pub(super) async fn serve(acceptor: Rc<Acceptor>, stream: TcpStream, permit: ConnectionPermit, taken: Instant) {
    acceptor.recorder.record(Stage::Accept, taken.elapsed());
    let guest = Guest::new(&acceptor, permit);
    let connections = &acceptor.shared.metrics.connections;
    connections.fetch_add(1, Relaxed);
    let mut stream = Patient::new(stream, acceptor.shared.deadlines().write);
    match express::serve(&acceptor, &mut stream).await {
        // Boxed, so that a connection that stays plain does not carry the state of both ways.
        End::Other(ahead) => Box::pin(general(&acceptor, Rewound::new(ahead, stream), guest)).await,
        End::Answered => linger(&mut stream.into_inner(), LINGER).await,
        End::Closed => {}
    }
    connections.fetch_sub(1, Relaxed);
}

/// Serves what is left of a connection, whatever that is.
async fn general(acceptor: &Rc<Acceptor>, stream: Rewound<Patient>, guest: Guest) {
    let fate = Rc::new(Fate::default());
    let service = service_fn(|request| {
        let (acceptor, fate) = (Rc::clone(acceptor), Rc::clone(&fate));
        Box::pin(async move { Ok::<_, Infallible>(http::answer(acceptor, request, &fate).await) })
    });
    let mut connection = Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(acceptor.shared.deadlines().head)
        .max_buf_size(BUFFER_BYTES_MAX)
        // A client may say that it has sent everything and still wait for its answer.
        .half_close(true)
        .serve_connection(TokioIo::new(stream), service);
    let ended = drive(&mut connection, acceptor.stop.clone()).await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let (ahead, stream) = io.into_inner().into_parts();
    let mut stream = stream.into_inner();
    match ended {
        // What the client sent right behind its handshake is already read.
        Ok(()) if fate.upgraded.get() => websocket::serve(acceptor, stream, guest, [read_buf, ahead].concat()),
        Ok(()) if !fate.unread.get() => drop(stream),
        Ok(()) => Box::pin(linger(&mut stream, LINGER)).await,
        // An error is the client's doing: it left, was too slow, or spoke something else.
        Err(error) => {
            if error.is_timeout() && !read_buf.is_empty() {
                let members = "\"detail\":\"the request did not arrive in time\"";
                // Fits the buffer of a connection on which everything else is written.
                stream.write_all(&last_words(408, "Request Timeout", "", members)).await.ok();
            }
            Box::pin(linger(&mut stream, LINGER)).await;
        }
    }
}

/// Runs the connection until it ends or becomes something else; ends it once the daemon stops.
async fn drive<S>(
    connection: &mut Connection<TokioIo<Rewound<Patient>>, S>,
    mut stop: watch::Receiver<bool>,
) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    tokio::select! {
        biased;
        ended = end_of(connection) => return ended,
        _ = stop.wait_for(|stop| *stop) => {}
    }
    // From now on each answer is the connection's last.
    if let Ok(ended) = tokio::time::timeout(LAST_CALL, end_of(connection)).await {
        return ended;
    }
    std::pin::Pin::new(&mut *connection).graceful_shutdown();
    end_of(connection).await
}

fn end_of<S>(connection: &mut Connection<TokioIo<Rewound<Patient>>, S>) -> impl Future<Output = hyper::Result<()>>
where
    S: Service<Request<Incoming>, Response = Answer, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    std::future::poll_fn(|context| connection.poll_without_shutdown(context))
}
