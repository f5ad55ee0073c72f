//! The sections of the sinks as what the sinks' clients take.

use super::check::has_user_or_query;
use super::repeat::said_of;
use super::sections::{ClickHouseSection, Config, DeliveryName, KafkaSection, ParquetSection};
use crate::deliver::sinks::clickhouse_client::{self, Cluster, Names, Table};
use crate::deliver::sinks::kafka_client::{self, ConfigError, Create, Delivery, Options, Topics};
use crate::deliver::sinks::{ParquetConfig, ParquetRetention};
use std::path::Path;
use std::time::Duration;

/// How long a call to Kafka goes on trying: no longer than the drain waits.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);

const DAY: Duration = Duration::from_secs(86_400);
/// What the log may still take once events are refused: what is in memory goes into tables, beside WAL files that wait to
/// be written again.
const LOG_BYTES: u64 = 256 << 20;

impl Config {
    /// What there is to say of a disk reserve that may be filled by the log and a sink before anything makes room: then
    /// events are refused until somebody comes.
    #[must_use]
    pub fn small_reserve(&self) -> Option<String> {
        let (reserve, file) = (self.log.disk_reserve_bytes, self.parquet.roll_bytes);
        let (wanted, takers) = match self.parquet.enabled {
            true => (LOG_BYTES.saturating_add(file), "the log and a Parquet file of parquet.roll_bytes"),
            false => (LOG_BYTES, "the log"),
        };
        (reserve < wanted).then(|| {
            format!(
                "log.disk_reserve_bytes = {reserve} is small: once events are refused, {takers} may take {wanted} bytes \
                 before anything makes room, and where they have not got them events may be refused for good"
            )
        })
    }

    /// The folder of the Parquet files, and how they are made.
    #[must_use]
    pub fn parquet_files(&self) -> ParquetConfig {
        let ParquetSection { roll_bytes, roll_s, keep_days, keep_bytes, .. } = self.parquet;
        ParquetConfig {
            file_bytes_max: roll_bytes,
            file_age_max: Duration::from_secs(roll_s),
            retention: ParquetRetention {
                age_max: (keep_days > 0).then(|| DAY.saturating_mul(u32::try_from(keep_days).unwrap_or(u32::MAX))),
                bytes_max: (keep_bytes > 0).then_some(keep_bytes),
            },
            // Where intake has stopped already there is room left for what makes room.
            free_bytes_min: self.log.disk_reserve_bytes / 4,
            ..ParquetConfig::new(self.data_dir.join("events"))
        }
    }
}

impl ClickHouseSection {
    /// The client's configuration.
    ///
    /// # Errors
    /// What is wrong with the password's file.
    pub fn client(&self) -> Result<clickhouse_client::Config, String> {
        let password = match is_set(&self.password_file) {
            true => secret(&self.password_file)?,
            false => String::new(),
        };
        Ok(clickhouse_client::Config { password, ..self.client_without_secrets() })
    }

    /// Its tables for accepted events, their processed form and dead letters, as SQL names them.
    #[must_use]
    pub fn tables(&self) -> [String; 3] {
        let config = self.client_without_secrets();
        [Table::Raw, Table::Processed, Table::Errors].map(|table| config.place(table))
    }

    fn client_without_secrets(&self) -> clickhouse_client::Config {
        clickhouse_client::Config {
            database: self.database.clone(),
            user: self.user.clone(),
            certificates: is_set(&self.ca_file).then(|| self.ca_file.clone()),
            names: Names::with_prefix(&self.table_prefix),
            raw_months: self.raw_months,
            cluster: (!self.cluster.is_empty()).then(|| Cluster {
                distributed_suffix: Some(self.distributed_suffix.clone()).filter(|suffix| !suffix.is_empty()),
                ..Cluster::new(&self.cluster)
            }),
            compress: self.compress,
            batch_rows_max: self.batch_rows_max,
            batch_bytes_max: self.batch_bytes_max,
            ..clickhouse_client::Config::new(self.urls.iter().cloned())
        }
    }
}

impl KafkaSection {
    /// The client's configuration on the node `node`.
    ///
    /// # Errors
    /// What is wrong with a secret's file.
    pub fn client(&self, node: u128) -> Result<kafka_client::Config, String> {
        let mut config = self.client_without_secrets(node);
        for (name, file) in &self.option_files {
            config.options.set(name, secret(file)?);
        }
        Ok(config)
    }

    /// The topics of events and of dead letters.
    #[must_use]
    pub fn topics(&self) -> Vec<String> {
        let Topics { raw, validated, enriched, dead, .. } = Topics::with_prefix(&self.topic_prefix);
        vec![raw, validated, enriched, dead]
    }

