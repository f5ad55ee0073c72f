//! The API keys of the daemon: looked up and refused without a lock, written one change at a time, durable before a change
//! is answered.

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
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicI64};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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
    #[error("cannot write {}: {cause}; the key is refused from now on, and the daemon goes on trying to write that; if it is killed before it says that it has, revoke the key again", path.display())]
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
    /// Changed by `rcu` alone: a key is refused while somebody else waits for the disk, and that must not be undone.
    keys: ArcSwap<Keys>,
    /// Held by whoever writes the file, for as long as the disk takes, which may be for ever.
    writing: Mutex<()>,
    /// Whether a key is refused that the file may not say so of.
    unsaved: AtomicBool,
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
        let (keys, writing, unsaved) = (ArcSwap::from_pointee(keys), Mutex::new(()), AtomicBool::new(false));
        Ok(Keyring { path, keys, writing, unsaved, random: SystemRandom::new() })
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
        let _writing = self.writing();
        let mut keys = Keys::clone(&self.keys.load());
        let over = over(&keys)?;
        if let Some(over) = over {
            keys.remove(&over);
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
        // Not what was written: others may have been refused meanwhile.
        self.keys.rcu(|keys| {
            let mut keys = Keys::clone(keys);
            if let Some(over) = over {
                keys.remove(&over);
            }
            keys.insert(id, Arc::clone(&key));
            keys
        });
        Ok((key, text))
    }

    /// Has a key refused from now on, as long as the process lives: [`Keyring::revoke`] keeps it so. Waits for no disk.
    ///
    /// # Errors
    /// [`TokenError::Unknown`].
    pub fn refuse(&self, id: KeyId, now: UnixMicros) -> Result<Arc<Key>, TokenError> {
        let mut refused = None;
        self.keys.rcu(|keys| {
            let mut keys = Keys::clone(keys);
            refused = keys.get_mut(&id).map(|place| {
                let mut key = Key::clone(place);
                key.revoked_at.get_or_insert(now);
                *place = Arc::new(key);
                Arc::clone(place)
            });
            keys
        });
        let key = refused.ok_or(TokenError::Unknown(id))?;
        self.unsaved.store(true, SeqCst);
        Ok(key)
    }

    /// Has a key refused from now on; once more for one that is.
    ///
    /// # Errors
    /// [`TokenError`].
    pub fn revoke(&self, id: KeyId, now: UnixMicros) -> Result<Arc<Key>, TokenError> {
        // Before it is written: a disk that is full or hangs must not keep a leaked key alive.
        let key = self.refuse(id, now)?;
        let _writing = self.writing();
        self.store_all().map_err(|cause| TokenError::Revoke { path: self.path.clone(), cause })?;
        Ok(key)
    }

    /// Writes down that keys are refused, where that is not done; whether there was anything to write.
    ///
    /// # Errors
    /// What the system said; it is to be tried again.
    pub fn save_refused(&self) -> std::io::Result<bool> {
        if !self.unsaved.load(SeqCst) {
            return Ok(false);
        }
        let _writing = self.writing();
        // Whoever was waited for may have done it.
        if !self.unsaved.load(SeqCst) {
            return Ok(false);
        }
        self.store_all().map(|()| true)
    }

    /// Writes down when keys were last used.
    ///
    /// # Errors
    /// What the system said; the keys are as they were.
    pub fn save(&self) -> std::io::Result<()> {
        let _writing = self.writing();
        if self.keys.load().is_empty() { Ok(()) } else { self.store_all() }
    }

    fn writing(&self) -> MutexGuard<'_, ()> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes the keys as they are now; for whoever is writing.
    fn store_all(&self) -> std::io::Result<()> {
        // Before they are looked at: who is refused from here on is written once more.
        self.unsaved.store(false, SeqCst);
        let keys = self.keys.load_full();
        self.store(&keys).inspect_err(|_| self.unsaved.store(true, SeqCst))
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

/// The key to be forgotten for another one, where there are too many: one that is not there is refused like one that was
/// revoked.
fn over(keys: &Keys) -> Result<Option<KeyId>, TokenError> {
    if keys.len() < KEYS_MAX {
        return Ok(None);
    }
    let revoked = keys.values().filter_map(|key| Some((key.revoked_at?, key.id)));
    let (_, first) = revoked.min_by_key(|(at, _)| at.get()).ok_or(TokenError::Full)?;
    Ok(Some(first))
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
    fn a_key_is_refused_while_another_change_waits_for_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let (key, text) = ring.add(wanted(), NOW).unwrap();
        let writing = ring.writing();
        ring.refuse(key.id, NOW).unwrap();
        assert!(matches!(ring.refuse(KeyId(1), NOW), Err(TokenError::Unknown(_))));
        assert_eq!(ring.find(text.as_bytes(), NOW).unwrap_err(), Failure::RevokedKey);
        drop(writing);
        // Nor does one that was under way undo it, or leave it unwritten.
        ring.add(wanted(), NOW).unwrap();
        assert_eq!(ring.find(text.as_bytes(), NOW).unwrap_err(), Failure::RevokedKey);
        assert!(ring.save_refused().unwrap());
        assert!(!ring.save_refused().unwrap());
    }

    #[test]
    fn keys_that_come_and_go_side_by_side_do_so_all() {
        let dir = tempfile::tempdir().unwrap();
        let ring = Keyring::open(dir.path()).unwrap();
        let made: Vec<_> = (0..16).map(|_| ring.add(wanted(), NOW).unwrap().0.id).collect();
        std::thread::scope(|scope| {
            scope.spawn(|| (0..16).for_each(|_| drop(ring.add(wanted(), NOW).unwrap())));
            scope.spawn(|| made.iter().for_each(|id| drop(ring.refuse(*id, NOW).unwrap())));
        });
        ring.save().unwrap();
        for ring in [&ring, &Keyring::open(dir.path()).unwrap()] {
            let revoked = ring.list().iter().filter(|key| key.revoked_at.is_some()).count();
            assert_eq!((ring.list().len(), revoked), (32, 16));
        }
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
        ring.save_refused().unwrap_err();
        std::fs::remove_dir_all(dir.path().join("keys.new")).unwrap();
        assert!(ring.save_refused().unwrap(), "it is tried again");
        let again = Keyring::open(dir.path()).unwrap();
        assert_eq!(again.find(text.as_bytes(), NOW).unwrap_err(), Failure::RevokedKey);
    }
}
