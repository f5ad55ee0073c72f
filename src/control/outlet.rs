//! The way out for the log's lines, on a thread of its own: whoever reads them may stop reading, and then lines are lost and
//! nothing else is.
//!
//! As long as lines are taken, whoever logs waits for its own, so that it is out before what follows from it. Once one was
//! not taken in time nobody waits any more for a minute, and until the others flow again: lines queue, those for which there
//! is no room are lost, and how many they were is told once the others flow.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// How long whoever logs waits for its line at most.
const PATIENCE: Duration = Duration::from_millis(200);
/// How long nobody waits for a line after one was not taken in time: who reads slowly would have everybody wait each time.
const DISTRUST: Duration = Duration::from_secs(60);
/// So much waits for a reader, bytes.
const BYTES_MAX: usize = 256 << 10;

/// Puts out one line, and may take as long as it likes; false where the line, or its end, is lost.
type Write = dyn Fn(&[u8]) -> bool + Send + Sync;

/// Puts lines out in the order in which they were put in.
pub(super) struct Outlet {
    queue: Mutex<Queue>,
    /// There is a line to put out.
    wanted: Condvar,
    /// A line is out.
    came_out: Condvar,
    write: Box<Write>,
    /// How long nobody waits after a line that was not taken in time.
    distrust: Duration,
    /// Lines that were lost since the start.
    lost: AtomicU64,
}

#[derive(Debug, Default)]
struct Queue {
    lines: VecDeque<Box<[u8]>>,
    /// Of them, and of the one that is on its way out.
    bytes: usize,
    /// Lines that have ever come in, and gone out.
    came_in: u64,
    went_out: u64,
    /// When a line was last not taken in time, as long as nobody waits for that.
    stuck_at: Option<Instant>,
    /// Lost and not told yet.
    untold: u64,
    /// There is no thread that puts lines out.
    is_direct: bool,
}

impl Queue {
    /// Has lines awaited again once all are out, and have been for a while.
    fn settle(&mut self, distrust: Duration) {
        if self.bytes == 0 && self.stuck_at.is_some_and(|at| at.elapsed() >= distrust) {
            self.stuck_at = None;
        }
    }
}

impl Outlet {
    /// An outlet to what `write` writes to.
    pub(super) fn start(write: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Arc<Self> {
        Self::trusting(DISTRUST, write)
    }

    fn trusting(distrust: Duration, write: impl Fn(&[u8]) -> bool + Send + Sync + 'static) -> Arc<Self> {
        let outlet = Arc::new(Outlet {
            queue: Mutex::default(),
            wanted: Condvar::new(),
            came_out: Condvar::new(),
            write: Box::new(write),
            distrust,
            lost: AtomicU64::new(0),
        });
        let run = Arc::clone(&outlet);
        let started = std::thread::Builder::new().name("log".into()).spawn(move || run.run());
        // Then the daemon does not start either, and wants to say so.
        outlet.queue().is_direct = started.is_err();
        outlet
    }

    /// Puts out a line; returns when it is out, queued or lost.
    pub(super) fn put(&self, line: &[u8]) {
        let mut queue = self.queue();
        if queue.is_direct {
            drop(queue);
            return self.write(line);
        }
        queue.settle(self.distrust);
        if queue.bytes > 0 && queue.bytes + line.len() > BYTES_MAX {
            (queue.stuck_at, queue.untold) = (Some(Instant::now()), queue.untold + 1);
            self.lost.fetch_add(1, Relaxed);
            return;
        }
        queue.lines.push_back(line.into());
        queue.bytes += line.len();
        queue.came_in += 1;
        let number = queue.came_in;
        self.wanted.notify_one();
        let is_awaited = |queue: &mut Queue| queue.stuck_at.is_none() && queue.went_out < number;
        let waited = self.came_out.wait_timeout_while(queue, PATIENCE, is_awaited);
        let (mut queue, waited) = waited.unwrap_or_else(PoisonError::into_inner);
        if waited.timed_out() {
            queue.stuck_at = Some(Instant::now());
        }
    }

    fn write(&self, line: &[u8]) {
        if !(self.write)(line) {
            self.lost.fetch_add(1, Relaxed);
        }
    }

    /// Waits until every line is out, for so long at most.
    pub(super) fn flush(&self, patience: Duration) {
        let is_busy = |queue: &mut Queue| queue.went_out < queue.came_in;
        drop(self.came_out.wait_timeout_while(self.queue(), patience, is_busy));
    }

    /// How many lines were lost since the start.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Relaxed)
    }

