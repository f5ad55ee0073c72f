//! One POST over a connection of its own, to something that is told now and then: a collector, a webhook.

use bytes::Bytes;
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// An address that can be posted to: `http://host:port` and a path.
///
/// # Errors
/// What is wrong with it, for a person; without repeating it, for it may hold a password.
pub fn post_address(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("is no http://host:port/path: {error}"))?;
    if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        return Err("has a user or a password, which are not sent: take them out".into());
    }
    match uri.scheme_str() {
        Some("http") => Ok(uri),
        Some("https") => Err("has https, which is not spoken here: put a proxy or a collector on this machine".into()),
        _ => Err("must begin with http://".into()),
    }
}

/// Posts JSON; `default_port` where the address has none.
///
/// # Errors
/// Why it was not taken, for a person: any answer but 2xx.
pub async fn post_json(to: &Uri, default_port: u16, body: Vec<u8>) -> Result<(), String> {
    let authority = to.authority().ok_or("the address has no host")?;
    let (host, port) = (authority.host().trim_matches(['[', ']']), authority.port_u16().unwrap_or(default_port));
    let stream = TcpStream::connect((host, port)).await.map_err(|error| error.to_string())?;
    let connected = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
    let (mut sender, connection) = connected.map_err(|error| error.to_string())?;
    let request = Request::post(to.path_and_query().map_or("/", |path| path.as_str()))
        .header(HOST, host_field(authority.host(), port))
        .header(CONTENT_TYPE, "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|error| error.to_string())?;
    let answer = async {
        let answer = sender.send_request(request).await.map_err(|error| error.to_string())?;
        if answer.status().is_success() { Ok(()) } else { Err(format!("answered {}", answer.status())) }
    };
    tokio::pin!(answer);
    tokio::select! {
        answer = &mut answer => answer,
        // Ends first only where the other side has closed; what was answered before is there.
        _ = connection => answer.await,
    }
}

/// Whom a request is for, as its `Host` says it: with the port, unless that is HTTP's own (RFC 9110, section 7.2).
fn host_field(host: &str, port: u16) -> String {
    if port == 80 { host.to_owned() } else { format!("{host}:{port}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_with_a_password_is_refused_without_repeating_it() {
        for text in ["http://me:hunter2@127.0.0.1:9", "https://me:hunter2@a", "http://hunter2@a/", "me:hunter2@a"] {
            let what = post_address(text).unwrap_err();
            assert!(!what.contains("hunter2") && !what.is_empty(), "{text}: {what}");
        }
    }

    #[test]
    fn an_address_is_http_with_a_host() {
        assert!(post_address("http://127.0.0.1:9/hook?a=b").is_ok());
        for text in ["", "127.0.0.1:4318", "https://collector", "http://", "ftp://a", "http://a b"] {
            assert!(post_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_host_is_named_with_its_port() {
        assert_eq!(host_field("hooks", 80), "hooks");
        assert_eq!(host_field("[::1]", 4318), "[::1]:4318");
    }
}
