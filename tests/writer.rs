//! The one writer thread at its stop, on a disk that hangs: whoever was let in is answered, and it ends.

#![allow(missing_docs, unreachable_pub, dead_code, reason = "tests; each chapter uses its own part of the log")]

#[path = "sink_contract/log.rs"]
mod log;

use event::{Refusal, Seq};
use ingestd::commit::{GroupLimits, Settled};
use log::{Place, block_on, events, eventually};
use std::sync::mpsc;
use std::task::Poll;
use std::time::Duration;
use wal::{Family, Write};

fn note(name: &str) -> Vec<Write> {
    vec![Write::Put(Family::Projection, name.into(), Vec::new())]
}

#[test]
fn a_stop_that_comes_with_the_last_of_the_work_is_not_missed() {
    let place = Place::new();
    let log = place.open();
    log.disk.hang();
    let write = |name: &'static str| {
        let control = log.control.clone();
        let (asks, asked) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            block_on(async {
                let write = control.write(note(name));
                tokio::pin!(write);
                // It is in the writer's queue once it has been looked at for the first time.
                tokio::select! {
                    biased;
                    done = &mut write => return done,
                    () = std::future::ready(()) => asks.send(()).unwrap(),
                }
                write.await
            })
        });
        asked.recv().unwrap();
        thread
    };
    let first = write("first");
    eventually("it is being written", || log.disk.is_waited_for());
    let second = write("second");
    log.stop.stop();
    log.disk.go_on();
    assert_eq!([first, second].map(|thread| thread.join().unwrap()), [Ok(()), Ok(())]);
    eventually("the writer ends", || log.is_ended());
    for name in ["first", "second"] {
        assert!(log.reader.get(Family::Projection, name.as_bytes()).unwrap().is_some(), "{name}");
    }
}

#[test]
fn a_stop_while_the_ring_is_full_and_the_disk_hangs_answers_everyone_once_it_goes_on() {
    let place = Place::new();
    let mut log = place.open_with(GroupLimits { ring_slots: 2, ..GroupLimits::default() });
    let (disk, stop) = (log.disk.clone(), log.stop.clone());
    disk.hang();
    let outcomes = log.at_desk(async |mut counter| {
        let mut pending = Vec::new();
        for number in 1..=5 {
            pending.push(counter.hand_in(&events([number])));
            // One after the other into the ring; the first as far as the disk.
            while number == 1 && !disk.is_waited_for() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            for _ in 0..10 {
                tokio::task::yield_now().await;
            }
        }
        stop.stop();
        disk.go_on();
        let mut outcomes = Vec::new();
        for pending in pending {
            let settled = tokio::time::timeout(Duration::from_secs(60), pending).await;
            let Ok(Settled::Back(submission)) = settled else { panic!("{settled:?}") };
            outcomes.push(submission.outcome.map(|receipt| receipt.verdicts[0].seq().get()));
        }
        outcomes
    });
    let full = Err(Refusal::Overloaded);
    assert_eq!(outcomes, [Ok(1), Ok(2), Ok(3), full, full]);
    eventually("the writer ends", || log.is_ended());
    assert_eq!(log.reader.committed(), Seq::new(3));
}

#[test]
fn a_control_write_is_never_left_behind_though_its_nudge_was_taken_with_others() {
    let place = Place::new();
    let log = place.open();
    block_on(async {
        for round in 0..50_000 {
            // Of nothing, so that the writer turns as fast as it can.
            let first = log.control.write(Vec::new());
            tokio::pin!(first);
            // It is in the writer's queue once it has been looked at; the second comes when the writer has just begun.
            let early = std::future::poll_fn(|context| Poll::Ready(first.as_mut().poll(context))).await;
            (0..round % 400).for_each(|_| std::hint::spin_loop());
            let second = tokio::time::timeout(Duration::from_secs(60), log.control.write(Vec::new())).await;
            assert_eq!(second, Ok(Ok(())), "round {round}");
            if early.is_pending() {
                assert_eq!(tokio::time::timeout(Duration::from_secs(60), first).await, Ok(Ok(())), "round {round}");
            }
        }
    });
    log.close();
}
