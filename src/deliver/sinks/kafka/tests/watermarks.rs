//! What a session finds when it opens, and what it makes of that.

mod support;

use event::Seq;
use kafka_sink::{Create, Delivery, Failure, Fault, Position, Session, Step, Watermark};
use std::time::Duration;
use support::{Broker, INCARNATION, Log, assert_each_once, at, config, delete_topic, eventually};

/// A broker whose topics have the events 1 to 30, sent by run 1.
fn thirty() -> (std::sync::Arc<Broker>, kafka_sink::Config, Log) {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(30);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 30, 10).unwrap();
    (broker, config, log)
}

fn failure(opened: Result<Session, Fault>) -> Failure {
    match opened {
        Err(Fault::Failed(failure)) => failure,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_restart_goes_on_after_the_watermark_whatever_the_cursor_says() {
    let (broker, config, _) = thirty();
    let mut log = Log::of(50);
    log.starts.push((0xb2, Seq::new(31)));
    // As stored; older, as in a restored folder; none, as when the first start got no further than this.
    for (run, cursor) in [(2, Some(30)), (3, Some(10)), (4, Some(0)), (5, None)] {
        let session = Session::open(config.clone(), &log.start(run, cursor)).unwrap();
        assert_eq!(session.position(), at(30));
    }
    let mut session = Session::open(config.clone(), &log.start(6, Some(10))).unwrap();
    log.ship(&mut session, 50, 7).unwrap();
    let records = assert_each_once(&broker, &config, 50);
    for record in records {
        let incarnation = if record.seq() > 30 { "00000000000000b2" } else { "00000000000000a1" };
        assert_eq!(record.header("incarnation"), incarnation);
    }
}

#[test]
fn a_look_says_what_had_arrived_of_what_was_given_up() {
    let (_broker, config, _) = thirty();
    let log = Log::of(60);
    // What was given up: 21 to 50, of which 30 had arrived.
    let mut gave_up = log.start(2, Some(50));
    gave_up.passed = Some(at(20));
    for _ in 0..2 {
        assert_eq!(Session::look(config.clone(), &gave_up).unwrap(), Some(at(30)), "a look changes nothing");
    }
    // From the next session on they say what they were told.
    let session = Session::open(config.clone(), &gave_up).unwrap();
    assert_eq!(session.position(), at(50));
    assert_eq!(Session::look(config.clone(), &gave_up).unwrap(), Some(at(50)));
    // What is not ours is refused by a look, too.
    let other = Log { starts: vec![(0xc3, Seq::FIRST)], end: 60 };
    let looked = Session::look(config, &other.start(2, Some(50)));
    assert!(matches!(looked, Err(Fault::Failed(Failure::Diverged { .. }))), "{looked:?}");
}

#[test]
fn a_log_that_did_not_send_what_the_topics_have_is_refused() {
    let (broker, config, log) = thirty();
    let found = Watermark { run: 1, incarnation: INCARNATION, position: at(30) };
    // Another log; an image that ends before; one that was brought back and has gone its own way since.
    let other = Log { starts: vec![(0xc3, Seq::FIRST)], end: 30 };
    let older = Log { end: 20, ..log.clone() };
    let mut parted = Log { end: 40, ..log.clone() };
    parted.starts.push((0xd4, Seq::new(21)));
    for (log, cursor) in [(&other, Some(30)), (&older, Some(20)), (&parted, Some(20)), (&other, None)] {
        assert_eq!(failure(Session::open(config.clone(), &log.start(2, cursor))), Failure::Diverged { found });
    }
    assert_each_once(&broker, &config, 30);
}

#[test]
fn a_lost_watermark_stops_a_sink_that_had_delivered() {
    let (broker, config, log) = thirty();
    delete_topic(&config, &config.topics.watermarks);
    let lost = Failure::WatermarkLost { found: None, confirmed: at(30) };
    assert_eq!(failure(Session::open(config.clone(), &log.start(2, Some(30)))), lost);
    // The topic was made anew by that, and is empty.
    assert_eq!(failure(Session::open(config.clone(), &log.start(3, Some(30)))), lost);
    assert_each_once(&broker, &config, 30);
    // A sink that never delivered anything has nothing to lose.
    let session = Session::open(config, &log.start(4, None)).unwrap();
    assert_eq!(session.position(), Position::START);
}

#[test]
fn a_watermark_older_than_the_cursor_is_a_lost_one() {
    let (_broker, config, _) = thirty();
    let log = Log::of(60);
    let found = Some(Watermark { run: 1, incarnation: INCARNATION, position: at(30) });
    let lost = Failure::WatermarkLost { found, confirmed: at(50) };
    assert_eq!(failure(Session::open(config, &log.start(2, Some(50)))), lost);
}

#[test]
fn delivery_may_be_switched_either_way() {
    let (broker, config, _) = thirty();
    let log = Log::of(90);
    let at_least_once = kafka_sink::Config { delivery: Delivery::AtLeastOnce, ..config.clone() };
    // A cursor that lags is no reason to send again.
    let mut session = Session::open(at_least_once.clone(), &log.start(2, Some(20))).unwrap();
    assert_eq!(session.position(), at(30));
    log.ship(&mut session, 60, 10).unwrap();
    drop(session);
    let mut session = Session::open(config.clone(), &log.start(3, Some(40))).unwrap();
    assert_eq!((session.position(), session.found().map(|mark| mark.run)), (at(60), Some(2)));
    log.ship(&mut session, 90, 10).unwrap();
    assert_each_once(&broker, &config, 90);
    // A copy is told from its original here, too.
    let other = Log { starts: vec![(0xc3, Seq::FIRST)], end: 90 };
    let refused = failure(Session::open(at_least_once, &other.start(4, Some(90))));
    assert!(matches!(refused, Failure::Diverged { .. }), "{refused}");
}

#[test]
fn what_an_older_release_sent_at_least_once_is_not_passed_over_and_not_sent_again() {
    let (broker, config, _) = thirty();
    let log = Log::of(80);
    // It wrote no watermark, so that the cursor is ahead of it.
    let lost = failure(Session::open(config.clone(), &log.start(2, Some(50))));
    assert!(lost.to_string().contains("at-least-once"), "{lost}");
    let at_least_once = kafka_sink::Config { delivery: Delivery::AtLeastOnce, ..config.clone() };
    let session = Session::open(at_least_once, &log.start(3, Some(50))).unwrap();
    assert_eq!((session.position(), session.found().map(|mark| mark.position)), (at(50), Some(at(30))));
    drop(session);
    let mut session = Session::open(config.clone(), &log.start(4, Some(50))).unwrap();
    assert_eq!(session.position(), at(50));
    log.ship(&mut session, 80, 10).unwrap();
    let records = support::decided(&broker, &[&config.topics.raw]);
    let wanted: Vec<_> = (1..=30).chain(51..=80).collect();
    assert_eq!(support::seqs(&records).into_values().collect::<Vec<_>>(), [wanted]);
}

#[test]
fn a_sink_that_was_forgotten_goes_on_after_what_the_topics_have() {
    let (broker, config, _) = thirty();
    let log = Log::of(70);
    let mut session = Session::open(config.clone(), &log.start(2, None)).unwrap();
    assert_eq!(session.position(), at(30));
    log.ship(&mut session, 40, 10).unwrap();
    drop(session);
    // Nobody held the log for it meanwhile: it begins later than the topics end.
    let mut start = log.start(3, None);
    start.begin = at(60);
    let mut session = Session::open(config.clone(), &start).unwrap();
    assert_eq!((session.position(), session.found().map(|mark| mark.position)), (at(60), Some(at(40))));
    log.ship(&mut session, 70, 10).unwrap();
    let records = support::decided(&broker, &[&config.topics.raw]);
    let wanted: Vec<_> = (1..=40).chain(61..=70).collect();
    assert_eq!(support::seqs(&records).into_values().collect::<Vec<_>>(), [wanted]);
}

#[test]
fn a_watermark_topic_that_is_taken_away_while_it_is_needed_ends_the_session() {
    let (broker, mut config, log) = thirty();
    config.patience = Duration::from_secs(10);
    config.options.set("topic.metadata.refresh.interval.ms", "500");
    config.options.set("topic.metadata.propagation.max.ms", "1000");
    let log = Log { end: 40, ..log };
    let mut session = Session::open(config.clone(), &log.start(2, Some(30))).unwrap();
    delete_topic(&config, &config.topics.watermarks);
    let slice = log.slice(at(30), 10);
    let lost = Fault::Failed(Failure::WatermarkLost { found: None, confirmed: at(30) });
    eventually("it is told", || match session.send(&slice) {
        Err(Fault::Denied(_) | Fault::Unavailable(_)) => false,
        other => other == Err(lost.clone()),
    });
    assert_each_once(&broker, &config, 30);
}

#[test]
fn a_new_sink_may_begin_in_the_middle_of_a_log() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(30);
    let mut start = log.start(1, None);
    start.begin = at(20);
    drop(Session::open(config.clone(), &start).unwrap());
    // Its first watermark holds although nothing was sent.
    let mut session = Session::open(config.clone(), &log.start(2, Some(20))).unwrap();
    assert_eq!(session.position(), at(20));
    log.ship(&mut session, 30, 10).unwrap();
    let records = support::decided(&broker, &[&config.topics.raw]);
    assert_eq!(support::seqs(&records).into_values().collect::<Vec<_>>(), [(21..=30).collect::<Vec<_>>()]);
}

#[test]
fn nodes_with_partitions_of_one_watermark_topic_do_not_mix_them_up() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    config.create = Some(Create { partitions: 1, watermark_partitions: 4, replication: 1 });
    let logs: Vec<_> = (1..=6).map(|end| Log::of(end * 10)).collect();
    for round in [1, 2] {
        for (node, log) in logs.iter().enumerate() {
            config.transactional_id = format!("node-{node}");
            let mut session = Session::open(config.clone(), &log.start(round, None)).unwrap();
            assert_eq!(session.position(), if round == 1 { Position::START } else { at(log.end) });
            log.ship(&mut session, log.end, 100).unwrap();
        }
    }
}

