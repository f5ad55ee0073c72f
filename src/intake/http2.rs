//! HTTP/2: agreed on under TLS (ALPN), or begun by a client that knows. Requests are answered by `http`, as those of
//! HTTP/1 are.
//!
//! What a peer may hold is bounded: requests at once, bytes of heads, bytes of bodies that nobody has read (the windows;
//! what is read counts against the budget of all), bytes of answers that it does not take (`unread`), resets (crate `h2`
//! ends a connection that resets what it has just opened, or that never ends a head). A connection on which nothing is
//! under way has as long as one of HTTP/1.

use super::acceptor::{Acceptor, Guest};
use super::connection::{BUFFER_BYTES_MAX, Fate, LINGER};
use super::entry::is_outdated;
use super::http;
use super::unread::Unread;
use crate::access::Caller;
use crate::net::{Patient, Rewound, linger};
use bytes::{Bytes, BytesMut};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::rt::Executor;
use hyper::server::conn::http2::Builder;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, ReadBuf};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until, timeout};

/// What a client that knows of HTTP/2 begins with (RFC 9113, 3.4).
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Requests of a connection at once.
const STREAMS_MAX: u32 = 128;
/// Bytes of a head that are read: more than are taken, for what the protocol's own layer refuses has no words.
const HEAD_BYTES_READ_MAX: u32 = 64 << 10;
/// What a header counts beside its name and its value (RFC 9113, 6.5.2).
const HEADER_OVERHEAD_BYTES: usize = 32;
/// Bytes of a body, and of all bodies of a connection, that wait to be read.
const STREAM_WINDOW_BYTES: u32 = 128 << 10;
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// Bytes of answers that wait in a connection, per request.
const SEND_BYTES_MAX: usize = 128 << 10;
/// Requests that a client may open and reset before anybody has looked at them.
const PENDING_RESETS_MAX: usize = 20;
/// How long a peer may take to say goodbye.
const GOODBYE: Duration = Duration::from_secs(5);

/// Reads on as long as what has come may be the beginning of HTTP/2; all that was read, and whether it is.
pub(super) async fn begins(stream: &mut Patient, ahead: Bytes, within: Duration) -> (Bytes, bool) {
    if ahead.is_empty() || ahead.len() >= PREFACE.len() || !PREFACE.starts_with(&ahead) {
        let begins = ahead.starts_with(PREFACE);
        return (ahead, begins);
    }
    let mut read = BytesMut::from(ahead);
    let more = async {
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) && stream.read_buf(&mut read).await? > 0 {}
        io::Result::Ok(())
    };
    // Whoever is too slow, or gone, is dealt with as any other that sends half a head.
    drop(timeout(within, more).await);
    let begins = read.starts_with(PREFACE);
    (read.freeze(), begins)
}

/// Whether a head is larger than one of HTTP/1 may be.
pub(super) fn is_too_large(headers: &HeaderMap) -> bool {
    let bytes = |(name, value): (&HeaderName, &HeaderValue)| name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES;
    headers.iter().map(bytes).sum::<usize>() > BUFFER_BYTES_MAX
}

