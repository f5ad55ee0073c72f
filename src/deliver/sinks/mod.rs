//! The destinations, one room each, all with the same file names inside.

mod clickhouse;
mod clickhouse_rows;
mod clickhouse_survey;
mod kafka;
mod parquet;

pub use clickhouse::{ClickHouseSink, ClickHouseTables};
pub use clickhouse_sink as clickhouse_client;
pub use kafka::{KafkaSink, KafkaTopics};
pub use kafka_sink as kafka_client;
pub use parquet::{ParquetFiles, ParquetSink};
pub use parquet_sink::{Config as ParquetConfig, Retention as ParquetRetention};
