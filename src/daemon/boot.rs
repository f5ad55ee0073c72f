//! Start: everything that can fail fails here, before the first connection is accepted.

use super::drain::Running;
use super::live::{Live, Places, Upkeep, connections};
use super::maintenance::Maintenance;
use super::sinks::Supplies;
use super::threads::{Fatal, spawn};
use crate::commit::{Budget, Control, DeskSeed, Engine, EngineParts, GroupLimits, Hub, Idempotency, StopHandle, Tail};
use crate::control::admin::{self, AdminParts};
use crate::control::config::{BacklogPolicy, Config, Loaded, Mistakes, Reloader};
use crate::control::{Exporter, ExporterParts, Health, Pipeline, Rates, ServiceState};
use crate::deliver::sinks::{ClickHouseTables, KafkaTopics, ParquetFiles};
use crate::deliver::{self, Cursor, Destination, Handle};
use crate::intake::{self, Admission, Shared};
use crate::metrics::Metrics;
use crate::net::{ConnectionGate, Listeners, bind};
use arc_swap::ArcSwap;
use dedup::Dedup;
use event::{Seq, UnixMicros};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Why the daemon did not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// The configuration does not fit together.
    #[error(transparent)]
    Config(#[from] Mistakes),
    /// The log cannot be opened.
    #[error(transparent)]
    Log(#[from] wal::OpenError),
    /// The log cannot be read.
    #[error("{0}{advice}", advice = advice(.0))]
    Read(#[from] wal::ReadError),
    /// The duplicate filter cannot be built.
    #[error("cannot build the duplicate filter: {0}")]
    Dedup(#[from] dedup::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// A sink cannot be made as it is configured.
    #[error("{sink}: {cause}")]
    Sink {
        /// Its name.
        sink: &'static str,
        /// What is wrong.
        cause: String,
    },
    /// Signals cannot be caught.
    #[error("cannot catch signals: {0}")]
    Signals(std::io::Error),
    /// A thread cannot be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
}

/// What an operator can do about a log that cannot be read.
fn advice(error: &wal::ReadError) -> &'static str {
    if error.is_damage() { "; run `ingestd wal verify`, then `ingestd wal repair`" } else { "" }
}

/// Everything opened and bound, nothing accepted yet.
pub struct Bound {
    config: Config,
    reloader: Arc<Reloader>,
    upkeep: Arc<ArcSwap<Upkeep>>,
    listeners: Listeners,
    engine: Engine<wal::Writer>,
    desks: Vec<DeskSeed>,
    stop_writer: StopHandle,
    shared: Arc<Shared>,
    health: Arc<Health>,
    rates: Arc<Rates>,
    tail: Tail,
    reader: wal::Reader,
    trimmer: wal::Trimmer,
    control: Control,
    node: u128,
    incarnation: u64,
    pipeline: Pipeline,
}

impl Bound {
    /// Opens the log and binds the sockets.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(loaded: Loaded) -> Result<Self, StartError> {
        let config = loaded.config().clone();
        let live = Live::of(&config);
        let acceptors = match config.server.acceptors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let listeners = bind(config.server.listen, acceptors)
            .map_err(|cause| StartError::Bind { address: config.server.listen, cause })?;
        let opened = wal::open(&config.data_dir, &wal_options(&config))?;
        report(&opened.recovery);
        let metrics = Arc::new(Metrics::default());
        let dedup = load_dedup(&config, &opened)?;
        let idempotency = Idempotency::load(opened.reader.clone(), live.idempotency)?;
        let dead_letters = Arc::new(ArcSwap::from_pointee(live.dead_letters));
        let tail = Tail::new(opened.recovery.next.prev());
        let hub = Hub::default();
        let parts = EngineParts {
            dedup,
            idempotency: idempotency.clone(),
            reader: opened.reader.clone(),
            dead_letters: Arc::clone(&dead_letters),
            limits: GroupLimits { events_max: config.log.group_events_max, ..GroupLimits::default() },
            last_commit: opened.recovery.last_commit,
            tail: tail.clone(),
            hub: hub.clone(),
            metrics: Arc::clone(&metrics),
        };
        let (engine, desks, control, stop_writer) = Engine::new(opened.writer, parts, acceptors)?;
        let health = Arc::new(Health::default());
        health.set("wal", ServiceState::Up, None, None);
        health.set_not_ready(vec!["starting"]);
        let rates = Arc::new(Rates::default());
        let gate = ConnectionGate::new(connections(live.connections));
        let pipeline = Pipeline::new(opened.reader.clone(), tail.clone());
        let exporter = Exporter::new(ExporterParts {
            pipeline: pipeline.clone(),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            rates: Arc::clone(&rates),
            gate: Arc::clone(&gate),
        });
        let shared = Arc::new(Shared {
            admission: Admission::new(Budget::new(live.inflight_requests, live.inflight_bytes)),
            idempotency,
            hub,
            metrics,
            settings: ArcSwap::from_pointee(live.settings),
            key: opened.identity.fingerprint_key,
            durability: config.log.durability.into(),
            gate,
            tail: tail.clone(),
            sinks: configured_sinks(&config),
            ack_places: Budget::new(live.ack_waiters, 0),
            fallback: Box::new(move |method, path, query, headers| exporter.answer(method, path, query, headers)),
        });
        let upkeep = Arc::new(ArcSwap::from_pointee(live.upkeep));
        let places = Places { shared: Arc::clone(&shared), dead_letters, upkeep: Arc::clone(&upkeep) };
        let reloader = Arc::new(Reloader::new(loaded, move |config| places.take(Live::of(config))));
        let (reader, trimmer, node, incarnation) =
            (opened.reader, opened.trimmer, opened.identity.node, opened.incarnation);
        Ok(Bound {
            config,
            reloader,
            upkeep,
            listeners,
            engine,
            desks,
            stop_writer,
            shared,
            health,
            rates,
            tail,
            reader,
            trimmer,
            control,
            node,
            incarnation,
            pipeline,
        })
    }

    /// Starts the threads; readiness comes last.
    ///
    /// # Errors
    /// [`StartError::Thread`].
    pub fn start(self) -> Result<Running, StartError> {
        let (fatal, fatal_seen) = mpsc::unbounded_channel();
        let (stop_accepting, accepting) = watch::channel(false);
        let (stop_shipping, shipping) = watch::channel(false);
        let engine = self.engine;
        let writer = thread(spawn("writer", &fatal, move || engine.run().map_err(|error| error.to_string())))?;
        let control = self.control.clone();
        let supplies = Supplies {
            config: &self.config,
            reader: self.reader.clone(),
            control: self.control,
            tail: self.tail.clone(),
            node: self.node,
            run: self.incarnation,
            fatal: &fatal,
            stop: shipping.clone(),
        };
        let (mut shippers, mut sinks) = (Vec::new(), Vec::new());
        for sink in supplies.start()? {
            shippers.push(sink.thread);
            sinks.push((sink.handle, sink.backlog));
        }
        self.pipeline.set_sinks(sinks.iter().map(|(handle, _)| handle.clone()).collect());
        let admin = AdminParts {
            socket: self.config.admin_socket(),
            pipeline: self.pipeline,
            health: Arc::clone(&self.health),
            reloader: Arc::clone(&self.reloader),
        };
        let stop = shipping.clone();
        shippers.push(thread(spawn("admin", &fatal, move || {
            let socket = admin.socket.clone();
            // Steering is not worth the events that would be refused.
            if let Err(error) = admin::serve(admin, stop) {
                tracing::error!(%error, socket = %socket.display(), "`ingestd admin` will not work: no socket");
            }
            Ok(())
        }))?);
        let maintenance = Maintenance {
            data: self.config.data_dir.clone(),
            upkeep: Arc::clone(&self.upkeep),
            reader: self.reader.clone(),
            shared: Arc::clone(&self.shared),
            health: Arc::clone(&self.health),
            rates: Arc::clone(&self.rates),
            trim: Box::new(trim(&self.config, self.upkeep, self.trimmer, self.reader, self.tail, &sinks)),
            sinks,
            disk_closed: false,
            control,
        };
        shippers.push(thread(spawn("maintenance", &fatal, move || maintenance.run(&shipping)))?);
        let mut acceptors = Vec::new();
        for (number, (listener, desk)) in self.listeners.sockets.into_iter().zip(self.desks).enumerate() {
            let (shared, stop) = (Arc::clone(&self.shared), accepting.clone());
            acceptors.push(thread(spawn(format!("accept-{number}"), &fatal, move || {
                intake::run(listener, shared, desk, stop).map_err(|error| format!("an acceptor failed: {error}"))
            }))?);
        }
        self.health.set_not_ready(Vec::new());
        Ok(Running {
            address: self.listeners.address,
            shared: self.shared,
            health: self.health,
            reloader: self.reloader,
            stop_accepting,
            stop_shipping,
            acceptors,
            shippers,
            writer,
            stop_writer: self.stop_writer,
            fatal: fatal_seen,
        })
    }
}

fn thread<T>(started: std::io::Result<T>) -> Result<T, StartError> {
    started.map_err(StartError::Thread)
}

/// Trims what every sink has had for long enough, and the ids that have left the window. Told that room is short, it
/// holds nothing that every sink has.
fn trim(
    config: &Config,
    upkeep: Arc<ArcSwap<Upkeep>>,
    trimmer: wal::Trimmer,
    reader: wal::Reader,
    tail: Tail,
    sinks: &[(Handle, BacklogPolicy)],
) -> impl FnMut(bool) + Send + 'static {
    let running: Vec<&'static str> = sinks.iter().map(|(sink, _)| sink.status().snapshot().sink).collect();
    warn_of_idle_sinks(&reader, &running);
    let window = Duration::from_secs(config.dedup.window_s);
    move |short_of_room| {
        let hold = if short_of_room { Duration::ZERO } else { upkeep.load().hold };
        let mut needed: Vec<Seq> = tail.delivered().into_values().map(|to| to.next).collect();
        // A sink that has not told its cursor yet needs everything.
        if needed.len() < running.len() {
            return;
        }
        // One that is switched off will want what it has not got when it is switched on again.
        match Cursor::of_others(&reader, &running) {
            Ok(others) => needed.extend(others.iter().map(|(_, cursor)| cursor.next)),
            Err(error) => return tracing::error!(%error, "the log cannot be trimmed"),
        }
        let now = UnixMicros::now();
        let to = deliver::trim::position(&reader, needed, hold, now);
        let ids = reader.ids_older_than(now.minus(window));
        match (to, ids) {
            // A failure is final and reported by whoever watches the log.
            (Ok(to), Ok(ids)) => drop(trimmer.trim(to, ids)),
            (Err(error), _) | (_, Err(error)) => tracing::error!(%error, "the log cannot be trimmed"),
        }
    }
}

