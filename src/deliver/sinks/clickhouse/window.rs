//! How long a table remembers the tokens of batches.

use crate::client::{Client, Host, Target};
use crate::ddl::SETTINGS;
use crate::{Failure, Table};
use std::time::Duration;

/// How long a table remembers tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// For so many inserts, of all who write to it.
    pub inserts: u64,
    /// And for no longer than that.
    pub age: Option<Duration>,
}

impl Window {
    /// Whether a token can be relied on that was first used so many inserts and so long ago: up to half the window.
    ///
    /// What is older is to be [settled](Client::settle), not inserted again.
    #[must_use]
    pub fn remembers(&self, inserts_since: u64, age: Duration) -> bool {
        inserts_since < self.inserts / 2 && self.age.is_none_or(|longest| age < longest / 2)
    }
}

/// Settings of a table: those of its own, else the server's.
pub(crate) struct TableSettings(Vec<(String, u64)>);

impl TableSettings {
    /// `engine_full` is the server's text of the table's engine clause.
    pub(crate) async fn of(host: &Host, engine_full: &str) -> Result<Self, Failure> {
        let names = SETTINGS.map(|(name, ..)| format!("'{name}'")).join(", ");
        let sql = format!("SELECT name, value FROM system.merge_tree_settings WHERE name IN ({names})");
        let defaults: Vec<(String, String)> = host.all(&sql, &[]).await?;
        let number = |(name, value): (String, String)| {
            let own = own_setting(engine_full, &name).map_or(value, str::to_owned);
            own.parse().ok().map(|value| (name, value))
        };
        Ok(TableSettings(defaults.into_iter().filter_map(number).collect()))
    }

    pub(crate) fn get(&self, name: &str) -> u64 {
        self.0.iter().find(|setting| setting.0 == name).map_or(0, |setting| setting.1)
    }

    pub(crate) fn window(&self, engine: &str) -> Window {
        if is_replicated(engine) {
            let age = Duration::from_secs(self.get("replicated_deduplication_window_seconds"));
            Window { inserts: self.get("replicated_deduplication_window"), age: Some(age) }
        } else {
            Window { inserts: self.get("non_replicated_deduplication_window"), age: None }
        }
    }
}

pub(crate) fn is_replicated(engine: &str) -> bool {
    engine.starts_with("Replicated") || engine.starts_with("Shared")
}

/// The value of a setting in `… SETTINGS a = 1, b = 2`.
fn own_setting<'a>(engine_full: &'a str, name: &str) -> Option<&'a str> {
    let (_, settings) = engine_full.rsplit_once(" SETTINGS ")?;
    settings.split(", ").find_map(|setting| setting.strip_prefix(name)?.strip_prefix(" = "))
}

impl Client {
    /// How long the table remembers tokens.
    ///
    /// # Errors
    /// [`Failure`] when that cannot be found out.
    pub async fn window(&self, target: &Target, table: Table) -> Result<Window, Failure> {
        let sql = "SELECT engine, engine_full FROM system.tables WHERE database = ? AND name = ?";
        let name = [self.config().database.as_str(), self.config().name(table)];
        self.on(target, async |host| {
            let (engine, full): (String, String) = host.one(sql, &name).await?;
            Ok(TableSettings::of(host, &full).await?.window(&engine))
        })
        .await
    }
}
