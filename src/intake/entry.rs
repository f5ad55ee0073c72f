//! Who comes in and what it may still send: one place for both ways through HTTP, before anything of a request but its
//! head is looked at.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem_with};
use super::http::Route;
use super::limited::{limited, put_standing, reason};
use super::toll::Toll;
use super::websocket::{SUBPROTOCOL, token_in};
use crate::access::limits::{Exceeded, Payer, Standing};
use crate::access::{Caller, Credential, Failure, Mode, Presented, Scope};
use crate::net::block_of;
use event::UnixMicros;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::rc::Rc;

/// Headers that carry an API key.
const API_KEY: &str = "x-api-key";
const APP_TOKEN: &str = "x-app-token";
/// Whom a proxy was asked by.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Lets a request of a connection that `peer` has opened in, or says why not.
pub(super) fn admit(
    acceptor: &Acceptor,
    peer: &Rc<Caller>,
    head: &Parts,
    route: Option<Route>,
) -> Result<Rc<Caller>, Box<Answer>> {
    let forwarded = head.headers.get_all(X_FORWARDED_FOR);
    let client = behind_proxies(acceptor, peer, forwarded.iter().map(HeaderValue::as_bytes));
    if is_open_to_all(head) {
        return Ok(client);
    }
    match authenticated(acceptor, &client, head, route) {
        Ok(caller) => Ok(caller),
        Err((failure, group)) => {
            acceptor.shared.metrics.turn_away(failure);
            // Whoever tries credentials is held to what its address may send.
            let standing = pay_without_events(acceptor, &client)?;
            let mut answer = turned_away(failure, group);
            tell_standing(acceptor, &mut answer, standing);
            Err(Box::new(answer))
        }
    }
}

/// Who that is, by what its request carries.
fn authenticated(
    acceptor: &Acceptor,
    client: &Rc<Caller>,
    head: &Parts,
    route: Option<Route>,
) -> Result<Rc<Caller>, (Failure, Scope)> {
    let group = group(route, &head.method);
    // Found only where it is asked for: elsewhere these headers mean nothing.
    let credential = || presented(&head.headers, route)?.credential();
    known(acceptor, client, group, credential).map_err(|failure| (failure, group))
}

/// Lets a plain request in; `None` where the general way is to say why not.
pub(super) fn admit_plain(acceptor: &Acceptor, client: &Rc<Caller>, presented: Presented<'_>) -> Option<Rc<Caller>> {
    known(acceptor, client, Scope::Intake, || presented.credential()).ok()
}

/// Whom a credential names; the client as it is where none is asked for.
fn known<'a>(
    acceptor: &Acceptor,
    client: &Rc<Caller>,
    group: Scope,
    credential: impl FnOnce() -> Result<&'a [u8], Failure>,
) -> Result<Rc<Caller>, Failure> {
    let access = &acceptor.shared.access;
    if access.mode(group) == Mode::None {
        return Ok(Rc::clone(client));
    }
    let mut verified = acceptor.verified.borrow_mut();
    let caller = access.admit(&mut verified, credential, group, client.address, UnixMicros::now())?;
    Ok(Rc::new(Caller { certificate: client.certificate.clone(), behind: client.behind, ..caller }))
}

/// Lets whoever was let in go on, once its body is there: a key may have been revoked while that was waited for.
pub(super) fn admit_again(acceptor: &Acceptor, caller: &Caller, group: Scope) -> Result<(), Box<Answer>> {
    acceptor.shared.access.standing(caller, group, UnixMicros::now()).map_err(|failure| {
        acceptor.shared.metrics.turn_away(failure);
        Box::new(turned_away(failure, group))
    })
}

/// Whether a connection could not begin any more as it has: a reload came in between, and whoever was taken for its client
/// may be another.
pub(super) fn is_outdated(acceptor: &Acceptor, peer: &Caller) -> bool {
    !acceptor.shared.settings.load().takes(peer.behind)
}

/// Whoever looks whether the daemon runs has no credentials.
fn is_open_to_all(head: &Parts) -> bool {
    matches!(head.uri.path(), "/health/live" | "/health/ready") && is_reading(&head.method)
}

fn is_reading(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

/// The group of what is no intake.
pub(super) fn group_of(method: &Method) -> Scope {
    if is_reading(method) { Scope::Read } else { Scope::Manage }
}

fn group(route: Option<Route>, method: &Method) -> Scope {
    match route {
        Some(Route::Single | Route::Batch | Route::Stream) => Scope::Intake,
        Some(Route::Stats) => Scope::Read,
        None => group_of(method),
    }
}

/// What the headers carry; a header that stands twice says two things.
fn presented(headers: &HeaderMap, route: Option<Route>) -> Result<Presented<'_>, Failure> {
    let subprotocol = match route {
        Some(Route::Stream) => token_in(headers.get_all(SEC_WEBSOCKET_PROTOCOL))?,
        _ => None,
    };
    Ok(Presented {
        authorization: only(headers, AUTHORIZATION.as_str())?,
        api_key: only(headers, API_KEY)?,
        app_token: only(headers, APP_TOKEN)?,
        subprotocol,
    })
}

