//! The API keys of the daemon: looked up without a lock, changed one at a time, durable before a change is answered.

use super::failure::Failure;
use super::key::{Key, KeyId, digest_of, id_of, text_of};
use super::key_file::{self, KeyFileError};
use super::scope::Scopes;
use super::tenant::is_tenant;
use arc_swap::ArcSwap;
use event::UnixMicros;
use ring::rand::{SecureRandom, SystemRandom};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::AtomicI64;
use std::sync::{Arc, Mutex, PoisonError};
use subtle::ConstantTimeEq;

/// Most keys; each is written again with every change. Over it the one that was revoked first is forgotten.
const KEYS_MAX: usize = 100_000;
/// Longest name, bytes.
const NAME_BYTES_MAX: usize = 128;

type Keys = BTreeMap<KeyId, Arc<Key>>;

/// What a new key is to be.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// What people call it; may be empty.
    pub name: String,
    /// Whose events come with it.
    pub tenant: String,
    /// What it may do.
    pub scopes: Scopes,
    /// From when on it is no longer taken.
    pub expires_at: Option<UnixMicros>,
}

/// Why keys are not changed as asked.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenError {
    /// No tenant can have that name.
    #[error("a tenant's name has 1 to 64 of a-z, 0-9, _, - and .; `{0}` is none")]
    Tenant(String),
    /// The name cannot be kept.
    #[error("a key's name has at most {NAME_BYTES_MAX} bytes, and no control characters")]
    Name,
    /// It could do nothing.
    #[error("a key needs a scope: intake, read or manage")]
    Scopes,
    /// It would never be taken.
    #[error("the key would have expired before it was made")]
    Expired,
    /// There are too many.
    #[error("there are {KEYS_MAX} keys, and that is the most: revoke those that nobody uses")]
    Full,
    /// There is none of that id.
    #[error("there is no key {0}; `ingestd admin tokens list` names them")]
    Unknown(KeyId),
    /// The system has no randomness to give.
    #[error("the system gives no random numbers")]
    Random,
    /// The new key is not on disk, and not known.
    #[error("cannot write {}: {cause}; no key was made", path.display())]
    Add {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The key is refused, but that is not on disk.
    #[error("cannot write {}: {cause}; the key is refused from now on, but a restart may forget that: revoke it again", path.display())]
    Revoke {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
}

/// All API keys.
pub struct Keyring {
    path: PathBuf,
    keys: ArcSwap<Keys>,
    /// Held by whoever changes them.
    changing: Mutex<()>,
    random: SystemRandom,
}

impl Keyring {
    /// Reads the keys of a data folder.
    ///
    /// # Errors
    /// [`KeyFileError`].
    pub fn open(data: &Path) -> Result<Self, KeyFileError> {
        let path = data.join(key_file::NAME);
        let keys: Keys = key_file::load(&path)?.into_iter().map(|key| (key.id, Arc::new(key))).collect();
        Ok(Keyring { path, keys: ArcSwap::from_pointee(keys), changing: Mutex::new(()), random: SystemRandom::new() })
    }

    /// The key with this text, if it is taken now.
    ///
    /// # Errors
    /// Why it is not.
    pub fn find(&self, text: &[u8], now: UnixMicros) -> Result<Arc<Key>, Failure> {
        let id = id_of(text).ok_or(Failure::Malformed)?;
        let digest = digest_of(text);
        let keys = self.keys.load();
        let key = keys.get(&id).ok_or(Failure::UnknownKey)?;
        if !bool::from(key.digest.ct_eq(&digest)) {
            return Err(Failure::UnknownKey);
        }
        holds(key, now)?;
        key.touch(now);
        Ok(Arc::clone(key))
    }

    /// Whether a key that was found before would be found again.
    ///
    /// # Errors
    /// Why it would not.
    pub fn standing(&self, id: KeyId, now: UnixMicros) -> Result<(), Failure> {
        holds(self.keys.load().get(&id).ok_or(Failure::UnknownKey)?, now)
    }

    /// Every key, the oldest first.
    #[must_use]
    pub fn list(&self) -> Vec<Arc<Key>> {
        let mut keys: Vec<_> = self.keys.load().values().cloned().collect();
        keys.sort_by_key(|key| (key.created_at.get(), key.id));
        keys
    }

    /// Makes a key; its text is nowhere but in the result.
    ///
    /// # Errors
    /// [`TokenError`]; there is no new key then.
    pub fn add(&self, wanted: NewKey, now: UnixMicros) -> Result<(Arc<Key>, String), TokenError> {
        check(&wanted, now)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut keys = Keys::clone(&self.keys.load());
        if keys.len() >= KEYS_MAX {
            // One that is not there is refused like one that was revoked.
            let over = keys.values().filter_map(|key| Some((key.revoked_at?, key.id))).min_by_key(|(at, _)| at.get());
            keys.remove(&over.ok_or(TokenError::Full)?.1);
        }
        let id = loop {
            let id = KeyId(u64::from_be_bytes(self.random()?));
            if !keys.contains_key(&id) {
                break id;
            }
        };
        let text = text_of(id, &self.random()?);
        let key = Arc::new(Key {
            id,
            name: wanted.name.into(),
            tenant: wanted.tenant.into(),
            scopes: wanted.scopes,
            created_at: now,
            expires_at: wanted.expires_at,
            revoked_at: None,
            digest: digest_of(text.as_bytes()),
            used: Arc::new(AtomicI64::new(0)),
        });
        keys.insert(id, Arc::clone(&key));
        self.store(&keys).map_err(|cause| TokenError::Add { path: self.path.clone(), cause })?;
        self.keys.store(Arc::new(keys));
        Ok((key, text))
    }

    /// Has a key refused from now on, as long as the process lives: [`Keyring::revoke`] keeps it so.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn refuse(&self, id: KeyId, now: UnixMicros) -> Result<(), TokenError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.refuse_in_memory(id, now).map(drop)
    }

    /// Has a key refused from now on; once more for one that is.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn revoke(&self, id: KeyId, now: UnixMicros) -> Result<Arc<Key>, TokenError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        // Before it is written: a full disk must not keep a leaked key alive.
        let (key, keys) = self.refuse_in_memory(id, now)?;
        self.store(&keys).map_err(|cause| TokenError::Revoke { path: self.path.clone(), cause })?;
        Ok(key)
    }

    /// For whoever is changing them.
    fn refuse_in_memory(&self, id: KeyId, now: UnixMicros) -> Result<(Arc<Key>, Arc<Keys>), TokenError> {
        let mut keys = Keys::clone(&self.keys.load());
        let place = keys.get_mut(&id).ok_or(TokenError::Unknown(id))?;
        let mut key = Key::clone(place);
        key.revoked_at.get_or_insert(now);
        let key = Arc::new(key);
        *place = Arc::clone(&key);
        let keys = Arc::new(keys);
        self.keys.store(Arc::clone(&keys));
        Ok((key, keys))
    }

    /// Writes down when keys were last used.
    ///
    /// # Errors
    /// What the system said; the keys are as they were.
    pub fn save(&self) -> std::io::Result<()> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let keys = self.keys.load();
        if keys.is_empty() { Ok(()) } else { self.store(&keys) }
    }

    fn store(&self, keys: &Keys) -> std::io::Result<()> {
        key_file::store(&self.path, keys.values().map(|key| &**key))
    }

    fn random<const N: usize>(&self) -> Result<[u8; N], TokenError> {
        let mut bytes = [0; N];
        self.random.fill(&mut bytes).map_err(|_| TokenError::Random)?;
        Ok(bytes)
    }
}

