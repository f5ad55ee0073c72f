//! The short way of the request that nearly every one is: a plain `POST /events` that arrives whole in one read.
//!
//! Its head is taken apart where it was read (crate `httparse`), the event goes the same way as any other, and the
//! answer is one write. A request that is not plain, be it only for a header that is not on the list below, is left
//! untouched: from its first byte on the connection goes the general way (hyper). Both ways give the same answers,
//! which `tests/http_express.rs` holds them to; measured, this one costs about a third less of an acceptor's time.

use super::acceptor::{Acceptor, Trace};
use super::answer::{PROBLEM, RETRY_AFTER_S, failure_body, put_number, refusal_body};
use super::caught::caught;
use super::http::{SINGLE, is_request_id};
use super::limited::standing_field;
use super::toll::Toll;
use super::{entry, idempotent, single};
use crate::access::{Caller, Presented};
use crate::commit::{Permit, Remembered, Submission};
use crate::net::{Patient, new_request_id};
use bytes::Bytes;
use event::{Refusal, UnixMicros};
use httparse::{Header, Status};
use hyper::StatusCode;
use std::future::poll_fn;
use std::mem::MaybeUninit;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, ready};
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Sleep, sleep_until};

/// Largest head of a plain request, and the most headers in it.
const HEAD_BYTES_MAX: usize = 8 << 10;
const HEADERS_MAX: usize = 24;

/// Where the short way led.
pub(super) enum End {
    /// The client has gone, or sent nothing for too long.
    Closed,
    /// The last answer is written.
    Answered,
    /// To something that is not plain, which begins with these bytes, or to the daemon's stop.
    Other(Bytes),
}

/// What a connection brought.
enum Arrival<'a> {
    Plain(Box<Plain<'a>>),
    Other(Bytes),
    Nothing,
}

/// A plain request, taken apart.
struct Plain<'a> {
    submission: Box<Submission>,
    toll: Toll<'a>,
    request_id: RequestId,
    trace: Trace,
    started: std::time::Instant,
    received_at: UnixMicros,
}

/// The client's id, or ours.
enum RequestId {
    Given(Box<[u8]>),
    Made([u8; 16]),
}

/// Answers plain requests until there is something else.
pub(super) async fn serve(acceptor: &Rc<Acceptor>, anonymous: &Rc<Caller>, stream: &mut Patient) -> End {
    let mut stop = acceptor.stop.clone();
    let mut stopped = pin!(stop.wait_for(|stop| *stop));
    let mut due = Instant::now() + acceptor.shared.deadlines().head;
    let mut timer = pin!(sleep_until(due));
    loop {
        let arrival = poll_fn(|context| {
            if let Poll::Ready(arrival) = read(acceptor, anonymous, stream, context) {
                return Poll::Ready(arrival);
            }
            if stopped.as_mut().poll(context).is_ready() {
                return Poll::Ready(Arrival::Other(Bytes::new()));
            }
            poll_idle(timer.as_mut(), due, context).map(|()| Arrival::Nothing)
        });
        let plain = match arrival.await {
            Arrival::Plain(plain) => plain,
            Arrival::Other(ahead) => return End::Other(ahead),
            Arrival::Nothing => return End::Closed,
        };
        let busy = acceptor.busy();
        let (bytes, is_last) = answer(acceptor, anonymous, *plain).await;
        drop(busy);
        // What is flushed is what TLS still holds; a plain stream holds nothing.
        if stream.write_all(&bytes).await.is_err() || stream.flush().await.is_err() {
            return End::Closed;
        }
        if is_last {
            return End::Answered;
        }
        due = Instant::now() + acceptor.shared.deadlines().head;
    }
}

