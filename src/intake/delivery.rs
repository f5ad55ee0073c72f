//! `?ack=`: an answer that waits until sinks have the events, too.

use super::acceptor::Acceptor;
use super::answer::Answer;
use crate::commit::{Permit, Remembered, Submission};
use event::{Refusal, Seq, Verdict};
use std::time::Duration;
use tokio::time::{sleep, timeout};

/// How often a waiting request looks whether the daemon stops.
const STOP_LOOK: Duration = Duration::from_millis(50);

/// What a request waits for; taken before anything is stored, for those who may wait are bounded.
pub(super) struct Wait {
    sinks: Vec<&'static str>,
    _place: Option<Permit>,
}

impl Wait {
    /// A wait for `sinks`, which may be none, of a request that is known to bring so many `events`.
    ///
    /// # Errors
    /// The answer when too many wait already: nothing is stored.
    pub(super) fn for_sinks(acceptor: &Acceptor, sinks: Vec<&'static str>, events: u64) -> Result<Self, Box<Answer>> {
        let place = match sinks.is_empty() {
            true => None,
            false => {
                let place = acceptor.shared.ack_places.enter();
                Some(place.ok_or_else(|| Box::new(acceptor.refuse_request(Refusal::Overloaded, events)))?)
            }
        };
        Ok(Wait { sinks, _place: place })
    }

    /// Waits until the sinks have all of it, at most as long as configured, and adds to the answer what came of it.
    pub(super) async fn finish(
        self,
        acceptor: &Acceptor,
        stored: Box<Submission>,
        mut answer: Remembered,
    ) -> Remembered {
        if self.sinks.is_empty() {
            return answer;
        }
        let verdicts = stored.outcome.as_ref().map(|receipt| receipt.verdicts.clone()).unwrap_or_default();
        // It is stored: it takes no room between socket and log any more.
        drop(stored);
        let Some(last) = verdicts.iter().map(|verdict| verdict.seq()).max() else { return answer };
        let delivery = self.outcome(acceptor, &verdicts, last).await;
        if answer.body.pop() == Some(b'}') {
            answer.body.extend_from_slice(format!(",\"delivery\":\"{delivery}\"}}").as_bytes());
        }
        answer
    }

    async fn outcome(&self, acceptor: &Acceptor, verdicts: &[Verdict], last: Seq) -> &'static str {
        let tail = &acceptor.shared.tail;
        let delivered = async {
            for sink in &self.sinks {
                tail.is_delivered(sink, last).await;
            }
        };
        let is_in_time = tokio::select! {
            waited = timeout(acceptor.shared.deadlines().ack, delivered) => waited.is_ok(),
            // The sinks finish after the last request is answered.
            () = stops(acceptor) => false,
        };
        if !is_in_time {
            return "pending";
        }
        let is_dead = |verdict: &Verdict| self.sinks.iter().any(|sink| tail.is_dead(sink, verdict.seq()));
        let is_expired = |verdict: &Verdict| self.sinks.iter().any(|sink| tail.is_expired(sink, verdict.seq()));
        match () {
            () if verdicts.iter().any(is_dead) => "dead",
            () if verdicts.iter().any(is_expired) => "expired",
            () => "delivered",
        }
    }
}

/// Waits until the daemon stops.
async fn stops(acceptor: &Acceptor) {
    while !acceptor.stopping() {
        sleep(STOP_LOOK).await;
    }
}
