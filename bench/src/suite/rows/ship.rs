//! The way out: into a real ClickHouse and a real Kafka.

use crate::process;
use crate::suite::Bench;
use crate::suite::load::{Load, Side, Spread, load};
use crate::suite::results::Outcome;
use crate::suite::ship::clickhouse::ClickHouse;
use crate::suite::ship::kafka::Broker;
use crate::suite::ship::visible::Watch;
use crate::suite::ship::{Shipping, bare, modest};
use crate::table::short;
use anyhow::{Context, Result, ensure};
use std::time::{Duration, Instant};

/// Rows of a batch, as configured by default.
const BATCH_ROWS: u64 = 50_000;
/// Events a second, ten in a request.
const RATE: f64 = 10_000.0;
const LOAD: &str = "http --batch 10 --rate 1000 --connections 64 --warmup 1 --duration";
/// Longest that row 14 looks at the intake with both sinks, before and after they were away.
const COMPARED_SECONDS_MAX: f64 = 600.0;
const TOPICS: [&str; 3] = ["cart-events-raw", "cart-events-validated", "cart-events-enriched"];
const PARTITIONS: i32 = 6;
/// What all figures with both servers are to be read with.
const SHARED: &str = "daemon, generator, readers and both servers share the cores, the servers at nice 19";

fn events(bench: &Bench) -> u64 {
    if bench.options.short { 50_000 } else { 500_000 }
}

/// Fills the log while the sink rests, then lets it go; events per second.
fn drain(bench: &Bench, row: u8, round: usize, sink: &str, shipping: &Shipping) -> Result<f64> {
    shipping.admin(&["flush", sink])?;
    shipping.admin(&["pause", sink])?;
    let events = events(bench);
    let args = format!("http --batch 100 --connections 16 --events {events} --time-limit 600");
    load(bench, row, round, Side { who: "filling", server: &shipping.server, args: &args })?;
    let lag = shipping.lag(sink)?;
    ensure!(lag >= events, "only {lag} of {events} events wait");
    let started = Instant::now();
    shipping.admin(&["resume", sink])?;
    shipping.catch_up(sink, 0)?;
    Ok(lag as f64 / started.elapsed().as_secs_f64())
}

fn outcome(pairs: &[(f64, f64)], reach: f64, dream: f64, notes: Vec<String>) -> Result<Outcome> {
    let of = |figures: Vec<f64>| Spread::of(figures).context("no rounds");
    let ratio = of(pairs.iter().map(|(ours, limit)| ours / limit).collect())?;
    Ok(Outcome {
        ours: format!("{} ev/s", of(pairs.iter().map(|pair| pair.0).collect())?),
        limit: format!("{} ev/s", of(pairs.iter().map(|pair| pair.1).collect())?),
        ratio: Some(ratio),
        reached: ratio.median >= reach,
        dreamt: ratio.median >= dream,
        notes,
    })
}

/// Row 11.
pub(super) fn clickhouse(bench: &Bench) -> Result<Outcome> {
    let server = ClickHouse::start(bench.place.fresh("clickhouse")?)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut pairs = Vec::new();
    for round in 1..=bench.options.rounds {
        let url = server.url();
        let shipping = Shipping::start(bench, &[("CLICKHOUSE_ENABLED", "true"), ("CLICKHOUSE_URLS", &url)])?;
        let ours = drain(bench, 11, round, "clickhouse", &shipping)?;
        shipping.server.process.stop()?;
        let limit = runtime.block_on(bare::insert(&server, events(bench), BATCH_ROWS))?;
        eprintln!("  11.{round} ours {ours:.0}, bare loop {limit:.0} events/s");
        pairs.push((ours, limit));
        for table in ["raw", "processed", "errors"] {
            runtime.block_on(server.client().query(&format!("DROP TABLE events_{table}")).execute())?;
        }
    }
    let notes = vec![
        format!("a backlog of {} events, each a row in two tables", short(events(bench) as f64)),
        format!("the limit: crate `clickhouse`, the same rows from memory, batches of {BATCH_ROWS}"),
    ];
    outcome(&pairs, 0.6, 0.9, notes)
}

