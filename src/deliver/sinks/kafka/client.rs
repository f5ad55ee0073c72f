//! The session: opens a producer, finds the place to go on, sends, and decides what to do when that fails.

use crate::connection::Deadline;
use crate::decide::{self, Action, Known};
use crate::producer::Producer;
use crate::reports::Stop;
use crate::stretch::{Pace, Stretch, Suspects};
use crate::topics::{self, Layout};
use crate::watermark_reader;
use crate::{Config, Delivery, Failure, Fault, History, Message, Position, Reason, Refused, Slice, Watermark};
use std::time::Duration;

/// A cluster that answers no sooner while it is asked for nothing else is as good as away.
const PING_MAX: Duration = Duration::from_secs(5);

/// The moments of a slice between which a crash makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Every message is acknowledged, and nothing is committed.
    Filled,
    /// The transaction is committed.
    Committed,
}

/// Is told of each [`Step`], for crash tests.
pub type Probe = Box<dyn FnMut(Step) + Send>;

/// Who opens a session, and what is known of the past.
#[derive(Debug, Clone, Copy)]
pub struct Start<'a> {
    /// This start of the daemon: drawn at random, never used again.
    pub run: u64,
    /// What the log knows of itself.
    pub history: History<'a>,
    /// The stored cursor, whether or not anything was ever sent; `None` for a sink that has none yet.
    pub cursor: Option<Position>,
    /// Where the topics ended when what follows, up to the cursor, was given up, if it was.
    pub passed: Option<Position>,
    /// Where a sink begins that is new: it has neither cursor nor watermark.
    pub begin: Position,
}

/// A connection that sends slices of the log, one after another.
pub struct Session {
    config: Config,
    layout: Layout,
    run: u64,
    /// What the topics have, as far as we were told.
    mark: Watermark,
    /// What they may have, if an attempt of unknown outcome went through.
    sent: Position,
    /// `None` after anything whose outcome is unknown.
    producer: Option<Producer>,
    pace: Pace,
    found: Option<Watermark>,
    failed: Option<Failure>,
    probe: Option<Probe>,
}

impl Session {
    /// Makes or checks the topics, fences whoever sends under our id, finds out how far the topics have everything, and
    /// writes down there that the id is ours now.
    ///
    /// Only a session that is new may take the id from another daemon: keep one over all faults but
    /// [`Fault::Failed`], and open a new one after that only when an operator says so.
    ///
    /// # Errors
    /// [`Fault`], but neither moved nor refused.
    pub fn open(config: Config, start: &Start<'_>) -> Result<Self, Fault> {
        config.check().map_err(|error| Fault::Misconfigured(error.to_string()))?;
        let deadline = Deadline::after(config.patience);
        let mut session = Session::new(config, start, deadline)?;
        session.establish(&known(start, session.config.delivery), deadline)?;
        Ok(session)
    }

    /// How far the topics say that they have everything, and changes nothing but this: whoever sends under our id is fenced,
    /// and what it has under way is aborted or through.
    ///
    /// # Errors
    /// As [`Session::open`].
    pub fn look(config: Config, start: &Start<'_>) -> Result<Option<Position>, Fault> {
        config.check().map_err(|error| Fault::Misconfigured(error.to_string()))?;
        let deadline = Deadline::after(config.patience);
        let mut session = Session::new(config, start, deadline)?;
        let producer = Producer::open(&session.config, &session.layout)?;
        producer.init(deadline).map_err(|stop| told(&producer, "cannot begin to send", stop))?;
        session.find(&known(start, session.config.delivery), deadline)?;
        Ok(session.found.map(|mark| mark.position))
    }

    /// As [`Session::open`], but goes on after the cursor whatever the watermark says, if there is one at all, and writes
    /// it anew: an operator has said that this is how far the topics have everything.
    ///
    /// # Errors
    /// [`Fault`], but neither moved nor refused.
    pub fn adopt(config: Config, start: &Start<'_>) -> Result<Self, Fault> {
        config.check().map_err(|error| Fault::Misconfigured(error.to_string()))?;
        let deadline = Deadline::after(config.patience);
        let mut session = Session::new(config, start, deadline)?;
        session.claim(deadline)?;
        Ok(session)
    }

    fn new(config: Config, start: &Start<'_>, deadline: Deadline) -> Result<Self, Fault> {
        let layout = topics::prepare(&config, deadline)?;
        let position = start.cursor.unwrap_or(start.begin);
        let incarnation = start.history.incarnation_at(position.seq);
        let mark = Watermark { run: start.run, incarnation, position };
        Ok(Session {
            config,
            layout,
            run: start.run,
            mark,
            sent: position,
            producer: None,
            pace: Pace::START,
            found: None,
            failed: None,
            probe: None,
        })
    }

