//! The destinations, one room each, all with the same file names inside.

mod parquet;

pub use parquet::{ParquetFiles, ParquetSink};
pub use parquet_sink::{Config as ParquetConfig, Retention as ParquetRetention};
