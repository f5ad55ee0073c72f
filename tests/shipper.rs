//! Orders, stops and restarts at the worst moment of a sink's life: nothing twice, nothing lost, all of it counted.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "tests; each chapter uses its own part of the log")]

#[path = "sink_contract/log.rs"]
mod log;
#[path = "shipper/table.rs"]
mod table;

use event::Seq;
use ingestd::deliver::{OrderError, Snapshot};
use log::{Log, NOON, Place, Running, block_on, events, eventually};
use std::time::{Duration, Instant};
use table::Table;

/// As long as an order waits before what the sink does is broken off, and more.
const IMPATIENT: Duration = Duration::from_secs(5);

/// A log with as many events.
fn log_of(count: u64) -> (Place, Log) {
    let place = Place::new();
    place.append(&[(NOON, events(1..=count))]);
    let log = place.open();
    (place, log)
}

fn all(count: u64) -> Vec<u64> {
    (1..=count).collect()
}

/// Delivered, dead, expired; all that lies before the cursor.
#[track_caller]
fn account(sink: &Running) -> [u64; 3] {
    let Snapshot { ledger, cursor, .. } = sink.status();
    assert!(ledger.balances(cursor), "{ledger:?} at {cursor}");
    assert_eq!(ledger.lost, 0);
    [ledger.delivered, ledger.dead, ledger.expired]
}

/// Gives an order in a thread of its own; the answer comes there.
fn order<T: Send + 'static>(
    sink: &Running,
    give: impl AsyncFnOnce(ingestd::deliver::Handle) -> T + Send + 'static,
) -> std::thread::JoinHandle<T> {
    let handle = sink.handle.clone();
    std::thread::spawn(move || block_on(give(handle)))
}

fn resume(sink: &Running) -> std::thread::JoinHandle<Result<(), OrderError>> {
    order(sink, async |handle| handle.resume().await)
}

fn pause(sink: &Running) -> std::thread::JoinHandle<Result<(), OrderError>> {
    order(sink, async |handle| handle.pause().await)
}

fn skip(sink: &Running, until: u64) -> Result<Seq, OrderError> {
    order(sink, async move |handle| handle.skip(Seq::new(until)).await).join().unwrap()
}

fn reconcile(sink: &Running, from: u64) -> Result<Seq, OrderError> {
    order(sink, async move |handle| handle.reconcile(Seq::new(from)).await).join().unwrap()
}

/// Erases an event out of the block that begins with `first`.
fn erase(log: &Log, first: u64, meant: u64) {
    let key = first.to_be_bytes().to_vec();
    let block = log.reader.get(wal::Family::Log, &key).unwrap().unwrap();
    let rest = record::erase(Seq::new(first), &block, |seq| seq.get() == meant).unwrap().unwrap();
    log.trimmer.eraser().begin().unwrap();
    block_on(log.control.write(vec![wal::Write::Put(wal::Family::Log, key, rest)])).unwrap();
}

/// A sink whose table was asked to insert the events 1 to 10 and has neither done it nor answered.
fn in_doubt(log: &Log) -> (Table, Running) {
    let table = Table::default();
    table.set(|table| table.is_slow = true);
    let sink = table.follow::<true>(log);
    eventually("it is asked to insert", || table.asked() == 1);
    table.set(|table| table.is_slow = false);
    (table, sink)
}

/// The same, and then an operator has to look.
fn failed_in_doubt(log: &Log) -> (Table, Running) {
    let (table, sink) = in_doubt(log);
    table.set(|table| table.is_wrong = true);
    // Has the call broken off that nobody answers.
    resume(&sink).join().unwrap().unwrap();
    eventually("it fails", || sink.state() == "failed");
    table.set(|table| table.is_wrong = false);
    (table, sink)
}

#[test]
fn an_order_while_a_slow_cursor_write_is_under_way_does_not_have_the_batch_sent_again() {
    let (_place, mut log) = log_of(10);
    let table = Table::default();
    table.set(|table| table.holds = true);
    let sink = table.follow::<true>(&log);
    eventually("a batch is on its way", || sink.status().in_flight == 10);
    // What would make another batch of it, were it sent again.
    log.submit(&[events(11..=15)]);
    log.disk.hang();
    table.set(|table| table.holds = false);
    eventually("the table has it", || table.rows() == all(10));
    eventually("and the log is being told", || log.disk.is_waited_for());
    let resumed = resume(&sink);
    eventually("what is under way is broken off", || sink.status().in_flight == 0);
    log.disk.go_on();
    resumed.join().unwrap().unwrap();
    assert_eq!(sink.flush(), Ok(Seq::new(16)));
    assert_eq!(table.rows(), all(15));
    assert_eq!(account(&sink), [15, 0, 0]);
    sink.stop();
    log.close();
}

