use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha1::{Digest as _, Sha1};

/// The protocol version this crate speaks: the only one RFC 6455 defines (§4.1).
pub const VERSION: &str = "13";

/// Appended to the client's key before hashing (§1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// Why a request is not upgraded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// 400: it asks for an upgrade but not as §4.2.1 demands.
    #[error("not a valid WebSocket handshake: {0}")]
    Malformed(&'static str),
    /// 426 with `Upgrade: websocket`: it does not ask for a WebSocket (RFC 9110 §15.5.22).
    #[error("this resource speaks WebSocket only")]
    UpgradeRequired,
    /// 426 with `Upgrade: websocket` and `Sec-WebSocket-Version: 13`: another version is asked for (§4.4).
    #[error("only WebSocket version 13 is supported")]
    Version,
}

impl Refused {
    /// The HTTP status to answer with.
    #[must_use]
    pub const fn status(self) -> u16 {
        match self {
            Refused::Malformed(_) => 400,
            Refused::UpgradeRequired | Refused::Version => 426,
        }
    }
}

/// The `Sec-WebSocket-Accept` for a `Sec-WebSocket-Key` (§4.2.2): always 28 ASCII characters.
#[must_use]
pub fn accept_key(sec_websocket_key: &[u8]) -> [u8; 28] {
    let digest = Sha1::new().chain_update(sec_websocket_key).chain_update(GUID).finalize();
    let mut accept = [0; 28];
    let written = STANDARD.encode_slice(digest, &mut accept);
    debug_assert_eq!(written, Ok(28), "20 bytes are 28 characters of base64");
    accept
}

/// The headers of a handshake that matter, as found in one pass.
#[derive(Default)]
struct Found<'a> {
    host: bool,
    upgrade: bool,
    connection: bool,
    key: Option<&'a [u8]>,
    version: Option<&'a [u8]>,
    repeated: bool,
}

/// Checks an upgrade request (RFC 6455 §4.2.1) and returns the `Sec-WebSocket-Accept` for `101 Switching Protocols`.
///
/// `headers` are all of the request's, names in any case, one item per line; `is_http_1_1` says that the request is
/// HTTP/1.1 (a later one upgrades by other means). Authentication, origin and subprotocol are the caller's.
///
/// # Errors
///
/// What to answer instead.
pub fn handshake<'a>(
    method: &str,
    is_http_1_1: bool,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<[u8; 28], Refused> {
    let found = Found::collect(headers);
    if !found.upgrade {
        return Err(Refused::UpgradeRequired);
    }
    let check = |good: bool, what| if good { Ok(()) } else { Err(Refused::Malformed(what)) };
    check(!found.repeated, "Sec-WebSocket-Key or Sec-WebSocket-Version is repeated")?;
    if found.version.is_some_and(|version| version != VERSION.as_bytes()) {
        return Err(Refused::Version);
    }
    check(method == "GET", "method is not GET")?;
    check(is_http_1_1, "protocol is not HTTP/1.1")?;
    check(found.host, "no Host")?;
    check(found.connection, "no Connection: Upgrade")?;
    check(found.version.is_some(), "no Sec-WebSocket-Version")?;
    let key = found.key.ok_or(Refused::Malformed("no Sec-WebSocket-Key"))?;
    check(is_nonce(key), "Sec-WebSocket-Key is not 16 bytes in base64")?;
    Ok(accept_key(key))
}

impl<'a> Found<'a> {
    fn collect(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut found = Found::default();
        for (name, value) in headers {
            let value = value.trim_ascii();
            if name.eq_ignore_ascii_case("host") {
                found.host = true;
            } else if name.eq_ignore_ascii_case("upgrade") {
                found.upgrade |= has_token(value, b"websocket");
            } else if name.eq_ignore_ascii_case("connection") {
                found.connection |= has_token(value, b"upgrade");
            } else if name.eq_ignore_ascii_case("sec-websocket-key") {
                found.repeated |= found.key.replace(value).is_some();
            } else if name.eq_ignore_ascii_case("sec-websocket-version") {
                found.repeated |= found.version.replace(value).is_some();
            }
        }
        found
    }
}

/// Whether a comma-separated list has `token`, in any case.
fn has_token(list: &[u8], token: &[u8]) -> bool {
    list.split(|byte| *byte == b',').any(|item| item.trim_ascii().eq_ignore_ascii_case(token))
}

/// Base64 of 16 bytes: 22 characters and two for padding. What its unused last bits are does not matter, as the key
/// is hashed as text (§4.2.1 item 5: it need not be decoded).
fn is_nonce(key: &[u8]) -> bool {
    let alphabet = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(alphabet)
}
