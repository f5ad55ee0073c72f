//! Routes, and what every answer has in common.

use super::acceptor::{Acceptor, Trace};
use super::answer::{Answer, failed, outdated, problem};
use super::body::{Arriving, is_packed_for_transfer};
use super::caught::caught;
use super::connection::Fate;
use super::unread::{Counted, Kept, Reply, keep};
use super::{batch, cors, entry, http2, order, single, websocket};
use crate::access::Caller;
use crate::net::new_request_id;
use crate::traces::TRACEPARENT;
use hyper::body::Incoming;
use hyper::header::{ALLOW, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Version};
use std::pin::pin;
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// Names a request in answers and in the log.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest `X-Request-Id` that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// What the span of one event is called, whichever way it went.
pub(super) const SINGLE: &str = "POST /events";

/// Which call a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    Single,
    Batch,
    Stats,
    Stream,
}

impl Route {
    fn of(path: &str) -> Option<Self> {
        match path {
            "/events" | "/v1/events" => Some(Route::Single),
            "/events/batch" | "/v1/events/batch" | "/batch" => Some(Route::Batch),
            "/events/stats" | "/v1/events/stats" => Some(Route::Stats),
            "/events/stream" | "/v1/events/stream" => Some(Route::Stream),
            _ => None,
        }
    }

    fn takes(self, method: &Method) -> bool {
        match self {
            Route::Single | Route::Batch => method == Method::POST,
            Route::Stats => method == Method::GET || method == Method::HEAD,
            Route::Stream => method == Method::GET,
        }
    }

    /// What its span is called.
    const fn name(route: Option<Self>) -> &'static str {
        match route {
            Some(Route::Single) => SINGLE,
            Some(Route::Batch) => "POST /events/batch",
            Some(Route::Stats) => "GET /events/stats",
            Some(Route::Stream) => "GET /events/stream",
            None => "other",
        }
    }

    /// The `Allow` header.
    const fn allow(self) -> &'static str {
        match self {
            Route::Single | Route::Batch => "POST, OPTIONS",
            Route::Stats => "GET, HEAD, OPTIONS",
            Route::Stream => "GET, OPTIONS",
        }
    }
}

/// Answers one request.
pub(super) async fn answer(acceptor: Rc<Acceptor>, request: Request<Incoming>, fate: &Fate) -> Reply {
    let started = Instant::now();
    let _busy = acceptor.busy();
    let (head, body) = request.into_parts();
    let mut body = Arriving::new(body, &head.headers);
    let is_http2 = head.version == Version::HTTP_2;
    let route = Route::of(head.uri.path());
    let trace = Trace::begin(&acceptor, head.headers.get(TRACEPARENT).map(HeaderValue::as_bytes), started);
    let mut answer = match is_outdated(&acceptor, fate) {
        true => outdated(),
        false => dispatch(&acceptor, &head, &mut body, route, fate, &trace).await,
    };
    // What was stored is answered as it is: sent again because of a 503 it would only be more to do.
    let kept = match route {
        Some(Route::Single | Route::Batch) => Kept::of(&answer),
        _ => keep(&acceptor, fate.peer.address, &mut answer),
    };
    let id = request_id(&head.headers);
    acceptor.finish(&trace, Route::name(route), answer.status(), id.as_bytes());
    let headers = answer.headers_mut();
    headers.insert(X_REQUEST_ID, id);
    if route.is_some() {
        acceptor.shared.settings.load().cors.put(&head.headers, headers);
    }
    // What is left of a body cannot be told from a next request.
    let unread = !body.skip().await;
    // Under HTTP/2 each request is a stream of its own, and the connection has other ways to end.
    if !fate.is_upgraded() && !is_http2 && (unread || acceptor.stopping() || is_outdated(&acceptor, fate)) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        fate.unread.set(true);
    }
    acceptor.count(answer.status(), started);
    Counted::of(answer, kept)
}

fn is_outdated(acceptor: &Acceptor, fate: &Fate) -> bool {
    entry::is_outdated(acceptor, &fate.peer)
}

async fn dispatch(
    acceptor: &Acceptor,
    head: &Parts,
    body: &mut Arriving,
    route: Option<Route>,
    fate: &Fate,
    trace: &Trace,
) -> Answer {
    // RFC 9112, section 3.2.
    if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
        return problem(StatusCode::BAD_REQUEST, "an HTTP/1.1 request has one Host header");
    }
    if head.version == Version::HTTP_2 && http2::is_too_large(&head.headers) {
        return problem(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is larger than 16384 bytes");
    }
    if is_packed_for_transfer(&head.headers) {
        let detail = "no transfer coding but chunked is taken; say in Content-Encoding how a body is packed";
        return problem(StatusCode::NOT_IMPLEMENTED, detail);
    }
    match route {
        Some(_) if head.method == Method::OPTIONS => return preflight(acceptor, head),
        Some(route) if !route.takes(&head.method) => return not_allowed(route),
        _ => {}
    }
    match caught(pin!(admitted(acceptor, head, body, route, fate, trace))).await {
        Some(Ok(answer)) => answer,
        Some(Err(answer)) => *answer,
        None => {
            acceptor.start_over();
            failed()
        }
    }
}

