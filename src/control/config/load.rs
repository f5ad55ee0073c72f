//! Reading the layers, each value with where it was set, and collecting everything that is wrong with them.

use super::check::{self, Wrong};
use super::keys::{KEYS, Key, table_of};
use super::mistake::{Mistake, Mistakes, Origin};
use super::sections::Config;
use super::{environment, file};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use toml::{Table, Value};

/// Where the layers are.
#[derive(Clone)]
pub struct Sources {
    file: Option<PathBuf>,
    environment: Vec<(String, String)>,
    flags: Vec<(&'static str, &'static str, String)>,
}

impl Sources {
    /// A file, if any, and the variables that concern us.
    #[must_use]
    pub fn new(file: Option<&Path>, variables: impl Iterator<Item = (String, String)>) -> Self {
        let environment = variables.filter(|(name, _)| environment::is_ours(name)).collect();
        Sources { file: file.map(Into::into), environment, flags: Vec::new() }
    }

    /// Adds a flag of the command line, which stands for a key.
    #[must_use]
    pub fn flag(mut self, flag: &'static str, key: &'static str, value: impl ToString) -> Self {
        self.flags.push((flag, key, value.to_string()));
        self
    }

    /// Reads file, environment and flags over the defaults.
    ///
    /// # Errors
    /// Every mistake.
    pub fn load(self) -> Result<Loaded, Mistakes> {
        let (loaded, mistakes) = self.read();
        if mistakes.is_empty() { Ok(loaded) } else { Err(Mistakes(mistakes)) }
    }

    /// The same; what is wrong is left out of the configuration.
    #[must_use]
    pub fn read(self) -> (Loaded, Vec<Mistake>) {
        let mut layers = Layers::default();
        if let Some(path) = &self.file {
            match std::fs::read_to_string(path) {
                Ok(text) => file::read(&mut layers, path, &text),
                Err(cause) => {
                    let origin = Origin::File { path: path.clone(), at: None };
                    layers.complain(origin, None, format!("cannot be read: {cause}").into());
                }
            }
        }
        environment::read(&mut layers, &self.environment);
        for (flag, name, text) in &self.flags {
            if let Some(key) = super::keys::find(name) {
                layers.put(key, Value::String(text.clone()), Origin::Flag(flag));
            }
        }
        let (config, origins, mistakes) = layers.finish();
        (Loaded { config, origins, sources: self }, mistakes)
    }
}

impl Config {
    /// Checks once more that the values fit together, after one was put in from elsewhere.
    ///
    /// # Errors
    /// Every contradiction.
    pub fn check_together(&self) -> Result<(), Mistakes> {
        let mistake = |found: check::Contradiction| Mistake {
            origin: Origin::Default,
            key: found.keys.first().map(|key| (*key).to_owned()),
            what: found.what,
            nearest: None,
        };
        let mistakes: Vec<_> = check::contradictions(self).into_iter().map(mistake).collect();
        if mistakes.is_empty() { Ok(()) } else { Err(Mistakes(mistakes)) }
    }
}

/// A configuration, and where each of its values was set.
pub struct Loaded {
    config: Config,
    origins: BTreeMap<String, Origin>,
    sources: Sources,
}

/// One value as it is in effect.
pub struct Setting {
    /// Which.
    pub key: &'static Key,
    /// Its value, secrets left out.
    pub value: Value,
    /// Where it was set.
    pub origin: Origin,
}

impl Loaded {
    /// The values.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where a key was set.
    #[must_use]
    pub fn origin(&self, key: &str) -> Origin {
        self.origins.get(key).cloned().unwrap_or(Origin::Default)
    }

    /// Reads the same layers once more.
    ///
    /// # Errors
    /// Every mistake.
    pub fn again(&self) -> Result<Loaded, Mistakes> {
        self.sources.clone().load()
    }

    /// Every value and where it was set.
    #[must_use]
    pub fn settings(&self) -> Vec<Setting> {
        let table = table_of(&self.config);
        let setting = |key: &'static Key| {
            let value = check::shown(key, key.of(&table)?);
            Some(Setting { key, value, origin: self.origin(key.name) })
        };
        KEYS.iter().filter_map(setting).collect()
    }

    /// What is in effect once `taken` of `next` is, and the rest stays as it is here.
    pub(super) fn with(&self, next: &Loaded, taken: impl Fn(&Key) -> bool) -> Loaded {
        let (mut table, wanted) = (table_of(&self.config), table_of(&next.config));
        let mut origins = BTreeMap::new();
        for key in KEYS {
            let Some(value) = key.of(&wanted) else { continue };
            let is_next = taken(key) || key.of(&table) == Some(value);
            origins.insert(key.name.to_owned(), if is_next { next.origin(key.name) } else { self.origin(key.name) });
            if is_next {
                key.set(&mut table, value.clone());
            }
        }
        // Both were deserialised from such a table.
        let config = table.try_into().unwrap_or_else(|_| self.config.clone());
        Loaded { config, origins, sources: next.sources.clone() }
    }
}

/// The layers read so far.
#[derive(Default)]
pub(super) struct Layers {
    table: Table,
    origins: BTreeMap<String, Origin>,
    mistakes: Vec<Mistake>,
    /// Keys with a value that does not count: what does not fit together with it is not known.
    wrong: BTreeSet<&'static str>,
}

impl Layers {
    /// Sets a key, if the value works.
    pub(super) fn put(&mut self, key: &'static Key, value: Value, origin: Origin) {
        match check::value(key, &value) {
            Ok(()) => {
                key.set(&mut self.table, value);
                self.origins.insert(key.name.to_owned(), origin);
            }
            Err(wrong) => {
                self.wrong.insert(key.name);
                self.complain(origin, Some(key.name.to_owned()), wrong);
            }
        }
    }

    pub(super) fn complain(&mut self, origin: Origin, key: Option<String>, wrong: Wrong) {
        self.mistakes.push(Mistake { origin, key, what: wrong.what, nearest: wrong.nearest });
    }

    fn finish(mut self) -> (Config, BTreeMap<String, Origin>, Vec<Mistake>) {
        // Each value was tried on its own, so that together they cannot fail.
        let config: Config = self.table.clone().try_into().unwrap_or_default();
        for contradiction in check::contradictions(&config) {
            if contradiction.keys.iter().any(|key| self.wrong.contains(key)) {
                continue;
            }
            let set = contradiction.keys.iter().find_map(|key| self.origins.get(*key).map(|origin| (*key, origin)));
            let (key, origin) = set
                .map(|(key, origin)| (Some(key), origin.clone()))
                .unwrap_or((contradiction.keys.first().copied(), Origin::Default));
            self.complain(origin, key.map(str::to_owned), contradiction.what.into());
        }
        // As they are met in the file; then the other layers.
        let place = |mistake: &Mistake| match &mistake.origin {
            Origin::File { at, .. } => at.unwrap_or_default(),
            _ => (usize::MAX, 0),
        };
        self.mistakes.sort_by_key(place);
        (config, self.origins, self.mistakes)
    }
}
