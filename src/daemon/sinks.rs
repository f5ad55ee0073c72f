//! The sinks that are configured, as threads.

use super::boot::StartError;
use super::threads::{Fatal, spawn};
use crate::commit::{Control, Tail, Timeline};
use crate::control::config::{BacklogPolicy, ClickHouseSection, Config, KafkaSection};
use crate::deliver::sinks::{ClickHouseSink, KafkaSink, ParquetSink, clickhouse_client, kafka_client};
use crate::deliver::{Destination, Handle, Shipper};
use crate::intake::Shared;
use crate::metrics::Metrics;
use crate::traces::Tracer;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::{mpsc, watch};

/// How much a sink's thread yields to intake (`nice`): under full load the sink falls behind and catches up later.
const SHIPPER_NICENESS: i32 = 10;

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
    pub(super) timeline: Timeline,
    pub(super) control: Control,
    pub(super) tail: Tail,
    pub(super) node: u128,
    pub(super) run: u64,
    pub(super) metrics: &'a Metrics,
    pub(super) tracer: &'a Tracer,
    pub(super) fatal: &'a mpsc::UnboundedSender<Fatal>,
    pub(super) stop: watch::Receiver<bool>,
    pub(super) shared: &'a Arc<Shared>,
}

/// Looks whether the sinks that are switched on can be made, files of secrets included: before the log is opened, for a
/// start that fails is to leave that as it was.
pub(super) fn check(config: &Config) -> Result<(), StartError> {
    if config.clickhouse.enabled {
        clickhouse(&config.clickhouse)?;
    }
    if config.kafka.enabled {
        kafka(&config.kafka, 0)?;
    }
    Ok(())
}

fn clickhouse(section: &ClickHouseSection) -> Result<clickhouse_client::Client, StartError> {
    let wrong = |cause| StartError::Sink { sink: "clickhouse", cause };
    let config = section.client().map_err(wrong)?;
    clickhouse_client::Client::new(config).map_err(|error| wrong(error.to_string()))
}

fn kafka(section: &KafkaSection, node: u128) -> Result<kafka_client::Config, StartError> {
    let wrong = |cause| StartError::Sink { sink: "kafka", cause };
    let config = section.client(node).map_err(wrong)?;
    config.check().map_err(|error| wrong(error.to_string()))?;
    Ok(config)
}

impl Supplies<'_> {
    /// Starts every sink that is switched on.
    pub(super) fn start(&self) -> Result<Vec<RunningSink>, StartError> {
        let (reader, control, tail) = (&self.reader, &self.control, &self.tail);
        let mut sinks = Vec::new();
        if self.config.parquet.enabled {
            let (files, timeline) = (self.config.parquet_files(), self.timeline.clone());
            let sink = ParquetSink::new(files, timeline, reader.clone(), control.clone(), tail.clone());
            sinks.push(self.run(sink, BacklogPolicy::Refuse)?);
        }
        if self.config.clickhouse.enabled {
            let section = &self.config.clickhouse;
            let client = clickhouse(section)?;
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
        let shared = Arc::clone(self.shared);
        let sink = sink.with_drain(move || shared.settings.load().deadlines.drain);
        let sink = sink.with_recorder(self.metrics.sink_recorder(D::NAME)).with_tracer(self.tracer.clone());
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
