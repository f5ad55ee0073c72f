//! Configuration: file, then environment, then flags; what is unknown is an error that names the nearest known key.

mod load;
mod sections;

pub use load::{ConfigError, load};
pub use sections::{Config, DedupSection, DurabilityName, LimitsSection, LogSection, ParquetSection, ServerSection};
