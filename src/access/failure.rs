//! Every way of being turned away.

/// Why nobody is let in; the name of each is a label of `ingestd_auth_failures_total`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Failure {
    /// No credential.
    Missing,
    /// Several that differ.
    Ambiguous,
    /// Neither a key nor a JWT, or one that cannot be read.
    Malformed,
    /// A key where only JWTs are taken, or the other way round.
    NotTaken,
    /// No key of that id, or another secret.
    UnknownKey,
    /// A key that was revoked.
    RevokedKey,
    /// A key or a JWT whose time has passed.
    Expired,
    /// A JWT whose time has not come.
    NotYetValid,
    /// A JWT signed with another algorithm than its key's.
    Algorithm,
    /// A JWT whose `kid` is not known.
    UnknownKid,
    /// A JWT with another signature.
    Signature,
    /// A JWT of another issuer.
    Issuer,
    /// A JWT for somebody else.
    Audience,
    /// A JWT that lacks a claim, or has one of another type.
    Claims,
    /// A JWT without a tenant, or with a name that no tenant can have.
    Tenant,
    /// A good credential that may not do this.
    Scope,
}

impl Failure {
    /// Each, in the order of their numbers.
    pub const ALL: [Failure; 16] = [
        Failure::Missing,
        Failure::Ambiguous,
        Failure::Malformed,
        Failure::NotTaken,
        Failure::UnknownKey,
        Failure::RevokedKey,
        Failure::Expired,
        Failure::NotYetValid,
        Failure::Algorithm,
        Failure::UnknownKid,
        Failure::Signature,
        Failure::Issuer,
        Failure::Audience,
        Failure::Claims,
        Failure::Tenant,
        Failure::Scope,
    ];

    /// Its label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Failure::Missing => "missing",
            Failure::Ambiguous => "ambiguous",
            Failure::Malformed => "malformed",
            Failure::NotTaken => "not_taken",
            Failure::UnknownKey => "unknown_key",
            Failure::RevokedKey => "revoked_key",
            Failure::Expired => "expired",
            Failure::NotYetValid => "not_yet_valid",
            Failure::Algorithm => "algorithm",
            Failure::UnknownKid => "unknown_kid",
            Failure::Signature => "signature",
            Failure::Issuer => "issuer",
            Failure::Audience => "audience",
            Failure::Claims => "claims",
            Failure::Tenant => "tenant",
            Failure::Scope => "scope",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_stands_at_its_number() {
        for (number, failure) in Failure::ALL.into_iter().enumerate() {
            assert_eq!(failure as usize, number, "{}", failure.as_str());
        }
    }
}
