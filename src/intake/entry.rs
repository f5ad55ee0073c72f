//! Who comes in: one place for both ways through HTTP, before anything of a request but its head is looked at.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem_with};
use super::connection::Fate;
use super::http::Route;
use super::websocket::{SUBPROTOCOL, token_in};
use crate::access::{Caller, Failure, Mode, Presented, Scope};
use event::UnixMicros;
use hyper::header::{AUTHORIZATION, HeaderMap, HeaderValue, SEC_WEBSOCKET_PROTOCOL, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::rc::Rc;

/// Headers that carry an API key.
const API_KEY: &str = "x-api-key";
const APP_TOKEN: &str = "x-app-token";

/// Lets a request in, or says why not.
pub(super) fn admit(
    acceptor: &Acceptor,
    fate: &Fate,
    head: &Parts,
    route: Option<Route>,
) -> Result<Rc<Caller>, Box<Answer>> {
    let address = fate.caller.borrow().address;
    let group = group(route, &head.method);
    if is_open_to_all(head) {
        return Ok(Rc::new(Caller::anonymous(address)));
    }
    // Found only where it is asked for: elsewhere these headers mean nothing.
    let credential = || presented(&head.headers, route)?.credential();
    let admitted = acceptor.shared.access.admit(
        &mut acceptor.verified.borrow_mut(),
        credential,
        group,
        address,
        UnixMicros::now(),
    );
    let caller = Rc::new(admitted.map_err(|failure| {
        acceptor.shared.metrics.turn_away(failure);
        Box::new(turned_away(failure, group))
    })?);
    if route == Some(Route::Stream) {
        // Whose events the WebSocket brings.
        *fate.caller.borrow_mut() = Rc::clone(&caller);
    }
    Ok(caller)
}

/// Lets a plain request in; `None` where the general way is to say why not.
pub(super) fn admit_plain(acceptor: &Acceptor, anonymous: &Rc<Caller>, presented: Presented<'_>) -> Option<Rc<Caller>> {
    let access = &acceptor.shared.access;
    if access.mode(Scope::Intake) == Mode::None {
        return Some(Rc::clone(anonymous));
    }
    let mut verified = acceptor.verified.borrow_mut();
    let admitted =
        access.admit(&mut verified, || presented.credential(), Scope::Intake, anonymous.address, UnixMicros::now());
    admitted.ok().map(Rc::new)
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
fn turned_away(failure: Failure, group: Scope) -> Answer {
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
