//! Beside the data path: configuration, health, figures, logging.

pub mod admin;
mod backups;
pub mod config;
pub mod dead_letters;
mod exporter;
mod health;
mod logging;
mod pipeline;
mod rates;

pub use backups::Backups;
pub use exporter::{Exporter, ExporterParts};
pub use health::{Health, Phase, ServiceState};
pub use logging::{complain, say, set_log_level, start_logging};
pub use pipeline::Pipeline;
pub use rates::Rates;