    /// A new producer, and our own place as the watermark.
    fn claim(&mut self, deadline: Deadline) -> Result<(), Fault> {
        for contests in 0.. {
            let producer = Producer::open(&self.config, &self.layout)?;
            producer.init(deadline).map_err(|stop| told(&producer, "cannot begin to send", stop))?;
            let nothing = Slice::new(self.mark.position);
            match producer.fill(&nothing.stretch(0, 0), &self.mark).and_then(|()| producer.commit()) {
                Ok(()) => {
                    self.go_on(self.mark, producer);
                    break;
                }
                // Somebody else begins at this very moment, or the cluster has trouble.
                Err(Stop::Do(Action::Repeat | Action::Renew, _)) if !deadline.is_over() => {
                    deadline.step_aside(contests);
                }
                Err(stop) => return Err(told(&producer, "cannot write the watermark", stop)),
            }
        }
        Ok(())
    }

    /// Sets who is told of each step: for crash tests.
    #[must_use]
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// How far the topics have everything: the next slice begins after this.
    #[must_use]
    pub fn position(&self) -> Position {
        self.mark.position
    }

    /// The watermark that was there when the session was opened or last renewed. It may be behind
    /// [`Session::position`]: what is between was given up, or sent at least once by a release that wrote none, or is in
    /// the log no more.
    #[must_use]
    pub fn found(&self) -> Option<Watermark> {
        self.found
    }

    /// How many bytes a slice should have: less while the link is slow. A larger one is sent in parts.
    #[must_use]
    pub fn slice_bytes(&self) -> usize {
        self.pace.bytes()
    }

    /// Brings a slice to its topics; returns once that is final. What the topics have of it already is not sent again,
    /// and what they have when this fails is behind [`Session::position`].
    ///
    /// # Errors
    /// [`Fault`].
    pub fn send(&mut self, slice: &Slice) -> Result<(), Fault> {
        if let Some(failure) = self.failed {
            return Err(Fault::Failed(failure));
        }
        let mut deadline = Deadline::after(self.config.patience);
        let mut suspects = Suspects::default();
        loop {
            self.connect(deadline)?;
            if self.mark.position == slice.end() {
                return Ok(());
            }
            let from = slice.place_after(self.mark.position).ok_or(Fault::Moved(self.mark.position))?;
            self.check_sizes(&slice.stretch(from, slice.len()))?;
            let to = suspects.reach(from, slice.reach(from, self.pace.bytes()));
            let stretch = slice.stretch(from, to);
            match self.attempt(&stretch) {
                Ok(()) => suspects.acquit(to),
                Err(Stop::Refused(refused)) if !stretch.is_one_item() => {
                    suspects = Suspects::among(slice, refused.iter().map(|refused| refused.item));
                    self.producer = None;
                }
                Err(stop) => {
                    self.recover(stop, &stretch, deadline)?;
                    continue;
                }
            }
            // It got on, or the search for somebody who is refused did.
            deadline = Deadline::after(self.config.patience);
        }
    }

    /// Whether the cluster can be reached, for when there is nothing to send. After a failure the next call begins with a
    /// new producer: what has gone may be the topics, which a new one looks for.
    ///
    /// # Errors
    /// [`Fault`], but neither moved nor refused.
    pub fn ping(&mut self) -> Result<(), Fault> {
        if let Some(failure) = self.failed {
            return Err(Fault::Failed(failure));
        }
        self.connect(Deadline::after(self.config.patience))?;
        // A producer that was only made has asked nobody yet.
        let Some(producer) = &self.producer else { return Ok(()) };
        let answered = producer.ping(self.config.patience.min(PING_MAX));
        if answered.is_err() {
            self.producer = None;
        }
        answered
    }

    /// Names what is known to be too large, before anything is sent.
    fn check_sizes(&self, stretch: &Stretch<'_>) -> Result<(), Fault> {
        let too_large = |message: &Message<'_>| message.batch_bytes() > self.layout.bytes_max(message.topic);
        let found = stretch.messages().map(|(_, message)| message).filter(too_large);
        let mut refused: Vec<_> = found
            .map(|message| Refused { item: message.item, topic: message.topic, reason: Reason::TooLarge })
            .collect();
        refused.dedup_by_key(|refused| refused.item);
        if refused.is_empty() { Ok(()) } else { Err(Fault::Refused(refused)) }
    }

    /// Makes sure that there is a producer, and that we know what the topics have, how much they take, and that they are
    /// there: what has failed may have failed because one is not.
    fn connect(&mut self, deadline: Deadline) -> Result<(), Fault> {
        if self.producer.is_some() {
            return Ok(());
        }
        self.layout = topics::prepare(&self.config, deadline)?;
        match self.config.delivery {
            Delivery::ExactlyOnce => {
                let known = Known::Own { run: self.run, confirmed: self.mark.position, sent: self.sent };
                self.establish(&known, deadline)
            }
            Delivery::AtLeastOnce => {
                self.producer = Some(Producer::open(&self.config, &self.layout)?);
                Ok(())
            }
        }
    }

