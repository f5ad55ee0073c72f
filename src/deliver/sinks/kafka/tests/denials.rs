//! What the cluster says no to, and how it is told.

mod support;

use kafka_sink::{Create, Fault, Session, Start};
use std::time::Duration;
use support::{Broker, Log, assert_each_once, config, delete_topic, eventually, open};

/// What a session is denied with, however long the cluster takes to say it.
#[track_caller]
fn denied(config: &kafka_sink::Config, start: &Start<'_>) -> String {
    let mut denied = None;
    eventually("it is denied", || match Session::open(config.clone(), start) {
        Err(Fault::Denied(text)) => !denied.insert(text).is_empty(),
        Err(Fault::Unavailable(_)) => false,
        other => panic!("{other:?}"),
    });
    denied.unwrap()
}

/// That nobody is there is no denial, and names who was called.
#[track_caller]
fn assert_unavailable(address: &str) {
    let mut config = config(address);
    config.patience = Duration::from_secs(2);
    let log = Log::of(1);
    eventually("it is named", || match Session::open(config.clone(), &log.start(1, None)) {
        Err(Fault::Unavailable(text)) => text.contains(address),
        other => panic!("{other:?}"),
    });
}

#[test]
fn an_unknown_host_is_named_and_may_appear_later() {
    assert_unavailable("no-such-host.invalid:9092");
}

#[test]
fn a_port_where_nobody_listens_is_named() {
    assert_unavailable("127.0.0.1:1");
}

#[test]
fn topics_that_are_missing_are_not_made_unless_that_is_wanted() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    config.create = None;
    let log = Log::of(1);
    let text = denied(&config, &log.start(1, None));
    assert!(text.contains(&config.topics.raw) && text.contains("missing"), "{text}");
    assert!(!support::topics(&config).contains(&config.topics.raw));
}

#[test]
fn a_broker_that_will_not_make_a_topic_is_quoted() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    config.create = Some(Create { replication: 3, ..Create::default() });
    let log = Log::of(1);
    let text = denied(&config, &log.start(1, None));
    assert!(text.contains(&config.topics.raw) && text.to_lowercase().contains("replication"), "{text}");
}

#[test]
fn a_watermark_topic_that_forgets_is_refused() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    support::make_topic(&config, &config.topics.watermarks, &[("cleanup.policy", "delete")]);
    let log = Log::of(1);
    let text = denied(&config, &log.start(1, None));
    assert!(text.contains(&config.topics.watermarks) && text.contains("compact"), "{text}");
}

/// Settings under which a topic that has gone is missed soon.
fn attentive(broker: &Broker) -> kafka_sink::Config {
    let mut config = config(&broker.address());
    config.patience = Duration::from_secs(10);
    config.options.set("topic.metadata.refresh.interval.ms", "500");
    config.options.set("topic.metadata.propagation.max.ms", "1000");
    config
}

#[test]
fn a_topic_that_is_taken_away_is_made_again() {
    let broker = Broker::shared();
    let config = attentive(&broker);
    let log = Log::of(20);
    let mut session = open(&config, &log);
    log.ship(&mut session, 10, 10).unwrap();
    delete_topic(&config, &config.topics.enriched);
    let slice = log.slice(session.position(), 10);
    eventually("it is made again", || match session.send(&slice) {
        Ok(()) => true,
        Err(Fault::Denied(_) | Fault::Unavailable(_)) => false,
        other => panic!("{other:?}"),
    });
    let records = support::decided(&broker, &[&config.topics.raw, &config.topics.enriched]);
    let found: Vec<_> = support::seqs(&records).into_values().collect();
    assert_eq!(found, [(11..=20).collect::<Vec<_>>(), (1..=20).collect()]);
}

