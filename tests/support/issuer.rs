//! Somebody who issues JWTs: PyJWT (`tests/support/tokens.py`).

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Keys in a folder, and tokens by name.
pub struct Issuer {
    dir: tempfile::TempDir,
    tokens: Value,
}

impl Issuer {
    /// New keys, and a token of every kind.
    #[track_caller]
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let tokens = serde_json::from_str(&made(dir.path(), &[])).unwrap();
        Issuer { dir, tokens }
    }

    #[track_caller]
    pub fn token(&self, name: &str) -> &str {
        self.tokens[name].as_str().unwrap_or_else(|| panic!("there is no token {name}"))
    }

    /// Names that begin so.
    pub fn names(&self, prefix: &str) -> Vec<&str> {
        self.tokens.as_object().unwrap().keys().map(String::as_str).filter(|name| name.starts_with(prefix)).collect()
    }

    /// A good token that ends in so many seconds.
    #[track_caller]
    pub fn expiring(&self, seconds: u64) -> String {
        made(self.dir.path(), &[seconds.to_string()]).trim().to_owned()
    }

    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Puts the content of one file in the place of another, as a key server's client does.
    #[track_caller]
    pub fn replace(&self, name: &str, with: &str) {
        let new = self.file("new");
        std::fs::copy(self.file(with), &new).unwrap();
        std::fs::rename(new, self.file(name)).unwrap();
    }

    /// The variables of a daemon that takes its tokens, for sending and for looking.
    pub fn env(&self) -> Vec<(String, String)> {
        let pairs = [
            ("INGESTD_AUTH_INTAKE", "jwt".to_owned()),
            ("INGESTD_AUTH_JWKS_FILES", self.file("jwks.json").display().to_string()),
            ("INGESTD_AUTH_HS256_SECRET_FILE", self.file("secret").display().to_string()),
            ("INGESTD_AUTH_ISSUER", "https://id.test".to_owned()),
            ("INGESTD_AUTH_AUDIENCE", "ingestd".to_owned()),
            ("INGESTD_SERVER_PING_INTERVAL_S", "1".to_owned()),
        ];
        pairs.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

#[track_caller]
fn made(folder: &Path, arguments: &[String]) -> String {
    let root = env!("CARGO_MANIFEST_DIR");
    let python = Command::new(format!("{root}/scripts/python.sh")).arg("tests/jwt-requirements.txt").output().unwrap();
    assert!(python.status.success(), "no Python environment: {}", String::from_utf8_lossy(&python.stderr));
    let venv = String::from_utf8(python.stdout).unwrap();
    let mut command = Command::new(format!("{}/bin/python", venv.trim()));
    command.arg(format!("{root}/tests/support/tokens.py")).arg(folder).args(arguments);
    let output = command.output().unwrap();
    assert!(output.status.success(), "tokens.py: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}
