//! The least a durable intake costs: the daemon's own acceptors, parser, duplicate filter and writer over a file of
//! written blocks in place of the log, and no sink.

use anyhow::{Context, Result};
use bench::commits::WrittenFile;
use bench::known;
use bench::raw_store::RawStore;
use ingestd::access::limits::Limits;
use ingestd::access::{Access, Rules};
use ingestd::commit::{Budget, DeadLetterLimits, Engine, EngineParts, GroupLimits, Hub, Idempotency, Timeline};
use ingestd::commit::{IdempotencyLimits, Tail};
use ingestd::intake::{self, Admission, Deadlines, Owed, Settings, Shared};
use ingestd::metrics::Metrics;
use ingestd::net::{ConnectionGate, Shares, bind};
use ingestd::traces::Tracer;
use lexopt::prelude::*;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const HELP: &str = "raw-server --data DIR [--port 8083] [--threads 2] [--file-mib 512] [--group-events 4096] [--time-limit S]\n\
     DIR is a data folder whose ids are known; nothing is added to it but the yardstick's file.";

/// What the daemon's configuration says by default.
const INFLIGHT: (usize, usize) = (16_384, 256 << 20);
const BODY_BYTES_MAX: usize = 8 << 20;
const CONNECTIONS_MAX: usize = 100_000;
/// Requests under way may take this long once the time is up.
const GRACE: Duration = Duration::from_secs(1);

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

struct Options {
    data: PathBuf,
    address: SocketAddr,
    threads: usize,
    file_mib: u64,
    group_events: usize,
    time_limit: Duration,
}

fn options() -> Result<Options> {
    let (mut data, mut port, mut threads) = (None, 8083u16, 2usize);
    let (mut file_mib, mut group_events, mut seconds) = (512, 4096, 60f64);
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Long("data") => data = Some(PathBuf::from(parser.value()?)),
            Long("port") => port = parser.value()?.parse()?,
            Long("threads") => threads = parser.value()?.parse()?,
            Long("file-mib") => file_mib = parser.value()?.parse()?,
            Long("group-events") => group_events = parser.value()?.parse()?,
            Long("time-limit") => seconds = parser.value()?.parse()?,
            other => return Err(other.unexpected()).context(HELP),
        }
    }
    Ok(Options {
        data: data.context(HELP)?,
        address: SocketAddr::from(([127, 0, 0, 1], port)),
        threads: threads.max(1),
        file_mib,
        group_events,
        time_limit: Duration::from_secs_f64(seconds.min(1e6)),
    })
}

fn main() -> Result<()> {
    let options = options()?;
    let listeners = bind(options.address, options.threads).with_context(|| options.address.to_string())?;
    let opened = wal::open(&options.data, &wal::Options::default())?;
    let file = WrittenFile::prepare(&options.data, options.file_mib.max(64) << 20)?;
    let metrics = Arc::new(Metrics::default());
    let timeline = Timeline::load(&opened.reader, opened.recovery.last_commit)?;
    let idempotency = Idempotency::load(opened.reader.clone(), IdempotencyLimits::default(), &timeline)?;
    let hub = Hub::default();
    let tail = Tail::new(opened.recovery.next.prev());
    let parts = EngineParts {
        dedup: known::load(&options.data, &opened)?,
        idempotency: idempotency.clone(),
        reader: opened.reader.clone(),
        dead_letters: Arc::new(Arc::new(DeadLetterLimits::default()).into()),
        limits: GroupLimits { events_max: options.group_events, ..GroupLimits::default() },
        incarnation: opened.incarnation,
        timeline,
        tail: tail.clone(),
        hub: hub.clone(),
        metrics: Arc::clone(&metrics),
    };
    let store = RawStore::new(file, opened.recovery.next);
    let (engine, desks, _control, stop_writer) = Engine::new(store, parts, options.threads)?;
    let shared = Arc::new(Shared {
        admission: Admission::new(Budget::new(INFLIGHT.0, INFLIGHT.1)),
        idempotency,
        access: Arc::new(Access::open(&options.data, Rules::default())?),
        hub,
        metrics,
        settings: Arc::new(Settings {
            body_bytes_max: BODY_BYTES_MAX,
            deadlines: Deadlines { drain: GRACE, ..Deadlines::default() },
            ..Settings::default()
        })
        .into(),
        key: opened.identity.fingerprint_key.clone(),
        durability: event::Durability::Fsync,
        tls: None,
        gate: ConnectionGate::new(CONNECTIONS_MAX),
        guests: Shares::new(),
        unfinished: Shares::new(),
        owed: Owed::new(),
        limits: Arc::new(Limits::new(0)),
        tail,
        sinks: Vec::new(),
        ack_places: Budget::new(0, 0),
        // Whatever is asked besides: it is ready.
        tracer: Tracer::default(),
        fallback: Box::new(|_, _, _, _| intake::Answer::default()),
        orders: Box::new(|_| Box::pin(async { intake::Answer::default() })),
    });
    let (stop, stopped) = watch::channel(false);
    let writer = std::thread::Builder::new().name("writer".into()).spawn(move || engine.run())?;
    let mut acceptors = Vec::new();
    for (socket, desk) in listeners.sockets.into_iter().zip(desks) {
        let (shared, stopped) = (Arc::clone(&shared), stopped.clone());
        let run = move || intake::run(socket, shared, desk, stopped, || ());
        acceptors.push(std::thread::Builder::new().name("accept".into()).spawn(run)?);
    }
    std::thread::sleep(options.time_limit);
    stop.send_replace(true);
    for acceptor in acceptors {
        acceptor.join().map_err(|_| anyhow::anyhow!("an acceptor panicked"))??;
    }
    stop_writer.stop();
    writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    opened.writer.close()?;
    Ok(())
}
