//! Daemon, ClickHouse and Kafka are killed, frozen and restarted at random, alone and together, under load: each
//! accepted event must be in every table and topic, once.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;

use crate::audit::{Files, Stored, audit};
use crate::clickhouse::ClickHouse;
use crate::daemon::{Daemon, Target, last_lines, last_words, wait_until};
use crate::http::Client;
use crate::kafka::{Kafka, Reader};
use crate::load::{Mix, lock};
use crate::report::{Kind, Report};
use crate::scenario::stage::{Stage, Work, dump};
use crate::scenario::torment_plan::{Act, Deed, Victim, acts};
use crate::server::free_port;
use crate::shipped::{compare, compare_dead, in_order};

/// After so long without an end Kafka aborts a transaction: short, so that frozen daemons come too late.
const ABORT_MS: u64 = 4_000;
/// Tables and topics that hold each accepted event; then those of dead letters.
const TABLES: [&str; 2] = ["events_raw", "events_processed"];
const TOPICS: [&str; 3] = ["torment-raw", "torment-validated", "torment-enriched"];
const ERRORS: &str = "events_errors";
const LETTERS: &str = "torment-dlq";
/// What is committed must be visible to readers within this; markers of a commit follow it by a moment.
const VISIBLE_WITHIN: Duration = Duration::from_secs(60);
/// Dead letters must have reached every sink within this; `flush` waits for events only.
const LETTERS_WITHIN: Duration = Duration::from_secs(180);
/// How many accepted events are sent again before each comparison.
const RESENT_PER_CHECK: usize = 30;
const YEAR_S: u64 = 366 * 24 * 3600;

/// How a run is cut into rounds.
#[derive(Clone, Copy, Debug)]
pub struct TormentPlan {
    /// Rounds of blows, followed by a flush.
    pub rounds: u32,
    /// Blows fall within this time, in milliseconds.
    pub load_ms_max: u64,
    /// Everything that is stored and shipped is compared after every so many rounds, and at the end.
    pub audit_every: u32,
    /// Before the last comparison one row is deleted and another one doubled: proves that the rig can fail.
    pub plant: bool,
}

/// Torments all three and compares what they hold.
pub fn torment(target: &Target, work: &Work, plan: TormentPlan) -> io::Result<Report> {
    let mut stage = Stage::new(target, work, "torment")?;
    // The folder is kept and named also where the rig itself fails.
    if let Err(error) = story(&mut stage, plan) {
        stage.report.violation(Kind::Rig, error.to_string());
    }
    stage.finish()
}

fn story(stage: &mut Stage, plan: TormentPlan) -> io::Result<()> {
    let mut cast = Cast::new(stage)?;
    let told = rounds(stage, &mut cast, plan);
    stage.report.deeds = cast.deeds.to_string();
    stage.report.note(format!("longest flush after everybody was back {} ms", cast.longest_flush.as_millis()));
    told
}

fn rounds(stage: &mut Stage, cast: &mut Cast, plan: TormentPlan) -> io::Result<()> {
    let stop = stop_flag()?;
    for round in 1..=plan.rounds {
        one_round(stage, cast, plan.load_ms_max)?;
        let last = round == plan.rounds;
        if stage.sound_so_far() && (last || round % plan.audit_every.max(1) == 0) {
            check(stage, cast, last, plan.plant && last)?;
        }
        // What follows a broken promise proves nothing, and would blur what broke it.
        if !stage.sound_so_far() {
            break;
        }
        if stop.load(Ordering::Relaxed) {
            return Err(io::Error::other("interrupted"));
        }
    }
    Ok(())
}

/// Set by SIGINT and SIGTERM, so that the servers end with the rig.
fn stop_flag() -> io::Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    Ok(stop)
}

/// What was done to whom how often.
#[derive(Debug, Default)]
struct Deeds(BTreeMap<(&'static str, Victim), u32>);

impl Deeds {
    fn add(&mut self, what: &'static str, victim: Victim) {
        *self.0.entry((what, victim)).or_default() += 1;
    }
}

impl std::fmt::Display for Deeds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (index, what) in ["killed", "frozen", "stopped"].into_iter().enumerate() {
            let of = |victim| self.0.get(&(what, victim)).copied().unwrap_or(0);
            let [daemon, clickhouse, kafka] = Victim::ALL.map(of);
            let (open, close) = if index == 0 { (" (", ";") } else { (" ", if index == 2 { ")" } else { ";" }) };
            write!(f, "{open}{what}: daemon {daemon} clickhouse {clickhouse} kafka {kafka}{close}")?;
        }
        Ok(())
    }
}

