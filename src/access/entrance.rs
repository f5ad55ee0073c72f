//! Who may come in: the rules, the keys and the verifier of now.

use super::cache::Cache;
use super::caller::{Caller, Credential};
use super::failure::Failure;
use super::jwt::{JwtError, Verified, Verifier};
use super::key::{PREFIX, digest_of};
use super::key_file::KeyFileError;
use super::keyring::Keyring;
use super::rules::{Mode, Rules};
use super::scope::{Scope, Scopes};
use arc_swap::ArcSwap;
use event::UnixMicros;
use std::net::IpAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Why nobody can be told from anybody else.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AccessError {
    /// The API keys cannot be read.
    #[error(transparent)]
    Keys(#[from] KeyFileError),
    /// The keys of JWTs cannot be used.
    #[error("the keys of JWTs cannot be used: {0}")]
    Jwt(#[from] JwtError),
}

/// Rules whose files are read: what is left to do cannot fail.
pub struct Prepared {
    rules: Rules,
    verifier: Option<Verifier>,
    stamps: Vec<Option<Stamp>>,
}

/// What tells that a file is another one: device, inode, size, time of change in nanoseconds.
type Stamp = (u64, u64, u64, i64, i64);

impl Prepared {
    /// Reads what the rules name.
    ///
    /// # Errors
    /// [`AccessError::Jwt`].
    pub fn read(rules: Rules) -> Result<Self, AccessError> {
        // Before the files are read: one that changes meanwhile is read again.
        let stamps = stamps(&rules);
        let verifier = rules.take_jwts().then(|| Verifier::read(&rules.jwt)).transpose()?;
        Ok(Prepared { rules, verifier, stamps })
    }
}

struct Policy {
    prepared: Prepared,
    version: u64,
}

/// Decides who a request comes from, and whether it may.
pub struct Access {
    /// The API keys.
    pub keyring: Keyring,
    policy: ArcSwap<Policy>,
    /// What of the files was looked at last, for a file that is bad is told once.
    seen: Mutex<Vec<Option<Stamp>>>,
    reloads: AtomicU64,
}

impl Access {
    /// Reads the API keys of a data folder, and what the rules name.
    ///
    /// # Errors
    /// [`AccessError`].
    pub fn open(data: &Path, rules: Rules) -> Result<Self, AccessError> {
        let (keyring, prepared) = (Keyring::open(data)?, Prepared::read(rules)?);
        let seen = Mutex::new(prepared.stamps.clone());
        let policy = ArcSwap::from_pointee(Policy { prepared, version: 1 });
        Ok(Access { keyring, policy, seen, reloads: AtomicU64::new(0) })
    }

    /// Goes by other rules from now on.
    pub fn take(&self, prepared: Prepared) {
        self.store(&mut self.seen(), prepared);
        self.reloads.fetch_add(1, Relaxed);
    }

    /// How often other rules were taken, be they the same: what was begun before may go by files that are named no more.
    pub fn reloads(&self) -> u64 {
        self.reloads.load(Relaxed)
    }

    /// The files that [`Access::refresh`] looks at.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        let policy = self.policy.load();
        let rules = &policy.prepared.rules;
        if rules.take_jwts() { files(rules).cloned().collect() } else { Vec::new() }
    }

    /// The same, unless others than `of` have been taken meanwhile: those came later, and may have taken a key away.
    fn take_instead(&self, of: &Arc<Policy>, prepared: Prepared) -> bool {
        let mut seen = self.seen();
        let is_in_use = self.is_in_use(of);
        if is_in_use {
            self.store(&mut seen, prepared);
        }
        is_in_use
    }

    /// `seen` is held by whoever changes the rules: what is true of them as it is taken is true until they are stored.
    fn store(&self, seen: &mut Vec<Option<Stamp>>, prepared: Prepared) {
        seen.clone_from(&prepared.stamps);
        let version = self.policy.load().version + 1;
        self.policy.store(Arc::new(Policy { prepared, version }));
    }

    fn seen(&self) -> MutexGuard<'_, Vec<Option<Stamp>>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is_in_use(&self, policy: &Arc<Policy>) -> bool {
        Arc::ptr_eq(policy, &self.policy.load())
    }

    /// Reads files that have changed again; one that cannot be used changes nothing. Where something has changed, says
    /// which files are in use now, or why not; both are logged.
    pub fn refresh(&self) -> Option<Result<Vec<PathBuf>, AccessError>> {
        let policy = self.policy.load_full();
        let rules = &policy.prepared.rules;
        if !rules.take_jwts() {
            return None;
        }
        let now = stamps(rules);
        if *self.seen() == now {
            return None;
        }
        match Prepared::read(rules.clone()) {
            Ok(prepared) => {
                let taken = self.take_instead(&policy, prepared);
                taken.then(|| {
                    tracing::info!("the keys of JWTs have changed, and are taken over");
                    Ok(files(rules).cloned().collect())
                })
            }
            Err(error) => {
                let mut seen = self.seen();
                if !self.is_in_use(&policy) {
                    return None;
                }
                *seen = now;
                drop(seen);
                tracing::error!("{error}; the keys that were read before stay in use");
                Some(Err(error))
            }
        }
    }

    /// What a group of routes asks for.
    #[must_use]
    pub fn mode(&self, group: Scope) -> Mode {
        self.policy.load().prepared.rules.mode(group)
    }

    /// Whose a credential is, if it may use this group of routes; `credential` is only asked for where one is wanted.
    ///
    /// # Errors
    /// Why nobody is let in.
    pub fn admit<'a>(
        &self,
        cache: &mut Cache,
        credential: impl FnOnce() -> Result<&'a [u8], Failure>,
        group: Scope,
        address: IpAddr,
        now: UnixMicros,
    ) -> Result<Caller, Failure> {
        let policy = self.policy.load();
        let mode = policy.prepared.rules.mode(group);
        if mode == Mode::None {
            return Ok(Caller::anonymous(address));
        }
        let text = credential()?;
        let (tenant, scopes, credential, subject) = if text.starts_with(PREFIX.as_bytes()) {
            self.key(mode, text, now)?
        } else {
            policy.jwt(cache, mode, text, now)?
        };
        if !scopes.has(group) {
            return Err(Failure::Scope);
        }
        Ok(Caller { tenant, address, credential, subject, certificate: None, behind: None })
    }

    /// Whether a caller that was admitted to a group of routes would be again.
    ///
    /// # Errors
    /// Why it would not.
    pub fn standing(&self, caller: &Caller, group: Scope, now: UnixMicros) -> Result<(), Failure> {
        let policy = self.policy.load();
        let mode = policy.prepared.rules.mode(group);
        match caller.credential {
            _ if mode == Mode::None => Ok(()),
            Credential::None => Err(Failure::Missing),
            Credential::Key(id) if mode.takes_keys() => self.keyring.standing(id, now),
            Credential::Jwt { expires_at_s, signer } if mode.takes_jwts() => {
                let verifier = policy.prepared.verifier.as_ref().ok_or(Failure::NotTaken)?;
                if !verifier.knows(signer) {
                    return Err(Failure::UnknownKid);
                }
                if verifier.is_over(expires_at_s, seconds(now)) { Err(Failure::Expired) } else { Ok(()) }
            }
            _ => Err(Failure::NotTaken),
        }
    }

    fn key(&self, mode: Mode, text: &[u8], now: UnixMicros) -> Result<Shown, Failure> {
        if !mode.takes_keys() {
            return Err(Failure::NotTaken);
        }
        let key = self.keyring.find(text, now)?;
        Ok((key.tenant.clone(), key.scopes, Credential::Key(key.id), None))
    }
}