/// Answers a request that has a place here, if its sender may send it.
async fn admitted(
    acceptor: &Acceptor,
    head: &Parts,
    body: &mut Arriving,
    route: Option<Route>,
    fate: &Fate,
    trace: &Trace,
) -> Result<Answer, Box<Answer>> {
    let caller = entry::admit(acceptor, &fate.peer, head, route)?;
    let (mut answer, standing) = match route {
        Some(Route::Single) => {
            // Asked before the event is paid for, which is before its body is read: what finds no place costs no event.
            let place = acceptor.shared.admission.enter();
            let mut toll = entry::pay(acceptor, &caller, u64::from(place.is_ok()), single::EVENTS)?;
            let answer = single::post(acceptor, &caller, head, body, trace, place, &mut toll).await;
            // Who is refused is told how it stands, too.
            (answer.unwrap_or_else(|refused| *refused), toll.end())
        }
        Some(Route::Batch) => {
            let toll = entry::pay(acceptor, &caller, 0, 0)?;
            let answer = batch::post(acceptor, &caller, head, body, trace).await;
            (answer.unwrap_or_else(|refused| *refused), toll.end())
        }
        Some(Route::Stream) => {
            let toll = entry::pay(acceptor, &caller, 0, 0)?;
            (stream(acceptor, &caller, head, body, fate), toll.end())
        }
        Some(Route::Stats) => (about(acceptor, &caller, head)?, None),
        None => match order::path_of(head.uri.path()) {
            Some(path) => (order::answer(acceptor, &caller, head, path, body).await, None),
            None => (about(acceptor, &caller, head)?, None),
        },
    };
    entry::tell_standing(acceptor, &mut answer, standing);
    Ok(answer)
}

/// Tells of the daemon itself. That is not limited, for whoever watches it would else see it fail under load; to ask for
/// what is not there is.
fn about(acceptor: &Acceptor, caller: &Caller, head: &Parts) -> Result<Answer, Box<Answer>> {
    let mut answer = (acceptor.shared.fallback)(&head.method, head.uri.path(), head.uri.query(), &head.headers);
    if answer.status().is_client_error() {
        let standing = entry::pay_without_events(acceptor, caller)?;
        entry::tell_standing(acceptor, &mut answer, standing);
    }
    Ok(answer)
}

/// Opens a WebSocket for whom it may be opened.
fn stream(acceptor: &Acceptor, caller: &Rc<Caller>, head: &Parts, body: &Arriving, fate: &Fate) -> Answer {
    if !acceptor.shared.settings.load().cors.allows(&head.headers) {
        acceptor.shared.metrics.origins_refused.fetch_add(1, Relaxed);
        return cors::refused();
    }
    let answer = websocket::handshake(acceptor, head, body);
    if answer.status() == StatusCode::SWITCHING_PROTOCOLS {
        // Not before: after any other answer the connection brings requests, and others' as well.
        fate.socket.replace(Some(Rc::clone(caller)));
    }
    answer
}

/// The client's id where it sent a usable one, else a new one.
fn request_id(headers: &HeaderMap) -> HeaderValue {
    match headers.get(X_REQUEST_ID) {
        Some(id) if is_request_id(id.as_bytes()) => id.clone(),
        _ => HeaderValue::from_bytes(&new_request_id()).unwrap_or(HeaderValue::from_static("none")),
    }
}

/// Whether a client's id is echoed.
pub(super) fn is_request_id(id: &[u8]) -> bool {
    !id.is_empty() && id.len() <= REQUEST_ID_BYTES_MAX
}

fn not_allowed(route: Route) -> Answer {
    let mut answer = problem(StatusCode::METHOD_NOT_ALLOWED, &format!("this path takes {}", route.allow()));
    answer.headers_mut().insert(ALLOW, HeaderValue::from_static(route.allow()));
    answer
}

/// What a browser asks before it sends what a page of another origin wants sent.
fn preflight(acceptor: &Acceptor, head: &Parts) -> Answer {
    let settings = acceptor.shared.settings.load();
    if !settings.cors.allows(&head.headers) {
        acceptor.shared.metrics.origins_refused.fetch_add(1, Relaxed);
    }
    settings.cors.preflight(&head.headers)
}
