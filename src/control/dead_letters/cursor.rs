//! Where a list goes on: with a letter that whoever lists may see, by its id; or, for a tenant, in the midst of others'
//! letters, and then the place is sealed. Who holds it learns nothing of them.

use super::LetterError;
use crate::commit::Whose;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use event::FingerprintKey;
use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use serde_json::Value;
use sha2::{Digest, Sha256};

/// Keeps the key apart from what else the node's secret is for.
const PURPOSE: &[u8] = b"places in lists of dead letters";

/// Seals places.
pub(super) struct Seal(LessSafeKey);

impl Seal {
    /// With the node's secret: a place holds over restarts.
    pub(super) fn new(secret: &FingerprintKey) -> Self {
        let key = Sha256::new().chain_update(PURPOSE).chain_update(secret.as_bytes()).finalize();
        let key = UnboundKey::new(&CHACHA20_POLY1305, &key[..]).expect("a SHA-256 is as long as the key");
        Seal(LessSafeKey::new(key))
    }

    /// A place in the midst of letters of which those before and behind may be others', as it is told.
    pub(super) fn tell(&self, place: u64, whose: &Whose) -> String {
        let Whose::Tenant(tenant) = whose else { return place.to_string() };
        let (nonce, mut sealed) = (rand::random::<[u8; NONCE_LEN]>(), place.to_be_bytes().to_vec());
        let unique = Nonce::assume_unique_for_key(nonce);
        self.0.seal_in_place_append_tag(unique, Aad::from(tenant.as_bytes()), &mut sealed).expect("a place is short");
        URL_SAFE_NO_PAD.encode([&nonce[..], &sealed].concat())
    }

    /// The place that a cursor stands for.
    pub(super) fn place(&self, cursor: &str, whose: &Whose) -> Result<u64, LetterError> {
        let place = cursor.parse().ok().or_else(|| match whose {
            Whose::All => None,
            Whose::Tenant(tenant) => self.open(cursor, tenant),
        });
        place.ok_or_else(|| LetterError::question("`cursor` is a nextCursor of before"))
    }

    fn open(&self, cursor: &str, tenant: &str) -> Option<u64> {
        let mut bytes = URL_SAFE_NO_PAD.decode(cursor).ok()?;
        let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
        let nonce = Nonce::assume_unique_for_key(*nonce);
        let place = self.0.open_in_place(nonce, Aad::from(tenant.as_bytes()), sealed).ok()?;
        Some(u64::from_be_bytes((&*place).try_into().ok()?))
    }
}

/// As clients hand it back.
pub(super) fn told(next: Option<String>) -> Value {
    next.map_or(Value::Null, Value::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_among_others_letters_is_told_to_its_tenant_alone() {
        let seal = |byte| Seal::new(&FingerprintKey::new([byte; FingerprintKey::LEN]));
        let [one, two] = ["one", "two"].map(|tenant| Whose::Tenant(tenant.into()));
        let cursor = seal(1).tell(10_001, &one);
        assert_eq!(seal(1).place(&cursor, &one).unwrap(), 10_001, "also after a restart");
        assert_ne!(seal(1).tell(10_001, &one), cursor, "the same place is not to be known again");
        for (seal, whose) in [(seal(2), &one), (seal(1), &two), (seal(1), &Whose::All)] {
            assert!(seal.place(&cursor, whose).is_err());
        }
        for wrong in ["", "x", "-1", &cursor[1..], &"A".repeat(48)] {
            assert!(seal(1).place(wrong, &one).is_err(), "{wrong}");
        }
        assert_eq!(seal(1).tell(7, &Whose::All), "7");
        assert_eq!(seal(1).place("7", &one).unwrap(), 7);
    }
}