/// Whose it is, what it may do, how that is seen again later, and whom it was made for.
type Shown = (Box<str>, Scopes, Credential, Option<Box<str>>);

impl Policy {
    fn jwt(&self, cache: &mut Cache, mode: Mode, text: &[u8], now: UnixMicros) -> Result<Shown, Failure> {
        if !mode.takes_jwts() {
            // What begins like nothing known is not said to be a JWT.
            return Err(if text.split(|byte| *byte == b'.').count() == 3 {
                Failure::NotTaken
            } else {
                Failure::Malformed
            });
        }
        let verifier = self.prepared.verifier.as_ref().ok_or(Failure::NotTaken)?;
        let digest = digest_of(text);
        let verified = match cache.get(self.version, &digest) {
            Some(verified) if verifier.is_over(verified.expires_at_s, seconds(now)) => return Err(Failure::Expired),
            Some(verified) => verified,
            None => {
                let verified = verifier.verify(text)?;
                cache.put(self.version, digest, verified.clone());
                verified
            }
        };
        let Verified { tenant, scopes, subject, expires_at_s, signer } = verified;
        Ok((tenant, scopes, Credential::Jwt { expires_at_s, signer }, subject))
    }
}

fn seconds(now: UnixMicros) -> u64 {
    u64::try_from(now.get() / 1_000_000).unwrap_or_default()
}