fn only<'a>(headers: &'a HeaderMap, name: &str) -> Result<Option<&'a [u8]>, Failure> {
    let mut values = headers.get_all(name).iter();
    let first = values.next().map(HeaderValue::as_bytes);
    if values.next().is_some() { Err(Failure::Ambiguous) } else { Ok(first) }
}

/// What a client is told: enough to mend it, nothing that helps to guess (RFC 6750, section 3).
#[must_use]
pub fn turned_away(failure: Failure, group: Scope) -> Answer {
    let (status, code, detail) = match failure {
        Failure::Missing => {
            (StatusCode::UNAUTHORIZED, "missing_credential", "an API key or a JWT is needed".to_owned())
        }
        Failure::Ambiguous => {
            (StatusCode::BAD_REQUEST, "invalid_request", "several credentials that differ; send one".to_owned())
        }
        Failure::Scope => {
            (StatusCode::FORBIDDEN, "insufficient_scope", format!("the credential lacks the scope {group}"))
        }
        Failure::Expired => (StatusCode::UNAUTHORIZED, "invalid_token", "the credential has expired".to_owned()),
        _ => (StatusCode::UNAUTHORIZED, "invalid_token", "the credential is not valid here".to_owned()),
    };
    let challenge = match failure {
        Failure::Missing => "Bearer realm=\"ingestd\"".to_owned(),
        Failure::Scope => format!("Bearer realm=\"ingestd\", error=\"{code}\", scope=\"{group}\""),
        _ => format!("Bearer realm=\"ingestd\", error=\"{code}\""),
    };
    let mut answer = problem_with(status, &detail, &[("code", code.into())]);
    if let Ok(challenge) = HeaderValue::from_str(&challenge) {
        answer.headers_mut().insert(WWW_AUTHENTICATE, challenge);
    }
    answer
}

/// The answer to a handshake whose subprotocols a browser could not go on with.
pub(super) fn without_subprotocol() -> Answer {
    let detail = format!("a token among the subprotocols needs {SUBPROTOCOL} beside it, which is what is answered");
    problem_with(StatusCode::BAD_REQUEST, &detail, &[("code", "invalid_request".into())])
}

/// The caller, with the address that trusted proxies name; `lines` are those of `X-Forwarded-For`.
pub(super) fn behind_proxies<'a>(
    acceptor: &Acceptor,
    peer: &Rc<Caller>,
    lines: impl DoubleEndedIterator<Item = &'a [u8]>,
) -> Rc<Caller> {
    let client = acceptor.shared.settings.load().proxies.client(peer.address, lines);
    if client == peer.address { Rc::clone(peer) } else { Rc::new(Caller { address: client, ..Caller::clone(peer) }) }
}

/// Charges a request and so many events. Where it is refused, `unread` events count as refused with it.
///
/// # Errors
/// The answer, where a limit is used up.
pub(super) fn pay<'a>(
    acceptor: &'a Acceptor,
    caller: &Rc<Caller>,
    events: u64,
    unread: u64,
) -> Result<Toll<'a>, Box<Answer>> {
    Toll::pay(acceptor, caller, 1, events).map_err(|exceeded| {
        acceptor.shared.metrics.refuse_unread(reason(&exceeded), unread);
        too_much(acceptor, &exceeded)
    })
}

/// Charges a request that brings no events: its sender pays, or its address where nobody has been asked for. What stands
/// nearest to its end, if there are limits.
///
/// # Errors
/// The answer, where a limit is used up.
pub(super) fn pay_without_events(acceptor: &Acceptor, caller: &Caller) -> Result<Option<Standing>, Box<Answer>> {
    let settings = acceptor.shared.settings.load();
    let policy = &settings.policy;
    let block = block_of(caller.address, policy.ipv6_prefix_bits);
    let payer = match caller.credential {
        // That its tenant is `default` is nothing that it has shown, and others may be it with a key.
        Credential::None => Payer::stranger(block),
        Credential::Key(_) | Credential::Jwt { .. } => Payer::of(caller, block),
    };
    acceptor.shared.limits.charge(policy, payer, 1, 0, UnixMicros::now()).map_err(|exceeded| {
        acceptor.shared.metrics.refuse_request(reason(&exceeded));
        too_much(acceptor, &exceeded)
    })
}

/// Charges the events of a batch, which were counted as received.
///
/// # Errors
/// The answer, where a limit is used up; the events are counted as refused.
pub(super) fn pay_events<'a>(
    acceptor: &'a Acceptor,
    caller: &Rc<Caller>,
    events: u64,
) -> Result<Toll<'a>, Box<Answer>> {
    Toll::pay(acceptor, caller, 0, events).map_err(|exceeded| {
        acceptor.shared.metrics.refuse(reason(&exceeded), events);
        too_much(acceptor, &exceeded)
    })
}

/// Says in an answer how its sender stands, unless that is said already.
pub(super) fn tell_standing(acceptor: &Acceptor, answer: &mut Answer, standing: Option<Standing>) {
    if let Some(standing) = standing {
        put_standing(answer.headers_mut(), &acceptor.shared.settings.load().policy_field, &standing);
    }
}

fn too_much(acceptor: &Acceptor, exceeded: &Exceeded) -> Box<Answer> {
    Box::new(limited(exceeded, &acceptor.shared.settings.load().policy_field))
}