/// Serves HTTP/2 to the end of the connection.
pub(super) async fn serve(acceptor: &Rc<Acceptor>, caller: Rc<Caller>, stream: Rewound<Patient>, guest: Guest) {
    acceptor.shared.metrics.http2_connections.fetch_add(1, Relaxed);
    let (stream, deadlines) = (Shared(Rc::new(RefCell::new(stream))), acceptor.shared.deadlines());
    let activity = Rc::new(Activity { requests: Cell::new(0), since: Cell::new(Instant::now()) });
    let (unread, outdated) = (Arc::new(Unread::default()), Rc::new(Notify::new()));
    let service = {
        let (acceptor, activity) = (Rc::clone(acceptor), Rc::clone(&activity));
        let (unread, outdated) = (Arc::clone(&unread), Rc::clone(&outdated));
        service_fn(move |request| {
            let (acceptor, fate, active) =
                (Rc::clone(&acceptor), Fate::new(Rc::clone(&caller)), Active::new(&activity));
            let (unread, outdated) = (Arc::clone(&unread), Rc::clone(&outdated));
            Box::pin(async move {
                unread.room().await;
                let reply = unread.count(http::answer(Rc::clone(&acceptor), request, &fate).await);
                if is_outdated(&acceptor, &fate.peer) {
                    outdated.notify_one();
                }
                drop(active);
                Ok::<_, Infallible>(reply)
            })
        })
    };
    let connection = Builder::new(Local)
        .timer(TokioTimer::new())
        .max_concurrent_streams(STREAMS_MAX)
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEAD_BYTES_READ_MAX)
        .max_send_buf_size(SEND_BYTES_MAX)
        .max_pending_accept_reset_streams(PENDING_RESETS_MAX)
        .keep_alive_interval(deadlines.ping)
        .keep_alive_timeout(deadlines.ping)
        .serve_connection(TokioIo::new(stream.clone()), service);
    let mut connection = Box::pin(connection);
    let mut stop = acceptor.stop.clone();
    let goodbye = tokio::select! {
        biased;
        // An error is the client's doing.
        _ = connection.as_mut() => None,
        // What is under way is answered, however long it takes; who waits for us knows when to give up.
        _ = stop.wait_for(|stop| *stop) => Some(Duration::MAX),
        // Here nobody does.
        () = outdated.notified() => Some(acceptor.shared.deadlines().drain),
        () = activity.idle(&unread, deadlines.head) => Some(GOODBYE),
        // There is nothing to wait for.
        () = unread.is_hopeless(deadlines.write) => None,
    };
    if let Some(within) = goodbye {
        connection.as_mut().graceful_shutdown();
        drop(timeout(within, connection.as_mut()).await);
    }
    // It owns the other handle of the stream. Its last words may be on their way still.
    drop(connection);
    if let Ok(stream) = Rc::try_unwrap(stream.0) {
        let (_, stream) = stream.into_inner().into_parts();
        linger(&mut stream.into_inner(), LINGER).await;
    }
    drop(guest);
}

/// What is under way on a connection.
struct Activity {
    requests: Cell<usize>,
    /// When the last request ended, or the connection began.
    since: Cell<Instant>,
}

impl Activity {
    /// Resolves once nothing has been under way for so long, an answer that is being read included.
    async fn idle(&self, unread: &Unread, within: Duration) {
        let mut timer = pin!(sleep_until(self.since.get() + within));
        loop {
            timer.as_mut().await;
            let due = match self.requests.get() {
                0 if unread.is_nothing() => self.since.get() + within,
                _ => Instant::now() + within,
            };
            if due <= Instant::now() {
                return;
            }
            timer.as_mut().reset(due);
        }
    }
}

/// A request that is under way.
struct Active(Rc<Activity>);

impl Active {
    fn new(activity: &Rc<Activity>) -> Self {
        activity.requests.update(|requests| requests + 1);
        Active(Rc::clone(activity))
    }
}

impl Drop for Active {
    fn drop(&mut self) {
        self.0.requests.update(|requests| requests - 1);
        self.0.since.set(Instant::now());
    }
}

/// Runs what hyper spawns in the acceptor's own thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output = ()> + 'static> Executor<F> for Local {
    fn execute(&self, future: F) {
        tokio::task::spawn_local(future);
    }
}

/// A stream of which a handle is kept: hyper would close it, and the last answer could be lost on its way.
#[derive(Clone)]
struct Shared(Rc<RefCell<Rewound<Patient>>>);

impl AsyncRead for Shared {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, out: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_read(context, out)
    }
}

impl AsyncWrite for Shared {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.borrow().is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut *self.0.borrow_mut()).poll_shutdown(context)
    }
}
