//! Requests that are no intake and may change something: read whole, and answered by whoever was named for them.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem};
use super::body::{self, Arriving};
use super::entry;
use crate::access::{Caller, Mode};
use hyper::header::{CONTENT_ENCODING, FORWARDED, HeaderMap, HeaderName, ORIGIN};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// Set by proxies: the peer is then not who asks.
const PROXIED: [HeaderName; 3] =
    [FORWARDED, HeaderName::from_static("x-forwarded-for"), HeaderName::from_static("x-real-ip")];

/// Largest body.
const BODY_BYTES_MAX: usize = 1 << 20;

/// A request, with all of its body.
#[derive(Debug)]
pub struct Order {
    /// What it wants done.
    pub method: Method,
    /// To what; without `/v1`.
    pub path: String,
    /// How, where it says so.
    pub query: Option<String>,
    /// Its body.
    pub body: Vec<u8>,
    /// Its address, for whoever keeps a record.
    pub peer: IpAddr,
    /// On whose behalf.
    pub tenant: Box<str>,
}

/// Answers orders.
pub type Orders = dyn Fn(Order) -> Pin<Box<dyn Future<Output = Answer> + Send>> + Send + Sync;

/// Whether a path is answered here; the path without `/v1`.
pub(super) fn path_of(path: &str) -> Option<&str> {
    let path = path.strip_prefix("/v1").unwrap_or(path);
    let rest = path.strip_prefix("/dead-letters")?;
    (rest.is_empty() || rest.starts_with('/')).then_some(path)
}

/// Reads the request and has it answered.
pub(super) async fn answer(
    acceptor: &Acceptor,
    caller: &Caller,
    head: &Parts,
    path: &str,
    body: &mut Arriving,
) -> Answer {
    // Letters are kept for all tenants, and who may read or mend them is for `auth.read` and `auth.manage` to say.
    if acceptor.shared.access.mode(entry::group_of(&head.method)) == Mode::None
        && let Err(why) = may_ask(&head.headers, caller.address)
    {
        return problem(StatusCode::FORBIDDEN, why);
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bodies are taken as they are, not packed");
    }
    let read = body::read_small(acceptor, body, BODY_BYTES_MAX).await;
    let group = entry::group_of(&head.method);
    let body = match read.and_then(|body| entry::admit_again(acceptor, caller, group).map(|()| body)) {
        Ok(body) => body,
        Err(answer) => return *answer,
    };
    let (method, query) = (head.method.clone(), head.uri.query().map(str::to_owned));
    (acceptor.shared.orders)(Order {
        method,
        path: path.to_owned(),
        query,
        body,
        peer: caller.address,
        tenant: caller.tenant.clone(),
    })
    .await
}

/// While nobody can say who he is, only who is on this machine is answered: dead letters hold what shoppers did. A
/// browser there runs what others wrote, and a proxy there speaks for others.
fn may_ask(headers: &HeaderMap, peer: IpAddr) -> Result<(), &'static str> {
    if !peer.to_canonical().is_loopback() {
        return Err("dead letters are shown and changed from this machine only, or by `ingestd admin dead-letters`");
    }
    if headers.contains_key(ORIGIN) {
        return Err("dead letters are not for pages in a browser");
    }
    if PROXIED.iter().any(|name| headers.contains_key(name)) {
        return Err("dead letters are not shown through a proxy: use `ingestd admin dead-letters`");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    #[test]
    fn only_this_machine_may_ask_and_nobody_through_it() {
        let with = |name: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert(name, HeaderValue::from_static("x"));
            headers
        };
        let local = "127.0.0.1".parse().unwrap();
        assert!(may_ask(&HeaderMap::new(), local).is_ok());
        assert!(may_ask(&HeaderMap::new(), "::ffff:127.0.0.1".parse().unwrap()).is_ok());
        assert!(may_ask(&HeaderMap::new(), "192.0.2.1".parse().unwrap()).is_err());
        for name in ["origin", "forwarded", "x-forwarded-for", "x-real-ip"] {
            assert!(may_ask(&with(name), local).is_err(), "{name}");
        }
    }

    #[test]
    fn paths_are_the_same_with_and_without_a_version() {
        assert_eq!(path_of("/dead-letters"), Some("/dead-letters"));
        assert_eq!(path_of("/v1/dead-letters/7/replay"), Some("/dead-letters/7/replay"));
        assert_eq!(path_of("/dead-lettersx"), None);
        assert_eq!(path_of("/events"), None);
    }
}
