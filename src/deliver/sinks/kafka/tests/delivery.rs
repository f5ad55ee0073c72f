//! What arrives, against a real broker.

mod support;

use event::Seq;
use kafka_sink::{
    DeadLetter, Delivery, Event, Fault, History, Item, Position, Reason, Session, Slice, Start, Step, Topic, Watermark,
};
use prepare::processed::Extractor;
use record::{EventView, SegmentMeta};
use std::collections::HashMap;
use support::{Broker, INCARNATION, Log, assert_each_once, assert_in_order, at, config, event_topics, push};

const REAL: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../../examples/cart-events.ndjson");

/// The events of the example file, each id once, as the log would hold them.
fn real_events() -> Vec<(String, String)> {
    let text = std::fs::read_to_string(REAL).unwrap();
    let mut seen = std::collections::HashSet::new();
    let mut extractor = Extractor::new();
    let mut events = Vec::new();
    for line in text.lines() {
        let Ok(envelope) = extractor.extract(&view(1, line)) else { continue };
        if seen.insert(envelope.event_id.to_owned()) {
            events.push((envelope.event_id.to_owned(), line.to_owned()));
        }
    }
    events
}

fn view(seq: u64, raw: &str) -> EventView<'_> {
    let received_at = event::UnixMicros::new(0);
    let segment = SegmentMeta { tenant: "shop", source: 0, received_at, traceparent: Some("00-4bf9-00f0-01") };
    let (seq, raw) = (Seq::new(seq), raw.as_bytes());
    EventView { seq, committed_at: received_at, segment, event_type: 0, event_id: None, timestamp: None, raw }
}

#[test]
fn real_events_arrive_once_each_in_every_topic() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let events = real_events();
    assert_eq!(events.len(), 10_828);
    let starts = [(INCARNATION, Seq::FIRST)];
    let history = History { starts: &starts, end: at(events.len() as u64) };
    let start = Start { run: 1, history, cursor: None, passed: None, begin: Position::START };
    let mut session = Session::open(config.clone(), &start).unwrap();
    let mut extractor = Extractor::new();
    let mut slice = Slice::new(Position::START);
    let numbered: Vec<_> = events.iter().zip(1_u64..).collect();
    for chunk in numbered.chunks(1000) {
        slice.restart(session.position());
        for ((_, line), seq) in chunk {
            let stored = view(*seq, line);
            let envelope = extractor.extract(&stored).unwrap();
            slice.push(&Event {
                seq: stored.seq,
                incarnation: INCARNATION,
                tenant: stored.segment.tenant,
                event_id: envelope.event_id,
                event_type: envelope.event_type,
                session_id: envelope.session_id,
                schema_version: 1,
                traceparent: stored.segment.traceparent,
                raw: stored.raw,
                validated: Some(stored.raw),
                enriched: Some(envelope.data.as_bytes()),
            });
        }
        session.send(&slice).unwrap();
    }
    let records = assert_each_once(&broker, &config, 10_828);
    let by_place: HashMap<_, _> = records.iter().map(|record| ((&*record.topic, record.seq()), record)).collect();
    for ((id, line), seq) in &numbered {
        let raw = by_place[&(&*config.topics.raw, *seq)];
        assert_eq!(raw.value.as_deref(), Some(line.as_bytes()));
        let stored = view(*seq, line);
        let envelope = extractor.extract(&stored).unwrap();
        for topic in event_topics(&config) {
            let record = by_place[&(topic, *seq)];
            assert_eq!(record.key.as_deref(), Some(envelope.session_id.as_bytes()));
            let headers: Vec<_> = record.headers.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
            assert_eq!(
                headers,
                [
                    ("event_id", id.as_str()),
                    ("event_type", envelope.event_type),
                    ("tenant", "shop"),
                    ("seq", &seq.to_string()),
                    ("incarnation", "00000000000000a1"),
                    ("schema_version", "1"),
                    ("traceparent", "00-4bf9-00f0-01"),
                ]
            );
        }
    }
    let marks = support::decided(&broker, &[&config.topics.watermarks]);
    let newest = marks.last().unwrap();
    assert_eq!(newest.key.as_deref(), Some(config.transactional_id.as_bytes()));
    let mark = Watermark::decode(newest.value.as_deref().unwrap()).unwrap();
    assert_eq!(mark, Watermark { run: 1, incarnation: INCARNATION, position: at(10_828) });
}

