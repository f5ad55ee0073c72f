//! Requests that are no intake and may change something: read whole, and answered by whoever was named for them.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem};
use super::body::{self, Arriving};
use super::entry;
use crate::access::{Caller, Credential, Mode};
use crate::commit::{Permit, Whose};
use hyper::header::{CONTENT_ENCODING, FORWARDED, HOST, HeaderName, ORIGIN, VIA};
use hyper::http::request::Parts;
use hyper::http::uri::Authority;
use hyper::{Method, StatusCode, Version};
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;

/// Set by proxies: the peer is then not who asks.
const PROXIED: [HeaderName; 6] = [
    FORWARDED,
    VIA,
    HeaderName::from_static("x-forwarded-for"),
    HeaderName::from_static("x-forwarded-host"),
    HeaderName::from_static("x-forwarded-proto"),
    HeaderName::from_static("x-real-ip"),
];
/// What a browser says of the page that asks; `none`: somebody has typed the address.
const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

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
    /// What that takes of the budget, until the order is carried out: its asker may leave before.
    pub permit: Option<Permit>,
    /// Who wants it, for whoever keeps a record.
    pub caller: Caller,
    /// Whose letters it is for: those of its tenant, or all where nobody is asked who he is.
    pub whose: Whose,
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
    if acceptor.shared.access.mode(entry::group_of(&head.method)) == Mode::None {
        let settings = acceptor.shared.settings.load();
        // Also where the header before the connection names nobody, or somebody on this machine.
        let by_proxy = settings.proxy_protocol || settings.proxies.trusts(caller.address);
        if let Err(why) = may_ask(head, caller.address, by_proxy) {
            return problem(StatusCode::FORBIDDEN, why);
        }
    }
    if head.headers.contains_key(CONTENT_ENCODING) {
        return problem(StatusCode::UNSUPPORTED_MEDIA_TYPE, "bodies are taken as they are, not packed");
    }
    let standing = match entry::pay_without_events(acceptor, caller) {
        Ok(standing) => standing,
        Err(limited) => return *limited,
    };
    let answer = carried_out(acceptor, caller, head, path, body).await;
    let mut answer = answer.unwrap_or_else(|refused| *refused);
    entry::tell_standing(acceptor, &mut answer, standing);
    answer
}

async fn carried_out(
    acceptor: &Acceptor,
    caller: &Caller,
    head: &Parts,
    path: &str,
    body: &mut Arriving,
) -> Result<Answer, Box<Answer>> {
    let (body, permit) = read(acceptor, caller, head, body).await?;
    let (method, query) = (head.method.clone(), head.uri.query().map(str::to_owned));
    // A reload may have come in between: all are only for whom nobody asked before, nor would now.
    let whose = match (caller.credential, acceptor.shared.access.mode(entry::group_of(&method))) {
        (Credential::None, Mode::None) => Whose::All,
        _ => Whose::Tenant(caller.tenant.clone()),
    };
    let (path, caller) = (path.to_owned(), caller.clone());
    Ok((acceptor.shared.orders)(Order { method, path, query, body, permit, caller, whose }).await)
}

/// Reads the body, where there may be one; what it takes is counted as that of intake is, until the order is carried out.
async fn read(
    acceptor: &Acceptor,
    caller: &Caller,
    head: &Parts,
    body: &mut Arriving,
) -> Result<(Vec<u8>, Option<Permit>), Box<Answer>> {
    if !matches!(head.method, Method::POST | Method::PUT) {
        return Ok((Vec::new(), None));
    }
    let mut permit =
        acceptor.shared.admission.enter().map_err(|reason| Box::new(acceptor.refuse_request(reason, 0)))?;
    let bytes = body::read_small(acceptor, caller, body, BODY_BYTES_MAX, &mut permit).await?;
    entry::admit_again(acceptor, caller, entry::group_of(&head.method))?;
    Ok((bytes, Some(permit)))
}

/// While nobody can say who he is, only who is on this machine is answered: dead letters hold what shoppers did. A
/// browser there runs what others wrote, and a proxy there speaks for others.
fn may_ask(head: &Parts, peer: IpAddr, by_proxy: bool) -> Result<(), &'static str> {
    if !peer.to_canonical().is_loopback() {
        return Err("dead letters are shown and changed from this machine only, or by `ingestd admin dead-letters`");
    }
    // No program but a proxy still asks with HTTP/1.0, and one that is as it came adds no header.
    let is_passed_on = head.version < Version::HTTP_11 || PROXIED.iter().any(|name| head.headers.contains_key(name));
    if by_proxy || is_passed_on {
        return Err(
            "dead letters are not shown through a proxy: use `ingestd admin dead-letters`, or have callers say \
             who they are (auth.read, auth.manage)",
        );
    }
    if head.headers.contains_key(ORIGIN) || head.headers.get_all(SEC_FETCH_SITE).iter().any(|site| site != "none") {
        return Err("dead letters are not for pages in a browser: use `ingestd admin dead-letters`");
    }
    if !is_to_this_machine(head) {
        return Err(
            "dead letters are shown at localhost, 127.0.0.1 or [::1], and at no other name: use one of them or \
             `ingestd admin dead-letters`, or have callers say who they are (auth.read, auth.manage)",
        );
    }
    Ok(())
}