#[test]
fn an_order_is_carried_out_whole_however_long_another_one_waits() {
    let (_place, log) = log_of(20);
    let table = Table::default();
    table.set(|table| table.is_away = true);
    let sink = table.follow::<true>(&log);
    eventually("it is away", || sink.status().failures > 0);
    log.disk.hang();
    let skipped = order(&sink, async |handle| handle.skip(Seq::new(11)).await);
    eventually("the first is being carried out", || log.disk.is_waited_for());
    let paused = pause(&sink);
    let asked = Instant::now();
    eventually("the second has waited for longer than what is under way may take", || asked.elapsed() > IMPATIENT);
    log.disk.go_on();
    assert_eq!(skipped.join().unwrap(), Ok(Seq::new(11)));
    assert_eq!(paused.join().unwrap(), Ok(()));
    eventually("it is paused", || sink.state() == "paused");
    assert_eq!(account(&sink), [0, 0, 10]);
    table.set(|table| table.is_away = false);
    resume(&sink).join().unwrap().unwrap();
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    assert_eq!(table.rows(), (11..=20).collect::<Vec<_>>());
    sink.stop();
    log.close();
}

#[test]
fn a_batch_that_is_broken_off_is_settled_when_the_sink_goes_on_however_late_it_lands() {
    for lands_first in [true, false] {
        let (_place, mut log) = log_of(10);
        let (table, sink) = in_doubt(&log);
        log.submit(&[events(11..=15)]);
        pause(&sink).join().unwrap().unwrap();
        eventually("it is paused", || sink.state() == "paused");
        if lands_first {
            table.catch_up();
        }
        resume(&sink).join().unwrap().unwrap();
        assert_eq!(sink.flush(), Ok(Seq::new(16)));
        table.catch_up();
        assert_eq!(table.rows(), all(15), "lands first: {lands_first}");
        assert_eq!(account(&sink), [15, 0, 0]);
        sink.stop();
        log.close();
    }
}

#[test]
fn a_batch_that_a_stop_breaks_off_is_settled_by_the_next_start() {
    let (place, log) = log_of(10);
    let (table, sink) = in_doubt(&log);
    // As long as a stop may take.
    let stopped = sink.stop();
    assert_eq!((stopped.state.as_str(), stopped.cursor), ("stopped", Seq::FIRST));
    assert!(stopped.last_error.unwrap().text.contains("before 10 events were delivered"));
    log.close();
    place.append(&[(NOON, events(11..=15))]);
    let log = place.open();
    let sink = table.follow::<true>(&log);
    assert_eq!(sink.flush(), Ok(Seq::new(16)));
    table.catch_up();
    assert_eq!(table.rows(), all(15));
    sink.stop();
    log.close();
}

#[test]
fn a_sink_says_that_it_connects_until_it_has_been_reached() {
    let (_place, log) = log_of(10);
    let table = Table::default();
    table.set(|table| table.hangs = true);
    let sink = table.follow::<true>(&log);
    eventually("its place is taken", || sink.status().cursor == Seq::FIRST && log.tail.delivered().len() == 1);
    assert_eq!(sink.state(), "connecting");
    // The policy for sinks that are away does not concern it: it may be there in a moment.
    sink.handle.expire(Seq::new(6));
    table.set(|table| table.hangs = false);
    assert_eq!(sink.flush(), Ok(Seq::new(11)));
    assert_eq!(sink.state(), "running");
    assert_eq!(account(&sink), [10, 0, 0]);
    sink.stop();
    let table = Table::default();
    table.set(|table| table.is_away = true);
    let sink = table.follow::<true>(&log);
    eventually("it is not there", || ["retrying", "circuit_open"].contains(&sink.state()));
    sink.stop();
    log.close();
}

#[test]
fn what_is_skipped_while_the_server_is_dead_is_never_sent() {
    let (_place, log) = log_of(30);
    let table = Table::default();
    table.set(|table| table.is_away = true);
    let sink = table.follow::<true>(&log);
    eventually("it is away", || sink.status().failures > 0);
    assert_eq!(skip(&sink, 21), Ok(Seq::new(21)));
    assert_eq!(account(&sink), [0, 0, 20], "done when it is answered");
    assert!(log.tail.is_expired("table", Seq::new(20)) && !log.tail.is_expired("table", Seq::new(21)));
    table.set(|table| table.is_away = false);
    assert_eq!(sink.flush(), Ok(Seq::new(31)));
    assert_eq!(table.rows(), (21..=30).collect::<Vec<_>>());
    assert_eq!(account(&sink), [10, 0, 20]);
    sink.stop();
    log.close();
}