#[test]
fn a_watermark_behind_another_nodes_open_transaction_is_waited_for() {
    let broker = Broker::shared();
    let mut config = config(&broker.address());
    config.transaction_timeout = Duration::from_secs(600);
    let mut other = config.clone();
    other.transactional_id.push_str("-other");
    let log = Log::of(20);
    let mut session = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    let (mut session, again, its_log) = (Some(session), config.clone(), log.clone());
    let other = Session::open(other, &log.start(1, None)).unwrap();
    let mut other = other.with_probe(Box::new(move |step| {
        let Some(mut session) = session.take().filter(|_| step == Step::Filled) else { return };
        its_log.ship(&mut session, 20, 10).unwrap();
        drop(session);
        let mut again = again.clone();
        again.patience = Duration::from_secs(5);
        eventually("it is held up", || match Session::open(again.clone(), &its_log.start(2, Some(10))) {
            Err(Fault::Unavailable(text)) => text.contains("held up"),
            other => panic!("{other:?}"),
        });
    }));
    log.ship(&mut other, 20, 20).unwrap();
    let session = Session::open(config, &log.start(3, Some(10))).unwrap();
    assert_eq!(session.position(), at(20));
}

#[test]
fn a_watermark_far_from_the_end_of_its_partition_is_found() {
    let (broker, config, log) = thirty();
    let mut other = config.clone();
    other.transactional_id.push_str("-other");
    let many = Log::of(600);
    let mut session = Session::open(other, &many.start(1, None)).unwrap();
    // A record and a marker each.
    many.ship(&mut session, 600, 1).unwrap();
    drop(session);
    assert!(broker.uncommitted(&[&config.topics.watermarks]).len() > 600);
    let session = Session::open(config.clone(), &log.start(2, None)).unwrap();
    assert_eq!(session.position(), at(30));
}
