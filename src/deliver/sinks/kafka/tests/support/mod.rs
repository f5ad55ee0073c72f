//! A log to hand over, a shipper that does it, and what has to be in the topics afterwards.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

#[path = "../../../../../../tests/support/kafka/mod.rs"]
mod kafka;

pub use kafka::{Broker, Record, eventually};

use event::Seq;
use kafka_sink::{Config, Create, Event, Failure, Fault, History, Position, Session, Slice, Start, Topics};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::config::ClientConfig;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

/// A config on topics of its own.
pub fn config(address: &str) -> Config {
    static TESTS: AtomicU32 = AtomicU32::new(0);
    let number = TESTS.fetch_add(1, Ordering::Relaxed);
    let mut config = Config::new(address, format!("node-{number}-kafka"));
    config.topics = Topics::with_prefix(&format!("test-{number}"));
    config.create = Some(Create { partitions: 3, watermark_partitions: 1, replication: 1 });
    config.patience = Duration::from_secs(120);
    config
}

pub fn at(seq: u64) -> Position {
    Position { seq: Seq::new(seq), dead_seq: 0 }
}

/// The incarnation that committed all of a log's events, if nothing else is said.
pub const INCARNATION: u64 = 0xa1;

/// A log with the events 1 to `end`.
#[derive(Debug, Clone)]
pub struct Log {
    pub starts: Vec<(u64, Seq)>,
    pub end: u64,
}

impl Log {
    pub fn of(end: u64) -> Self {
        Log { starts: vec![(INCARNATION, Seq::FIRST)], end }
    }

    pub fn history(&self) -> History<'_> {
        History { starts: &self.starts, end: at(self.end) }
    }

    pub fn start(&self, run: u64, cursor: Option<u64>) -> Start<'_> {
        Start { run, history: self.history(), cursor: cursor.map(at), passed: None, begin: Position::START }
    }

    /// The events after a position, at most `count`.
    pub fn slice(&self, after: Position, count: u64) -> Slice {
        let mut slice = Slice::new(after);
        for seq in after.seq.get() + 1..=self.end.min(after.seq.get() + count) {
            push(&mut slice, self.history().incarnation_at(Seq::new(seq)), seq, &[]);
        }
        slice
    }

    /// Hands over what the topics do not have up to `until`, as a shipper does.
    pub fn ship(&self, session: &mut Session, until: u64, count: u64) -> Result<(), Failure> {
        let deadline = Instant::now() + Duration::from_secs(180);
        while session.position() != at(until) {
            let left = until - session.position().seq.get();
            match session.send(&self.slice(session.position(), count.min(left))) {
                Ok(()) | Err(Fault::Moved(_)) => {}
                Err(Fault::Failed(failure)) => return Err(failure),
                Err(Fault::Unavailable(text)) if Instant::now() < deadline => eprintln!("again: {text}"),
                Err(fault) => panic!("{fault}"),
            }
        }
        Ok(())
    }
}

/// Opens the first session, however long the broker takes.
pub fn open(config: &Config, log: &Log) -> Session {
    let mut opened = None;
    eventually("a session opens", || {
        opened = Session::open(config.clone(), &log.start(1, None)).ok();
        opened.is_some()
    });
    opened.unwrap()
}

/// Adds event `seq`; its raw form has `more` at its end.
pub fn push(slice: &mut Slice, incarnation: u64, seq: u64, more: &[u8]) {
    let [id, session, raw] = [format!("e-{seq}"), format!("s-{}", seq % 7), format!("raw {seq}")];
    slice.push(&Event {
        seq: Seq::new(seq),
        incarnation,
        tenant: "default",
        event_id: &id,
        event_type: "cart_created",
        session_id: &session,
        schema_version: 1,
        traceparent: None,
        raw: &[raw.as_bytes(), more].concat(),
        validated: Some(format!("validated {seq}").as_bytes()),
        enriched: Some(format!("enriched {seq}").as_bytes()),
    });
}

/// The topics that every event goes to.
pub fn event_topics(config: &Config) -> [&str; 3] {
    [&config.topics.raw, &config.topics.validated, &config.topics.enriched]
}

/// `seq` of the committed records, per topic, ascending.
pub fn seqs(records: &[Record]) -> BTreeMap<&str, Vec<u64>> {
    let mut seqs: BTreeMap<&str, Vec<u64>> = BTreeMap::new();
    for record in records {
        seqs.entry(&record.topic).or_default().push(record.seq());
    }
    seqs.values_mut().for_each(|seqs| seqs.sort_unstable());
    seqs
}

/// What readers of committed records see once no transaction is open: a commit may return before readers can see it.
pub fn decided(broker: &Broker, topics: &[&str]) -> Vec<Record> {
    eventually("no transaction is open", || !broker.has_open_transaction(topics));
    broker.committed(topics)
}

/// Each of the events 1 to `end` is once in each topic, where Kafka's own producer would have put it, and those of a
/// session are in order.
#[track_caller]
pub fn assert_each_once(broker: &Broker, config: &Config, end: u64) -> Vec<Record> {
    let topics = event_topics(config);
    let records = decided(broker, &topics);
    assert_in_order(&records);
    let seqs = seqs(&records);
    for topic in topics {
        let found = seqs.get(topic).map_or(&[][..], Vec::as_slice);
        assert!(found.iter().copied().eq(1..=end), "{topic} has {} of {end} events: {found:?}", found.len());
    }
    records
}

#[track_caller]
pub fn assert_in_order(records: &[Record]) {
    let mut last: HashMap<(&str, &[u8]), u64> = HashMap::new();
    for record in records {
        let key = record.key.as_deref().unwrap();
        assert_eq!(record.partition, record.javas_partition, "{record:?}");
        let before = last.insert((&record.topic, key), record.seq());
        assert!(before.is_none_or(|before| before < record.seq()), "{before:?} before {record:?}");
    }
}

/// Makes a topic, which must not be there, with settings of its own.
#[track_caller]
pub fn make_topic(config: &Config, name: &str, settings: &[(&str, &str)]) {
    let topic = NewTopic::new(name, 3, TopicReplication::Fixed(1));
    let topic = settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value));
    let made = wait(admin(config).create_topics([&topic], &AdminOptions::new()));
    made.unwrap().remove(0).unwrap();
}

/// The settings under which a batch is no larger, and no smaller, than its messages.
pub fn uncompressed(config: &mut Config) {
    config.options.set("compression.type", "none");
}

/// Takes a topic away, and waits until it is gone.
#[track_caller]
pub fn delete_topic(config: &Config, name: &str) {
    let admin = admin(config);
    wait(admin.delete_topics(&[name], &AdminOptions::new())).unwrap().remove(0).unwrap();
    eventually("the topic is gone", || {
        let metadata = admin.inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
        metadata.topics().iter().all(|topic| topic.name() != name)
    });
}

/// The topics that are there.
pub fn topics(config: &Config) -> Vec<String> {
    let metadata = admin(config).inner().fetch_metadata(None, Duration::from_secs(30)).unwrap();
    metadata.topics().iter().map(|topic| topic.name().to_owned()).collect()
}

fn admin(config: &Config) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &config.bootstrap_servers).create().unwrap()
}

fn wait<F: Future>(future: F) -> F::Output {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
