//! The identity in use, and how another one takes its place: connections that are open keep theirs.

use super::identity::{Identity, Stamp, TlsError, Validity};
use super::settings::TlsSettings;
use arc_swap::ArcSwap;
use rustls::ServerConfig;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

/// TLS as it is spoken now.
pub struct Tls {
    current: ArcSwap<Identity>,
    /// Held while another identity is put in place, so that what was decided last is what stays.
    changing: Mutex<Seen>,
}

/// What the last look at the files has found.
#[derive(Default)]
struct Seen {
    stamps: Vec<Stamp>,
    /// Files that were tried and make no identity.
    bad: Vec<Stamp>,
}

impl Tls {
    /// TLS with that identity.
    #[must_use]
    pub fn new(identity: Identity) -> Arc<Self> {
        Arc::new(Tls { current: ArcSwap::from_pointee(identity), changing: Mutex::default() })
    }

    /// For connections that begin now.
    pub(super) fn config(&self) -> Arc<ServerConfig> {
        Arc::clone(&self.current.load().config)
    }

    /// The files that [`Tls::look`] looks at.
    #[must_use]
    pub fn files(&self) -> Vec<PathBuf> {
        self.current.load().settings.files().cloned().collect()
    }

    /// When the certificate in use ends, UNIX seconds.
    #[must_use]
    pub fn ends(&self) -> i64 {
        self.current.load().ends()
    }

    /// How the certificate in use stands to now.
    #[must_use]
    pub fn validity(&self) -> Validity {
        self.current.load().validity(SystemTime::now())
    }

    /// What is to be presented by these settings; `None` where that is what the files held when they were read last.
    ///
    /// # Errors
    /// Why what they hold now cannot be used.
    pub fn next(&self, settings: &TlsSettings) -> Result<Option<Identity>, TlsError> {
        {
            let current = self.current.load();
            if current.settings == *settings && current.stamps == settings.stamps() {
                return Ok(None);
            }
        }
        settings.load().and_then(Identity::in_time).map(Some)
    }

    /// Presents another identity from now on.
    pub fn replace(&self, identity: Identity) {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        self.current.store(Arc::new(identity));
    }

    /// Looks whether the files have changed, and presents what they hold then. They are read once two looks in a row
    /// have found them the same: whoever writes certificate and key writes one after the other. True where it was changed.
    ///
    /// # Errors
    /// Why what they hold now is not used; told once for each change.
    pub fn look(&self) -> Result<bool, TlsError> {
        let before = self.current.load_full();
        let stamps = before.settings.stamps();
        if !self.is_to_be_read(&stamps, &before.stamps) {
            return Ok(false);
        }
        // Not while holding anything up: where the files hang, a reload may name others.
        let read = before.settings.load().and_then(Identity::in_time);
        let mut seen = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        match read {
            // Somebody else has put another one in place meanwhile.
            _ if !Arc::ptr_eq(&before, &self.current.load()) => Ok(false),
            Ok(identity) => {
                self.current.store(Arc::new(identity));
                Ok(true)
            }
            Err(error) => {
                seen.bad = stamps;
                Err(error)
            }
        }
    }

    /// Whether the files are others than those `used`, have been so at the last look, and were not tried in vain.
    fn is_to_be_read(&self, stamps: &[Stamp], used: &[Stamp]) -> bool {
        let mut seen = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let settled = std::mem::replace(&mut seen.stamps, stamps.to_vec()) == stamps;
        settled && stamps != used && stamps != seen.bad
    }
}