/// All three, and the reader of the topics.
struct Cast {
    daemon: Option<Daemon>,
    clickhouse: ClickHouse,
    kafka: Kafka,
    reader: Option<Reader>,
    deeds: Deeds,
    longest_flush: Duration,
}

impl Cast {
    /// Starts everybody on empty folders.
    fn new(stage: &mut Stage) -> io::Result<Self> {
        let mut clickhouse = ClickHouse::in_folder(&stage.dir.join("clickhouse"))?;
        let mut kafka = Kafka::in_folder(&stage.dir.join("kafka"))?;
        clickhouse.server.start()?;
        kafka.server.start()?;
        clickhouse.wait_ready()?;
        kafka.wait_ready()?;
        for (name, value) in [
            ("INGESTD_PARQUET_ENABLED", "false".to_owned()),
            ("INGESTD_CLICKHOUSE_ENABLED", "true".to_owned()),
            ("INGESTD_CLICKHOUSE_URLS", clickhouse.url()),
            ("INGESTD_CLICKHOUSE_BATCH_AGE_MS", "100".to_owned()),
            ("INGESTD_KAFKA_ENABLED", "true".to_owned()),
            ("INGESTD_KAFKA_BOOTSTRAP_SERVERS", kafka.address().to_owned()),
            ("INGESTD_KAFKA_TOPIC_PREFIX", "torment".to_owned()),
            ("INGESTD_KAFKA_PARTITIONS", "3".to_owned()),
            ("INGESTD_KAFKA_TRANSACTION_TIMEOUT_MS", ABORT_MS.to_string()),
            // The log is what everything is held against, so it keeps all; and no dead letter is merely counted.
            ("INGESTD_LOG_HOLD_S", YEAR_S.to_string()),
            ("INGESTD_LIMITS_DEAD_LETTER_BYTES_MAX", (1u64 << 40).to_string()),
        ] {
            stage.target = stage.target.with_env(name, value);
        }
        // The load goes on over restarts, so the daemon stays where it is.
        stage.target.listen = SocketAddr::from(([127, 0, 0, 1], free_port()));
        let (deeds, longest_flush) = (Deeds::default(), Duration::ZERO);
        Ok(Self { daemon: None, clickhouse, kafka, reader: None, deeds, longest_flush })
    }

    fn perform(&mut self, stage: &mut Stage, act: Act) -> io::Result<()> {
        if act.deed != Deed::Start {
            self.see_alive(stage, act.victim)?;
        }
        match act.deed {
            Deed::Kill => {
                self.deeds.add("killed", act.victim);
                stage.report.kills += 1;
                self.kill(act.victim)
            }
            Deed::Freeze => {
                self.deeds.add("frozen", act.victim);
                self.signal(act.victim, Signal::STOP)
            }
            Deed::Ask => {
                self.deeds.add("stopped", act.victim);
                self.signal(act.victim, Signal::TERM)
            }
            Deed::Thaw => self.signal(act.victim, Signal::CONT),
            Deed::Start => self.start(stage, act.victim),
        }
    }

    /// Nobody may end by itself: for the daemon that is a broken promise, for the others the run proves nothing.
    fn see_alive(&mut self, stage: &mut Stage, victim: Victim) -> io::Result<()> {
        match victim {
            Victim::Daemon => {
                if let Some(status) = self.daemon.as_mut().and_then(Daemon::exited) {
                    let detail = format!("the daemon ended by itself with {status}: {}", self.last_words());
                    stage.report.violation(Kind::Lifecycle, detail);
                }
                Ok(())
            }
            Victim::ClickHouse => self.clickhouse.server.alive(),
            Victim::Kafka => self.kafka.server.alive(),
        }
    }

    fn kill(&mut self, victim: Victim) -> io::Result<()> {
        match victim {
            Victim::Daemon => self.daemon.take().map_or(Ok(()), Daemon::kill),
            Victim::ClickHouse => self.clickhouse.server.kill(),
            Victim::Kafka => self.kafka.server.kill(),
        }
    }

    fn signal(&self, victim: Victim, signal: Signal) -> io::Result<()> {
        match victim {
            Victim::Daemon => self.daemon.as_ref().map_or(Ok(()), |daemon| daemon.signal(signal)),
            Victim::ClickHouse => self.clickhouse.server.signal(signal),
            Victim::Kafka => self.kafka.server.signal(signal),
        }
    }

    /// Starts a victim again that was killed or asked to end, and does not wait until it serves.
    fn start(&mut self, stage: &mut Stage, victim: Victim) -> io::Result<()> {
        let ended = match victim {
            Victim::Daemon => self.has_stopped(stage),
            Victim::ClickHouse => self.clickhouse.server.ended(),
            Victim::Kafka => self.kafka.server.ended(),
        };
        if !ended {
            self.deeds.add("killed", victim);
            stage.report.kills += 1;
        }
        self.kill(victim)?;
        match victim {
            Victim::Daemon => self.daemon = Some(stage.target.serve(&stage.data, &stage.output())?),
            Victim::ClickHouse => self.clickhouse.server.start()?,
            Victim::Kafka => self.kafka.server.start()?,
        }
        Ok(())
    }

