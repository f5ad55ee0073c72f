//! API keys: `ing_`, the id, `_`, the secret. The prefix is there for scanners that look for leaked secrets.

use super::scope::Scopes;
use event::UnixMicros;
use ring::digest::{SHA256, digest};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering::Relaxed};

/// How every key begins.
pub(super) const PREFIX: &str = "ing_";
/// Hexadecimal digits of an id, and of a secret (256 bit).
const ID_DIGITS: usize = 16;
const SECRET_DIGITS: usize = 64;
/// How coarsely it is kept when a key was last used.
const USE_MICROS: i64 = 60_000_000;

/// What is known of a key beside its secret, and what it is looked up by.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KeyId(pub(super) u64);

impl KeyId {
    /// The id with these 16 digits.
    #[must_use]
    pub fn of(text: &str) -> Option<Self> {
        let plain = text.len() == ID_DIGITS && text.bytes().all(is_digit);
        plain.then(|| u64::from_str_radix(text, 16).ok().map(KeyId))?
    }

    /// The id that somebody names a key by: its digits, or the whole key, which is what he has in his hand.
    #[must_use]
    pub fn given(text: &str) -> Option<Self> {
        let text = text.trim();
        KeyId::of(text).or_else(|| id_of(text.as_bytes()))
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl fmt::Debug for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// An API key as it is kept: without its secret.
#[derive(Debug, Clone)]
pub struct Key {
    /// What it is looked up by.
    pub id: KeyId,
    /// What people call it; may be empty.
    pub name: Box<str>,
    /// Whose events come with it.
    pub tenant: Box<str>,
    /// What it may do.
    pub scopes: Scopes,
    /// When it was made.
    pub created_at: UnixMicros,
    /// From when on it is no longer taken, if it ends by itself.
    pub expires_at: Option<UnixMicros>,
    /// When it was revoked.
    pub revoked_at: Option<UnixMicros>,
    /// SHA-256 of the whole key.
    pub(super) digest: [u8; 32],
    /// When it was last used, to the minute, microseconds; 0: never.
    pub(super) used: Arc<AtomicI64>,
}

impl Key {
    /// When it was last used, to the minute.
    #[must_use]
    pub fn last_used_at(&self) -> Option<UnixMicros> {
        Some(self.used.load(Relaxed)).filter(|used| *used > 0).map(UnixMicros::new)
    }

    /// Notes that it is used now.
    pub(super) fn touch(&self, now: UnixMicros) {
        let minute = now.get() - now.get().rem_euclid(USE_MICROS);
        // Mostly it stands there already: then the line is only read, by all acceptors.
        if self.used.load(Relaxed) < minute {
            self.used.store(minute, Relaxed);
        }
    }
}

/// The text of a new key.
pub(super) fn text_of(id: KeyId, secret: &[u8; 32]) -> String {
    let secret = secret.iter().fold(String::with_capacity(SECRET_DIGITS), |text, byte| text + &format!("{byte:02x}"));
    format!("{PREFIX}{id}_{secret}")
}

/// The id in a key's text; `None` for what is no such text.
pub(super) fn id_of(text: &[u8]) -> Option<KeyId> {
    let rest = text.strip_prefix(PREFIX.as_bytes())?;
    let (id, secret) = (rest.get(..ID_DIGITS)?, rest.get(ID_DIGITS..)?.strip_prefix(b"_")?);
    let plain = secret.len() == SECRET_DIGITS && secret.iter().copied().all(is_digit);
    KeyId::of(std::str::from_utf8(id).ok()?).filter(|_| plain)
}

/// What is kept of a key's text.
pub(super) fn digest_of(text: &[u8]) -> [u8; 32] {
    let mut out = [0; 32];
    out.copy_from_slice(digest(&SHA256, text).as_ref());
    out
}

const fn is_digit(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'a'..=b'f')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_leads_to_its_id_and_nothing_else_does() {
        let text = text_of(KeyId(0xfe), &[0xab; 32]);
        assert_eq!(text, format!("ing_00000000000000fe_{}", "ab".repeat(32)));
        assert_eq!(id_of(text.as_bytes()), Some(KeyId(0xfe)));
        for given in [&*text, &format!("{text}\n"), "00000000000000fe"] {
            assert_eq!(KeyId::given(given), Some(KeyId(0xfe)), "{given}");
        }
        for wrong in [
            "",
            "ing_",
            &text[1..],
            &text[..text.len() - 1],
            &format!("{text}0"),
            &text.replace("ab", "AB"),
            &text.replace("fe_", "fe-"),
            &text.replace("00fe", "+0fe"),
        ] {
            assert_eq!((id_of(wrong.as_bytes()), KeyId::given(wrong)), (None, None), "{wrong}");
        }
    }
}