/// Row 12.
pub(super) fn kafka(bench: &Bench) -> Result<Outcome> {
    let mut pairs = Vec::new();
    for round in 1..=bench.options.rounds {
        let broker = Broker::start();
        let address = broker.address();
        let settings = [("KAFKA_ENABLED", "true"), ("KAFKA_BOOTSTRAP_SERVERS", address.as_str())];
        let shipping = Shipping::start(bench, &settings)?;
        let ours = drain(bench, 12, round, "kafka", &shipping)?;
        let data = shipping.data.clone();
        shipping.server.process.stop()?;
        let messages = bare::messages(&data, 50_000)?;
        let limit = bare::send(&address, &TOPICS, &messages, events(bench))?;
        eprintln!("  12.{round} ours {ours:.0}, bare producer {limit:.0} events/s");
        pairs.push((ours, limit));
    }
    let notes = vec![
        format!("a backlog of {} events, each a message in three topics, in transactions", short(events(bench) as f64)),
        "the limit: librdkafka's idempotent producer without transactions, the same messages from memory".to_owned(),
    ];
    outcome(&pairs, 0.5, 0.8, notes)
}

/// The daemon with both sinks, which have everything.
fn both(bench: &Bench, server: &ClickHouse, broker: &Broker) -> Result<Shipping> {
    let (url, address) = (server.url(), broker.address());
    let shipping = Shipping::start(
        bench,
        &[
            ("CLICKHOUSE_ENABLED", "true"),
            ("CLICKHOUSE_URLS", &url),
            ("KAFKA_ENABLED", "true"),
            ("KAFKA_BOOTSTRAP_SERVERS", &address),
            ("KAFKA_PARTITIONS", &PARTITIONS.to_string()),
        ],
    )?;
    shipping.admin(&["flush"])?;
    Ok(shipping)
}

/// A ClickHouse and a Kafka on the same cores, to which they have the least right.
fn servers(bench: &Bench) -> Result<(ClickHouse, Broker)> {
    let folder = bench.place.fresh("clickhouse")?;
    modest(|| Ok((ClickHouse::start(folder)?, Broker::start())))?
}

fn intake(load: &Load) -> String {
    let [p50, p99, p999] = [load.latency_us.p50, load.latency_us.p99, load.latency_us.p999].map(|us| short(us / 1e3));
    format!("{p50} / {p99} / {p999} ms")
}

/// Row 13.
pub(super) fn end_to_end(bench: &Bench) -> Result<Outcome> {
    let (server, broker) = servers(bench)?;
    let shipping = both(bench, &server, &broker)?;
    let args = format!("{LOAD} {}", bench.options.open_seconds);
    let (mut tables, mut topic, mut intakes) = (Vec::new(), Vec::new(), Vec::new());
    for round in 1..=bench.options.rounds {
        let after = shipping.status()?["log"]["committed"].as_u64().context("no log")?;
        let watch = Watch::start(&server, &broker.address(), TOPICS[0], PARTITIONS)?;
        let found = load(bench, 13, round, Side { who: "ours", server: &shipping.server, args: &args })?;
        shipping.admin(&["flush"])?;
        // The last look at the tables, the last message.
        std::thread::sleep(Duration::from_secs(1));
        let delays = watch.end(&server, after)?;
        let ms = |us: u64| us as f64 / 1e3;
        let (clickhouse, kafka) = (&delays.tables, &delays.topic);
        let [a, b] = [clickhouse, kafka].map(|delay| [0.5, 0.99].map(|q| ms(delay.value_at_quantile(q))));
        eprintln!("  13.{round} visible p50 / p99: ClickHouse {a:.0?}, Kafka {b:.0?} ms; intake {}", intake(&found));
        tables.push(a[1]);
        topic.push(b[1]);
        intakes.push(found);
    }
    let [tables, topic] = [tables, topic].map(|values| Spread::of(values).context("no rounds"));
    let (tables, topic) = (tables?, topic?);
    let intake_p99 = Spread::of(intakes.iter().map(|load| load.latency_us.p99 / 1e3)).context("no rounds")?;
    Ok(Outcome {
        ours: format!("ClickHouse {tables} ms, Kafka {topic} ms"),
        limit: "–".to_owned(),
        ratio: None,
        reached: tables.median < 2000.0 && topic.median < 300.0 && intake_p99.median < 5.0,
        dreamt: tables.median < 1200.0 && topic.median < 100.0 && intake_p99.median < 2.0,
        notes: vec![
            format!("`loadgen {args}`, {} events/s", short(RATE)),
            format!("intake p50 / p99 / p99.9 {}", intakes.iter().map(intake).collect::<Vec<_>>().join(", ")),
            SHARED.to_owned(),
        ],
    })
}

