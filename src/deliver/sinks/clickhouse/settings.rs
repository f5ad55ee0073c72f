//! Settings that a table works under.

use crate::Failure;
use crate::client::Host;
use crate::ddl::SETTINGS;

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
}

pub(crate) fn is_replicated(engine: &str) -> bool {
    engine.starts_with("Replicated") || engine.starts_with("Shared")
}

/// The value of a setting in `… SETTINGS a = 1, b = 2`.
fn own_setting<'a>(engine_full: &'a str, name: &str) -> Option<&'a str> {
    let (_, settings) = engine_full.rsplit_once(" SETTINGS ")?;
    settings.split(", ").find_map(|setting| setting.strip_prefix(name)?.strip_prefix(" = "))
}
