//! Whether a token is good, and what it says.

use super::crypto;
use super::keys::{self, JwtError, SigningKey, SigningKeys};
use crate::access::failure::Failure;
use crate::access::rules::JwtRules;
use crate::access::scope::{Scope, Scopes};
use crate::access::tenant::is_tenant;
use jsonwebtoken::errors::ErrorKind;
use jsonwebtoken::{Validation, decode, decode_header};
use serde_json::{Map, Value};

/// What a good token says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::access) struct Verified {
    pub(in crate::access) tenant: Box<str>,
    pub(in crate::access) scopes: Scopes,
    /// Whom it was made for, if it says so.
    pub(in crate::access) subject: Option<Box<str>>,
    /// Seconds since 1970, before any leeway.
    pub(in crate::access) expires_at_s: u64,
    /// The fingerprint of its key.
    pub(in crate::access) signer: u128,
}

/// The keys, and what is asked of their tokens.
pub(in crate::access) struct Verifier {
    keys: SigningKeys,
    rules: JwtRules,
}

impl Verifier {
    /// Reads the keys that the rules name.
    ///
    /// # Errors
    /// [`JwtError`].
    pub(in crate::access) fn read(rules: &JwtRules) -> Result<Self, JwtError> {
        crypto::install();
        Ok(Verifier { keys: keys::read(rules)?, rules: rules.clone() })
    }

    /// What a token says, if it is one of ours and good now.
    ///
    /// # Errors
    /// Why it is not taken.
    pub(in crate::access) fn verify(&self, token: &[u8]) -> Result<Verified, Failure> {
        // Only to see which key is meant: nothing else of an unverified header counts.
        let header = decode_header(token).map_err(|_| Failure::Malformed)?;
        let signer = self.keys.get(&header.kid).ok_or(Failure::UnknownKid)?;
        let data = decode::<Map<String, Value>>(token, &signer.key, &self.validation(signer))
            .map_err(|error| failure(error.kind()))?;
        let claims = &data.claims;
        // The decoder takes a list that has ours in it, too; RFC 7519 (section 4.1.1) knows one issuer.
        claims.get("iss").filter(|issuer| issuer.is_string()).ok_or(Failure::Issuer)?;
        let tenant = claims.get(&self.rules.tenant_claim).and_then(Value::as_str).filter(|name| is_tenant(name));
        Ok(Verified {
            tenant: tenant.ok_or(Failure::Tenant)?.into(),
            scopes: self.scopes(claims),
            subject: claims.get("sub").and_then(Value::as_str).map(Into::into),
            expires_at_s: seconds(claims.get("exp")).ok_or(Failure::Claims)?,
            signer: signer.fingerprint,
        })
    }

    /// Whether a token by this key would still be taken.
    pub(in crate::access) fn knows(&self, signer: u128) -> bool {
        self.keys.values().any(|key| key.fingerprint == signer)
    }

    /// Whether a token that ends then is over.
    pub(in crate::access) fn is_over(&self, expires_at_s: u64, now_s: u64) -> bool {
        expires_at_s < now_s.saturating_sub(self.rules.leeway.as_secs())
    }

    fn validation(&self, signer: &SigningKey) -> Validation {
        // Of one algorithm only, that of the key: a token cannot have its signature checked another way.
        let mut validation = Validation::new(signer.algorithm);
        validation.set_required_spec_claims(&["exp", "iss", "aud"]);
        validation.set_issuer(&[&self.rules.issuer]);
        validation.set_audience(&[&self.rules.audience]);
        validation.validate_nbf = true;
        validation.leeway = self.rules.leeway.as_secs();
        validation
    }

    /// A list of names, or a text of them with spaces between (RFC 8693, section 4.2); other names mean nothing here.
    fn scopes(&self, claims: &Map<String, Value>) -> Scopes {
        if self.rules.scope_claim.is_empty() {
            return [Scope::Intake].into_iter().collect();
        }
        match claims.get(&self.rules.scope_claim) {
            Some(Value::String(names)) => names.split(' ').filter_map(Scope::of).collect(),
            Some(Value::Array(names)) => names.iter().filter_map(Value::as_str).filter_map(Scope::of).collect(),
            _ => Scopes::default(),
        }
    }
}

fn seconds(claim: Option<&Value>) -> Option<u64> {
    let claim = claim?;
    // Whole, or with a fraction (RFC 7519, section 2).
    claim.as_u64().or_else(|| claim.as_f64().filter(|seconds| *seconds >= 0.0).map(|seconds| seconds as u64))
}

fn failure(kind: &ErrorKind) -> Failure {
    match kind {
        ErrorKind::InvalidAlgorithm | ErrorKind::UnsupportedAlgorithm => Failure::Algorithm,
        ErrorKind::InvalidSignature => Failure::Signature,
        ErrorKind::ExpiredSignature => Failure::Expired,
        ErrorKind::ImmatureSignature => Failure::NotYetValid,
        ErrorKind::InvalidIssuer => Failure::Issuer,
        ErrorKind::InvalidAudience => Failure::Audience,
        ErrorKind::MissingRequiredClaim(_) | ErrorKind::InvalidClaimFormat(_) => Failure::Claims,
        _ => Failure::Malformed,
    }
}
