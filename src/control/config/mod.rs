//! Configuration: file, then environment, then flags; what is unknown is an error that names the nearest known key.

mod load;
mod sections;

pub use load::{ConfigError, load};
pub use sections::{
    AdminSection, BacklogPolicy, ClickHouseSection, Config, DedupSection, DeliveryName, DurabilityName, KafkaSection,
    LimitsSection, LogSection, ParquetSection, ServerSection,
};
