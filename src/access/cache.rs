//! JWTs whose signature was verified, so that it is verified once and not with each request.

use super::jwt::Verified;
use std::collections::HashMap;

/// Tokens of each of two generations.
const GENERATION_MAX: usize = 2048;

type Generation = HashMap<[u8; 32], Verified>;

/// Verified tokens by their SHA-256, of one acceptor; holds at most 4,096. Whoever asks again stays, the others go.
#[derive(Debug, Default)]
pub struct Cache {
    young: Generation,
    old: Generation,
    /// The verifier whose word they are.
    version: u64,
}

impl Cache {
    /// What is known of a token, if this version of the verifier has said it.
    pub(super) fn get(&mut self, version: u64, digest: &[u8; 32]) -> Option<Verified> {
        if self.version != version {
            *self = Cache { version, ..Cache::default() };
            return None;
        }
        if let Some(known) = self.young.get(digest) {
            return Some(known.clone());
        }
        let known = self.old.remove(digest)?;
        self.put(version, *digest, known.clone());
        Some(known)
    }

    /// Remembers a token.
    pub(super) fn put(&mut self, version: u64, digest: [u8; 32], verified: Verified) {
        if self.version != version {
            return;
        }
        if self.young.len() >= GENERATION_MAX {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert(digest, verified);
    }
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scopes;
    use super::*;

    fn digest(number: usize) -> [u8; 32] {
        let mut digest = [0; 32];
        digest[..8].copy_from_slice(&(number as u64).to_be_bytes());
        digest
    }

    #[test]
    fn it_stays_small_keeps_who_comes_again_and_forgets_with_the_verifier() {
        let (tenant, scopes) = ("shop".into(), Scopes::default());
        let verified = Verified { tenant, scopes, subject: None, expires_at_s: 1, signer: 2 };
        let mut cache = Cache::default();
        assert!(cache.get(1, &digest(0)).is_none());
        for number in 0..20 * GENERATION_MAX {
            cache.put(1, digest(number), verified.clone());
            assert!(cache.get(1, &digest(0)).is_some(), "{number}");
            assert!(cache.young.len() + cache.old.len() <= 2 * GENERATION_MAX);
        }
        assert!(cache.get(1, &digest(GENERATION_MAX)).is_none());
        assert!(cache.get(2, &digest(0)).is_none() && cache.young.is_empty() && cache.old.is_empty());
        cache.put(1, digest(0), verified);
        assert!(cache.get(2, &digest(0)).is_none(), "what an old verifier said is not remembered");
    }
}