/// Reads once. What arrives is taken apart before anything else runs, for the buffer belongs to all connections.
fn read<'a>(
    acceptor: &'a Acceptor,
    anonymous: &Rc<Caller>,
    stream: &mut Patient,
    context: &mut Context<'_>,
) -> Poll<Arrival<'a>> {
    let mut buffer = acceptor.arrivals.borrow_mut();
    let mut space = ReadBuf::new(&mut buffer);
    let Ok(()) = ready!(Pin::new(stream).poll_read(context, &mut space)) else {
        return Poll::Ready(Arrival::Nothing);
    };
    let bytes = space.filled();
    if bytes.is_empty() {
        return Poll::Ready(Arrival::Nothing);
    }
    // What panics here does so once more on the general way, which answers it.
    let plain = catch_unwind(AssertUnwindSafe(|| prepare(acceptor, anonymous, &Head::of(bytes)?)));
    Poll::Ready(match plain {
        Ok(Some(plain)) => Arrival::Plain(Box::new(plain)),
        _ => Arrival::Other(Bytes::copy_from_slice(bytes)),
    })
}

/// Lets the request in; `None` where the general way is to refuse it.
fn prepare<'a>(acceptor: &'a Acceptor, anonymous: &Rc<Caller>, head: &Head<'_>) -> Option<Plain<'a>> {
    let settings = acceptor.shared.settings.load();
    let is_outdated = !settings.takes(anonymous.behind);
    if acceptor.stopping() || is_outdated || head.body.len() > settings.body_bytes_max {
        return None;
    }
    drop(settings);
    let client = entry::behind_proxies(acceptor, anonymous, head.forwarded_for.into_iter());
    let caller = entry::admit_plain(acceptor, &client, head.presented)?;
    let mut permit: Permit = acceptor.shared.admission.enter().ok()?;
    if !permit.grow(head.body.len()) {
        return None;
    }
    // Last, for what is refused here is charged again on the general way.
    let toll = Toll::pay(acceptor, &caller, 1, 1).ok()?;
    let (started, received_at) = (std::time::Instant::now(), UnixMicros::now());
    let trace = Trace::begin(acceptor, head.traceparent, started);
    let submission = single::prepare(acceptor, &caller, head.body, trace.carried(), permit, started, received_at);
    let request_id = match head.request_id.filter(|id| is_request_id(id)) {
        Some(id) => RequestId::Given(id.into()),
        None => RequestId::Made(new_request_id()),
    };
    Some(Plain { submission, toll, request_id, trace, started, received_at })
}

/// Commits a request; its answer as it goes over the wire, and whether that ends the connection.
async fn answer(acceptor: &Acceptor, anonymous: &Caller, plain: Plain<'_>) -> (Vec<u8>, bool) {
    let Plain { submission, mut toll, request_id, trace, started, received_at } = plain;
    let settled = caught(pin!(single::settle(acceptor, &mut toll, submission))).await;
    let standing = toll.end();
    let (status, kind, body) = match settled {
        Some(Ok(answer)) => (status(&answer), idempotent::content_type(&answer), answer.body),
        Some(Err(reason)) => (StatusCode::SERVICE_UNAVAILABLE, PROBLEM, refused(reason)),
        None => {
            acceptor.start_over();
            (StatusCode::INTERNAL_SERVER_ERROR, PROBLEM, failure_body().into_bytes())
        }
    };
    acceptor.finish(&trace, SINGLE, status, request_id.as_bytes());
    let settings = acceptor.shared.settings.load();
    let is_last = acceptor.stopping() || !settings.takes(anonymous.behind);
    let mut out = Vec::with_capacity(body.len() + 256);
    out.extend_from_slice(b"HTTP/1.1 ");
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    put_header(&mut out, "content-type", kind.as_bytes());
    if status == StatusCode::SERVICE_UNAVAILABLE {
        out.extend_from_slice(b"\r\nretry-after: ");
        put_number(&mut out, RETRY_AFTER_S.into());
    }
    put_header(&mut out, "x-request-id", request_id.as_bytes());
    if let Some(standing) = standing {
        put_header(&mut out, "ratelimit-policy", settings.policy_field.as_bytes());
        put_header(&mut out, "ratelimit", &standing_field(&standing));
    }
    if settings.cors.depends_on_origin() {
        put_header(&mut out, "vary", b"Origin");
    }
    if is_last {
        put_header(&mut out, "connection", b"close");
    }
    out.extend_from_slice(b"\r\ncontent-length: ");
    put_number(&mut out, body.len() as u64);
    out.extend_from_slice(b"\r\ndate: ");
    acceptor.date.put(received_at, &mut out);
    out.extend_from_slice(b"\r\n\r\n");
    out.extend_from_slice(&body);
    acceptor.count(status, started);
    (out, is_last)
}

