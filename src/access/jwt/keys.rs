//! The keys of signatures, each with the one algorithm that it is good for.

use crate::access::key::digest_of;
use crate::access::rules::JwtRules;
use jsonwebtoken::jwk::{AlgorithmParameters, EllipticCurve, Jwk, JwkSet, KeyAlgorithm, PublicKeyUse};
use jsonwebtoken::{Algorithm, DecodingKey, DecodingKeyKind};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::{fs, io};

/// Shortest secret of HS256, bytes (RFC 7518, section 3.2).
const SECRET_BYTES_MIN: usize = 32;
/// Shortest modulus of RS256, bytes (RFC 7518, section 3.3).
const MODULUS_BYTES_MIN: usize = 256;
/// Largest file of keys, bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Why the keys of JWTs are not taken over.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum JwtError {
    /// The system does not give a file.
    #[error("cannot read {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// What is in a file cannot be used.
    #[error("{}: {what}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
}

impl JwtError {
    /// The file that is the matter.
    #[must_use]
    pub fn file(&self) -> &Path {
        match self {
            JwtError::Read { path, .. } | JwtError::Unusable { path, .. } => path,
        }
    }
}

/// A key and the algorithm that it is bound to: a token does not choose.
pub(super) struct SigningKey {
    pub(super) algorithm: Algorithm,
    pub(super) key: DecodingKey,
    /// Of the key and of all that is asked of its tokens.
    pub(super) fingerprint: u128,
}

/// Keys by their `kid`; one may have none.
pub(super) type SigningKeys = HashMap<Option<String>, SigningKey>;

/// Reads every key that the rules name.
///
/// # Errors
/// [`JwtError`]: the first file that cannot be used; a `kid` that stands twice; no key at all.
pub(super) fn read(rules: &JwtRules) -> Result<SigningKeys, JwtError> {
    let mut keys = SigningKeys::new();
    for path in &rules.jwks_files {
        let unusable = |what: String| JwtError::Unusable { path: path.clone(), what };
        let set: JwkSet =
            serde_json::from_slice(&file(path)?).map_err(|error| unusable(format!("no JWKS: {error}")))?;
        let mut usable = 0;
        for (place, jwk) in set.keys.iter().enumerate() {
            let name =
                jwk.common.key_id.as_deref().map_or_else(|| format!("key {place}"), |kid| format!("key {kid:?}"));
            let Some((algorithm, key)) = usable_key(jwk).map_err(|what| unusable(format!("{name}: {what}")))? else {
                tracing::warn!(file = %path.display(), "{name} is not for signatures that are taken here: left out");
                continue;
            };
            usable += 1;
            put(&mut keys, jwk.common.key_id.clone(), algorithm, key, rules)
                .map_err(|what| unusable(format!("{name}: {what}")))?;
        }
        if usable == 0 {
            return Err(unusable("holds no key for RS256, ES256, EdDSA or HS256".into()));
        }
    }
    if let Some(path) = &rules.secret_file {
        let unusable = |what: String| JwtError::Unusable { path: path.clone(), what };
        let bytes = file(path)?;
        // An editor ends a file with a line break that is no part of the secret.
        let secret = bytes.strip_suffix(b"\n").unwrap_or(&bytes);
        let secret = secret.strip_suffix(b"\r").unwrap_or(secret);
        let key = DecodingKey::from_secret(secret).map_err(|error| unusable(error.to_string()))?;
        sound(&key, Algorithm::HS256).map_err(unusable)?;
        put(&mut keys, None, Algorithm::HS256, key, rules).map_err(unusable)?;
    }
    Ok(keys)
}

fn file(path: &Path) -> Result<Vec<u8>, JwtError> {
    let read = |cause| JwtError::Read { path: path.into(), cause };
    let size = fs::metadata(path).map_err(read)?.len();
    if size > FILE_BYTES_MAX {
        let what = format!("{size} bytes are too many for keys ({FILE_BYTES_MAX} at most)");
        return Err(JwtError::Unusable { path: path.into(), what });
    }
    fs::read(path).map_err(read)
}

fn put(
    keys: &mut SigningKeys,
    kid: Option<String>,
    algorithm: Algorithm,
    key: DecodingKey,
    rules: &JwtRules,
) -> Result<(), String> {
    if keys.contains_key(&kid) {
        return Err(match kid {
            Some(_) => "its kid stands twice, so that nobody knows which one is meant".into(),
            None => "a second key without a kid: give each its own".into(),
        });
    }
    let fingerprint = fingerprint(kid.as_deref(), algorithm, &key, rules);
    keys.insert(kid, SigningKey { algorithm, key, fingerprint });
    Ok(())
}

/// A key and its algorithm; `None` for one that is for something else.
fn usable_key(jwk: &Jwk) -> Result<Option<(Algorithm, DecodingKey)>, String> {
    if jwk.common.public_key_use.as_ref().is_some_and(|used| *used != PublicKeyUse::Signature) {
        return Ok(None);
    }
    let (algorithm, named) = match &jwk.algorithm {
        AlgorithmParameters::RSA(_) => (Algorithm::RS256, KeyAlgorithm::RS256),
        AlgorithmParameters::OctetKey(_) => (Algorithm::HS256, KeyAlgorithm::HS256),
        AlgorithmParameters::EllipticCurve(key) if key.curve == EllipticCurve::P256 => {
            (Algorithm::ES256, KeyAlgorithm::ES256)
        }
        AlgorithmParameters::OctetKeyPair(key) if key.curve == EllipticCurve::Ed25519 => {
            (Algorithm::EdDSA, KeyAlgorithm::EdDSA)
        }
        _ => return Ok(None),
    };
    // For another algorithm of the same kind, such as PS256.
    if jwk.common.key_algorithm.is_some_and(|wanted| wanted != named) {
        return Ok(None);
    }
    let key = DecodingKey::from_jwk(jwk).map_err(|error| error.to_string())?;
    sound(&key, algorithm)?;
    Ok(Some((algorithm, key)))
}

