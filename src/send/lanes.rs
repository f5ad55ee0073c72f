use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;
use tokio::time::Instant;

/// How many lanes an answer opens again, shared among those that are open: a refusal costs a wait, so that the limit is
/// felt for with many answers in between.
const OPENED_BY_ANSWER: f64 = 0.1;

/// How many requests may be in flight: half as many after a refusal, a little more after each answer, and never more than
/// the user allows. A server that is short of room gets what it can take instead of the same crowd again and again.
#[derive(Debug)]
pub(crate) struct Lanes {
    state: Mutex<State>,
    freed: Notify,
    most: f64,
}

#[derive(Debug)]
struct State {
    open: f64,
    used: usize,
    lowered_at: Option<Instant>,
}

/// A lane in use, free again when dropped.
#[derive(Debug)]
pub(crate) struct Lane<'a> {
    lanes: &'a Lanes,
    /// When it was entered.
    pub(crate) since: Instant,
}

impl Lanes {
    /// All open.
    pub(crate) fn new(most: usize) -> Self {
        let most = most.max(1) as f64;
        Lanes { state: Mutex::new(State { open: most, used: 0, lowered_at: None }), freed: Notify::new(), most }
    }

    /// Waits for a lane.
    pub(crate) async fn enter(&self) -> Lane<'_> {
        loop {
            let freed = self.freed.notified();
            {
                let mut state = self.state();
                // One is always open.
                if (state.used as f64) < state.open.floor() {
                    state.used += 1;
                    return Lane { lanes: self, since: Instant::now() };
                }
            }
            freed.await;
        }
    }

    /// A request that entered at `since` was refused. Those that were in flight together are one refusal.
    pub(crate) fn lower(&self, since: Instant) {
        let mut state = self.state();
        if state.lowered_at.is_none_or(|lowered_at| since >= lowered_at) {
            state.open = (state.open / 2.0).max(1.0);
            state.lowered_at = Some(Instant::now());
        }
    }

    /// A request was answered.
    pub(crate) fn raise(&self) {
        let mut state = self.state();
        state.open = (state.open + OPENED_BY_ANSWER / state.open).min(self.most);
        drop(state);
        self.freed.notify_one();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Lane<'_> {
    fn drop(&mut self) {
        self.lanes.state().used -= 1;
        self.lanes.freed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn open(lanes: &Lanes) -> usize {
        lanes.state().open.floor() as usize
    }

    #[test]
    fn refusals_halve_down_to_one_and_answers_open_them_again() {
        let lanes = Lanes::new(8);
        for expected in [4, 2, 1, 1] {
            lanes.lower(Instant::now());
            assert_eq!(open(&lanes), expected);
        }
        for _ in 0..10_000 {
            lanes.raise();
        }
        assert_eq!(open(&lanes), 8);
    }

    #[test]
    fn requests_that_were_in_flight_together_are_one_refusal() {
        let lanes = Lanes::new(8);
        let began = Instant::now();
        for _ in 0..8 {
            lanes.lower(began);
        }
        assert_eq!(open(&lanes), 4);
    }

    #[tokio::test]
    async fn who_finds_no_lane_waits_for_one() {
        let lanes = Lanes::new(2);
        let (first, second) = (lanes.enter().await, lanes.enter().await);
        let waited = tokio::time::timeout(Duration::from_millis(20), lanes.enter()).await;
        assert!(waited.is_err());
        let third = async { drop(lanes.enter().await) };
        let frees = async { drop(first) };
        tokio::time::timeout(Duration::from_secs(60), async { tokio::join!(third, frees) }).await.unwrap();
        drop(second);
        assert_eq!(lanes.state().used, 0);
    }
}