/// Says which sinks that are not configured (any more) hold the log.
fn warn_of_idle_sinks(reader: &wal::Reader, running: &[&str]) {
    for (sink, cursor) in Cursor::of_others(reader, running).unwrap_or_default() {
        tracing::warn!(
            sink,
            next = %cursor.next,
            "this sink is switched off and the log is kept for it; if it is never to come back, stop the daemon and \
             run `ingestd wal forget-sink`"
        );
    }
}

fn wal_options(config: &Config) -> wal::Options {
    wal::Options {
        durability: config.log.durability.into(),
        sync_interval: Duration::from_millis(config.log.sync_interval_ms),
        recycled_wal_files: config.log.recycled_files,
    }
}

/// Names of the sinks that are switched on.
fn configured_sinks(config: &Config) -> Vec<&'static str> {
    let sinks = [
        (config.parquet.enabled, ParquetFiles::NAME),
        (config.clickhouse.enabled, ClickHouseTables::NAME),
        (config.kafka.enabled, KafkaTopics::NAME),
    ];
    sinks.into_iter().filter(|(enabled, _)| *enabled).map(|(_, name)| name).collect()
}

fn report(recovery: &wal::Recovery) {
    let (start, end) = (recovery.start, recovery.next.prev());
    if recovery.clean {
        tracing::info!(%start, %end, "log opened after a clean stop");
    } else {
        tracing::warn!(%start, %end, mark = %recovery.mark, "log recovered after an unclean stop; a torn tail, if there was one, was cut off behind the last whole group");
    }
    for gap in &recovery.known_gaps {
        tracing::warn!(from = %gap.from, until = %gap.until, cause = gap.cause, "events lost earlier and recorded by a repair");
    }
}

