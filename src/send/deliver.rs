use crate::answer::{Answered, Verdict, judge};
use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::client::{Client, Reply};
use crate::lanes::Lanes;
use crate::outcome::{Outcome, Reason, Rejected};
use crate::plan::{Plan, Tuning};
use crate::stop::{Phase, Stop};
use crate::{Observer, Trouble};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::time::{Instant, sleep_until};

/// Added to the wait that a server asks for, so that its senders do not come back as one.
const RETRY_AFTER_JITTER_MAX: Duration = Duration::from_millis(250);

/// Brings batches to their end: one for all deliveries of a run, which share what they learn of the server.
pub(crate) struct Courier {
    client: Client,
    tuning: Tuning,
    single: bool,
    /// `None`: for ever.
    retry_for: Option<Duration>,
    /// Most events in a request; lowered to what the server allows.
    batch_events_max: Arc<AtomicUsize>,
    server: Mutex<Server>,
    lanes: Lanes,
    observer: Arc<dyn Observer>,
    stop: Stop,
}

/// What is known of the server.
struct Server {
    /// It has asked to be left alone until then.
    silent_until: Instant,
    /// When it last answered a request for good.
    answered_at: Option<Instant>,
}

/// Events that are sent as one request, and how often that has failed.
struct Parcel {
    batch: Batch,
    backoff: Backoff,
    attempts: u32,
    /// When the last attempt began.
    sent_at: Instant,
    failing_since: Option<Instant>,
    /// An attempt may have stored the events without telling.
    unclear: bool,
}

impl Courier {
    pub(crate) fn new(plan: &Plan, tuning: Tuning, observer: Arc<dyn Observer>, stop: Stop) -> Self {
        Courier {
            client: Client::new(
                plan.target.clone(),
                plan.trust.clone(),
                plan.authorization.clone(),
                plan.single,
                &tuning,
            ),
            tuning,
            single: plan.single,
            retry_for: plan.retry_for,
            batch_events_max: Arc::new(AtomicUsize::new(plan.batch_events_max)),
            lanes: Lanes::new(plan.concurrency),
            server: Mutex::new(Server { silent_until: Instant::now(), answered_at: None }),
            observer,
            stop,
        }
    }

    /// Most events that a batch should hold, which may become fewer.
    pub(crate) fn batch_events_max(&self) -> Arc<AtomicUsize> {
        Arc::clone(&self.batch_events_max)
    }

    /// Sends `batch`, in parts and again as often as it takes, until each event has its answer or there is no hope.
    pub(crate) async fn deliver(&self, batch: Batch) -> Outcome {
        let events = batch.len() as u64;
        let mut outcome = Outcome::default();
        let mut parcels = vec![self.parcel(batch, false)];
        while let Some(mut parcel) = parcels.pop() {
            let (head, rest) = parcel.batch.split(self.batch_events_max.load(Ordering::Relaxed));
            parcels.extend(rest.map(|rest| self.parcel(rest, parcel.unclear)));
            parcel.batch = head;
            match self.attempt(&mut parcel, &mut outcome).await {
                Ok(reply) => self.settle(parcel, &reply, &mut parcels, &mut outcome).await,
                Err(phase) => outcome.leave(&parcel.batch, why(phase)),
            }
        }
        debug_assert_eq!(outcome.events(), events, "each event has one outcome");
        outcome
    }

    fn parcel(&self, batch: Batch, unclear: bool) -> Parcel {
        let backoff = Backoff::new(self.tuning.backoff_first, self.tuning.backoff_longest);
        Parcel { batch, backoff, attempts: 0, sent_at: Instant::now(), failing_since: None, unclear }
    }

    /// One request, when the server wants to be spoken to again and a lane is free.
    async fn attempt(&self, parcel: &mut Parcel, outcome: &mut Outcome) -> Result<Reply, Phase> {
        let lane = loop {
            let silent_until = self.server().silent_until;
            if silent_until > Instant::now() {
                self.sleep_until(silent_until).await?;
                continue;
            }
            let lane = tokio::select! {
                lane = self.lanes.enter() => lane,
                () = self.stop.reached(Phase::Hopeless) => return Err(self.stop.phase()),
            };
            // It may have asked for silence meanwhile.
            if self.server().silent_until <= Instant::now() {
                break lane;
            }
        };
        if self.stop.phase() > Phase::Running {
            return Err(self.stop.phase());
        }
        outcome.requests += 1;
        outcome.retries += u64::from(parcel.attempts > 0);
        parcel.attempts += 1;
        parcel.sent_at = lane.since;
        tokio::select! {
            reply = self.client.post(&parcel.batch) => Ok(reply),
            () = self.stop.reached(Phase::Aborted) => Err(Phase::Aborted),
        }
    }

