//! Start: everything that can fail fails here, before the first connection is accepted.

use super::copies;
use super::drain::Running;
use super::key_files::KeyFiles;
use super::key_saver;
use super::known_ids::load_dedup;
use super::live::{Live, Places, Upkeep, connections};
use super::maintenance::{Maintenance, close_for_good};
use super::observers::{alerting, tracing_to};
use super::quotas;
use super::sinks::{self, Supplies};
use super::stall::StallWatch;
use super::systemd::{self, Keeper, LongStart};
use super::threads::{Fatal, spawn};
use super::trim::{hold_for_idle_sinks, trim};
use crate::access::limits::Limits;
use crate::access::{Access, AccessError, Mode, Scope};
use crate::commit::{
    Budget, Control, DeskSeed, Engine, EngineParts, GroupLimits, Hub, Idempotency, StopHandle, Tail, Timeline,
};
use crate::control::admin::{self, AdminParts};
use crate::control::audit::{Actor, AuditLog, Entry, Via};
use crate::control::config::{Config, Loaded, Mistakes, Reloader};
use crate::control::dead_letters::{self, Letters};
use crate::control::{
    Backups, Erasure, Exporter, ExporterParts, Figures, FiguresParts, Health, Phase, Pipeline, Rates, ServiceState,
    serve_figures,
};
use crate::deliver::Destination;
use crate::deliver::sinks::{ClickHouseTables, KafkaTopics, ParquetFiles};
use crate::intake::{self, Admission, Orders, Owed, Shared, problem};
use crate::metrics::Metrics;
use crate::net::tls::{Tls, TlsError};
use crate::net::{ConnectionGate, Listeners, Shares, adopt, bind};
use crate::traces;
use arc_swap::ArcSwap;
use hyper::StatusCode;
use serde_json::json;
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::runtime::Runtime;
use tokio::sync::{Notify, mpsc, watch};
use wal::CopyUse;