/// Fills the filter with the ids of the window.
fn load_dedup(config: &Config, opened: &wal::Opened) -> Result<Dedup, StartError> {
    let started = Instant::now();
    let window = Duration::from_secs(config.dedup.window_s);
    let dedup_config =
        dedup::Config { window, budget_bytes: config.dedup.budget_bytes, spill_dir: config.data_dir.join("dedup") };
    let horizon = UnixMicros::now().max(opened.recovery.last_commit).minus(window);
    let mut filter: Option<Dedup> = None;
    let mut failed = None;
    opened.reader.ids(|first, list| {
        if failed.is_some() || (filter.is_none() && list.committed_at() < horizon) {
            return;
        }
        failed = load_group(&mut filter, &dedup_config, first, list).err();
    })?;
    if let Some(error) = failed {
        return Err(error.into());
    }
    let mut filter = match filter {
        Some(filter) => filter,
        None => Dedup::new(dedup_config, opened.recovery.next)?,
    };
    fill_gap(&mut filter, opened.recovery.next, opened.recovery.last_commit)?;
    filter.finish_load();
    let ids = filter.stats().ids_in_memory + filter.stats().ids_on_disk;
    tracing::info!(ids, took_ms = started.elapsed().as_millis() as u64, "duplicate filter loaded");
    Ok(filter)
}

fn load_group(
    filter: &mut Option<Dedup>,
    config: &dedup::Config,
    first: Seq,
    list: record::IdList<'_>,
) -> Result<(), dedup::Error> {
    let filter = match filter {
        Some(filter) => filter,
        None => filter.insert(Dedup::new(config.clone(), first)?),
    };
    fill_gap(filter, first, list.committed_at())?;
    filter.load(first, list.committed_at(), list.iter())
}

/// The filter counts positions densely. Where a repair recorded a gap, ids that nobody can send stand for the lost ones.
fn fill_gap(filter: &mut Dedup, until: Seq, at: UnixMicros) -> Result<(), dedup::Error> {
    let from = filter.next_seq();
    let lost = (from.get()..until.get()).map(|seq| (xxhash_rust::xxh3::xxh3_128(&seq.to_le_bytes()), 0));
    if from < until { filter.load(from, at, lost) } else { Ok(()) }
}

impl From<Fatal> for String {
    fn from(fatal: Fatal) -> Self {
        fatal.0
    }
}