fn status(answer: &Remembered) -> StatusCode {
    StatusCode::from_u16(answer.status).unwrap_or(StatusCode::ACCEPTED)
}

fn refused(reason: Refusal) -> Vec<u8> {
    refusal_body(reason).into_bytes()
}

/// Ends the line before and begins a header; the last one is ended by the empty line.
fn put_header(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(b"\r\n");
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
}

impl RequestId {
    fn as_bytes(&self) -> &[u8] {
        match self {
            RequestId::Given(id) => id,
            RequestId::Made(id) => id,
        }
    }
}

/// A plain request as it was received.
#[derive(Debug, Default, PartialEq, Eq)]
struct Head<'a> {
    body: &'a [u8],
    request_id: Option<&'a [u8]>,
    traceparent: Option<&'a [u8]>,
    presented: Presented<'a>,
    forwarded_for: Option<&'a [u8]>,
}

/// Headers that do not change the answer. What is not here, or has a meaning only the general way knows, is not plain.
const WITHOUT_EFFECT: [&str; 11] = [
    "user-agent",
    "accept",
    "accept-encoding",
    "accept-language",
    "tracestate",
    "referer",
    "x-forwarded-proto",
    "x-forwarded-host",
    "x-forwarded-port",
    "x-real-ip",
    "via",
];

impl<'a> Head<'a> {
    /// The request that `bytes` are, if they are exactly one and it is plain.
    fn of(bytes: &'a [u8]) -> Option<Self> {
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_MAX];
        let mut request = httparse::Request::new(&mut []);
        let Ok(Status::Complete(head_bytes)) = request.parse_with_uninit_headers(bytes, &mut headers) else {
            return None;
        };
        let is_post = request.method == Some("POST") && request.version == Some(1);
        let is_single = matches!(request.path, Some("/events" | "/v1/events"));
        if head_bytes > HEAD_BYTES_MAX || !is_post || !is_single {
            return None;
        }
        let mut head = Head { body: &bytes[head_bytes..], ..Head::default() };
        let mut length = None;
        let (mut has_type, mut has_host) = (false, false);
        for Header { name, value } in request.headers.iter() {
            let is = |known: &str| name.eq_ignore_ascii_case(known);
            let fits = if WITHOUT_EFFECT.iter().any(|known| is(known)) {
                true
            } else if is("host") {
                !std::mem::replace(&mut has_host, true)
            } else if is("content-length") {
                length.replace(decimal(value)?).is_none()
            } else if is("content-type") {
                !std::mem::replace(&mut has_type, true) && value.eq_ignore_ascii_case(b"application/json")
            } else if is("connection") {
                value.eq_ignore_ascii_case(b"keep-alive")
            } else if is("x-request-id") {
                head.request_id.replace(value).is_none()
            } else if is("traceparent") {
                head.traceparent.replace(value).is_none()
            } else if is("authorization") {
                head.presented.authorization.replace(value).is_none()
            } else if is("x-api-key") {
                head.presented.api_key.replace(value).is_none()
            } else if is("x-app-token") {
                head.presented.app_token.replace(value).is_none()
            } else if is("x-forwarded-for") {
                head.forwarded_for.replace(value).is_none()
            } else {
                false
            };
            if !fits {
                return None;
            }
        }
        (has_host && length == Some(head.body.len())).then_some(head)
    }
}