    /// A new producer, and the watermark: read, judged, and written anew under our name if it is not ours yet.
    ///
    /// The last makes two daemons tell each other apart: whoever is fenced and finds the other's name gives in, and the
    /// other one, fenced by that very look, finds its own and goes on.
    fn establish(&mut self, known: &Known<'_>, deadline: Deadline) -> Result<(), Fault> {
        let mut first_found = None;
        let mut contests = 0;
        loop {
            let producer = Producer::open(&self.config, &self.layout)?;
            producer.init(deadline).map_err(|stop| told(&producer, "cannot begin to send", stop))?;
            let found = self.find(known, deadline)?;
            let run = found.map(|mark| mark.run);
            let given_up = matches!(known, Known::Log { passed: Some(_), .. });
            if let Some(mark) = found.filter(|mark| mark.run == self.run && !given_up) {
                self.go_on(mark, producer);
                return Ok(());
            }
            if decide::is_contested(&mut first_found, run, self.run) {
                return Err(self.fail(Failure::Fenced { run: run.unwrap_or(0) }));
            }
            let claim = Watermark { run: self.run, ..found.unwrap_or(self.mark) };
            let nothing = Slice::new(claim.position);
            match producer.fill(&nothing.stretch(0, 0), &claim).and_then(|()| producer.commit()) {
                Ok(()) => {
                    self.go_on(claim, producer);
                    return Ok(());
                }
                // Somebody else begins at this very moment, or the cluster has trouble.
                Err(Stop::Do(Action::Repeat | Action::Renew, _)) if !deadline.is_over() => {
                    deadline.step_aside(contests);
                    contests += 1;
                }
                Err(stop) => return Err(told(&producer, "cannot write the watermark", stop)),
            }
        }
    }

    fn go_on(&mut self, mark: Watermark, producer: Producer) {
        self.mark = mark;
        self.sent = mark.position;
        self.producer = Some(producer);
    }

    /// The watermark, if it is one to go on from.
    fn find(&mut self, known: &Known<'_>, deadline: Deadline) -> Result<Option<Watermark>, Fault> {
        let found = watermark_reader::read(&self.config, &self.layout, deadline)?.transpose();
        let found = found.map_err(|_| self.fail(Failure::WatermarkUnreadable))?;
        self.found = found;
        decide::resume(known, found).map_err(|failure| self.fail(failure))
    }

    fn fail(&mut self, failure: Failure) -> Fault {
        self.producer = None;
        self.failed = Some(failure);
        Fault::Failed(failure)
    }

    /// Sends a stretch once.
    fn attempt(&mut self, stretch: &Stretch<'_>) -> Result<(), Stop> {
        let Some(producer) = &self.producer else { return Err(Stop::Do(Action::Renew, "not connected".into())) };
        let incarnation = stretch.incarnation.unwrap_or(self.mark.incarnation);
        let mark = Watermark { run: self.run, incarnation, position: stretch.end };
        self.sent = self.sent.max(mark.position);
        producer.fill(stretch, &mark)?;
        tell(&mut self.probe, Step::Filled);
        producer.commit()?;
        self.mark = mark;
        self.pace.went_well(stretch.bytes());
        tell(&mut self.probe, Step::Committed);
        Ok(())
    }

    /// Prepares for another attempt, or says why there is none.
    ///
    /// Whatever went wrong, the producer is given up: its successor has the transaction aborted that it left open.
    /// Aborting by itself would have to wait for what is on its way, and behind a refusal that is for ever.
    fn recover(&mut self, stop: Stop, stretch: &Stretch<'_>, deadline: Deadline) -> Result<(), Fault> {
        let Some(producer) = self.producer.take() else { return Ok(()) };
        match stop {
            Stop::Do(Action::Repeat | Action::Renew, _) if !deadline.is_over() => {
                deadline.pause();
                Ok(())
            }
            stop => {
                if matches!(stop, Stop::Late(_)) {
                    self.pace.timed_out(stretch.bytes());
                }
                Err(told(&producer, "cannot send", stop))
            }
        }
    }
}

impl std::fmt::Debug for Session {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Session")
            .field("transactional_id", &self.config.transactional_id)
            .field("mark", &self.mark)
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}

/// What is known of the past at the start.
fn known<'a>(start: &Start<'a>, delivery: Delivery) -> Known<'a> {
    let passed = match delivery {
        Delivery::ExactlyOnce => start.passed,
        // The cursor alone says what they must have; but what they have beyond it need not come again.
        Delivery::AtLeastOnce => Some(Position::START),
    };
    let Start { history, cursor: confirmed, begin, .. } = *start;
    Known::Log { history, confirmed, passed, begin }
}

fn tell(probe: &mut Option<Probe>, step: Step) {
    if let Some(probe) = probe {
        probe(step);
    }
}

/// The fault of an attempt that is not made again.
fn told(producer: &Producer, what: &str, stop: Stop) -> Fault {
    match stop {
        Stop::Do(Action::Deny, text) => Fault::Denied(format!("{what}: {text}")),
        Stop::Do(_, text) | Stop::Late(text) => producer.fault(what, &text),
        Stop::Refused(refused) => Fault::Refused(refused),
    }
}
