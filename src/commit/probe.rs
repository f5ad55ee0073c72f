//! A probe that takes the way of a request: into every acceptor's event loop, through the ring to the writer, and back
//! through the loop. Whoever sends it learns that all of them still turn, also while nothing comes in; it stores nothing.

use super::desk::Mailbox;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// How often it is looked whether the probe is back: soon at first, then less often.
const LOOK_FIRST: Duration = Duration::from_millis(1);
const LOOK_MAX: Duration = Duration::from_millis(100);

/// How far the probe is on its way through one acceptor; each station holds the newest round that has passed it.
#[derive(Debug, Default)]
pub(super) struct Stations {
    asked: AtomicU64,
    seen: AtomicU64,
    written: AtomicU64,
    back: AtomicU64,
}

impl Stations {
    /// Called in the acceptor's loop: lets a probe come back from the writer; the round that is asked for.
    pub(super) fn turn(&self) -> u64 {
        self.back.store(self.written.load(Ordering::Acquire), Ordering::Release);
        let asked = self.asked.load(Ordering::Acquire);
        self.seen.store(asked, Ordering::Release);
        asked
    }

    /// Called by the writer.
    pub(super) fn written(&self, round: u64) {
        self.written.store(round, Ordering::Release);
    }

    fn stuck(&self, acceptor: usize, round: u64) -> Option<Stuck> {
        let has_passed = |station: &AtomicU64| station.load(Ordering::Acquire) >= round;
        match () {
            () if has_passed(&self.back) => None,
            () if has_passed(&self.seen) && !has_passed(&self.written) => Some(Stuck::Writer),
            () => Some(Stuck::Acceptor(acceptor)),
        }
    }
}

/// Who has not let the probe pass.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stuck {
    /// The event loop of that acceptor does not turn.
    Acceptor(usize),
    /// The writer takes nothing from the ring.
    Writer,
}

impl fmt::Display for Stuck {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Stuck::Acceptor(number) => write!(f, "acceptor {number} does not turn"),
            Stuck::Writer => f.write_str("the writer does not answer"),
        }
    }
}

/// Sends probes; from [`super::Engine::probe`].
#[derive(Debug)]
pub struct Probe {
    mailboxes: Vec<Arc<Mailbox>>,
    round: u64,
}

impl Probe {
    pub(super) fn new(mailboxes: &[Arc<Mailbox>]) -> Self {
        Probe { mailboxes: mailboxes.to_vec(), round: 0 }
    }

    /// Sends a probe through every acceptor and waits until all are back. One that is still under way from the last call
    /// is waited for, and no other sent behind it.
    ///
    /// # Errors
    /// Who has not let it pass in time.
    pub fn pass(&mut self, within: Duration) -> Result<(), Stuck> {
        if self.stuck().is_none() {
            self.round += 1;
        }
        let deadline = Instant::now() + within;
        let mut pause = LOOK_FIRST;
        while let Some(stuck) = self.ask() {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(stuck);
            }
            std::thread::sleep(pause.min(left));
            pause = (pause * 2).min(LOOK_MAX);
        }
        Ok(())
    }

    /// Rings at every acceptor whose probe is not back (again, for the ring may have been full), and says whose that is.
    fn ask(&self) -> Option<Stuck> {
        let stuck = self.stuck()?;
        for (number, mailbox) in self.mailboxes.iter().enumerate() {
            mailbox.probe.asked.store(self.round, Ordering::Release);
            if mailbox.probe.stuck(number, self.round).is_some() {
                mailbox.ring_bell();
            }
        }
        Some(stuck)
    }

    fn stuck(&self) -> Option<Stuck> {
        let stations = self.mailboxes.iter().map(|mailbox| &mailbox.probe);
        stations.enumerate().find_map(|(number, stations)| stations.stuck(number, self.round))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_station_that_holds_it_up_is_named_and_the_same_probe_is_waited_for() {
        let mailboxes = [Arc::new(Mailbox::default()), Arc::new(Mailbox::default())];
        let mut probe = Probe::new(&mailboxes);
        let none = Duration::ZERO;
        assert_eq!(probe.pass(none), Err(Stuck::Acceptor(0)));
        assert_eq!(mailboxes[0].probe.turn(), 1);
        assert_eq!(probe.pass(none), Err(Stuck::Writer));
        mailboxes[0].probe.written(1);
        assert_eq!(probe.pass(none), Err(Stuck::Acceptor(0)));
        mailboxes[0].probe.turn();
        assert_eq!(probe.pass(none), Err(Stuck::Acceptor(1)));
        assert_eq!(mailboxes[1].probe.turn(), 1);
        mailboxes[1].probe.written(1);
        mailboxes[1].probe.turn();
        assert_eq!(probe.pass(none), Err(Stuck::Acceptor(0)), "the next round");
        assert_eq!(mailboxes[0].probe.turn(), 2);
    }
}