/// Whether every name that the request gives its server stands for this machine, whoever is asked about it. Any other
/// may be that of a page's own site, which was pointed here so that the browser takes us for that site (DNS rebinding).
fn is_to_this_machine(head: &Parts) -> bool {
    let hosts = head.headers.get_all(HOST).iter().map(|host| Authority::try_from(host.as_bytes()).ok());
    let mut named = head.uri.authority().cloned().map(Some).into_iter().chain(hosts).peekable();
    named.peek().is_some() && named.all(|name| name.is_some_and(|name| is_this_machine(&name)))
}

/// Nothing but a name and, perhaps, a port: what else a parser lets stand there, others may read in another way.
fn is_this_machine(name: &Authority) -> bool {
    let host = match (name.as_str(), name.port()) {
        (whole, Some(port)) => whole.strip_suffix(port.as_str()).and_then(|rest| rest.strip_suffix(':')),
        (whole, None) => Some(whole),
    };
    let Some(host) = host else { return false };
    let literal = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    let is_loopback = |address: IpAddr| address.to_canonical().is_loopback();
    host.eq_ignore_ascii_case("localhost") || literal.parse().is_ok_and(is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;
    use hyper::http::request::Builder;

    const LOCAL: IpAddr = IpAddr::V4(std::net::Ipv4Addr::LOCALHOST);

    fn local() -> Builder {
        Request::get("/dead-letters").header("host", "localhost:3001")
    }

    fn may(request: Builder, peer: IpAddr, by_proxy: bool) -> bool {
        may_ask(&request.body(()).unwrap().into_parts().0, peer, by_proxy).is_ok()
    }

    #[test]
    fn only_this_machine_may_ask_and_nobody_through_it() {
        assert!(may(local(), LOCAL, false));
        assert!(may(local(), "::ffff:127.0.0.1".parse().unwrap(), false));
        assert!(!may(local(), "192.0.2.1".parse().unwrap(), false));
        assert!(!may(local(), LOCAL, true));
        assert!(!may(local().version(Version::HTTP_10), LOCAL, false));
        for name in ["origin", "forwarded", "via", "x-forwarded-for", "x-forwarded-host", "x-forwarded-proto"] {
            assert!(!may(local().header(name, "x"), LOCAL, false), "{name}");
        }
        assert!(!may(local().header("x-real-ip", "127.0.0.1"), LOCAL, false));
    }

    #[test]
    fn a_page_may_not_ask_but_who_types_the_address_may() {
        assert!(may(local().header(SEC_FETCH_SITE, "none"), LOCAL, false));
        for site in ["same-origin", "same-site", "cross-site", "None", ""] {
            assert!(!may(local().header(SEC_FETCH_SITE, site), LOCAL, false), "{site}");
        }
        assert!(!may(local().header(SEC_FETCH_SITE, "none").header(SEC_FETCH_SITE, "same-origin"), LOCAL, false));
    }

    #[test]
    fn only_by_a_name_that_nobody_can_point_here() {
        let to = |host: &str| may(Request::get("/dead-letters").header("host", host), LOCAL, false);
        for host in
            ["localhost", "LocalHost:80", "127.0.0.1", "127.8.9.1:3001", "[::1]", "[::1]:3001", "[::ffff:127.0.0.1]"]
        {
            assert!(to(host), "{host}");
        }
        for host in [
            "evil.example",
            "evil.example:3001",
            "localhost.evil.example",
            "a.localhost",
            "localhost.",
            "127.0.0.1.evil.example",
            "127.1",
            "0.0.0.0:3001",
            "192.0.2.1",
            "[::]:3001",
            "localhost@evil.example",
            "localhost evil",
            "evil@localhost",
            "evil@localhost:80",
            "[::1].evil",
            "[::1]evil:80",
            "127.0.0.1:abc",
            "",
        ] {
            assert!(!to(host), "{host}");
        }
        assert!(!may(Request::get("/dead-letters"), LOCAL, false));
        assert!(!may(local().header("host", "evil.example"), LOCAL, false));
        // HTTP/2, and the absolute form.
        assert!(may(Request::get("http://[::1]:3001/dead-letters").version(Version::HTTP_2), LOCAL, false));
        assert!(!may(Request::get("http://evil.example/dead-letters").version(Version::HTTP_2), LOCAL, false));
        assert!(!may(Request::get("http://evil.example/dead-letters").header("host", "localhost"), LOCAL, false));
    }

    #[test]
    fn paths_are_the_same_with_and_without_a_version() {
        assert_eq!(path_of("/dead-letters"), Some("/dead-letters"));
        assert_eq!(path_of("/v1/dead-letters/7/replay"), Some("/dead-letters/7/replay"));
        assert_eq!(path_of("/dead-lettersx"), None);
        assert_eq!(path_of("/events"), None);
    }
}