fn holds(key: &Key, now: UnixMicros) -> Result<(), Failure> {
    if key.revoked_at.is_some() {
        return Err(Failure::RevokedKey);
    }
    if key.expires_at.is_some_and(|end| end <= now) {
        return Err(Failure::Expired);
    }
    Ok(())
}

fn check(wanted: &NewKey, now: UnixMicros) -> Result<(), TokenError> {
    if !is_tenant(&wanted.tenant) {
        return Err(TokenError::Tenant(wanted.tenant.clone()));
    }
    if wanted.name.len() > NAME_BYTES_MAX || wanted.name.chars().any(char::is_control) {
        return Err(TokenError::Name);
    }
    if wanted.scopes.is_empty() {
        return Err(TokenError::Scopes);
    }
    if wanted.expires_at.is_some_and(|end| end <= now) {
        return Err(TokenError::Expired);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::scope::Scope;
    use super::*;

    fn wanted() -> NewKey {
        let scopes = [Scope::Intake].into_iter().collect();
        NewKey { name: "till".into(), tenant: "shop".into(), scopes, expires_at: None }
    }

    const NOW: UnixMicros = UnixMicros::new(1_700_000_000_000_000);
    const LATER: UnixMicros = UnixMicros::new(1_700_000_100_000_000);

    #[test]
    fn a_key_is_found_by_its_text_until_it_is_revoked_also_by_the_next_start() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let (key, text) = ring.add(wanted(), NOW).unwrap();
        let (_, other) = ring.add(wanted(), NOW).unwrap();
        assert_eq!(ring.find(text.as_bytes(), NOW).unwrap().id, key.id);
        let again = Keyring::open(dir.path()).unwrap();
        assert_eq!(&*again.find(text.as_bytes(), NOW).unwrap().tenant, "shop");
        again.revoke(key.id, NOW).unwrap();
        again.revoke(key.id, LATER).unwrap();
        assert_eq!(again.list().iter().filter_map(|key| key.revoked_at).collect::<Vec<_>>(), [NOW]);
        for ring in [again, Keyring::open(dir.path()).unwrap()] {
            assert_eq!(ring.find(text.as_bytes(), LATER).unwrap_err(), Failure::RevokedKey);
            assert_eq!(ring.standing(key.id, LATER), Err(Failure::RevokedKey));
            ring.find(other.as_bytes(), LATER).unwrap();
        }
        let file = std::fs::read_to_string(dir.path().join(key_file::NAME)).unwrap();
        assert!(!file.contains(text.rsplit('_').next().unwrap()), "the secret is nowhere");
    }

    #[test]
    fn another_secret_or_another_id_is_unknown() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let ((one, one_text), (two, _)) = (ring.add(wanted(), NOW).unwrap(), ring.add(wanted(), NOW).unwrap());
        let last = if one_text.ends_with('0') { "1" } else { "0" };
        let wrong = [
            format!("{}{last}", &one_text[..one_text.len() - 1]),
            one_text.replacen(&one.id.to_string(), &two.id.to_string(), 1),
            text_of(KeyId(1), &[0; 32]),
        ];
        for text in wrong {
            assert_eq!(ring.find(text.as_bytes(), NOW).unwrap_err(), Failure::UnknownKey, "{text}");
        }
        assert_eq!(ring.find(b"ing_x", NOW).unwrap_err(), Failure::Malformed);
    }

    #[test]
    fn a_key_ends_at_its_time_and_its_use_is_kept_to_the_minute() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let (key, text) = ring.add(NewKey { expires_at: Some(LATER), ..wanted() }, NOW).unwrap();
        assert_eq!(key.last_used_at(), None);
        ring.find(text.as_bytes(), NOW).unwrap();
        assert_eq!(ring.find(text.as_bytes(), LATER).unwrap_err(), Failure::Expired);
        ring.save().unwrap();
        let used = Keyring::open(dir.path()).unwrap().list()[0].last_used_at().unwrap();
        assert_eq!(used, UnixMicros::new(1_699_999_980_000_000));
    }

    #[test]
    fn what_no_key_can_be_is_refused_and_a_full_disk_makes_none_but_revokes() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        assert!(matches!(ring.add(NewKey { tenant: "A".into(), ..wanted() }, NOW), Err(TokenError::Tenant(_))));
        assert!(matches!(ring.add(NewKey { name: "a\nb".into(), ..wanted() }, NOW), Err(TokenError::Name)));
        assert!(matches!(ring.add(NewKey { scopes: Scopes::default(), ..wanted() }, NOW), Err(TokenError::Scopes)));
        let past = NewKey { expires_at: Some(NOW), ..wanted() };
        assert!(matches!(ring.add(past, NOW), Err(TokenError::Expired)));
        assert!(matches!(ring.revoke(KeyId(1), NOW), Err(TokenError::Unknown(_))));
        let (key, text) = ring.add(wanted(), NOW).unwrap();
        // A folder in the way of the temporary file, as a disk that cannot be written.
        std::fs::create_dir_all(dir.path().join("keys.new/in the way")).unwrap();
        assert!(matches!(ring.add(wanted(), NOW), Err(TokenError::Add { .. })));
        assert_eq!(ring.list().len(), 1);
        assert!(matches!(ring.revoke(key.id, NOW), Err(TokenError::Revoke { .. })));
        assert_eq!(ring.find(text.as_bytes(), NOW).unwrap_err(), Failure::RevokedKey);
    }
}