#[test]
fn a_topic_that_is_taken_away_and_not_to_be_made_stops_the_sink_until_it_is_back() {
    let broker = Broker::shared();
    let mut config = attentive(&broker);
    let log = Log::of(20);
    drop(open(&config, &log));
    config.create = None;
    let mut session = Session::open(config.clone(), &log.start(2, Some(0))).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    delete_topic(&config, &config.topics.enriched);
    let slice = log.slice(session.position(), 10);
    eventually("it is told", || match session.send(&slice) {
        Err(Fault::Denied(text)) => text.contains(&config.topics.enriched) && text.contains("missing"),
        Err(Fault::Unavailable(_)) => false,
        other => panic!("{other:?}"),
    });
    support::make_topic(&config, &config.topics.enriched, &[]);
    eventually("it is found again", || session.send(&slice).is_ok());
    let records = support::decided(&broker, &[&config.topics.raw, &config.topics.enriched]);
    let found: Vec<_> = support::seqs(&records).into_values().collect();
    assert_eq!(found, [(11..=20).collect::<Vec<_>>(), (1..=20).collect()]);
}

fn with_login(broker: &Broker, user: &str, password: &str) -> kafka_sink::Config {
    let mut config = config(&broker.sasl_address());
    config.patience = Duration::from_secs(5);
    for (name, value) in [
        ("security.protocol", "sasl_plaintext"),
        ("sasl.mechanism", "PLAIN"),
        ("sasl.username", user),
        ("sasl.password", password),
    ] {
        config.options.set(name, value);
    }
    config
}

#[test]
fn login_settings_reach_the_broker() {
    let broker = Broker::shared();
    let mut config = with_login(&broker, "boss", "boss-word");
    config.patience = Duration::from_secs(120);
    let log = Log::of(10);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    assert_each_once(&broker, &config, 10);
}

#[test]
fn encryption_settings_reach_the_broker_and_its_certificate_is_checked() {
    let broker = Broker::shared();
    let (address, certificate) = broker.encrypted();
    let mut config = config(&address);
    config.options.set("security.protocol", "ssl");
    let log = Log::of(10);
    config.patience = Duration::from_secs(5);
    let untrusted = Session::open(config.clone(), &log.start(1, None)).unwrap_err().to_string();
    assert!(untrusted.contains("certificate verify failed"), "{untrusted}");
    config.patience = Duration::from_secs(120);
    config.options.set("ssl.ca.location", certificate.to_str().unwrap());
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    assert_each_once(&broker, &config, 10);
}

#[test]
fn a_wrong_password_is_told_and_not_printed() {
    let broker = Broker::shared();
    let config = with_login(&broker, "boss", "wrong-word");
    let log = Log::of(1);
    let text = denied(&config, &log.start(1, None));
    assert!(text.to_lowercase().contains("authentication") && !text.contains("wrong-word"), "{text}");
}

#[test]
fn somebody_who_may_not_write_is_told_so() {
    let broker = Broker::shared();
    let guest = with_login(&broker, "guest", "guest-word");
    let log = Log::of(10);
    // Not even make the topics; and, where they are there, neither send nor read.
    let text = denied(&guest, &log.start(1, None));
    assert!(text.to_lowercase().contains("auth"), "{text}");
    let mut boss = guest.clone();
    boss.bootstrap_servers = broker.address();
    boss.options = kafka_sink::Options::default();
    boss.patience = Duration::from_secs(60);
    drop(Session::open(boss, &log.start(1, None)).unwrap());
    denied(&guest, &log.start(2, Some(0)));
}

#[test]
fn a_setting_that_nobody_knows_is_named() {
    let mut config = config("127.0.0.1:1");
    config.options.set("no.such.setting", "1");
    assert_misconfigured(&config, "no.such.setting");
    config.options = kafka_sink::Options::default();
    config.options.set("enable.idempotence", "false");
    assert_misconfigured(&config, "enable.idempotence");
}

#[test]
fn so_is_one_whose_value_only_a_client_finds_wrong() {
    let mut config = config("127.0.0.1:1");
    config.options.set("security.protocol", "ssl");
    config.options.set("ssl.key.pem", "hunter2");
    assert_misconfigured(&config, "ssl.key.pem");
}

#[track_caller]
fn assert_misconfigured(config: &kafka_sink::Config, says: &str) {
    let fault = Session::open(config.clone(), &Log::of(1).start(1, None)).unwrap_err();
    let text = fault.to_string();
    assert!(matches!(fault, Fault::Misconfigured(_)), "{fault:?}");
    assert!(text.contains(says) && !text.contains("hunter2"), "{text}");
}
