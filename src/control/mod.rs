//! Beside the data path: configuration, health, figures, logging.

pub mod admin;
pub mod alerts;
pub mod audit;
mod backups;
pub mod config;
pub mod dead_letters;
mod erasure;
mod exporter;
mod figures;
mod figures_server;
mod health;
mod journal;
pub mod log_view;
mod logging;
mod outlet;
mod pipeline;
mod process;
mod rates;
mod recent_log;
mod redact;
mod terminal;

pub use backups::Backups;
pub use erasure::{Erasure, Of, Subject, Wanted};
pub use exporter::{Exporter, ExporterParts};
pub use figures::{Figures, FiguresParts};
pub use figures_server::serve_figures;
pub use health::{Health, Phase, ServiceState};
pub use logging::{complain, flush_log, log_level, say, set_log_level, start_logging};
pub use pipeline::Pipeline;
pub use rates::Rates;
pub use terminal::{escaped, printable, steers};