#[test]
fn what_is_not_committed_is_not_seen() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(20);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    let topics = event_topics(&config).map(str::to_owned);
    let (asked, looks) = (topics.clone(), broker.clone());
    let (seen, sees) = std::sync::mpsc::channel();
    let mut session = session.with_probe(Box::new(move |step| {
        let topics = asked.each_ref().map(String::as_str);
        seen.send((step, looks.committed(&topics).len(), looks.uncommitted(&topics).len())).unwrap();
    }));
    log.ship(&mut session, 20, 10).unwrap();
    assert_eq!(sees.try_iter().collect::<Vec<_>>(), [(Step::Filled, 30, 60), (Step::Committed, 60, 60)]);
    drop(session);
    // A session that ends in the middle of a transaction: the next one has it aborted.
    let log = Log::of(30);
    let start = log.start(2, Some(20));
    let session = Session::open(config.clone(), &start).unwrap();
    let mut session = session.with_probe(Box::new(|step| {
        assert!(step == Step::Committed, "ends here");
    }));
    let sent = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| session.send(&log.slice(at(20), 10))));
    assert!(sent.is_err());
    drop(session);
    let topics = topics.each_ref().map(String::as_str);
    assert!(broker.has_open_transaction(&topics));
    let session = Session::open(config.clone(), &log.start(3, Some(20))).unwrap();
    assert_eq!(session.position(), at(20));
    assert!(!broker.has_open_transaction(&topics));
    assert_eq!(broker.uncommitted(&topics).len(), 90);
    assert_each_once(&broker, &config, 20);
}

#[test]
fn a_slice_that_comes_again_changes_nothing() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(20);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    let first = log.slice(at(0), 10);
    session.send(&first).unwrap();
    session.send(&first).unwrap();
    assert_eq!(session.send(&log.slice(at(15), 5)), Err(Fault::Moved(at(10))));
    // Of one that is there in part, the rest is sent.
    session.send(&log.slice(at(5), 10)).unwrap();
    assert_eq!(session.position(), at(15));
    assert_eq!(session.send(&log.slice(at(5), 9)), Err(Fault::Moved(at(15))));
    session.send(&log.slice(at(15), 5)).unwrap();
    assert_each_once(&broker, &config, 20);
}

#[test]
fn dead_letters_have_a_position_of_their_own() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(3);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    let letter = |dead_seq, session_id| DeadLetter {
        dead_seq,
        seq: None,
        tenant: "default",
        event_id: Some("e"),
        event_type: None,
        session_id,
        code: "not_json",
        pointer: Some("/data"),
        detail: None,
        traceparent: None,
        raw: b"\xff{",
    };
    let mut slice = log.slice(Position::START, 3);
    slice.push_dead(&letter(1, Some("s")));
    slice.push_dead(&letter(2, None));
    session.send(&slice).unwrap();
    let mut slice = Slice::new(session.position());
    slice.push_dead(&letter(3, Some("s")));
    slice.cover(Position { seq: Seq::new(3), dead_seq: 5 }, INCARNATION);
    session.send(&slice).unwrap();
    drop(session);
    let records = support::decided(&broker, &[&config.topics.dead]);
    let mut numbers: Vec<_> = records.iter().map(|record| record.header("dead_seq")).collect();
    numbers.sort_unstable();
    assert_eq!(numbers, ["1", "2", "3"]);
    for record in &records {
        assert_eq!((record.header("code"), record.header("pointer")), ("not_json", "/data"));
        assert_eq!(record.value.as_deref(), Some(&b"\xff{"[..]));
    }
    let mut start = log.start(2, Some(3));
    start.history.end.dead_seq = 5;
    let session = Session::open(config, &start).unwrap();
    assert_eq!(session.position(), Position { seq: Seq::new(3), dead_seq: 5 });
}

/// An event that cannot be taken apart: it has no key.
fn push_keyless(slice: &mut Slice, seq: u64) {
    slice.push(&Event {
        seq: Seq::new(seq),
        incarnation: INCARNATION,
        tenant: "default",
        event_id: "",
        event_type: "",
        session_id: "",
        schema_version: 1,
        traceparent: None,
        raw: b"no session",
        validated: None,
        enriched: None,
    });
}

/// Each of the events but these is once in each topic.
#[track_caller]
fn assert_once_without(broker: &Broker, config: &kafka_sink::Config, end: u64, refused: &[u64]) {
    let records = support::decided(broker, &event_topics(config));
    assert_in_order(&records);
    let wanted: Vec<_> = (1..=end).filter(|seq| !refused.contains(seq)).collect();
    let found = support::seqs(&records);
    assert_eq!(found.len(), 3);
    for (topic, found) in found {
        assert_eq!(found, wanted, "{topic}");
    }
}

