//! Beside the data path: configuration, health, figures, logging.

pub mod config;
mod exporter;
mod health;
mod logging;
mod rates;

pub use exporter::{Exporter, ExporterParts};
pub use health::{Health, ServiceState};
pub use logging::start_logging;
pub use rates::Rates;
