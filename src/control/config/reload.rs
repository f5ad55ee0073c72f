//! Reading the configuration again while the daemon runs: what can be taken over is, all of it or nothing; what cannot is
//! named; a file with a mistake changes nothing.

use super::check;
use super::keys::{KEYS, Key, Reload, table_of};
use super::load::Loaded;
use super::mistake::{Mistake, Mistakes, Origin};
use super::sections::Config;
use serde_json::json;
use std::sync::{Mutex, MutexGuard, PoisonError};
use toml::Value;

/// Has the daemon use other values; what could fail has not.
pub type Take = Box<dyn FnOnce()>;

/// The half that can fail.
type Prepare = dyn Fn(&Config) -> Result<Take, String> + Send + Sync;

/// The configuration of the running daemon, and the way to change it.
pub struct Reloader {
    running: Mutex<Loaded>,
    prepare: Box<Prepare>,
}

/// A value that differs, secrets left out.
pub struct Change {
    /// Which.
    pub key: &'static Key,
    /// As it is in the running daemon.
    pub from: Value,
    /// As it is in the layers now.
    pub to: Value,
}

/// What a reload has come to, or would.
pub struct Reloaded {
    /// Taken over.
    pub changed: Vec<Change>,
    /// Waits for a restart.
    pub restart: Vec<Change>,
}

impl Reloaded {
    /// For the admin socket.
    #[must_use]
    pub fn to_json(&self) -> serde_json::Value {
        let list = |changes: &[Change]| {
            let one = |change: &Change| json!({"key": change.key.name, "from": change.from, "to": change.to});
            changes.iter().map(one).collect::<Vec<_>>()
        };
        json!({"changed": list(&self.changed), "restart": list(&self.restart)})
    }
}

impl Reloader {
    /// What runs, and the first half of having it use other values: `prepare` gets only values that were checked, reads the
    /// files that they name, says what is wrong with one, and changes nothing.
    #[must_use]
    pub fn new(running: Loaded, prepare: impl Fn(&Config) -> Result<Take, String> + Send + Sync + 'static) -> Self {
        Reloader { running: Mutex::new(running), prepare: Box::new(prepare) }
    }

    /// Reads the layers again and takes over what can be; says so in the log, too.
    ///
    /// # Errors
    /// Every mistake; nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, Mistakes> {
        let mut running = self.running();
        let (next, reloaded, take) = self.prepared(&running).inspect_err(|mistakes| {
            let mistakes = mistakes.to_string().replace('\n', " | ");
            tracing::error!("the configuration has mistakes, and nothing was changed: {mistakes}");
        })?;
        take();
        *running = next;
        for Change { key, from, to } in &reloaded.changed {
            tracing::info!(key = key.name, %from, %to, "configuration: changed");
        }
        for Change { key, from, to } in &reloaded.restart {
            tracing::warn!(key = key.name, %from, %to, "configuration: takes effect with the next start");
        }
        if reloaded.changed.is_empty() && reloaded.restart.is_empty() {
            tracing::info!("configuration: nothing has changed");
        }
        Ok(reloaded)
    }

    /// What [`Reloader::reload`] would do; changes nothing.
    ///
    /// # Errors
    /// Every mistake.
    pub fn look(&self) -> Result<Reloaded, Mistakes> {
        self.prepared(&self.running()).map(|(_, reloaded, _)| reloaded)
    }

    fn prepared(&self, running: &Loaded) -> Result<(Loaded, Reloaded, Take), Mistakes> {
        let (next, reloaded) = compare(running)?;
        let take = (self.prepare)(next.config()).map_err(unread)?;
        Ok((next, reloaded, take))
    }

    /// The values in effect, and where each was set.
    #[must_use]
    pub fn settings(&self) -> serde_json::Value {
        super::render::settings_json(&self.running().settings())
    }

    fn running(&self) -> MutexGuard<'_, Loaded> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A file that the configuration names, and that cannot be used.
fn unread(what: String) -> Mistakes {
    Mistakes(vec![Mistake { origin: Origin::Default, key: None, what, nearest: None }])
}

/// What would run after a reload, and what that changes.
fn compare(running: &Loaded) -> Result<(Loaded, Reloaded), Mistakes> {
    let wanted = running.again()?;
    let next = running.with(&wanted, |key| key.reload == Reload::Hot);
    // Each layer fits together; what is left of the old one beside the new one must, too.
    let wrong = check::contradictions(next.config());
    if !wrong.is_empty() {
        let mistake = |wrong: check::Contradiction| Mistake {
            origin: next.origin(wrong.keys.first().copied().unwrap_or_default()),
            key: wrong.keys.first().map(|key| (*key).to_owned()),
            what: format!("{}, as long as the daemon is not restarted", wrong.what),
            nearest: None,
        };
        return Err(Mistakes(wrong.into_iter().map(mistake).collect()));
    }
    let (old, new) = (table_of(running.config()), table_of(wanted.config()));
    let mut reloaded = Reloaded { changed: Vec::new(), restart: Vec::new() };
    for key in KEYS {
        let (Some(from), Some(to)) = (key.of(&old), key.of(&new)) else { continue };
        if from != to {
            let change = Change { key, from: check::shown(key, from), to: check::shown(key, to) };
            match key.reload {
                Reload::Hot => reloaded.changed.push(change),
                Reload::Restart => reloaded.restart.push(change),
            }
        }
    }
    Ok((next, reloaded))
}