/// Orders to trim the log that wait.
const TRIM_ORDERS: usize = 16;

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
    /// What a copy is used as cannot be made durable.
    #[error(transparent)]
    Settle(wal::CommitError),
    /// The duplicate filter cannot be built.
    #[error("cannot build the duplicate filter: {0}")]
    Dedup(#[from] dedup::Error),
    /// API keys or the keys of JWTs cannot be read.
    #[error(transparent)]
    Access(#[from] AccessError),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {cause}")]
    Bind {
        /// The address.
        address: std::net::SocketAddr,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The files that TLS wants cannot be used.
    #[error("TLS: {key}: {0}", key = .0.key())]
    Tls(#[from] TlsError),
    /// The socket that was handed in cannot be used.
    #[error("cannot use the socket that was handed in: {0}")]
    Inherit(std::io::Error),
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

impl StartError {
    /// Whether no further start mends it: it is about what the operator says, not about what is there.
    #[must_use]
    pub fn is_about_settings(&self) -> bool {
        use wal::OpenError::{Copy, NoCopy, UsedOtherwise};
        matches!(self, StartError::Config(_) | StartError::Log(Copy { .. } | NoCopy { .. } | UsedOtherwise { .. }))
    }
}

/// What an operator can do about a log that cannot be read.
fn advice(error: &wal::ReadError) -> &'static str {
    if error.is_damage() { "; run `ingestd wal verify`, then `ingestd wal repair`" } else { "" }
}

/// Everything opened and bound, nothing accepted yet.
pub struct Bound {
    config: Config,
    reloader: Arc<Reloader>,
    audit: Arc<AuditLog>,
    upkeep: Arc<ArcSwap<Upkeep>>,
    listeners: Listeners,
    figures: Option<Listeners>,
    exporter: Arc<Exporter>,
    engine: Engine<wal::Writer>,
    desks: Vec<DeskSeed>,
    stop_writer: StopHandle,
    shared: Arc<Shared>,
    health: Arc<Health>,
    rates: Arc<Rates>,
    tail: Tail,
    reader: wal::Reader,
    timeline: Timeline,
    trimmer: wal::Trimmer,
    control: Control,
    node: u128,
    incarnation: u64,
    pipeline: Pipeline,
    backups: Arc<Backups>,
    letters: Arc<Letters>,
    letters_runtime: Runtime,
    spans: Option<traces::Exporter>,
}

impl Bound {
    /// Opens the log and binds the sockets. `copy_as`: what the data folder, a checkpoint, is used as.
    ///
    /// # Errors
    /// [`StartError`].
    pub fn new(loaded: Loaded, copy_as: Option<CopyUse>) -> Result<Self, StartError> {
        let mut config = loaded.config().clone();
        let inherited = systemd::inherit(&mut config).map_err(StartError::Inherit)?;
        let handed_in = inherited.as_ref().map(|_| config.server.listen);
        // The socket's address may not be one that our own could have.
        config.check_together()?;
        let live = Live::of(&config);
        let _started = LongStart::begin().map_err(StartError::Thread)?;
        let acceptors = match config.server.acceptors {
            0 => std::thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        // Before anything is bound: one that has ended is presented all the same, and said.
        let tls = match config.tls.enabled {
            true => Some(Tls::new(live.tls.load()?)),
            false => None,
        };
        let figures = match config.server.admin_listen.0 {
            Some(address) => Some(bind(address, 1).map_err(|cause| StartError::Bind { address, cause })?),
            None => None,
        };
        let listeners = match inherited {
            Some(socket) => adopt(socket, acceptors).map_err(StartError::Inherit)?,
            None => bind(config.server.listen, acceptors)
                .map_err(|cause| StartError::Bind { address: config.server.listen, cause })?,
        };
        sinks::check(&config)?;
        systemd::starting("opening the log");
        let mut opened = wal::open(&config.data_dir, &wal_options(&config, copy_as))?;
        report(&opened.recovery);
        copies::settle(&mut opened)?;
        let access = Arc::new(Access::open(&config.data_dir, live.rules)?);
        tell_open(&config);
        if let Some(text) = config.small_reserve() {
            tracing::warn!("{text}");
        }
        let metrics = Arc::new(Metrics::default());
        systemd::starting("reading the ids of the dedup window");
        let timeline = Timeline::load(&opened.reader, opened.recovery.last_commit)?;
        let dedup = load_dedup(&config, &opened, &timeline)?;
        let idempotency = Idempotency::load(opened.reader.clone(), live.idempotency, &timeline)?;
        let dead_letters = Arc::new(ArcSwap::from_pointee(live.dead_letters));
        let tail = Tail::new(opened.recovery.next.prev());
        tail.expect(&configured_sinks(&config));
        hold_for_idle_sinks(&opened.reader, &tail, &configured_sinks(&config))?;
        let hub = Hub::default();
        let parts = EngineParts {
            dedup,
            idempotency: idempotency.clone(),
            reader: opened.reader.clone(),
            dead_letters: Arc::clone(&dead_letters),
            limits: GroupLimits { events_max: config.log.group_events_max, ..GroupLimits::default() },
            incarnation: opened.incarnation,
            timeline: timeline.clone(),
            tail: tail.clone(),
            hub: hub.clone(),
            metrics: Arc::clone(&metrics),
        };
        let (engine, desks, control, stop_writer) = Engine::new(opened.writer, parts, acceptors)?;
        let limits = Limits::new(config.rate_limits.addresses_max);
        quotas::load(&opened.reader, &limits.quotas)?;
        let health = Arc::new(Health::default());
        health.set("wal", ServiceState::Up, None, None);
        for (_, name) in sinks(&config).into_iter().filter(|(is_on, _)| !is_on) {
            health.set(name, ServiceState::Disabled, None, None);
        }
        let rates = Arc::new(Rates::default());
        let gate = ConnectionGate::new(connections(live.connections));
        if tls.is_some() {
            gate.speak_tls();
        }
        let pipeline = Pipeline::new(opened.reader.clone(), tail.clone());
        let exporter = Arc::new(Exporter::new(ExporterParts {
            pipeline: pipeline.clone(),
            metrics: Arc::clone(&metrics),
            health: Arc::clone(&health),
            rates: Arc::clone(&rates),
            gate: Arc::clone(&gate),
        }));
        let (at_intake, is_apart) = (Arc::clone(&exporter), figures.is_some());
        let (tracer, spans) = tracing_to(&config, opened.identity.node, &metrics)?;
        let letters = Arc::new(OnceLock::new());
        let shared = Arc::new(Shared {
            admission: Admission::new(Budget::new(live.inflight_requests, live.inflight_bytes)),
            idempotency,
            access,
            hub,
            metrics,
            settings: ArcSwap::from_pointee(live.settings),
            key: opened.identity.fingerprint_key,
            durability: config.log.durability.into(),
            gate,
            tls,
            guests: Shares::new(),
            unfinished: Shares::new(),
            owed: Owed::new(),
            limits: Arc::new(limits),
            tail: tail.clone(),
            sinks: configured_sinks(&config),
            ack_places: Budget::new(live.ack_waiters, 0),
            tracer,
            fallback: Box::new(move |method, path, query, headers| match is_apart {
                true => at_intake.answer_with_intake(method, path, query, headers),
                false => at_intake.answer(method, path, query, headers),
            }),
            orders: orders(Arc::clone(&letters)),
        });
        let audit = Arc::new(AuditLog::new(&config.data_dir, live.audit));
        let letters_runtime = dead_letters::runtime().map_err(StartError::Thread)?;
        let (reader, runtime) = (opened.reader.clone(), letters_runtime.handle().clone());
        let made = Letters::new(reader, control.clone(), &shared, Arc::clone(&audit), runtime);
        let letters = Arc::clone(letters.get_or_init(|| Arc::new(made)));
        let upkeep = Arc::new(ArcSwap::from_pointee(live.upkeep));
        let places = Arc::new(Places {
            shared: Arc::clone(&shared),
            dead_letters,
            upkeep: Arc::clone(&upkeep),
            audit: Arc::clone(&audit),
        });
        let prepare = move |config: &Config| Arc::clone(&places).prepare(Live::of(config));
        let reloader = Arc::new(Reloader::new(loaded, prepare).listening_on(handed_in));
        let reserve = Arc::clone(&upkeep);
        let backups = Backups::new(opened.trimmer.checkpointer(), move || reserve.load().disk_reserve_bytes);
        let (reader, trimmer, node, incarnation) =
            (opened.reader, opened.trimmer, opened.identity.node, opened.incarnation);
        Ok(Bound {
            config,
            reloader,
            audit,
            upkeep,
            listeners,
            figures,
            exporter,
            engine,
            desks,
            stop_writer,
            shared,
            health,
            rates,
            tail,
            reader,
            timeline,
            trimmer,
            control,
            node,
            incarnation,
            pipeline,
            backups: Arc::new(backups),
            letters,
            letters_runtime,
            spans,
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
        self.record_start();
        let engine = self.engine;
        let scheme = if self.shared.tls.is_some() { "https" } else { "http" };
        let url = format!("{scheme}://{}", self.listeners.address);
        let keeper = Keeper {
            probe: engine.probe(),
            health: Arc::clone(&self.health),
            url: url.clone(),
            stopping: accepting.clone(),
        };
        let (shared, health) = (Arc::clone(&self.shared), Arc::clone(&self.health));
        let writer = thread(spawn("writer", &fatal, move || {
            engine.run().map_err(|error| {
                let reason = error.to_string();
                close_for_good(&shared, &health, &reason);
                reason
            })
        }))?;
        let control = self.control.clone();
        let supplies = Supplies {
            config: &self.config,
            reader: self.reader.clone(),
            timeline: self.timeline,
            control: self.control,
            tail: self.tail.clone(),
            node: self.node,
            run: self.incarnation,
            metrics: &self.shared.metrics,
            tracer: &self.shared.tracer,
            fatal: &fatal,
            stop: shipping.clone(),
            shared: &self.shared,
        };
        let (mut shippers, mut sinks) = (Vec::new(), Vec::new());
        for sink in supplies.start()? {
            shippers.push(sink.thread);
            sinks.push((sink.handle, sink.backlog));
        }
        self.pipeline.set_sinks(sinks.iter().map(|(handle, _)| handle.clone()).collect());
        let pipeline = self.pipeline.clone();
        let figures = Figures::new(FiguresParts {
            shared: Arc::clone(&self.shared),
            rates: Arc::clone(&self.rates),
            health: Arc::clone(&self.health),
            pipeline: self.pipeline.clone(),
            control: control.clone(),
            reloader: Arc::clone(&self.reloader),
            data: self.config.data_dir.clone(),
        });
        let (letters, runtime, stop) = (Arc::clone(&self.letters), self.letters_runtime, shipping.clone());
        shippers.push(thread(spawn("letters", &fatal, move || {
            letters.serve(runtime, stop);
            Ok(())
        }))?);
        let reserve = Arc::clone(&self.upkeep);
        let erasure = Erasure::new(
            self.pipeline.clone(),
            control.clone(),
            Arc::clone(&self.letters),
            self.trimmer.eraser(),
            move || reserve.load().disk_reserve_bytes,
        );
        let (drain, (trims, trim_orders)) = (Arc::new(Notify::new()), mpsc::channel(TRIM_ORDERS));
        let admin = AdminParts {
            pipeline: self.pipeline,
            health: Arc::clone(&self.health),
            reloader: Arc::clone(&self.reloader),
            access: Arc::clone(&self.shared.access),
            audit: Arc::clone(&self.audit),
            figures: Arc::new(figures),
            drain: Arc::clone(&drain),
            trims,
            backups: self.backups,
            letters: self.letters,
            erasure: Arc::new(erasure),
        };
        // Bound here, so that whoever finds the daemon ready can steer it.
        let path = self.config.admin_socket();
        match admin::bind(&path) {
            Ok(socket) => {
                let stop = shipping.clone();
                let serve = move || admin::serve(admin, socket, stop).map_err(|error| format!("admin: {error}"));
                shippers.push(thread(spawn("admin", &fatal, serve))?);
            }
            // Steering is not worth the events that would be refused.
            Err(error) => {
                tracing::error!(%error, socket = ?path, "`ingestd admin` will not work: no socket");
            }
        }
        let figures = self.figures.as_ref().map(|figures| figures.address);
        for listener in self.figures.into_iter().flat_map(|figures| figures.sockets) {
            let (exporter, stop, shared) = (Arc::clone(&self.exporter), shipping.clone(), Arc::clone(&self.shared));
            let patience = move || shared.settings.load().deadlines.write;
            let serve = move || {
                serve_figures(exporter, listener.socket, patience, stop).map_err(|error| format!("figures: {error}"))
            };
            shippers.push(thread(spawn("figures", &fatal, serve))?);
        }
        if let Some(exporter) = self.spans {
            let stop = shipping.clone();
            shippers.push(thread(spawn("traces", &fatal, move || exporter.run(stop)))?);
        }
        if let Some(alerts) = alerting(&self.config, self.node, &self.shared.metrics, &pipeline)? {
            let stop = shipping.clone();
            shippers.push(thread(spawn("alerts", &fatal, move || alerts.run(stop)))?);
        }
        let watch = StallWatch {
            reader: self.reader.clone(),
            shared: Arc::clone(&self.shared),
            health: Arc::clone(&self.health),
        };
        let stop = shipping.clone();
        shippers.push(thread(spawn("stall", &fatal, move || {
            watch.run(&stop);
            Ok(())
        }))?);
        let files = KeyFiles::new(&self.shared, &self.audit, &fatal);
        let stop = shipping.clone();
        // Nobody waits for its end, nor for that of its looks: they may hang with the file system that the files are on.
        thread(spawn("key-files", &fatal, move || {
            files.run(&stop);
            Ok(())
        }))?;
        let (access, stop) = (Arc::clone(&self.shared.access), shipping.clone());
        // Nor for this one's, which may hang with the disk.
        thread(spawn("key-saver", &fatal, move || {
            key_saver::run(&access, &stop);
            Ok(())
        }))?;
        let maintenance = Maintenance {
            data: self.config.data_dir.clone(),
            upkeep: Arc::clone(&self.upkeep),
            reader: self.reader.clone(),
            shared: Arc::clone(&self.shared),
            health: Arc::clone(&self.health),
            rates: Arc::clone(&self.rates),
            pipeline,
            trim: Box::new(trim(self.upkeep, self.trimmer, self.reader, self.tail, &sinks)),
            sinks,
            disk_closed: false,
            trim_orders,
            control,
        };
        shippers.push(thread(spawn("maintenance", &fatal, move || maintenance.run(&shipping)))?);
        let mut acceptors = Vec::new();
        let (accepts, accepting_now) = std::sync::mpsc::channel();
        for (number, (listener, desk)) in self.listeners.sockets.into_iter().zip(self.desks).enumerate() {
            let (shared, stop, accepts) = (Arc::clone(&self.shared), accepting.clone(), accepts.clone());
            acceptors.push(thread(spawn(format!("accept-{number}"), &fatal, move || {
                // Nobody waits for it any more where another one has failed.
                let accepts = || accepts.send(()).unwrap_or_default();
                intake::run(listener, shared, desk, stop, accepts)
                    .map_err(|error| format!("an acceptor failed: {error}"))
            }))?);
        }
        drop(accepts);
        // One that fails ends the daemon by itself.
        if accepting_now.iter().take(acceptors.len()).count() == acceptors.len() {
            self.health.set_phase(Phase::Serving);
        }
        thread(spawn("systemd", &fatal, move || {
            keeper.run();
            Ok(())
        }))?;
        Ok(Running {
            address: self.listeners.address,
            url,
            figures,
            shared: self.shared,
            health: self.health,
            reloader: self.reloader,
            audit: self.audit,
            drain,
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

impl Bound {
    /// Steering is refused where the audit log cannot be written; events are not.
    fn record_start(&self) {
        let details = json!({"version": env!("CARGO_PKG_VERSION"), "listen": self.listeners.address.to_string()});
        let entry = Entry::new(Actor::own(Via::Start), "start").with(details);
        if let Err(error) = self.audit.record(entry) {
            tracing::error!(%error, "the audit log cannot be written: every admin command that changes something is refused");
        }
    }
}

/// Has the dead letters answer what may change something. They need what all acceptors share, so they come after it.
fn orders(letters: Arc<OnceLock<Arc<Letters>>>) -> Box<Orders> {
    Box::new(move |order| match letters.get() {
        Some(letters) => Box::pin(Arc::clone(letters).answer(order)),
        None => Box::pin(async { problem(StatusCode::SERVICE_UNAVAILABLE, "the daemon is starting") }),
    })
}

fn thread<T>(started: std::io::Result<T>) -> Result<T, StartError> {
    started.map_err(StartError::Thread)
}

fn wal_options(config: &Config, copy_as: Option<CopyUse>) -> wal::Options {
    wal::Options {
        durability: config.log.durability.into(),
        sync_interval: Duration::from_millis(config.log.sync_interval_ms),
        recycled_wal_files: config.log.recycled_files,
        copy_as,
    }
}

/// Names what everybody may use from outside, at each start.
fn tell_open(config: &Config) {
    if let Some(address) = config.server.admin_listen.0.filter(|address| !address.ip().is_loopback()) {
        tracing::warn!(%address, "server.admin_listen is beyond loopback: whoever reaches it is answered health, metrics, statistics and pipeline status, whatever auth.read asks for");
    }
    if config.server.listen.ip().is_loopback() {
        return;
    }
    let rules = config.auth.rules();
    let open: Vec<_> = Scope::ALL.into_iter().filter(|scope| rules.mode(*scope) == Mode::None).collect();
    if !open.is_empty() {
        let groups = open.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
        tracing::warn!(listen = %config.server.listen, %groups, "listening beyond loopback without authentication for these groups of routes");
    }
}

/// Whether each sink is switched on, and its name.
fn sinks(config: &Config) -> [(bool, &'static str); 3] {
    [
        (config.parquet.enabled, ParquetFiles::NAME),
        (config.clickhouse.enabled, ClickHouseTables::NAME),
        (config.kafka.enabled, KafkaTopics::NAME),
    ]
}

/// Names of the sinks that are switched on.
fn configured_sinks(config: &Config) -> Vec<&'static str> {
    sinks(config).into_iter().filter(|(is_on, _)| *is_on).map(|(_, name)| name).collect()
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

impl From<Fatal> for String {
    fn from(fatal: Fatal) -> Self {
        fatal.0
    }
}
