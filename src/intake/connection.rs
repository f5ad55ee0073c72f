//! One connection from its first byte to its last, or to the WebSocket it becomes.

use super::acceptor::{Acceptor, Guest};
use super::arrival::{Arrived, arrive};
use super::express::{self, End};
use super::own_words::OwnWords;
use super::unread::Reply;
use super::{http, http2, websocket};
use crate::access::Caller;
use crate::metrics::Stage;
use crate::net::tls::{Secured, Tls, handshake, is_tls};
use crate::net::{ConnectionPermit, Patient, Rewound, Stream, last_words, linger};
use bytes::Bytes;
use hyper::body::Incoming;
use hyper::server::conn::http1::{Builder, Connection, Parts};
use hyper::service::{Service, service_fn};
use hyper::{Request, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;
use tokio::sync::watch;

/// Bytes of request head and of buffered body per connection.
pub(super) const BUFFER_BYTES_MAX: usize = 16 << 10;

/// How long, once the daemon stops, a request that is already on its way may take to arrive.
pub(super) const LAST_CALL: Duration = Duration::from_millis(500);

/// How long a peer that still sends may take to read the last answer.
pub(super) const LINGER: Duration = Duration::from_secs(5);

/// How long a peer whose handshake failed may take to read the alert.
const ALERT_LINGER: Duration = Duration::from_secs(1);

/// What the answers of a connection say about its end.
#[derive(Debug)]
pub(super) struct Fate {
    /// Who opened it. Each request on it says anew whom it is for: behind a proxy that is another one each time.
    pub(super) peer: Rc<Caller>,
    /// Whose events it goes on to bring as a WebSocket, once a handshake has succeeded.
    pub(super) socket: RefCell<Option<Rc<Caller>>>,
    /// It ends with something unread.
    pub(super) unread: Cell<bool>,
}

impl Fate {
    pub(super) fn new(anonymous: Rc<Caller>) -> Self {
        Fate { peer: anonymous, socket: RefCell::default(), unread: Cell::new(false) }
    }

    /// Whether it goes on as a WebSocket.
    pub(super) fn is_upgraded(&self) -> bool {
        self.socket.borrow().is_some()
    }
}

/// What hyper speaks HTTP/1 over.
type Io = TokioIo<OwnWords<Rewound<Patient>>>;

/// Serves one connection, taken over from the system at `taken`, to its end.
pub(super) async fn serve(
    acceptor: Rc<Acceptor>,
    stream: TcpStream,
    peer: IpAddr,
    permit: ConnectionPermit,
    taken: Instant,
) {
    acceptor.recorder.record(Stage::Accept, taken.elapsed());
    let mut guest = Guest::new(&acceptor, permit);
    let Some(Arrived { stream, client, proxy, place }) = arrive(&acceptor, stream, peer).await else { return };
    guest.keep(place);
    let connections = &acceptor.shared.metrics.connections;
    connections.fetch_add(1, Relaxed);
    // Boxed, as is all that does not last: what is kept while a connection idles is the short way's state only.
    let secured = match &acceptor.shared.tls {
        Some(tls) => Box::pin(secure(&acceptor, tls, stream)).await,
        None => Some(Secured { stream: Stream::Plain(stream), is_http2: false, subject: None }),
    };
    if let Some(Secured { stream, is_http2, subject }) = secured {
        let caller = Rc::new(Caller { certificate: subject, behind: proxy, ..Caller::anonymous(client) });
        let stream = Patient::new(stream, acceptor.shared.deadlines().write);
        if is_http2 {
            let stream = Rewound::new(Bytes::new(), stream);
            Box::pin(http2::serve(&acceptor, caller, stream, guest)).await;
        } else {
            speak(&acceptor, caller, stream, guest).await;
        }
    }
    connections.fetch_sub(1, Relaxed);
}

/// Shakes hands; `None` where that came to nothing and the connection has ended.
async fn secure(acceptor: &Acceptor, tls: &Tls, stream: TcpStream) -> Option<Secured> {
    let metrics = &acceptor.shared.metrics;
    match handshake(stream, tls, acceptor.shared.deadlines().head).await {
        Ok(secured) => {
            metrics.handshakes.fetch_add(1, Relaxed);
            if let Some(subject) = &secured.subject {
                tracing::debug!(%subject, "a client has shown its certificate");
            }
            Some(secured)
        }
        Err(refused) => {
            metrics.handshake_failed(refused.reason);
            tracing::debug!(reason = refused.reason.as_str(), cause = refused.cause, "no TLS connection");
            let mut stream = refused.stream?;
            if refused.reason == crate::metrics::HandshakeFailure::PlainHttp {
                let members = "\"detail\":\"this port speaks TLS: use https\"";
                acceptor.count_refused(StatusCode::BAD_REQUEST);
                stream.write_all(&last_words(400, "Bad Request", "", members)).await.ok();
            }
            linger(&mut stream, ALERT_LINGER).await;
            None
        }
    }
}

/// Speaks HTTP/1, or HTTP/2 with whoever begins so.
async fn speak(acceptor: &Rc<Acceptor>, caller: Rc<Caller>, mut stream: Patient, guest: Guest) {
    match express::serve(acceptor, &caller, &mut stream).await {
        End::Other(ahead) => Box::pin(other(acceptor, caller, stream, ahead, guest)).await,
        End::Answered => linger(&mut stream.into_inner(), LINGER).await,
        End::Closed => stream.into_inner().close().await,
    }
}

/// Serves what is left of a connection, whatever that is.
async fn other(acceptor: &Rc<Acceptor>, caller: Rc<Caller>, mut stream: Patient, ahead: Bytes, guest: Guest) {
    if acceptor.shared.tls.is_none() && is_tls(&ahead) {
        tracing::debug!(peer = %caller.address, "closed a connection that speaks TLS to a port that does not");
        return linger(&mut stream.into_inner(), ALERT_LINGER).await;
    }
    let (ahead, is_http2) = http2::begins(&mut stream, ahead, acceptor.shared.deadlines().head).await;
    let stream = Rewound::new(ahead, stream);
    match is_http2 {
        true => http2::serve(acceptor, caller, stream, guest).await,
        false => general(acceptor, caller, stream, guest).await,
    }
}

/// Serves HTTP/1.
async fn general(acceptor: &Rc<Acceptor>, caller: Rc<Caller>, stream: Rewound<Patient>, guest: Guest) {
    let fate = Rc::new(Fate::new(caller));
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
        .serve_connection(TokioIo::new(OwnWords::new(stream)), service);
    let ended = drive(&mut connection, acceptor.stop.clone()).await;
    let Parts { io, read_buf, .. } = connection.into_parts();
    let (stream, held_back) = io.into_inner().into_parts();
    let (ahead, stream) = stream.into_parts();
    let mut stream = stream.into_inner();
    match (ended, fate.socket.take()) {
        // What the client sent right behind its handshake is already read.
        (Ok(()), Some(caller)) => websocket::serve(acceptor, stream, guest, caller, [read_buf, ahead].concat()),
        (Ok(()), None) if !fate.unread.get() => stream.close().await,
        (Ok(()), None) => Box::pin(linger(&mut stream, LINGER)).await,
        // An error is the client's doing: it left, was too slow, or spoke something else.
        (Err(error), _) => {
            let status =
                held_back.or((error.is_timeout() && !read_buf.is_empty()).then_some(StatusCode::REQUEST_TIMEOUT));
            if let Some(status) = status {
                acceptor.count_refused(status);
                // Fits the buffer of a connection on which everything else is written.
                stream.write_all(&unread(status, &error)).await.ok();
            }
            Box::pin(linger(&mut stream, LINGER)).await;
        }
    }
}

/// The answer to what could not be read as a request.
fn unread(status: StatusCode, error: &hyper::Error) -> Vec<u8> {
    let detail = match status {
        StatusCode::REQUEST_TIMEOUT => "the request did not arrive in time".to_owned(),
        StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE => {
            format!("the request's head is larger than {BUFFER_BYTES_MAX} bytes, or has more than 100 headers")
        }
        StatusCode::URI_TOO_LONG => "the request's target is too long".to_owned(),
        _ => format!("this is no HTTP request: {error}"),
    };
    let members = format!("\"detail\":{}", serde_json::Value::from(detail));
    last_words(status.as_u16(), status.canonical_reason().unwrap_or_default(), "", &members)
}

/// Runs the connection until it ends or becomes something else; ends it once the daemon stops.
async fn drive<S>(connection: &mut Connection<Io, S>, mut stop: watch::Receiver<bool>) -> hyper::Result<()>
where
    S: Service<Request<Incoming>, Response = Reply, Error = Infallible> + Unpin,
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

fn end_of<S>(connection: &mut Connection<Io, S>) -> impl Future<Output = hyper::Result<()>>
where
    S: Service<Request<Incoming>, Response = Reply, Error = Infallible> + Unpin,
    S::Future: Unpin,
{
    std::future::poll_fn(|context| connection.poll_without_shutdown(context))
}
