//! The request that turns an HTTP connection into a WebSocket.

use super::subprotocol::{SUBPROTOCOL, offers_ours, offers_token};
use crate::intake::acceptor::Acceptor;
use crate::intake::answer::{Answer, problem};
use crate::intake::body::Arriving;
use crate::intake::entry::without_subprotocol;
use event::Refusal;
use hyper::header::{
    CONNECTION, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{StatusCode, Version};

/// 101, or what is wrong.
pub(in crate::intake) fn handshake(acceptor: &Acceptor, head: &Parts, body: &Arriving) -> Answer {
    let headers = head.headers.iter().map(|(name, value)| (name.as_str(), value.as_bytes()));
    let accept = match frame::handshake(head.method.as_str(), head.version == Version::HTTP_11, headers) {
        Ok(accept) => accept,
        Err(refused) => return not_upgraded(refused),
    };
    if !body.has_ended() {
        return problem(StatusCode::BAD_REQUEST, "a handshake has no body");
    }
    let offered = head.headers.get_all(SEC_WEBSOCKET_PROTOCOL);
    let is_ours = offers_ours(&offered);
    if !is_ours && offers_token(&offered) {
        // A browser gives up a connection whose answer names none of what it offered.
        return without_subprotocol();
    }
    if acceptor.stopping() {
        return acceptor.refuse_request(Refusal::ShuttingDown, 0);
    }
    let Ok(accept) = HeaderValue::from_bytes(&accept) else {
        return problem(StatusCode::INTERNAL_SERVER_ERROR, "cannot build the handshake");
    };
    let mut answer = Answer::default();
    *answer.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = answer.headers_mut();
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(SEC_WEBSOCKET_ACCEPT, accept);
    if is_ours {
        headers.insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(SUBPROTOCOL));
    }
    answer
}

fn not_upgraded(refused: frame::Refused) -> Answer {
    let status = StatusCode::from_u16(refused.status()).unwrap_or(StatusCode::BAD_REQUEST);
    let mut answer = problem(status, &refused.to_string());
    if status == StatusCode::UPGRADE_REQUIRED {
        let headers = answer.headers_mut();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static(frame::VERSION));
    }
    answer
}
