//! Routes, and what every answer has in common.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem};
use super::body::Arriving;
use super::connection::Fate;
use super::{batch, http2, single, websocket};
use crate::net::new_request_id;
use hyper::body::Incoming;
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue,
    ORIGIN,
};
use hyper::http::request::Parts;
use hyper::{Method, Request, StatusCode, Version};
use std::rc::Rc;
use std::time::Instant;

/// Names a request in answers and in the log.
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// Longest `X-Request-Id` that is echoed.
const REQUEST_ID_BYTES_MAX: usize = 128;

/// Which call a path is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Route {
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
pub(super) async fn answer(acceptor: Rc<Acceptor>, request: Request<Incoming>, fate: &Fate) -> Answer {
    let started = Instant::now();
    let _busy = acceptor.busy();
    let (head, body) = request.into_parts();
    let mut body = Arriving::new(body, &head.headers);
    let is_http2 = head.version == Version::HTTP_2;
    let route = Route::of(head.uri.path());
    let mut answer = dispatch(&acceptor, &head, &mut body, route, fate).await;
    let headers = answer.headers_mut();
    headers.insert(X_REQUEST_ID, request_id(&head.headers));
    if head.headers.contains_key(ORIGIN) && route.is_some() {
        headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
        headers.insert(
            ACCESS_CONTROL_EXPOSE_HEADERS,
            HeaderValue::from_static("x-request-id, retry-after, idempotency-replayed"),
        );
    }
    fate.upgraded.set(answer.status() == StatusCode::SWITCHING_PROTOCOLS);
    // What is left of a body cannot be told from a next request.
    let unread = !body.skip().await;
    // Under HTTP/2 each request is a stream of its own, and the connection has other ways to end.
    if !fate.upgraded.get() && !is_http2 && (unread || acceptor.stopping()) {
        answer.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
        fate.unread.set(true);
    }
    acceptor.count(answer.status(), started);
    answer
}

async fn dispatch(acceptor: &Acceptor, head: &Parts, body: &mut Arriving, route: Option<Route>, fate: &Fate) -> Answer {
    // RFC 9112, section 3.2.
    if head.version == Version::HTTP_11 && head.headers.get_all(HOST).iter().count() != 1 {
        return problem(StatusCode::BAD_REQUEST, "an HTTP/1.1 request has one Host header");
    }
    if head.version == Version::HTTP_2 && http2::is_too_large(&head.headers) {
        return problem(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's head is larger than 16384 bytes");
    }
    let caller = Rc::clone(&fate.caller.borrow());
    match route {
        Some(_) if head.method == Method::OPTIONS => preflight(),
        Some(route) if !route.takes(&head.method) => not_allowed(route),
        Some(Route::Single) => single::post(acceptor, &caller, head, body).await,
        Some(Route::Batch) => batch::post(acceptor, &caller, head, body).await,
        Some(Route::Stream) => websocket::handshake(acceptor, head, body),
        Some(Route::Stats) | None => {
            (acceptor.shared.fallback)(&head.method, head.uri.path(), head.uri.query(), &head.headers)
        }
    }
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

fn preflight() -> Answer {
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::NO_CONTENT;
    let headers = answer.headers_mut();
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, HeaderValue::from_static("*"));
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("GET, POST, OPTIONS"));
    headers.insert(
        ACCESS_CONTROL_ALLOW_HEADERS,
        HeaderValue::from_static(
            "content-type, content-encoding, authorization, x-api-key, idempotency-key, x-request-id, traceparent",
        ),
    );
    headers.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    answer
}