#[test]
fn what_is_new_does_not_wait_for_a_given_up_batch_that_cannot_be_counted() {
    let (_place, mut log) = log_of(10);
    let table = Table::default();
    table.set(|table| (table.loses_answer, table.cannot_count) = (true, true));
    let sink = table.follow::<true>(&log);
    eventually("nobody knows that it has arrived", || table.rows() == all(10) && sink.status().failures > 0);
    assert_eq!(skip(&sink, 5), Ok(Seq::new(11)), "as a whole");
    assert_eq!(account(&sink), [0, 0, 10]);
    table.set(|table| table.is_away = false);
    log.submit(&[events(11..=20)]);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    assert_eq!(account(&sink), [10, 0, 10]);
    table.set(|table| table.cannot_count = false);
    resume(&sink).join().unwrap().unwrap();
    eventually("it is counted", || account(&sink) == [20, 0, 0]);
    assert_eq!(table.rows(), all(20));
    sink.stop();
    log.close();
}

#[test]
fn a_place_is_not_moved_while_nobody_knows_whether_a_batch_has_arrived() {
    let (_place, log) = log_of(20);
    let (table, sink) = in_doubt(&log);
    table.set(|table| table.is_away = true);
    for from in [1, 5, 21] {
        let Err(OrderError::Refused(why)) = reconcile(&sink, from) else { panic!("it was carried out") };
        assert!(why.contains("1..=20") && why.contains("`skip` it first"), "{why}");
    }
    table.catch_up();
    table.set(|table| table.is_away = false);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    assert_eq!(table.rows(), all(20));
    sink.stop();
    log.close();
}

#[test]
fn a_slow_insert_that_lands_after_a_failed_sink_was_reconciled_comes_once() {
    for from in [1, 11] {
        let (_place, mut log) = log_of(10);
        let (table, sink) = failed_in_doubt(&log);
        log.submit(&[events(11..=15)]);
        let Err(OrderError::Refused(why)) = reconcile(&sink, 5) else { panic!("a batch in doubt was cut") };
        assert!(why.contains("1..=10") && why.contains("with 1 or with 11"), "{why}");
        assert_eq!(reconcile(&sink, from), Ok(Seq::new(from)));
        assert_eq!(sink.flush(), Ok(Seq::new(16)));
        assert_eq!(table.rows(), (from..=15).collect::<Vec<_>>());
        table.catch_up();
        assert_eq!(table.rows(), all(15), "from {from}");
        assert_eq!(account(&sink), [15, 0, 0]);
        sink.stop();
        log.close();
    }
}

#[test]
fn a_batch_that_was_given_up_in_doubt_and_is_wanted_after_all_comes_once() {
    let (place, mut log) = log_of(10);
    let (table, sink) = failed_in_doubt(&log);
    log.submit(&[events(11..=20)]);
    assert_eq!(skip(&sink, 5), Ok(Seq::new(11)));
    assert_eq!(account(&sink), [0, 0, 10]);
    let Err(OrderError::Refused(why)) = reconcile(&sink, 5) else { panic!("a batch in doubt was cut") };
    assert!(why.contains("1..=10"), "{why}");
    assert_eq!(sink.state(), "failed", "what was refused has changed nothing");
    table.set(|table| table.is_away = true);
    assert_eq!(reconcile(&sink, 1), Ok(Seq::FIRST));
    assert_eq!(account(&sink), [0, 0, 0]);
    assert!(!log.tail.is_expired("table", Seq::new(5)));
    // What is stored is what counts.
    sink.stop();
    log.close();
    let log = place.open();
    table.set(|table| table.is_away = false);
    let sink = table.follow::<true>(&log);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    table.catch_up();
    assert_eq!(table.rows(), all(20));
    assert_eq!(account(&sink), [20, 0, 0]);
    sink.stop();
    log.close();
}

#[test]
fn what_is_to_come_again_before_a_batch_in_doubt_leaves_that_as_it_is() {
    let (_place, mut log) = log_of(10);
    let table = Table::default();
    let sink = table.follow::<true>(&log);
    assert_eq!(sink.flush(), Ok(Seq::new(11)));
    table.set(|table| table.is_slow = true);
    log.submit(&[events(11..=20), events(21..=25)]);
    eventually("it is asked to insert", || table.asked() == 1);
    table.set(|table| (table.is_slow, table.is_wrong) = (false, true));
    resume(&sink).join().unwrap().unwrap();
    eventually("it fails", || sink.state() == "failed");
    table.lose_from(5);
    table.set(|table| table.is_wrong = false);
    assert_eq!(reconcile(&sink, 5), Ok(Seq::new(5)));
    assert_eq!(sink.flush(), Ok(Seq::new(26)));
    assert_eq!(table.rows(), all(25));
    table.catch_up();
    assert_eq!(table.rows(), all(25));
    assert_eq!(account(&sink), [25, 0, 0]);
    sink.stop();
    log.close();
}