    fn client_without_secrets(&self, node: u128) -> kafka_client::Config {
        let id = match self.transactional_id.as_str() {
            "" => format!("ingestd-{node:032x}"),
            id => id.to_owned(),
        };
        let mut options = Options::default();
        for (name, value) in &self.options {
            options.set(name, value);
        }
        let create = Create { partitions: self.partitions, replication: self.replication, ..Create::default() };
        kafka_client::Config {
            topics: Topics::with_prefix(&self.topic_prefix),
            delivery: match self.delivery {
                DeliveryName::ExactlyOnce => Delivery::ExactlyOnce,
                DeliveryName::AtLeastOnce => Delivery::AtLeastOnce,
            },
            transaction_timeout: Duration::from_millis(self.transaction_timeout_ms),
            create: self.create_topics.then_some(create),
            patience: KAFKA_PATIENCE,
            options,
            ..kafka_client::Config::new(&self.bootstrap_servers, id)
        }
    }
}

/// Keys of sinks that are switched on and could not work, with what is wrong, each looked at as if the others were right.
pub(super) fn wrong(config: &Config) -> Vec<(&'static str, String)> {
    let mut found = Vec::new();
    let mut look = |key, result: Result<(), String>| {
        if let Err(what) = result {
            found.push((key, what));
        }
    };
    if config.clickhouse.enabled {
        let section = config.clickhouse.clone();
        let check = |section: ClickHouseSection| {
            let texts = [&section.database, &section.table_prefix, &section.cluster, &section.distributed_suffix];
            section.client_without_secrets().check().map_err(|error| said_of(texts, error.to_string()))
        };
        let base = ClickHouseSection::default;
        // An address in which a password may be is told by itself, and not repeated.
        let urls = match section.urls.iter().any(|url| has_user_or_query(url)) {
            true => Ok(()),
            false => check(ClickHouseSection { urls: section.urls, ..base() }),
        };
        look("clickhouse.urls", urls);
        look("clickhouse.database", check(ClickHouseSection { database: section.database, ..base() }));
        look("clickhouse.table_prefix", check(ClickHouseSection { table_prefix: section.table_prefix, ..base() }));
        look("clickhouse.cluster", check(ClickHouseSection { cluster: section.cluster, ..base() }));
        let distributed_suffix = section.distributed_suffix;
        let on_cluster = ClickHouseSection { cluster: "any".into(), distributed_suffix, ..base() };
        look("clickhouse.distributed_suffix", check(on_cluster));
    }
    if config.kafka.enabled {
        let section = config.kafka.clone();
        let tried = |section: KafkaSection| section.client_without_secrets(0).check();
        let check = |section: KafkaSection| {
            let texts = [section.topic_prefix.clone(), section.transactional_id.clone()];
            tried(section).map_err(|error| said_of(&texts, error.to_string()))
        };
        let base = KafkaSection::default;
        let servers = section.bootstrap_servers;
        look("kafka.bootstrap_servers", check(KafkaSection { bootstrap_servers: servers, ..base() }));
        look("kafka.topic_prefix", check(KafkaSection { topic_prefix: section.topic_prefix, ..base() }));
        let id = section.transactional_id;
        look("kafka.transactional_id", check(KafkaSection { transactional_id: id, ..base() }));
        // One by one: all that is wrong is told at once.
        for option in section.options {
            let options = [option].into_iter().collect();
            look("kafka.options", check(KafkaSection { options, ..base() }));
        }
        for name in section.option_files.into_keys() {
            let options = [(name, String::new())].into_iter().collect();
            look(
                "kafka.option_files",
                match tried(KafkaSection { options, ..base() }) {
                    // The values are in the files, which are looked at later.
                    Ok(()) | Err(ConfigError::OptionValue { .. }) => Ok(()),
                    Err(error) => Err(error.to_string()),
                },
            );
        }
    }
    found
}

/// Files of secrets that are named.
pub(super) fn secret_files(config: &Config) -> Vec<(String, &Path)> {
    let mut files = Vec::new();
    if config.auth.rules().take_jwts() && is_set(&config.auth.hs256_secret_file) {
        files.push(("auth.hs256_secret_file".to_owned(), config.auth.hs256_secret_file.as_path()));
    }
    if config.clickhouse.enabled && is_set(&config.clickhouse.password_file) {
        files.push(("clickhouse.password_file".to_owned(), config.clickhouse.password_file.as_path()));
    }
    if config.kafka.enabled {
        let named = config.kafka.option_files.iter();
        files.extend(named.map(|(name, file)| (format!("kafka.option_files.\"{name}\""), file.as_path())));
    }
    files
}

fn is_set(path: &Path) -> bool {
    !path.as_os_str().is_empty()
}

/// A secret from a file, without the end of its line.
pub(super) fn secret(file: &Path) -> Result<String, String> {
    let text = std::fs::read_to_string(file).map_err(|cause| format!("cannot read {}: {cause}", file.display()))?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
