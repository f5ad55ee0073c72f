//! The broker dies at the worst moments.

mod support;

use kafka_sink::{Delivery, Fault, Session, Step};
use std::sync::Arc;
use std::thread::{self, JoinHandle};
use std::time::Duration;
use support::{Broker, Log, assert_each_once, at, config, event_topics, eventually, open};

/// Kills the broker a while after the given step of the slices that `kills` says, and brings it back while the sender
/// tries on.
struct Torment {
    broker: Arc<Broker>,
    step: Step,
    kills: fn(u64) -> Option<Duration>,
    slices: u64,
    running: Option<JoinHandle<()>>,
}

impl Torment {
    fn of(broker: &Arc<Broker>, step: Step, kills: fn(u64) -> Option<Duration>) -> Self {
        Torment { broker: Arc::clone(broker), step, kills, slices: 0, running: None }
    }

    fn watch(mut self, session: Session) -> Session {
        session.with_probe(Box::new(move |step| {
            if step != self.step {
                return;
            }
            self.slices += 1;
            let Some(delay) = (self.kills)(self.slices) else { return };
            self.rest();
            if delay.is_zero() {
                self.broker.kill();
            }
            let broker = Arc::clone(&self.broker);
            self.running = Some(thread::spawn(move || {
                thread::sleep(delay);
                broker.kill();
                broker.restart();
            }));
        }))
    }

    /// Waits until the broker is back.
    fn rest(&mut self) {
        if let Some(running) = self.running.take() {
            running.join().unwrap();
        }
    }
}

impl Drop for Torment {
    fn drop(&mut self) {
        if let Some(running) = self.running.take() {
            running.join().ok();
        }
    }
}

fn broker_and_config() -> (Arc<Broker>, kafka_sink::Config) {
    let broker = Arc::new(Broker::start());
    let mut config = config(&broker.address());
    // Shorter than a start of the broker: some calls are given up with their outcome unknown.
    config.patience = Duration::from_secs(4);
    (broker, config)
}

#[test]
fn each_event_arrives_once_though_the_broker_is_killed_before_the_commit() {
    let (broker, config) = broker_and_config();
    let log = Log::of(1000);
    let torment = Torment::of(&broker, Step::Filled, |slice| (slice == 5).then_some(Duration::ZERO));
    let mut session = torment.watch(open(&config, &log));
    log.ship(&mut session, 1000, 100).unwrap();
    drop(session);
    assert_each_once(&broker, &config, 1000);
}

#[test]
fn each_event_arrives_once_though_the_broker_is_killed_after_the_commit() {
    let (broker, config) = broker_and_config();
    let log = Log::of(1000);
    let torment = Torment::of(&broker, Step::Committed, |slice| (slice == 5).then_some(Duration::ZERO));
    let mut session = torment.watch(open(&config, &log));
    log.ship(&mut session, 1000, 100).unwrap();
    drop(session);
    assert_each_once(&broker, &config, 1000);
}

#[test]
fn each_event_arrives_once_though_the_broker_is_killed_during_the_commit() {
    let (broker, config) = broker_and_config();
    let log = Log::of(500);
    // A little later each time: this is about the race, not about an order.
    let during = |slice: u64| slice.is_multiple_of(8).then(|| Duration::from_micros(slice * 250));
    let mut session = Torment::of(&broker, Step::Filled, during).watch(open(&config, &log));
    log.ship(&mut session, 500, 20).unwrap();
    drop(session);
    assert_each_once(&broker, &config, 500);
}

#[test]
fn at_least_once_loses_nothing_though_the_broker_is_killed() {
    let (broker, mut config) = broker_and_config();
    config.delivery = Delivery::AtLeastOnce;
    let log = Log::of(1000);
    let torment = Torment::of(&broker, Step::Committed, |slice| (slice == 3).then_some(Duration::from_millis(2)));
    let mut session = torment.watch(open(&config, &log));
    log.ship(&mut session, 1000, 100).unwrap();
    assert_eq!(session.position(), at(1000));
    drop(session);
    let records = broker.committed(&event_topics(&config));
    for (topic, mut found) in support::seqs(&records) {
        found.dedup();
        assert!(found.iter().copied().eq(1..=1000), "{topic}: {found:?}");
    }
}

#[test]
fn a_commit_whose_answer_is_lost_is_found_in_the_watermark() {
    let broker = Broker::shared();
    let proxy = broker.proxy();
    let mut config = config(&proxy.address());
    let log = Log::of(30);
    let mut session = open(&config, &log);
    log.ship(&mut session, 10, 10).unwrap();
    drop(session);
    config.patience = Duration::from_secs(5);
    let session = open(&config, &log);
    let loses = proxy.clone();
    let mut session = session.with_probe(Box::new(move |step| {
        assert_eq!(step, Step::Filled, "it cannot know");
        loses.lose_answers();
    }));
    let slice = log.slice(at(10), 10);
    let sent = session.send(&slice);
    assert!(matches!(sent, Err(Fault::Unavailable(_))), "{sent:?}");
    assert_eq!(session.position(), at(10));
    let topics = event_topics(&config);
    eventually("it is committed", || broker.committed(&topics).len() == 60);
    proxy.mend();
    // The very same slice: it is found there.
    let mut session = session.with_probe(Box::new(|step| panic!("{step:?} of what is there already")));
    eventually("it is asked for", || match session.send(&slice) {
        Ok(()) => true,
        Err(Fault::Unavailable(_)) => false,
        other => panic!("{other:?}"),
    });
    assert_eq!(session.position(), at(20));
    let mut session = session.with_probe(Box::new(|_| ()));
    log.ship(&mut session, 30, 10).unwrap();
    assert_each_once(&broker, &config, 30);
}

#[test]
fn a_link_on_which_a_slice_takes_longer_than_a_transaction_may_gets_it_in_parts() {
    // The way past the proxy is one for each broker.
    let broker = Broker::start();
    let proxy = broker.proxy();
    let mut config = config(&proxy.address());
    support::uncompressed(&mut config);
    let log = Log::of(120);
    let mut session = open(&config, &log);
    log.ship(&mut session, 20, 20).unwrap();
    drop(session);
    config.patience = Duration::from_secs(4);
    config.transaction_timeout = Duration::from_secs(10);
    let mut session = open(&config, &log);
    assert_eq!(session.position(), at(20));
    let mut slice = kafka_sink::Slice::new(at(20));
    for seq in 21..=120 {
        support::push(&mut slice, support::INCARNATION, seq, &vec![b'x'; 100_000]);
    }
    // Ten megabytes: fifteen seconds at once.
    proxy.slow_down(650_000);
    eventually("it arrives", || match session.send(&slice) {
        Ok(()) => true,
        Err(Fault::Unavailable(text)) => {
            eprintln!("again with {}: {text}", session.slice_bytes());
            false
        }
        other => panic!("{other:?}"),
    });
    assert!(session.slice_bytes() < 8 << 20, "{}", session.slice_bytes());
    assert_each_once(&broker, &config, 120);
}
