//! What is asked of whoever comes.

use super::scope::Scope;
use std::path::PathBuf;
use std::time::Duration;

/// What a group of routes asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Nothing: everybody is the default tenant.
    #[default]
    None,
    /// An API key.
    Key,
    /// A JWT.
    Jwt,
    /// One of both.
    Any,
}

impl Mode {
    /// Whether API keys are taken.
    #[must_use]
    pub const fn takes_keys(self) -> bool {
        matches!(self, Mode::Key | Mode::Any)
    }

    /// Whether JWTs are taken.
    #[must_use]
    pub const fn takes_jwts(self) -> bool {
        matches!(self, Mode::Jwt | Mode::Any)
    }
}

/// What each group of routes asks for, and what JWTs are held to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Rules {
    /// Of those who send events.
    pub intake: Mode,
    /// Of those who look.
    pub read: Mode,
    /// Of those who change something.
    pub manage: Mode,
    /// What JWTs are held to.
    pub jwt: JwtRules,
}

impl Rules {
    /// What a group asks for.
    #[must_use]
    pub const fn mode(&self, scope: Scope) -> Mode {
        match scope {
            Scope::Intake => self.intake,
            Scope::Read => self.read,
            Scope::Manage => self.manage,
        }
    }

    /// Whether a group takes JWTs.
    #[must_use]
    pub fn take_jwts(&self) -> bool {
        Scope::ALL.into_iter().any(|scope| self.mode(scope).takes_jwts())
    }
}

/// What JWTs are held to.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct JwtRules {
    /// Files with the keys of their signatures (JWKS, RFC 7517).
    pub jwks_files: Vec<PathBuf>,
    /// File with the secret of HS256.
    pub secret_file: Option<PathBuf>,
    /// Who must have made them (`iss`).
    pub issuer: String,
    /// For whom they must be (`aud`).
    pub audience: String,
    /// By how much clocks may differ.
    pub leeway: Duration,
    /// The claim that names the tenant.
    pub tenant_claim: String,
    /// The claim that names scopes; empty: every JWT has the scope intake, and no other.
    pub scope_claim: String,
}
