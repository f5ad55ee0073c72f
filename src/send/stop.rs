use tokio::sync::watch;

/// How far a run is to go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    /// Read and send.
    Running,
    /// Nothing more can be sent: finish what is in flight, retry nothing.
    Hopeless,
    /// Asked to stop: finish what is in flight, retry nothing.
    Stopping,
    /// Asked again: wait for nothing.
    Aborted,
}

/// Asks a run to stop. All clones are the same switch.
#[derive(Debug, Clone)]
pub struct Stop(watch::Sender<Phase>);

impl Default for Stop {
    fn default() -> Self {
        Stop(watch::Sender::new(Phase::Running))
    }
}

impl Stop {
    /// The first call makes the run read no more and finish what is in flight; the second makes it not even wait for
    /// that.
    pub fn stop(&self) {
        self.0.send_modify(|phase| {
            *phase = if *phase >= Phase::Stopping { Phase::Aborted } else { Phase::Stopping };
        });
    }

    /// No further request can succeed.
    pub(crate) fn give_up(&self) {
        self.0.send_modify(|phase| *phase = Phase::Hopeless.max(*phase));
    }

    pub(crate) fn phase(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the run is in `phase` or a later one.
    pub(crate) async fn reached(&self, phase: Phase) {
        // Cannot fail: `self` holds the sender.
        drop(self.0.subscribe().wait_for(|now| *now >= phase).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_stop_aborts_and_giving_up_never_goes_back() {
        let stop = Stop::default();
        stop.give_up();
        assert_eq!(stop.phase(), Phase::Hopeless);
        stop.stop();
        assert_eq!(stop.phase(), Phase::Stopping);
        stop.give_up();
        assert_eq!(stop.phase(), Phase::Stopping);
        stop.stop();
        assert_eq!(stop.phase(), Phase::Aborted);
    }
}