/// Row 14.
pub(super) fn away(bench: &Bench) -> Result<Outcome> {
    let (mut server, broker) = servers(bench)?;
    let shipping = both(bench, &server, &broker)?;
    let pid = shipping.server.process.pid();
    let args = format!("{LOAD} {}", bench.options.open_seconds);
    let compared = format!("{LOAD} {}", bench.options.open_seconds.min(COMPARED_SECONDS_MAX));
    let run = |who, args: &str| load(bench, 14, 1, Side { who, server: &shipping.server, args });
    let up = run("sinks up", &compared)?;
    shipping.admin(&["flush"])?;
    server.kill()?;
    broker.kill();
    let rss = |when: &str| {
        let mib = process::usage(pid).map_or(0.0, |usage| usage.rss_kib as f64 / 1024.0);
        format!("{} MiB {when}", short(mib))
    };
    let before = rss("before");
    let bytes = || -> Result<u64> { shipping.status()?["log"]["bytes"].as_u64().context("no log") };
    let empty = bytes()?;
    let down = run("sinks down", &args)?;
    let (after, grown) = (rss("after"), bytes()? - empty);
    let backlog = shipping.lag("clickhouse")?.min(shipping.lag("kafka")?);
    modest(|| -> Result<()> {
        broker.restart();
        server.start_again()
    })??;
    // They come back while events go on coming.
    let (caught, live) = std::thread::scope(|scope| -> Result<_> {
        let live = scope.spawn(|| run("sinks back", &compared));
        let started = Instant::now();
        let mut caught = Vec::new();
        for sink in ["clickhouse", "kafka"] {
            shipping.catch_up(sink, RATE as u64 * 2)?;
            caught.push((sink, started.elapsed().as_secs_f64()));
        }
        let live = live.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        Ok((caught, live))
    })?;
    shipping.admin(&["flush"])?;
    shipping.admin(&["audit"])?;
    let slowest = caught.iter().map(|(_, seconds)| *seconds).fold(0.0, f64::max);
    let drains = backlog as f64 / slowest / RATE;
    let ratio = down.latency_us.p99 / up.latency_us.p99;
    let words: Vec<_> = caught.iter().map(|(sink, seconds)| format!("{sink} after {} s", short(*seconds))).collect();
    Ok(Outcome {
        ours: format!("{} without them; backlog drained at {}× the live rate", intake(&down), short(drains)),
        limit: format!("{} with them", intake(&up)),
        ratio: Spread::of([ratio]),
        reached: ratio <= 1.2 && drains >= 5.0,
        dreamt: ratio <= 1.0 && drains >= 10.0,
        notes: vec![
            format!("`loadgen {args}`, with them at most 10 minutes; the ratio is that of p99, lower is better"),
            format!(
                "resident {before}, {after}; the log grew by {} a event of {} B",
                short(grown as f64 / backlog as f64),
                up.message_bytes
            ),
            format!(
                "a backlog of {}, while {} events/s came in: {}",
                short(backlog as f64),
                short(RATE),
                words.join(", ")
            ),
            format!("intake meanwhile {}", intake(&live)),
            SHARED.to_owned(),
        ],
    })
}