    /// Whether the daemon is gone, which, if it was asked to, must not be with an error.
    fn has_stopped(&mut self, stage: &mut Stage) -> bool {
        let Some(daemon) = &mut self.daemon else { return true };
        let Some(status) = daemon.exited() else { return false };
        // Very early in its life it does not listen to signals yet.
        if !status.success() && status.signal() != Some(Signal::TERM.as_raw()) {
            let detail = format!("a stop ended with {status}: {}", self.last_words());
            stage.report.violation(Kind::Lifecycle, detail);
        }
        true
    }

    /// Waits until everybody serves again; a daemon that does not is a broken promise.
    fn wait_ready(&mut self, stage: &mut Stage) -> io::Result<()> {
        self.clickhouse.wait_ready()?;
        self.kafka.wait_ready()?;
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let ready = match (daemon.exited(), daemon.address()) {
            (Some(status), _) => Err(format!("ended by itself with {status}: {}", last_words(&daemon.said()))),
            (None, Some(_)) => Ok(()),
            (None, None) => daemon.wait_ready(stage.target.start_within).map(drop),
        };
        if let Err(why) = ready {
            stage.report.violation(Kind::Lifecycle, format!("the daemon {why}"));
        }
        Ok(())
    }

    fn last_words(&self) -> String {
        self.daemon.as_ref().map(|daemon| last_words(&daemon.said())).unwrap_or_default()
    }
}

/// Blows under load; then everybody is back, and every sink must have everything.
fn one_round(stage: &mut Stage, cast: &mut Cast, load_ms_max: u64) -> io::Result<()> {
    if cast.daemon.is_none() {
        cast.daemon = stage.start();
    }
    let Some(daemon) = &cast.daemon else { return Ok(()) };
    let load_ms = stage.rng.between(500, load_ms_max.max(500));
    let acts = acts(&mut stage.rng, load_ms, ABORT_MS);
    let haste = if stage.rng.percent(20) { 4 } else { 1 };
    let pause = stage.work.pause;
    stage.work.pause = pause / haste;
    let load = stage.load(daemon, Mix::Everything)?;
    stage.work.pause = pause;
    let told: Vec<String> = acts.iter().map(Act::to_string).collect();
    note(stage, &format!("round {}: {}", stage.report.rounds, told.join(", ")))?;
    let begun = Instant::now();
    for act in acts {
        std::thread::sleep(Duration::from_millis(act.at_ms).saturating_sub(begun.elapsed()));
        cast.perform(stage, act)?;
    }
    cast.wait_ready(stage)?;
    load.stop()?;
    let back = Instant::now();
    flush(stage, cast)?;
    cast.longest_flush = cast.longest_flush.max(back.elapsed());
    note(stage, &format!("round {}: caught up in {} ms", stage.report.rounds, back.elapsed().as_millis()))
}

/// Writes to the run's diary, by which the daemon's log can be read.
fn note(stage: &Stage, text: &str) -> io::Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().create(true).append(true).open(stage.dir.join("diary.txt"))?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    writeln!(file, "{}.{:03} {text}", now.as_secs(), now.subsec_millis())
}

/// Waits until every sink has everything; the counts must balance.
fn flush(stage: &mut Stage, cast: &Cast) -> io::Result<()> {
    if !stage.sound_so_far() {
        return Ok(());
    }
    let output = stage.target.admin(&["flush"], &stage.data)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let detail = format!("flush: {}; the daemon's log ends with {}", last_lines(&said, 3), cast.last_words());
        stage.report.violation(Kind::Sink, detail);
        return Ok(());
    }
    let output = stage.target.admin(&["audit", "--json"], &stage.data)?;
    let said = String::from_utf8_lossy(&output.stdout);
    let told: Value = serde_json::from_str(&said).unwrap_or_default();
    let given_up = |sink: &Value| ["dead", "expired", "lost"].iter().any(|what| sink["ledger"][what] != 0);
    let sinks = told["sinks"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !output.status.success() || sinks.len() != 2 || sinks.iter().any(given_up) {
        stage.report.violation(Kind::Sink, format!("admin audit does not balance: {said}"));
    }
    Ok(())
}

