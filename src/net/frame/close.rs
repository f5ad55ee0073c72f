//! Close codes (RFC 6455 §7.4) and the body of a Close frame (§5.5.1).

use crate::Violation;

/// The purpose of the connection is fulfilled.
pub const NORMAL: u16 = 1000;
/// The server is going down.
pub const GOING_AWAY: u16 = 1001;
/// The peer broke the protocol.
pub const PROTOCOL_ERROR: u16 = 1002;
/// A kind of message this endpoint does not take, such as binary.
pub const UNSUPPORTED: u16 = 1003;
/// Content that does not fit its kind, such as text that is not UTF-8.
pub const INVALID_PAYLOAD: u16 = 1007;
/// A message against the endpoint's policy.
pub const POLICY: u16 = 1008;
/// A message that is too big to process.
pub const TOO_BIG: u16 = 1009;
/// The server met a condition it did not expect.
pub const INTERNAL: u16 = 1011;
/// The server is restarting; the client may connect again (IANA registry).
pub const RESTART: u16 = 1012;
/// The server is overloaded; the client should try again later (IANA registry).
pub const TRY_AGAIN_LATER: u16 = 1013;

/// Whether `code` may stand in a Close frame: 1004–1006 and 1015 are reserved for other uses, 1016–2999 are not
/// assigned, 3000–4999 belong to libraries and applications (RFC 6455 §7.4.2, and the IANA registry for 1012–1014).
#[must_use]
pub const fn is_sendable(code: u16) -> bool {
    matches!(code, 1000..=1003 | 1007..=1014 | 3000..=4999)
}

/// Takes a Close frame's body apart (§5.5.1): nothing, or a code and a reason.
pub(crate) fn parse(body: &[u8]) -> Result<(Option<u16>, &str), Violation> {
    match body {
        [] => Ok((None, "")),
        [_] => Err(Violation::CutCloseCode),
        [high, low, reason @ ..] => {
            let code = u16::from_be_bytes([*high, *low]);
            if !is_sendable(code) {
                return Err(Violation::InvalidCloseCode(code));
            }
            let reason = std::str::from_utf8(reason).map_err(|_| Violation::InvalidReason)?;
            Ok((Some(code), reason))
        }
    }
}
