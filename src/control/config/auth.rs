//! `[auth]`: what is asked of whoever comes, as it stands in the file.

use crate::access::{JwtRules, Mode, Rules};
use serde::{Deserialize, Serialize};
use std::path::PathBuf;
use std::time::Duration;

/// What a group of routes asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AuthName {
    /// Nothing.
    None,
    /// An API key.
    Key,
    /// A JWT.
    Jwt,
    /// An API key or a JWT.
    Any,
}

impl From<AuthName> for Mode {
    fn from(name: AuthName) -> Self {
        match name {
            AuthName::None => Mode::None,
            AuthName::Key => Mode::Key,
            AuthName::Jwt => Mode::Jwt,
            AuthName::Any => Mode::Any,
        }
    }
}

/// Who may come in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthSection {
    /// What is asked of those who send events.
    pub intake: AuthName,
    /// What is asked of those who look at statistics, metrics and health.
    pub read: AuthName,
    /// What is asked of those who change something over HTTP.
    pub manage: AuthName,
    /// Files with the keys of JWTs (JWKS).
    pub jwks_files: Vec<PathBuf>,
    /// File with the secret of JWTs signed with HS256; empty for none.
    pub hs256_secret_file: PathBuf,
    /// Who must have made a JWT.
    pub issuer: String,
    /// For whom a JWT must be.
    pub audience: String,
    /// By how much clocks may differ, seconds.
    pub leeway_s: u64,
    /// The claim with the tenant.
    pub tenant_claim: String,
    /// The claim with the scopes; empty: every JWT has the scope intake.
    pub scope_claim: String,
}

impl Default for AuthSection {
    fn default() -> Self {
        AuthSection {
            intake: AuthName::None,
            read: AuthName::None,
            manage: AuthName::None,
            jwks_files: Vec::new(),
            hs256_secret_file: PathBuf::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_s: 30,
            tenant_claim: "tenant".into(),
            scope_claim: "scope".into(),
        }
    }
}

impl AuthSection {
    /// The same, as it is gone by.
    #[must_use]
    pub fn rules(&self) -> Rules {
        let secret = &self.hs256_secret_file;
        Rules {
            intake: self.intake.into(),
            read: self.read.into(),
            manage: self.manage.into(),
            jwt: JwtRules {
                jwks_files: self.jwks_files.clone(),
                secret_file: (!secret.as_os_str().is_empty()).then(|| secret.clone()),
                issuer: self.issuer.clone(),
                audience: self.audience.clone(),
                leeway: Duration::from_secs(self.leeway_s),
                tenant_claim: self.tenant_claim.clone(),
                scope_claim: self.scope_claim.clone(),
            },
        }
    }
}

/// What JWTs cannot do without, where they are taken.
pub(super) fn wrong(auth: &AuthSection) -> Vec<(&'static str, &'static str)> {
    if !auth.rules().take_jwts() {
        return Vec::new();
    }
    let mut wrong = Vec::new();
    if auth.jwks_files.is_empty() && auth.hs256_secret_file.as_os_str().is_empty() {
        wrong.push(("auth.jwks_files", "is empty, and so is auth.hs256_secret_file: no JWT could be verified"));
    }
    for (key, value) in
        [("auth.issuer", &auth.issuer), ("auth.audience", &auth.audience), ("auth.tenant_claim", &auth.tenant_claim)]
    {
        if value.is_empty() {
            wrong.push((key, "is empty, and JWTs are taken: whose, and for whom they are, must be certain"));
        }
    }
    wrong
}
