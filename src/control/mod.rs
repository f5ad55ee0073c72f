//! Beside the data path: configuration, health, figures, logging.

pub mod admin;
pub mod alerts;
pub mod config;
mod exporter;
mod health;
mod journal;
mod logging;
mod pipeline;
mod process;
mod rates;

pub use exporter::{Exporter, ExporterParts};
pub use health::{Health, Phase, ServiceState};
pub use logging::{complain, say, set_log_level, start_logging};
pub use pipeline::Pipeline;
pub use rates::Rates;