#[test]
fn what_is_too_large_for_a_topic_is_named_before_anything_is_sent_and_the_rest_flows() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    support::make_topic(&config, &config.topics.raw, &[("max.message.bytes", "102400")]);
    let log = Log::of(2_000);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    // Beyond what the topic takes, though it compresses well; beyond what any of our topics takes.
    let sizes = HashMap::from([(700, 200 << 10), (1_100, 3_000_000), (1_999, 200 << 10)]);
    let mut slice = Slice::new(Position::START);
    for seq in 1..=2_000 {
        push(&mut slice, INCARNATION, seq, &vec![b'x'; sizes.get(&seq).copied().unwrap_or(0)]);
    }
    let Err(Fault::Refused(refused)) = session.send(&slice) else { panic!("it takes them") };
    assert!(broker.uncommitted(&event_topics(&config)).is_empty());
    let named: Vec<_> = refused.iter().map(|refused| (refused.item, refused.topic, refused.reason)).collect();
    let wanted = [700, 1_100, 1_999].map(|seq| (Item::Event(Seq::new(seq)), Topic::Raw, Reason::TooLarge));
    assert_eq!(named, wanted);
    refused.iter().for_each(|refused| slice.remove(refused.item));
    session.send(&slice).unwrap();
    assert_eq!(session.position(), at(2_000));
    assert_once_without(&broker, &config, 2_000, &[700, 1_100, 1_999]);
}

#[test]
fn a_limit_is_kept_to_the_byte() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    support::uncompressed(&mut config);
    support::make_topic(&config, &config.topics.raw, &[("max.message.bytes", "20000")]);
    let log = Log::of(2);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    let of_size = |more: usize| {
        let mut slice = Slice::new(Position::START);
        push(&mut slice, INCARNATION, 1, &vec![b'x'; more]);
        slice
    };
    let less = 20_000 - of_size(10_000).messages().next().unwrap().batch_bytes() + 10_000;
    assert!(matches!(session.send(&of_size(less + 1)), Err(Fault::Refused(_))));
    // The broker itself takes what just fits: nothing is refused that could be delivered.
    session.send(&of_size(less)).unwrap();
    assert_each_once(&broker, &config, 1);
}

#[test]
fn small_messages_whose_batch_is_too_large_are_blamed_for_nothing() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    support::uncompressed(&mut config);
    // Batches larger than the topic takes.
    config.options.set("batch.size", "1000000");
    config.options.set("linger.ms", "100");
    support::make_topic(&config, &config.topics.raw, &[("max.message.bytes", "20000")]);
    let log = Log::of(120);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    let mut slice = Slice::new(Position::START);
    for seq in 1..=120 {
        push(&mut slice, INCARNATION, seq, &[b'x'; 1_000]);
    }
    session.send(&slice).unwrap();
    assert_each_once(&broker, &config, 120);
}

#[test]
fn a_record_that_a_topic_finds_invalid_is_named_among_many() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    // Room for a part of the slice: the rest waits for what the broker says of the first ones.
    config.options.set("queue.buffering.max.messages", "300");
    // A compacted topic takes no record without a key.
    support::make_topic(&config, &config.topics.raw, &[("cleanup.policy", "compact")]);
    let log = Log::of(400);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    let mut slice = Slice::new(Position::START);
    for seq in 1..=400 {
        if seq == 7 || seq == 280 {
            push_keyless(&mut slice, seq);
        } else {
            push(&mut slice, INCARNATION, seq, &[]);
        }
    }
    for guilty in [7, 280] {
        let sent = session.send(&slice);
        let Err(Fault::Refused(refused)) = sent else { panic!("{sent:?}, {session:?}") };
        let [refused] = &*refused else { panic!("{refused:?}") };
        let wanted = (Item::Event(Seq::new(guilty)), Topic::Raw, Reason::Invalid);
        assert_eq!((refused.item, refused.topic, refused.reason), wanted);
        assert_eq!(session.position(), at(guilty - 1), "what comes before is delivered");
        slice.remove(refused.item);
    }
    session.send(&slice).unwrap();
    assert_once_without(&broker, &config, 400, &[7, 280]);
}

#[test]
fn at_least_once_needs_no_transaction() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    config.delivery = Delivery::AtLeastOnce;
    let log = Log::of(100);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 60, 25).unwrap();
    drop(session);
    let mut session = Session::open(config.clone(), &log.start(2, Some(60))).unwrap();
    log.ship(&mut session, 100, 25).unwrap();
    let records = assert_each_once(&broker, &config, 100);
    assert_eq!(records.len(), broker.uncommitted(&event_topics(&config)).len());
    let marks = support::decided(&broker, &[&config.topics.watermarks]);
    let newest = Watermark::decode(marks.last().unwrap().value.as_deref().unwrap()).unwrap();
    assert_eq!(newest, Watermark { run: 2, incarnation: INCARNATION, position: at(100) });
}