    fn run(&self) {
        loop {
            let line = self.next();
            self.write(&line);
            if let Some(lost) = self.went_out(line.len()) {
                tracing::warn!(lost, "nobody took the lines of the log: some before this one are lost");
                self.queue().settle(self.distrust);
            }
        }
    }

    fn next(&self) -> Box<[u8]> {
        let mut queue = self.queue();
        loop {
            if let Some(line) = queue.lines.pop_front() {
                return line;
            }
            queue = self.wanted.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// Counts a line that is out. How many were lost, where it is time to tell: there is room for the line that does, for
    /// which nobody must wait yet, this thread least of all.
    fn went_out(&self, bytes: usize) -> Option<u64> {
        let mut queue = self.queue();
        queue.bytes -= bytes;
        queue.went_out += 1;
        self.came_out.notify_all();
        if queue.untold > 0 && queue.bytes <= BYTES_MAX / 2 {
            return Some(std::mem::take(&mut queue.untold));
        }
        queue.settle(self.distrust);
        None
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Instant;

    /// An outlet whose lines are taken one for each word that is said, and come out at the other end.
    fn outlet(distrust: Duration) -> (Arc<Outlet>, Sender<()>, Receiver<Vec<u8>>) {
        let ((take, taken), (says, said)) = (channel(), channel());
        let taken = Mutex::new(taken);
        let write = move |line: &[u8]| {
            // Behind the test's end nobody says or looks any more.
            taken.lock().unwrap().recv().ok();
            says.send(line.to_vec()).is_ok()
        };
        (Outlet::trusting(distrust, write), take, said)
    }

    #[test]
    fn who_logs_waits_for_its_line() {
        let (outlet, take, said) = outlet(DISTRUST);
        for number in 0..100_u8 {
            take.send(()).unwrap();
            outlet.put(&[number]);
            assert_eq!(said.try_recv().unwrap(), [number]);
        }
        assert!(outlet.queue().stuck_at.is_none());
    }

    #[test]
    fn who_reads_slowly_is_waited_for_once() {
        let (outlet, take, said) = outlet(DISTRUST);
        outlet.put(b"waited for");
        assert!(outlet.queue().stuck_at.is_some());
        take.send(()).unwrap();
        assert_eq!(said.recv().unwrap(), b"waited for");
        outlet.flush(Duration::from_secs(60));
        // All are out, and yet nobody waits: the next one returns though its line is not out.
        outlet.put(b"not waited for");
        assert_eq!(outlet.queue().went_out, 1);
        take.send(()).unwrap();
        assert_eq!(said.recv().unwrap(), b"not waited for");
    }

    #[test]
    fn a_line_that_cannot_be_written_is_counted() {
        let outlet = Outlet::start(|_| false);
        outlet.put(b"lost");
        outlet.flush(Duration::from_secs(60));
        assert_eq!(outlet.lost(), 1);
    }

    #[test]
    fn where_none_are_taken_nobody_waits_and_those_without_room_are_counted() {
        let (outlet, take, said) = outlet(Duration::ZERO);
        let line = [b'x'; 1024];
        let fits = BYTES_MAX / line.len();
        let started = Instant::now();
        outlet.put(&line);
        assert!(outlet.queue().stuck_at.is_some() && started.elapsed() >= PATIENCE);
        (1..fits + 3).for_each(|_| outlet.put(&line));
        assert_eq!(outlet.lost(), 3);
        outlet.flush(Duration::from_millis(1));
        (0..fits).for_each(|_| take.send(()).unwrap());
        outlet.flush(Duration::from_secs(60));
        assert_eq!(said.try_iter().count(), fits);
        assert_eq!(outlet.queue().untold, 0, "it was told");
        // They flow again, so they are awaited again.
        take.send(()).unwrap();
        outlet.put(b"last");
        assert_eq!(said.try_recv().unwrap(), b"last");
    }
}