#[test]
fn what_was_given_up_and_the_topics_have_all_the_same_counts_as_delivered() {
    let (place, mut log) = log_of(10);
    let table = Table::default();
    table.set(|table| table.loses_answer = true);
    let sink = table.follow::<false>(&log);
    eventually("they have it, and nobody says so", || table.rows() == all(10) && sink.status().failures > 0);
    log.submit(&[events(11..=20)]);
    assert_eq!(skip(&sink, 16), Ok(Seq::new(16)));
    assert_eq!(account(&sink), [0, 0, 15]);
    // What is stored does not depend on who asks.
    sink.stop();
    log.close();
    let log = place.open();
    // It is told where to go on, and that is not known here when it is asked once more.
    table.set(|table| (table.is_away, table.loses_place) = (false, true));
    let sink = table.follow::<false>(&log);
    eventually("it was told", || sink.status().failures > 0);
    assert_eq!(account(&sink), [10, 0, 5]);
    assert_eq!(skip(&sink, 16).ok(), Some(Seq::new(16)), "nothing more is given up");
    table.set(|table| table.is_away = false);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    assert_eq!(account(&sink), [15, 0, 5]);
    assert_eq!(table.rows(), all(10).into_iter().chain(16..=20).collect::<Vec<_>>());
    let expired = |log: &Log| (1..=20).filter(|seq| log.tail.is_expired("table", Seq::new(*seq))).collect::<Vec<_>>();
    assert_eq!(expired(&log), [11, 12, 13, 14, 15]);
    sink.stop();
    log.close();
    // And the next start is told the same.
    let log = place.open();
    let sink = table.follow::<false>(&log);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    assert_eq!((expired(&log), account(&sink)), (vec![11, 12, 13, 14, 15], [15, 0, 5]));
    sink.stop();
    log.close();
}

#[test]
fn what_was_given_up_and_then_erased_is_counted_once() {
    let (_place, log) = log_of(10);
    let table = Table::default();
    table.set(|table| table.is_away = true);
    let sink = table.follow::<true>(&log);
    eventually("it is away", || sink.status().failures > 0);
    assert_eq!(skip(&sink, 7), Ok(Seq::new(7)));
    table.set(|table| table.is_away = false);
    assert_eq!(sink.flush(), Ok(Seq::new(11)));
    assert_eq!(account(&sink), [4, 0, 6]);
    erase(&log, 1, 5);
    table.lose_from(5);
    // Of what had expired only 5 and 6 are to come again, and 5 is not there to come.
    assert_eq!(reconcile(&sink, 5), Ok(Seq::new(5)));
    assert_eq!(sink.flush(), Ok(Seq::new(11)));
    assert_eq!(table.rows(), (6..=10).collect::<Vec<_>>());
    eventually("all is told", || account(&sink) == [5, 0, 5]);
    sink.stop();
    log.close();
}

#[test]
fn topics_are_told_of_events_that_were_lost_at_the_end_of_the_log() {
    let place = Place::new();
    place.append(&[(NOON, events(1..=10)), (NOON, events(11..=20))]);
    place.lose_newest_group();
    let log = place.open();
    let table = Table::default();
    let sink = table.follow::<false>(&log);
    let is_counted = |sink: &Running| {
        let Snapshot { ledger, cursor, .. } = sink.status();
        (ledger.delivered, ledger.lost, cursor.get()) == (10, 10, 21) && ledger.balances(cursor)
    };
    eventually("they are counted", || is_counted(&sink));
    eventually("the topics know their place", || table.mark() == 20);
    // After a fault, too, which has it begin where the topics say.
    table.set(|table| table.is_away = true);
    resume(&sink).join().unwrap().unwrap();
    eventually("it is away", || sink.status().failures > 0);
    table.set(|table| table.is_away = false);
    assert_eq!(sink.flush(), Ok(Seq::new(21)));
    sink.stop();
    log.close();
    let mut log = place.open();
    let sink = table.follow::<false>(&log);
    log.submit(&[events(21..=25)]);
    assert_eq!(sink.flush(), Ok(Seq::new(26)));
    assert_eq!(table.rows(), (1..=10).chain(21..=25).collect::<Vec<_>>());
    let ledger = sink.stop().ledger;
    assert_eq!((ledger.delivered, ledger.lost), (15, 10));
    log.close();
}
