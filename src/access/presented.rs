//! What a request brings to say who it is from.

use super::failure::Failure;

/// Longest credential that is looked at, bytes.
const CREDENTIAL_BYTES_MAX: usize = 4096;

/// The values of the headers that can carry a credential.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct Presented<'a> {
    /// `Authorization`.
    pub authorization: Option<&'a [u8]>,
    /// `X-API-Key`.
    pub api_key: Option<&'a [u8]>,
    /// `x-app-token`.
    pub app_token: Option<&'a [u8]>,
    /// The token among the subprotocols of a WebSocket's handshake.
    pub subprotocol: Option<&'a [u8]>,
}

impl<'a> Presented<'a> {
    /// The one credential; the same one may stand in several places.
    ///
    /// # Errors
    /// [`Failure::Missing`], [`Failure::Ambiguous`] or [`Failure::Malformed`].
    pub fn credential(&self) -> Result<&'a [u8], Failure> {
        let bearer = self.authorization.map(|value| bearer(value).ok_or(Failure::Malformed)).transpose()?;
        let all = [bearer, self.api_key, self.app_token, self.subprotocol];
        let mut found = all.into_iter().flatten().map(<[u8]>::trim_ascii);
        let credential = found.next().ok_or(Failure::Missing)?;
        if found.any(|other| other != credential) {
            return Err(Failure::Ambiguous);
        }
        let plain = |byte: &u8| byte.is_ascii_graphic();
        if credential.is_empty() || credential.len() > CREDENTIAL_BYTES_MAX || !credential.iter().all(plain) {
            return Err(Failure::Malformed);
        }
        Ok(credential)
    }
}

/// What follows `Bearer` (RFC 6750, section 2.1); the word in any case (RFC 9110, section 11.1).
fn bearer(value: &[u8]) -> Option<&[u8]> {
    let (scheme, rest) = value.split_at_checked(b"Bearer ".len())?;
    scheme.eq_ignore_ascii_case(b"Bearer ").then_some(rest)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_credential_comes_from_any_place_but_only_one_comes() {
        let bearer = Presented { authorization: Some(b"bEaReR  abc "), ..Presented::default() };
        assert_eq!(bearer.credential(), Ok(&b"abc"[..]));
        assert_eq!(Presented { api_key: Some(b"abc"), ..bearer }.credential(), Ok(&b"abc"[..]));
        assert_eq!(Presented { app_token: Some(b"abd"), ..bearer }.credential(), Err(Failure::Ambiguous));
        assert_eq!(Presented { subprotocol: Some(b"x"), ..Presented::default() }.credential(), Ok(&b"x"[..]));
        assert_eq!(Presented::default().credential(), Err(Failure::Missing));
        for wrong in [&b"Basic abc"[..], b"Bearer", b"Bearer ", b"Bearer a b", b"Bearerabc", b"Bearer \xe4", b""] {
            let presented = Presented { authorization: Some(wrong), ..Presented::default() };
            assert_eq!(presented.credential(), Err(Failure::Malformed), "{wrong:?}");
        }
        let long = [b"x".repeat(CREDENTIAL_BYTES_MAX), b"x".repeat(CREDENTIAL_BYTES_MAX + 1)];
        let tried = long.each_ref().map(|long| Presented { api_key: Some(long), ..Presented::default() }.credential());
        assert_eq!(tried, [Ok(&long[0][..]), Err(Failure::Malformed)]);
    }
}
