//! Who comes in and what it may still send: one place for both ways through HTTP, before anything of a request but its
//! head is looked at.

use super::acceptor::Acceptor;
use super::answer::Answer;
use super::connection::Fate;
use super::http::Route;
use super::limited::{limited, reason};
use crate::access::Caller;
use crate::access::limits::{Exceeded, Payer, Standing};
use crate::net::block_of;
use event::UnixMicros;
use hyper::header::{HeaderName, HeaderValue};
use hyper::http::request::Parts;
use std::rc::Rc;

/// Whom a proxy was asked by.
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Lets a request in, or says why not.
pub(super) fn admit(
    acceptor: &Acceptor,
    fate: &Fate,
    head: &Parts,
    route: Option<Route>,
) -> Result<Rc<Caller>, Box<Answer>> {
    let forwarded = head.headers.get_all(X_FORWARDED_FOR);
    let peer = Rc::clone(&fate.caller.borrow());
    let caller = behind_proxies(acceptor, &peer, forwarded.iter().map(HeaderValue::as_bytes));
    if route == Some(Route::Stream) {
        // Whose events the WebSocket brings.
        *fate.caller.borrow_mut() = Rc::clone(&caller);
    }
    Ok(caller)
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

/// Charges a request, and the events that it is known to have. What stands nearest to its end.
///
/// # Errors
/// The answer, where a limit is used up.
pub(super) fn pay(acceptor: &Acceptor, caller: &Caller, events: u64) -> Result<Option<Standing>, Box<Answer>> {
    charge(acceptor, caller, 1, events).map_err(|exceeded| {
        acceptor.shared.metrics.refuse_request(reason(&exceeded));
        too_much(acceptor, &exceeded)
    })
}

/// Charges the events of a batch, which were counted as received.
///
/// # Errors
/// The answer, where a limit is used up; the events are counted as refused.
pub(super) fn pay_events(acceptor: &Acceptor, caller: &Caller, events: u64) -> Result<Option<Standing>, Box<Answer>> {
    charge(acceptor, caller, 0, events).map_err(|exceeded| {
        acceptor.shared.metrics.refuse(reason(&exceeded), events);
        too_much(acceptor, &exceeded)
    })
}

/// Charges whatever comes in.
///
/// # Errors
/// The limit that is used up.
pub(super) fn charge(
    acceptor: &Acceptor,
    caller: &Caller,
    requests: u64,
    events: u64,
) -> Result<Option<Standing>, Exceeded> {
    let settings = acceptor.shared.settings.load();
    let policy = &settings.policy;
    if policy.is_off() {
        return Ok(None);
    }
    let payer = Payer::of(caller, block_of(caller.address, policy.ipv6_prefix_bits));
    acceptor.shared.limits.charge(policy, payer, requests, events, UnixMicros::now())
}

fn too_much(acceptor: &Acceptor, exceeded: &Exceeded) -> Box<Answer> {
    Box::new(limited(exceeded, &acceptor.shared.settings.load().policy_field))
}
