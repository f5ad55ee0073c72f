//! The sinks that are configured, as threads.

use super::boot::StartError;
use super::threads::{Fatal, spawn};
use crate::commit::{Control, Tail};
use crate::control::config::{BacklogPolicy, ClickHouseSection, Config, DeliveryName, KafkaSection};
use crate::deliver::sinks::clickhouse_client::{self, Cluster, Names};
use crate::deliver::sinks::kafka_client::{self, Create, Delivery, Options, Topics};
use crate::deliver::sinks::{ClickHouseSink, KafkaSink, ParquetConfig, ParquetSink};
use crate::deliver::{Destination, Handle, Shipper};
use std::path::Path;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How much a sink's thread yields to intake (`nice`): under full load the sink falls behind and catches up later.
const SHIPPER_NICENESS: i32 = 10;
/// How long a call to Kafka goes on trying: no longer than the drain waits.
const KAFKA_PATIENCE: Duration = Duration::from_secs(10);

/// A sink that runs.
pub(super) struct RunningSink {
    pub(super) handle: Handle,
    pub(super) backlog: BacklogPolicy,
    pub(super) thread: JoinHandle<()>,
}

/// What sinks are made of.
pub(super) struct Supplies<'a> {
    pub(super) config: &'a Config,
    pub(super) reader: wal::Reader,
    pub(super) control: Control,
    pub(super) tail: Tail,
    pub(super) node: u128,
    pub(super) run: u64,
    pub(super) fatal: &'a mpsc::UnboundedSender<Fatal>,
    pub(super) stop: watch::Receiver<bool>,
}

impl Supplies<'_> {
    /// Starts every sink that is switched on.
    pub(super) fn start(&self) -> Result<Vec<RunningSink>, StartError> {
        let (reader, control, tail) = (&self.reader, &self.control, &self.tail);
        let mut sinks = Vec::new();
        if self.config.parquet.enabled {
            let sink = ParquetSink::new(parquet(self.config), reader.clone(), control.clone(), tail.clone());
            sinks.push(self.run(sink, BacklogPolicy::Refuse)?);
        }
        if self.config.clickhouse.enabled {
            let section = &self.config.clickhouse;
            let client = clickhouse_client::Client::new(clickhouse(section)?)
                .map_err(|error| StartError::Sink { sink: "clickhouse", cause: error.to_string() })?;
            let age = Duration::from_millis(section.batch_age_ms);
            let sink = ClickHouseSink::new(client, self.node, age, reader.clone(), control.clone(), tail.clone());
            sinks.push(self.run(sink, section.backlog)?);
        }
        if self.config.kafka.enabled {
            let section = &self.config.kafka;
            let config = kafka(section, self.node)?;
            let age = Duration::from_millis(section.batch_age_ms);
            let sink = KafkaSink::new(config, self.run, age, reader.clone(), control.clone(), tail.clone());
            sinks.push(self.run(sink, section.backlog)?);
        }
        Ok(sinks)
    }

    fn run<D: Destination>(&self, sink: Shipper<D>, backlog: BacklogPolicy) -> Result<RunningSink, StartError> {
        let sink = sink.with_drain(Duration::from_secs(self.config.server.drain_timeout_s));
        let (handle, stop) = (sink.handle(), self.stop.clone());
        let name = format!("ship-{}", D::NAME);
        let thread = spawn(name, self.fatal, move || ship(sink, stop)).map_err(StartError::Thread)?;
        Ok(RunningSink { handle, backlog, thread })
    }
}

/// Runs a sink on a runtime of its own, so that its work holds up nobody.
fn ship<D: Destination>(sink: Shipper<D>, stop: watch::Receiver<bool>) -> Result<(), String> {
    // Refused in some sandboxes; the sink then works like everything else.
    rustix::process::nice(SHIPPER_NICENESS).ok();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|error| format!("cannot build a sink's runtime: {error}"))?;
    runtime.block_on(sink.run(stop));
    Ok(())
}

fn parquet(config: &Config) -> ParquetConfig {
    ParquetConfig {
        file_bytes_max: config.parquet.roll_bytes,
        file_age_max: Duration::from_secs(config.parquet.roll_s),
        // Where intake has stopped already there is room left for what makes room.
        free_bytes_min: config.log.disk_reserve_bytes / 4,
        ..ParquetConfig::new(config.data_dir.join("events"))
    }
}

fn clickhouse(section: &ClickHouseSection) -> Result<clickhouse_client::Config, StartError> {
    let is_set = |path: &Path| !path.as_os_str().is_empty();
    let password = match is_set(&section.password_file) {
        true => secret("clickhouse", &section.password_file)?,
        false => String::new(),
    };
    Ok(clickhouse_client::Config {
        database: section.database.clone(),
        user: section.user.clone(),
        password,
        certificates: is_set(&section.ca_file).then(|| section.ca_file.clone()),
        names: Names::with_prefix(&section.table_prefix),
        raw_months: section.raw_months,
        cluster: (!section.cluster.is_empty()).then(|| Cluster::new(&section.cluster)),
        compress: section.compress,
        batch_rows_max: section.batch_rows_max,
        batch_bytes_max: section.batch_bytes_max,
        ..clickhouse_client::Config::new(section.urls.iter().cloned())
    })
}

fn kafka(section: &KafkaSection, node: u128) -> Result<kafka_client::Config, StartError> {
    let id = match section.transactional_id.as_str() {
        "" => format!("ingestd-{node:032x}"),
        id => id.to_owned(),
    };
    let mut options = Options::default();
    for (name, value) in &section.options {
        options.set(name, value);
    }
    for (name, file) in &section.option_files {
        options.set(name, secret("kafka", file)?);
    }
    let create = Create { partitions: section.partitions, replication: section.replication, ..Create::default() };
    let config = kafka_client::Config {
        topics: Topics::with_prefix(&section.topic_prefix),
        delivery: match section.delivery {
            DeliveryName::ExactlyOnce => Delivery::ExactlyOnce,
            DeliveryName::AtLeastOnce => Delivery::AtLeastOnce,
        },
        transaction_timeout: Duration::from_millis(section.transaction_timeout_ms),
        create: section.create_topics.then_some(create),
        patience: KAFKA_PATIENCE,
        options,
        ..kafka_client::Config::new(&section.bootstrap_servers, id)
    };
    config.check().map_err(|error| StartError::Sink { sink: "kafka", cause: error.to_string() })?;
    Ok(config)
}

/// A secret from a file, without the end of its line.
fn secret(sink: &'static str, file: &Path) -> Result<String, StartError> {
    let text = std::fs::read_to_string(file)
        .map_err(|cause| StartError::Sink { sink, cause: format!("cannot read {}: {cause}", file.display()) })?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}