/// Whether a key has the size that its algorithm wants.
fn sound(key: &DecodingKey, algorithm: Algorithm) -> Result<(), String> {
    let size = |bytes: &[u8]| bytes.iter().skip_while(|byte| **byte == 0).count();
    match (algorithm, key.kind()) {
        (Algorithm::HS256, DecodingKeyKind::SecretOrDer(secret)) if secret.len() < SECRET_BYTES_MIN => {
            Err(format!("a secret for HS256 has at least {SECRET_BYTES_MIN} bytes, this one has {}", secret.len()))
        }
        (Algorithm::RS256, DecodingKeyKind::RsaModulusExponent { n, .. }) if size(n) < MODULUS_BYTES_MIN => {
            Err(format!("a key for RS256 has at least 2048 bits, this one has {}", size(n) * 8))
        }
        (Algorithm::ES256, DecodingKeyKind::SecretOrDer(point)) if point.len() != 65 => {
            Err("its x and y are not 32 bytes each".into())
        }
        (Algorithm::EdDSA, DecodingKeyKind::SecretOrDer(point)) if point.len() != 32 => {
            Err("its x is not 32 bytes".into())
        }
        _ => Ok(()),
    }
}

fn fingerprint(kid: Option<&str>, algorithm: Algorithm, key: &DecodingKey, rules: &JwtRules) -> u128 {
    let mut bytes = Vec::new();
    let mut part = |part: &[u8]| {
        bytes.extend_from_slice(&(part.len() as u64).to_be_bytes());
        bytes.extend_from_slice(part);
    };
    for text in [&rules.issuer, &rules.audience, &rules.tenant_claim, &rules.scope_claim] {
        part(text.as_bytes());
    }
    part(kid.unwrap_or_default().as_bytes());
    part(format!("{algorithm:?}").as_bytes());
    match key.kind() {
        DecodingKeyKind::SecretOrDer(key) => part(key),
        DecodingKeyKind::RsaModulusExponent { n, e } => {
            part(n);
            part(e);
        }
    }
    digest_of(&bytes).first_chunk().map_or(0, |half| u128::from_be_bytes(*half))
}

#[cfg(test)]
mod tests {
    use super::*;

    const EC: &str = r#""kty":"EC","crv":"P-256","x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0""#;
    const ED: &str = r#""kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo""#;

    fn read_set(set: &str) -> Result<Vec<(Option<String>, Algorithm)>, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("jwks.json");
        fs::write(&path, set).unwrap();
        let rules = JwtRules { jwks_files: vec![path], ..JwtRules::default() };
        let keys = read(&rules).map_err(|error| error.to_string())?;
        let mut keys: Vec<_> = keys.into_iter().map(|(kid, key)| (kid, key.algorithm)).collect();
        keys.sort_by_key(|(kid, _)| kid.clone());
        Ok(keys)
    }

    #[test]
    fn each_key_is_bound_to_one_algorithm_and_others_are_left_out() {
        let set = format!(
            r#"{{"keys":[{{{EC},"kid":"b","alg":"ES256","use":"sig"}},{{{ED}}},{{{EC},"kid":"c","use":"enc"}},
            {{{EC},"kid":"d","alg":"ES384"}},{{"kty":"new","kid":"e"}},{{"kty":"EC","crv":"P-384","x":"AA","y":"AA","kid":"f"}}]}}"#
        );
        let keys = read_set(&set).unwrap();
        assert_eq!(keys, [(None, Algorithm::EdDSA), (Some("b".into()), Algorithm::ES256)]);
    }

    #[test]
    fn what_cannot_be_used_is_told() {
        for (set, wanted) in [
            ("{".to_owned(), "no JWKS"),
            (r#"{"keys":[]}"#.into(), "holds no key for"),
            (format!(r#"{{"keys":[{{{EC},"kid":"a"}},{{{ED},"kid":"a"}}]}}"#), "its kid stands twice"),
            (format!(r#"{{"keys":[{{{EC}}},{{{ED}}}]}}"#), "a second key without a kid"),
            (r#"{"keys":[{"kty":"oct","k":"c2hvcnQ"}]}"#.into(), "at least 32 bytes"),
            (r#"{"keys":[{"kty":"RSA","n":"AQAB","e":"AQAB"}]}"#.into(), "at least 2048 bits"),
            (r#"{"keys":[{"kty":"EC","crv":"P-256","x":"AA","y":"AA"}]}"#.into(), "32 bytes each"),
            (r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AA"}]}"#.into(), "not 32 bytes"),
        ] {
            let error = read_set(&set).unwrap_err();
            assert!(error.contains(wanted) && error.contains("jwks.json"), "{set}: {error}");
        }
        let nowhere = JwtRules { jwks_files: vec!["/nowhere".into()], ..JwtRules::default() };
        assert!(matches!(read(&nowhere), Err(JwtError::Read { .. })));
    }
}