    /// Books what `reply` settles, and puts what it leaves open back among `parcels`.
    async fn settle(&self, parcel: Parcel, reply: &Reply, parcels: &mut Vec<Parcel>, outcome: &mut Outcome) {
        let verdict = judge(reply, parcel.batch.len(), self.single);
        match verdict {
            Verdict::Later { .. } => self.lanes.lower(parcel.sent_at),
            Verdict::Hopeless(_) => {}
            _ => {
                self.lanes.raise();
                self.server().answered_at = Some(Instant::now());
            }
        }
        match verdict {
            Verdict::Answered(answered) => {
                if let Some(refused) = book(&parcel, answered, outcome) {
                    let parcel = Parcel { batch: refused, ..parcel };
                    self.retry(parcel, "the server refused some events for now", None, parcels, outcome).await;
                }
            }
            Verdict::Later { reason, wait, unclear } => {
                let parcel = Parcel { unclear: parcel.unclear || unclear, ..parcel };
                self.retry(parcel, &reason, wait, parcels, outcome).await;
            }
            Verdict::TooBig { limit, reason } => match self.smaller(parcel.batch.len(), limit) {
                Some(events) => {
                    let (head, rest) = parcel.batch.split(events);
                    parcels.extend(rest.map(|rest| self.parcel(rest, parcel.unclear)));
                    parcels.push(self.parcel(head, parcel.unclear));
                }
                None => reject_all(&parcel.batch, &reason, outcome),
            },
            Verdict::Rejected(reason) => reject_all(&parcel.batch, &reason, outcome),
            Verdict::Hopeless(reason) => self.give_up(&parcel, reason, outcome),
        }
    }

    /// How many of `events` to try next, where all of them are too many; `None` for one, which cannot be halved.
    fn smaller(&self, events: usize, limit: Option<usize>) -> Option<usize> {
        if events < 2 {
            return None;
        }
        let half = events / 2;
        let Some(limit) = limit else { return Some(half) };
        let smaller = if (1..events).contains(&limit) { limit } else { half };
        self.batch_events_max.fetch_min(smaller, Ordering::Relaxed);
        Some(smaller)
    }

    /// Waits and puts `parcel` back, unless it has failed for too long. A server that wants to be left alone for longer
    /// than that is asked once more at the end: it may have said so in passing.
    async fn retry(
        &self,
        mut parcel: Parcel,
        reason: &str,
        demanded: Option<Duration>,
        parcels: &mut Vec<Parcel>,
        outcome: &mut Outcome,
    ) {
        let now = Instant::now();
        let since = *parcel.failing_since.get_or_insert(now);
        let own = parcel.backoff.next(fastrand::f64());
        let mut wait = demanded.map_or(own, |demanded| demanded.saturating_add(own.min(RETRY_AFTER_JITTER_MAX)));
        if let Some(retry_for) = self.retry_for {
            let left = retry_for.saturating_sub(now - since);
            if left.is_zero() {
                let reason = format!("gave up after {:.0} s: {reason}", (now - since).as_secs_f64());
                return self.give_up_for_now(&parcel, since, reason, outcome);
            }
            wait = wait.min(left);
        }
        let until = now + wait;
        if demanded.is_some() {
            let mut server = self.server();
            server.silent_until = server.silent_until.max(until);
        }
        self.observer.trouble(&Trouble { reason: reason.to_owned(), attempt: parcel.attempts, wait });
        match self.sleep_until(until).await {
            Ok(()) => parcels.push(parcel),
            Err(_) => outcome.leave(&parcel.batch, reason),
        }
    }

    /// A parcel has failed for too long: the run is over if all others have failed all that time too.
    fn give_up_for_now(&self, parcel: &Parcel, since: Instant, reason: String, outcome: &mut Outcome) {
        let answered_at = self.server().answered_at;
        if answered_at.is_some_and(|answered_at| answered_at > since) {
            outcome.leave(&parcel.batch, &reason);
        } else {
            self.give_up(parcel, reason, outcome);
        }
    }

    fn give_up(&self, parcel: &Parcel, reason: String, outcome: &mut Outcome) {
        outcome.leave(&parcel.batch, &reason);
        outcome.hopeless = Some(reason);
        self.stop.give_up();
    }

    /// Sleeps, unless the run ends before.
    async fn sleep_until(&self, until: Instant) -> Result<(), Phase> {
        tokio::select! {
            () = sleep_until(until) => Ok(()),
            () = self.stop.reached(Phase::Hopeless) => Err(self.stop.phase()),
        }
    }

    fn server(&self) -> MutexGuard<'_, Server> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Why events are left when a run ends before them.
pub(crate) fn why(phase: Phase) -> &'static str {
    match phase {
        Phase::Running | Phase::Hopeless => "not sent: the run had given up",
        Phase::Stopping => "not sent: stopped",
        Phase::Aborted => "stopped without waiting for the answer",
    }
}

/// Books an answer, and gives back what was refused for now.
fn book(parcel: &Parcel, answered: Answered, outcome: &mut Outcome) -> Option<Batch> {
    let batch = &parcel.batch;
    outcome.accepted += answered.accepted;
    outcome.duplicates += answered.duplicates;
    if parcel.unclear {
        outcome.duplicates_after_retry += answered.duplicates;
    }
    for (index, reason) in answered.rejected {
        outcome.rejected.push(Rejected { place: batch.place(index), events: 1, reason });
    }
    if answered.rejected_somewhere > 0 {
        let (events, of) = (answered.rejected_somewhere, batch.len());
        let message = format!("{events} of the {of} events from this line on; the answer does not say which");
        let reason = Reason::new("unattributed", None, &message);
        outcome.rejected.push(Rejected { place: batch.place(0), events, reason });
    }
    batch.pick(&answered.refused)
}

fn reject_all(batch: &Batch, reason: &Reason, outcome: &mut Outcome) {
    let rejected = batch.places().map(|place| Rejected { place, events: 1, reason: reason.clone() });
    outcome.rejected.extend(rejected);
}
