use xxhash_rust::xxh3::{xxh3_64, xxh3_128_with_secret};

/// Keyed 128-bit digest of (tenant, namespace, event id): what the dedup window compares.
///
/// Two ids collide by chance with 2^-128; the key is random per node, so nobody can craft two that do.
pub type Fingerprint = u128;

/// Which family of ids an event id belongs to; ids of different namespaces never meet in the dedup window.
///
/// The numbers are hashed into stored fingerprints: never change or reuse one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Namespace {
    /// Cart events, whatever way they came in.
    Events = 1,
}

/// A node's secret for [`Fingerprint`]s, drawn once and kept with its data.
#[derive(Clone)]
pub struct FingerprintKey(Box<[u8; FingerprintKey::LEN]>);

impl FingerprintKey {
    /// Length of the secret in bytes (XXH3 takes any length from 136).
    pub const LEN: usize = 192;

    /// Wraps a secret.
    #[must_use]
    pub fn new(secret: [u8; Self::LEN]) -> Self {
        FingerprintKey(Box::new(secret))
    }

    /// The secret's bytes, to be stored.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8; Self::LEN] {
        &self.0
    }

    /// Digests one identity; `scratch` is only there to be reused.
    #[must_use]
    pub fn fingerprint(&self, tenant: &str, namespace: Namespace, id: &[u8], scratch: &mut Vec<u8>) -> Fingerprint {
        scratch.clear();
        scratch.push(namespace as u8);
        // The length keeps ("a", "bc") and ("ab", "c") apart.
        scratch.extend_from_slice(&(tenant.len() as u32).to_le_bytes());
        scratch.extend_from_slice(tenant.as_bytes());
        scratch.extend_from_slice(id);
        xxh3_128_with_secret(scratch, &self.0[..])
    }
}

/// 32-bit digest of an event's bytes: tells a repeat of the same content from a reused id.
#[must_use]
pub fn content_hash(raw: &[u8]) -> u32 {
    xxh3_64(raw) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tenant_namespace_and_id_are_told_apart() {
        let key = FingerprintKey::new([7; FingerprintKey::LEN]);
        let mut scratch = Vec::new();
        let a = key.fingerprint("a", Namespace::Events, b"bc", &mut scratch);
        let b = key.fingerprint("ab", Namespace::Events, b"c", &mut scratch);
        assert_ne!(a, b);
        assert_eq!(a, key.fingerprint("a", Namespace::Events, b"bc", &mut scratch));
    }

    #[test]
    fn another_key_gives_other_fingerprints() {
        let mut scratch = Vec::new();
        // XXH3 XORs words of the secret with each other, so a secret must not repeat itself.
        let secret = |salt: usize| std::array::from_fn(|n| ((n + salt) * (n + 7) * 31 % 251) as u8);
        let a = FingerprintKey::new(secret(1)).fingerprint("t", Namespace::Events, b"x", &mut scratch);
        let b = FingerprintKey::new(secret(2)).fingerprint("t", Namespace::Events, b"x", &mut scratch);
        assert_ne!(a, b);
    }
}