/// Holds log, tables and topics against each other and against what was promised.
fn check(stage: &mut Stage, cast: &mut Cast, from_the_beginning: bool, plant: bool) -> io::Result<()> {
    // Nothing is under way any more once the daemon has drained, so the log stays as it is.
    if let Some(daemon) = cast.daemon.take() {
        stage.resend(&daemon, RESENT_PER_CHECK);
        stage.drain(daemon);
    }
    let accepted = check_log(stage)?;
    cast.daemon = stage.start();
    flush(stage, cast)?;
    if !stage.sound_so_far() {
        return Ok(());
    }
    let letters = settle_letters(stage, cast)?;
    if plant {
        damage(&cast.clickhouse, &accepted)?;
    }
    check_tables(stage, cast, &accepted, letters)?;
    check_topics(stage, cast, &accepted, letters, from_the_beginning)
}

/// Holds the log of a stopped daemon against the ledger; returns what it holds.
fn check_log(stage: &mut Stage) -> io::Result<BTreeMap<u64, String>> {
    let log = dump(&stage.target, &stage.data, &stage.tag, &stage.dir.join("dump.err"), &mut stage.report)?;
    let accepted = log.ids(&stage.tag);
    let (stored, violations) = audit(&mut lock(&stage.ledger), log, Stored::default(), Files::None)?;
    stage.report.audits += 1;
    stage.report.stored = stored;
    stage.report.violations.extend(violations);
    Ok(accepted)
}

/// Waits until every sink has all dead letters; returns how many there are.
fn settle_letters(stage: &mut Stage, cast: &Cast) -> io::Result<u64> {
    let address = cast.daemon.as_ref().and_then(Daemon::address).ok_or_else(|| io::Error::other("no daemon"))?;
    let mut http = Client::new(address, Duration::from_secs(10));
    let mut status = Value::Null;
    let settled = wait_until(LETTERS_WITHIN, || {
        status = http.get("/pipeline/status").map(|answer| answer.json()).unwrap_or_default();
        let next = &status["deadLetters"]["next"];
        let sinks = status["sinks"].as_array().map(Vec::as_slice).unwrap_or_default();
        next.is_u64() && !sinks.is_empty() && sinks.iter().all(|sink| sink["nextDeadLetter"] == *next)
    });
    if !settled {
        stage.report.violation(Kind::Sink, format!("dead letters do not arrive: {status}"));
    }
    Ok(status["deadLetters"]["next"].as_u64().unwrap_or(1) - 1)
}

/// Deletes a row and doubles another.
fn damage(clickhouse: &ClickHouse, accepted: &BTreeMap<u64, String>) -> io::Result<()> {
    let middle = accepted.len() as u64 / 2;
    clickhouse.sql(&format!("ALTER TABLE events_raw DELETE WHERE seq = {middle} SETTINGS mutations_sync = 2"))?;
    let double = format!("INSERT INTO events_processed SELECT * FROM events_processed WHERE seq = {middle}");
    clickhouse.sql(&double).map(drop)
}

fn check_tables(stage: &mut Stage, cast: &Cast, accepted: &BTreeMap<u64, String>, letters: u64) -> io::Result<()> {
    for table in TABLES {
        let rows = cast.clickhouse.rows(table, "seq")?;
        stage.report.violations.extend(compare(table, accepted, &rows));
    }
    let rows = cast.clickhouse.rows(ERRORS, "dead_seq")?;
    let ledger = lock(&stage.ledger);
    stage.report.violations.extend(compare_dead(ERRORS, letters, &ledger.events, &stage.tag, &rows));
    Ok(())
}

/// The topics are read on from where the last check stopped, or, to be sure of that too, from their beginning.
fn check_topics(
    stage: &mut Stage,
    cast: &mut Cast,
    accepted: &BTreeMap<u64, String>,
    letters: u64,
    from_the_beginning: bool,
) -> io::Result<()> {
    if from_the_beginning {
        cast.reader = None;
    }
    let reader = match &mut cast.reader {
        Some(reader) => reader,
        None => cast.reader.insert(cast.kafka.reader(&[&TOPICS[..], &[LETTERS]].concat())?),
    };
    let begun = Instant::now();
    let rows = loop {
        let rows = reader.read()?;
        let wanted = TOPICS.len() * accepted.len() + letters as usize;
        // The last commit may become visible a moment later than it was answered.
        if rows.values().map(Vec::len).sum::<usize>() >= wanted || begun.elapsed() > VISIBLE_WITHIN {
            break rows.clone();
        }
        std::thread::sleep(Duration::from_millis(100));
    };
    for topic in TOPICS {
        stage.report.violations.extend(compare(topic, accepted, &rows[topic]));
        stage.report.violations.extend(in_order(topic, &rows[topic]));
    }
    let ledger = lock(&stage.ledger);
    stage.report.violations.extend(compare_dead(LETTERS, letters, &ledger.events, &stage.tag, &rows[LETTERS]));
    Ok(())
}