fn files(rules: &Rules) -> impl Iterator<Item = &PathBuf> {
    rules.jwt.jwks_files.iter().chain(&rules.jwt.secret_file)
}

fn stamps(rules: &Rules) -> Vec<Option<Stamp>> {
    let stamp = |path: &PathBuf| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino(), found.size(), found.mtime(), found.mtime_nsec()))
    };
    files(rules).map(stamp).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::access::rules::JwtRules;
    use std::time::Duration;
    use tracing::span;

    /// Does something whenever a line is logged: as if somebody else's turn came just then.
    struct Meanwhile<F>(F);

    impl<F: Fn() + Send + Sync + 'static> tracing::Subscriber for Meanwhile<F> {
        fn enabled(&self, _: &tracing::Metadata<'_>) -> bool {
            true
        }

        fn new_span(&self, _: &span::Attributes<'_>) -> span::Id {
            span::Id::from_u64(1)
        }

        fn record(&self, _: &span::Id, _: &span::Record<'_>) {}

        fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

        fn event(&self, _: &tracing::Event<'_>) {
            (self.0)();
        }

        fn enter(&self, _: &span::Id) {}

        fn exit(&self, _: &span::Id) {}
    }

    fn rules(secret: &Path) -> Rules {
        let jwt = JwtRules {
            jwks_files: Vec::new(),
            secret_file: Some(secret.to_owned()),
            issuer: "i".into(),
            audience: "a".into(),
            tenant_claim: "tenant".into(),
            scope_claim: "scope".into(),
            leeway: Duration::ZERO,
        };
        Rules { intake: Mode::Jwt, jwt, ..Rules::default() }
    }

    fn replace(file: &Path, text: &str) {
        let next = file.with_extension("next");
        std::fs::write(&next, text).unwrap();
        std::fs::rename(next, file).unwrap();
    }

    fn secret(access: &Access) -> Option<PathBuf> {
        access.policy.load().prepared.rules.jwt.secret_file.clone()
    }

    #[test]
    fn rules_that_are_taken_while_a_file_is_read_again_stay() {
        let folder = tempfile::tempdir().unwrap();
        let [first, second] = ["first", "second"].map(|name| folder.path().join(name));
        replace(&first, &"a".repeat(40));
        replace(&second, &"b".repeat(40));
        let access = Arc::new(Access::open(folder.path(), rules(&first)).unwrap());
        replace(&first, &"c".repeat(40));
        let reload = {
            let (access, second) = (Arc::clone(&access), second.clone());
            move || access.take(Prepared::read(rules(&second)).unwrap())
        };
        let taken = tracing::subscriber::with_default(Meanwhile(reload), || access.refresh());
        assert!(matches!(taken, Some(Ok(files)) if files == [first.clone()]));
        assert_eq!(secret(&access), Some(second.clone()), "the reload was undone");
        // Nor are rules that came before the file was read.
        let before = access.policy.load_full();
        access.take(Prepared::read(rules(&first)).unwrap());
        assert!(!access.take_instead(&before, Prepared::read(rules(&second)).unwrap()));
        assert_eq!(secret(&access), Some(first));
    }
}
