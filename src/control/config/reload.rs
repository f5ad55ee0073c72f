//! Reading the configuration again while the daemon runs: what can be taken over is, all of it or nothing; what cannot is
//! named; a file with a mistake changes nothing.

use super::check;
use super::keys::{KEYS, Key, Reload, table_of};
use super::load::{Loaded, Setting};
use super::mistake::{Mistake, Mistakes, Origin};
use super::sections::Config;
use arc_swap::ArcSwap;
use serde_json::json;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use toml::Value;

/// The configuration of the running daemon, and the way to change it.
pub struct Reloader {
    running: ArcSwap<Loaded>,
    /// One reload at a time; whoever only looks waits for none, which may hang with a file system.
    turn: Mutex<()>,
    /// The address of the socket that was handed in, which goes before the configured one.
    handed_in: Option<SocketAddr>,
    prepare: Box<Prepare>,
}

/// Has the daemon use what was prepared. Cannot fail.
pub type Commit = Box<dyn FnOnce()>;
type Prepare = dyn Fn(&Config) -> Result<Commit, Unusable> + Send + Sync;

/// What a key names outside of the configuration cannot be used.
#[derive(Debug)]
pub struct Unusable {
    /// Which key.
    pub key: &'static str,
    /// What is wrong.
    pub what: String,
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
    /// What runs, and what has it use other values; `prepare` gets only values that were checked, and reads what they
    /// name.
    #[must_use]
    pub fn new(running: Loaded, prepare: impl Fn(&Config) -> Result<Commit, Unusable> + Send + Sync + 'static) -> Self {
        let running = ArcSwap::from_pointee(running);
        Reloader { running, turn: Mutex::default(), handed_in: None, prepare: Box::new(prepare) }
    }

    /// Says that the daemon listens on a socket that was handed in, whatever `server.listen` says.
    #[must_use]
    pub fn listening_on(mut self, handed_in: Option<SocketAddr>) -> Self {
        self.handed_in = handed_in;
        self
    }

    /// Reads the layers again and takes over what can be; says so in the log, too.
    ///
    /// # Errors
    /// Every mistake; nothing has changed.
    pub fn reload(&self) -> Result<Reloaded, Mistakes> {
        let _turn = self.turn.lock().unwrap_or_else(PoisonError::into_inner);
        let (next, reloaded, commit) = self.compare(&self.running()).inspect_err(|mistakes| {
            let mistakes = mistakes.to_string().replace('\n', " | ");
            tracing::error!("the configuration has mistakes, and nothing was changed: {mistakes}");
        })?;
        commit();
        self.running.store(Arc::new(next));
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
        self.compare(&self.running()).map(|(_, reloaded, _)| reloaded)
    }

    /// The values in effect, and where each was set.
    #[must_use]
    pub fn settings(&self) -> serde_json::Value {
        let mut settings = self.running().settings();
        if let Some(address) = self.handed_in
            && let Some(listen) = settings.iter_mut().find(|setting| setting.key.name == "server.listen")
        {
            listen.value = address.to_string().into();
            listen.origin = Origin::Socket;
        }
        name_in_full(&mut settings);
        super::render::settings_json(&settings)
    }

    /// The values in effect.
    #[must_use]
    pub fn config(&self) -> Config {
        self.running().config().clone()
    }

    /// What would run after a reload, what that changes, and what does it.
    fn compare(&self, running: &Loaded) -> Result<(Loaded, Reloaded, Commit), Mistakes> {
        let (next, reloaded) = compare(running, self.handed_in)?;
        let commit = (self.prepare)(next.config()).map_err(|Unusable { key, what }| {
            Mistakes(vec![Mistake {
                origin: next.origin(key),
                key: Some(key.to_owned()),
                what: format!("`{key}`: {what}"),
                nearest: None,
            }])
        })?;
        Ok((next, reloaded, commit))
    }

    fn running(&self) -> Arc<Loaded> {
        self.running.load_full()
    }
}

/// Says where the data folder is to those who are elsewhere: to them a relative path is another folder.
fn name_in_full(settings: &mut [Setting]) {
    for setting in settings.iter_mut().filter(|setting| setting.key.name == "data_dir") {
        if let Some(path) = setting.value.as_str().and_then(|path| std::path::absolute(path).ok()) {
            setting.value = path.display().to_string().into();
        }
    }
}

/// What would run after a reload, and what that changes.
fn compare(running: &Loaded, handed_in: Option<SocketAddr>) -> Result<(Loaded, Reloaded), Mistakes> {
    let wanted = running.again()?;
    let next = running.with(&wanted, |key| key.reload == Reload::Hot);
    // What the next start would end with is no better now.
    fits(&wanted, handed_in, "")?;
    // Each layer fits together; what is left of the old one beside the new one must, too.
    fits(&next, handed_in, ", as long as the daemon is not restarted")?;
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

/// Holds a configuration together with the socket that was handed in: nobody may come in through it who could not through
/// our own.
fn fits(loaded: &Loaded, handed_in: Option<SocketAddr>, condition: &str) -> Result<(), Mistakes> {
    let mut config = loaded.config().clone();
    if let Some(address) = handed_in {
        config.server.listen = address;
    }
    let mistake = |wrong: check::Contradiction| {
        let key = wrong.keys.first().copied();
        let origin = match handed_in {
            Some(_) if key == Some("server.listen") => Origin::Socket,
            _ => loaded.origin(key.unwrap_or_default()),
        };
        Mistake { origin, key: key.map(str::to_owned), what: format!("{}{condition}", wrong.what), nearest: None }
    };
    let wrong: Vec<_> = check::contradictions(&config).into_iter().map(mistake).collect();
    if wrong.is_empty() { Ok(()) } else { Err(Mistakes(wrong)) }
}
