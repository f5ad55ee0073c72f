//! Two daemons under one id, and one that was away for too long.

mod support;

use kafka_sink::{Failure, Fault, Session, Step};
use rustix::process::{Pid, Signal, kill_process};
use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use support::{Broker, Log, assert_each_once, at, config, event_topics, eventually};

#[test]
fn of_two_daemons_one_is_fenced_and_the_other_goes_on() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    // A clone: the same log, the same id, another run.
    let log = Log::of(400);
    let mut first = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut first, 50, 10).unwrap();
    let mut second = Session::open(config.clone(), &log.start(2, None)).unwrap();
    assert_eq!(second.position(), at(50));
    log.ship(&mut second, 100, 10).unwrap();
    let fenced = Err(Failure::Fenced { run: 2 });
    assert_eq!(log.ship(&mut first, 400, 10), fenced);
    // The look at the watermark has cost the second its producer; it finds its own name and goes on.
    log.ship(&mut second, 200, 10).unwrap();
    for until in (210..=400).step_by(10) {
        assert_eq!(log.ship(&mut first, 400, 10), fenced);
        second.send(&log.slice(at(until - 10), 10)).unwrap();
    }
    assert_each_once(&broker, &config, 400);
    // Until an operator says otherwise.
    let mut first = Session::open(config.clone(), &log.start(3, Some(50))).unwrap();
    assert_eq!(first.position(), at(400));
    let log = Log::of(410);
    assert_eq!(log.ship(&mut second, 410, 10), Err(Failure::Fenced { run: 3 }));
    log.ship(&mut first, 410, 10).unwrap();
    assert_each_once(&broker, &config, 410);
}

#[test]
fn a_daemon_that_is_fenced_in_the_middle_of_a_slice_leaves_nothing_behind() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(30);
    let mut first = Session::open(config.clone(), &log.start(1, None)).unwrap();
    log.ship(&mut first, 10, 10).unwrap();
    let (other, its_log) = (config.clone(), log.clone());
    let (hands_over, takes) = std::sync::mpsc::channel();
    let mut first = first.with_probe(Box::new(move |step| {
        if step == Step::Filled {
            hands_over.send(Session::open(other.clone(), &its_log.start(2, Some(10))).unwrap()).unwrap();
        }
    }));
    assert_eq!(log.ship(&mut first, 30, 20), Err(Failure::Fenced { run: 2 }));
    let mut second: Session = takes.recv().unwrap();
    assert_eq!(second.position(), at(10));
    log.ship(&mut second, 30, 20).unwrap();
    assert_each_once(&broker, &config, 30);
}

#[test]
fn of_many_daemons_that_start_at_once_exactly_one_is_left() {
    let broker = Broker::shared();
    let config = config(&broker.address());
    let log = Log::of(2000);
    drop(Session::open(config.clone(), &log.start(100, None)).unwrap());
    let daemons: Vec<_> = (1..=4)
        .map(|run| {
            let (config, log) = (config.clone(), log.clone());
            std::thread::spawn(move || {
                let mut session = match Session::open(config, &log.start(run, None)) {
                    Ok(session) => session,
                    Err(Fault::Failed(failure)) => return Err(failure),
                    Err(fault) => panic!("{fault}"),
                };
                // In lock step with nobody: each goes on until it is done, or given in.
                log.ship(&mut session, 2000, 20).map(|()| session)
            })
        })
        .collect();
    let ends: Vec<_> = daemons.into_iter().map(|daemon| daemon.join().unwrap()).collect();
    for end in &ends {
        assert!(matches!(end, Ok(_) | Err(Failure::Fenced { .. })), "{end:?}");
    }
    assert_each_once(&broker, &config, 2000);
    // Of those that finished, all but the one whose name stands there find out with the next slice.
    let log = Log::of(2100);
    let ends: Vec<_> = ends.into_iter().flatten().map(|mut session| log.ship(&mut session, 2100, 20)).collect();
    let fenced = ends.iter().filter(|end| end.is_err()).count();
    assert_eq!(ends.len() - fenced, 1, "{ends:?}");
    let mut last = Session::open(config.clone(), &log.start(101, None)).unwrap();
    log.ship(&mut last, 2100, 20).unwrap();
    assert_each_once(&broker, &config, 2100);
}

const ADDRESS: &str = "KAFKA_SINK_CHILD_ADDRESS";
const PREFIX: &str = "KAFKA_SINK_CHILD_PREFIX";

fn impatient(mut config: kafka_sink::Config) -> kafka_sink::Config {
    config.transaction_timeout = Duration::from_secs(5);
    config
}

/// Another process, so that all of it can be stopped: sends 1 to 10, then 11 to 20 with a rest before the commit, then
/// 21 to 30.
#[test]
fn child() {
    let (Ok(address), Ok(prefix)) = (std::env::var(ADDRESS), std::env::var(PREFIX)) else { return };
    let mut config = impatient(config(&address));
    config.topics = kafka_sink::Topics::with_prefix(&prefix);
    config.transactional_id = prefix;
    let log = Log::of(30);
    let mut session = Session::open(config, &log.start(1, None)).unwrap();
    log.ship(&mut session, 10, 10).unwrap();
    let mut rests = true;
    let mut session = session.with_probe(Box::new(move |step| {
        if step == Step::Filled && std::mem::take(&mut rests) {
            println!("\nfilled");
            std::io::stdin().read_line(&mut String::new()).unwrap();
        }
    }));
    log.ship(&mut session, 30, 10).unwrap();
    println!("\ndone");
}

/// A child process, killed when dropped.
struct Sender(Child);

impl Drop for Sender {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// Whether every thread of a process is stopped: the signal is sent before they are.
fn stands_still(pid: u32) -> bool {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).unwrap();
    threads.map(|thread| std::fs::read_to_string(thread.unwrap().path().join("stat")).unwrap()).all(|stat| {
        // After the name, which is in parentheses.
        stat.rsplit_once(") ").is_some_and(|(_, state)| state.starts_with('T'))
    })
}

#[test]
fn a_daemon_that_was_stopped_past_its_transaction_goes_on_after_the_watermark() {
    let broker = Broker::shared();
    let mut config = impatient(config(&broker.address()));
    let prefix = format!("{}-child", config.transactional_id);
    config.topics = kafka_sink::Topics::with_prefix(&prefix);
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture"]).env(ADDRESS, broker.address()).env(PREFIX, &prefix);
    let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut sender = Sender(child);
    let mut lines = BufReader::new(sender.0.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line == "filled").expect("it sends");
    let pid = Pid::from_child(&sender.0);
    kill_process(pid, Signal::STOP).unwrap();
    eventually("all of it stands still", || stands_still(sender.0.id()));
    // It wakes up in the very moment before the commit.
    sender.0.stdin.take().unwrap().write_all(b"\n").unwrap();
    let topics = event_topics(&config);
    assert_eq!(broker.committed(&topics).len(), 30);
    assert!(broker.uncommitted(&topics).len() >= 60);
    eventually("the broker has given it up", || !broker.has_open_transaction(&topics));
    kill_process(pid, Signal::CONT).unwrap();
    lines.find(|line| line == "done").expect("it goes on");
    assert!(sender.0.wait().unwrap().success());
    assert_each_once(&broker, &config, 30);
    // The slice it was stopped in was sent twice, and seen once.
    assert!(broker.uncommitted(&topics).len() >= 120);
}