/// A number of at most seven decimal digits.
fn decimal(text: &[u8]) -> Option<usize> {
    let plain = (1..=7).contains(&text.len()) && text.iter().all(u8::is_ascii_digit);
    plain.then(|| text.iter().fold(0, |sum, digit| sum * 10 + usize::from(digit - b'0')))
}

/// Ready once `due` has passed. The timer is only set anew when it goes off too early, so that putting `due` off costs
/// nothing.
fn poll_idle(mut timer: Pin<&mut Sleep>, due: Instant, context: &mut Context<'_>) -> Poll<()> {
    while timer.as_mut().poll(context).is_ready() {
        if due <= Instant::now() {
            return Poll::Ready(());
        }
        timer.as_mut().reset(due);
    }
    Poll::Pending
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(head: &str, body: &str) -> String {
        format!("POST /events HTTP/1.1\r\nHost: shop\r\n{head}Content-Length: {}\r\n\r\n{body}", body.len())
    }

    #[test]
    fn a_whole_plain_request_is_taken_apart() {
        let bytes = request("X-Request-Id: r-1\r\nTraceParent: t\r\nconnection: Keep-Alive\r\n", "{}");
        let head = Head::of(bytes.as_bytes()).unwrap();
        assert_eq!(head, Head { body: b"{}", request_id: Some(b"r-1"), traceparent: Some(b"t"), ..Head::default() });
        let presented = Presented { authorization: Some(b"Bearer t"), api_key: Some(b"k"), ..Presented::default() };
        let bytes = request("Authorization: Bearer t\r\nx-api-key: k\r\n", "{}");
        assert_eq!(Head::of(bytes.as_bytes()), Some(Head { body: b"{}", presented, ..Head::default() }));
        assert!(Head::of(request("Content-Type: APPLICATION/json\r\n", "{}").as_bytes()).is_some());
        assert!(Head::of(request("", "{}").replace("/events", "/v1/events").as_bytes()).is_some());
    }

    #[test]
    fn what_is_not_whole_or_not_alone_is_not_plain() {
        let bytes = request("", "{}");
        for end in 0..bytes.len() {
            assert_eq!(Head::of(&bytes.as_bytes()[..end]), None, "{end}");
        }
        assert_eq!(Head::of(format!("{bytes}P").as_bytes()), None);
        assert_eq!(Head::of(format!("{bytes}{bytes}").as_bytes()), None);
    }

    #[test]
    fn any_header_with_a_meaning_of_its_own_is_not_plain() {
        for header in [
            "Transfer-Encoding: chunked",
            "Content-Encoding: gzip",
            "Content-Type: text/json",
            "Content-Type: application/json\r\nContent-Type: application/json",
            "Content-Length: 2",
            "Expect: 100-continue",
            "Connection: close",
            "Connection: upgrade",
            "Upgrade: websocket",
            "Idempotency-Key: k",
            "Origin: https://shop",
            "Authorization: Bearer t\r\nAuthorization: Bearer t",
            "X-API-Key: k\r\nX-Api-Key: k",
            "X-Request-Id: a\r\nX-Request-Id: b",
            "X-Forwarded-For: 1.1.1.1\r\nX-Forwarded-For: 2.2.2.2",
            "X-Whatever: 1",
        ] {
            assert_eq!(Head::of(request(&format!("{header}\r\n"), "{}").as_bytes()), None, "{header}");
        }
        for (from, to) in [
            ("POST", "PUT"),
            ("/events", "/events?a=1"),
            ("/events", "/Events"),
            ("/1.1", "/1.0"),
            ("h: 2", "h: +2"),
            ("h: 2", "h: "),
        ] {
            assert_eq!(Head::of(request("", "{}").replacen(from, to, 1).as_bytes()), None, "{to}");
        }
        let many = "accept: a\r\n".repeat(HEADERS_MAX);
        assert_eq!(Head::of(request(&many, "{}").as_bytes()), None);
        let long = format!("user-agent: {}\r\n", "a".repeat(HEAD_BYTES_MAX));
        assert_eq!(Head::of(request(&long, "{}").as_bytes()), None);
    }
}
