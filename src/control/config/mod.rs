//! Configuration: file, then environment, then flags; what is wrong is told all at once, with its place.
//!
//! `keys` is the table of every key, `sections` their types and defaults (`auth` those of `[auth]`). `load` puts the layers `file`, `environment`
//! and flags over each other, `check` says what cannot work, `mistake` where, `repeat` without secrets. `destinations` makes the sinks' own
//! configurations of it, `probe` tries what is outside, `reload` changes a running daemon, `render` writes it all down.

mod auth;
mod check;
mod destinations;
mod environment;
mod file;
mod keys;
mod load;
mod mistake;
mod neighbour;
mod probe;
mod reload;
mod render;
mod repeat;
mod sections;
#[cfg(test)]
mod tests;

pub use auth::{AuthName, AuthSection};
pub use keys::{KEYS, Key, Reload, SECTIONS, find};
pub use load::{Loaded, Setting, Sources};
pub use mistake::{Mistake, Mistakes, Origin};
pub use probe::{Finding, Level, probe};
pub use reload::{Change, Commit, Reloaded, Reloader, Unusable};
pub use render::{config_file, reference, settings_json, settings_text};
pub use sections::{
    AdminSection, AlertsSection, AuditSection, BacklogPolicy, ClickHouseSection, ClientAuthName, Config, CorsSection,
    DedupSection, DeliveryName, DurabilityName, KafkaSection, LimitsSection, LogFormat, LogSection, OptionalAddress,
    ParquetSection, RateLimitsSection, ServerSection, TlsSection, TlsVersionName, TracesSection,
};
