//! The session: opens a producer, finds the place to go on, sends, and decides what to do when that fails.

use crate::connection::Deadline;
use crate::decide::{self, Action, Known};
use crate::producer::Producer;
use crate::reports::{Batches, Stop};
use crate::topics::{self, Layout};
use crate::watermark_reader;
use crate::{Config, Delivery, Failure, Fault, History, Position, Slice, Watermark};

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
    /// How the next producer is to send.
    batches: Batches,
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
        config.check().map_err(|error| Fault::Denied(error.to_string()))?;
        let deadline = Deadline::after(config.patience);
        let mut session = Session::new(config, start, deadline)?;
        match session.config.delivery {
            Delivery::ExactlyOnce => {
                let known = Known::Log { history: start.history, confirmed: start.cursor, passed: start.passed };
                session.establish(&known, deadline)?;
            }
            Delivery::AtLeastOnce => session.connect(deadline)?,
        }
        Ok(session)
    }

    /// As [`Session::open`], but goes on after the cursor whatever the watermark says, if there is one at all, and writes
    /// it anew: an operator has said that this is how far the topics have everything.
    ///
    /// # Errors
    /// [`Fault`], but neither moved nor refused.
    pub fn adopt(config: Config, start: &Start<'_>) -> Result<Self, Fault> {
        config.check().map_err(|error| Fault::Denied(error.to_string()))?;
        let deadline = Deadline::after(config.patience);
        let mut session = Session::new(config, start, deadline)?;
        match session.config.delivery {
            Delivery::ExactlyOnce => session.claim(deadline)?,
            Delivery::AtLeastOnce => session.connect(deadline)?,
        }
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
            batches: Batches::Shared,
            failed: None,
            probe: None,
        })
    }

    /// A new producer, and our own place as the watermark.
    fn claim(&mut self, deadline: Deadline) -> Result<(), Fault> {
        for contests in 0.. {
            let producer = Producer::open(&self.config, &self.layout, self.batches)?;
            producer.init(deadline).map_err(|stop| told(&producer, "cannot begin to send", stop))?;
            let nothing = Slice::new(self.mark.position);
            match producer.fill(&nothing, &self.mark, deadline).and_then(|()| producer.commit(deadline)) {
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

    /// Brings a slice to its topics, all of it or nothing; returns once that is final. A slice that is there already
    /// is fine.
    ///
    /// # Errors
    /// [`Fault`].
    pub fn send(&mut self, slice: &Slice) -> Result<(), Fault> {
        if let Some(failure) = self.failed {
            return Err(Fault::Failed(failure));
        }
        let deadline = Deadline::after(self.config.patience);
        loop {
            self.connect(deadline)?;
            if self.mark.position == slice.end() {
                return Ok(());
            }
            if self.mark.position != slice.after() {
                return Err(Fault::Moved(self.mark.position));
            }
            match self.attempt(slice, deadline) {
                Ok(()) => return Ok(()),
                Err(stop) => self.recover(stop, deadline)?,
            }
        }
    }

    /// Makes sure that there is a producer, and that we know what the topics have.
    fn connect(&mut self, deadline: Deadline) -> Result<(), Fault> {
        if self.producer.is_some() {
            return Ok(());
        }
        match self.config.delivery {
            Delivery::ExactlyOnce => {
                let known = Known::Own { run: self.run, confirmed: self.mark.position, sent: self.sent };
                self.establish(&known, deadline)
            }
            Delivery::AtLeastOnce => {
                self.producer = Some(Producer::open(&self.config, &self.layout, self.batches)?);
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
            let producer = Producer::open(&self.config, &self.layout, self.batches)?;
            producer.init(deadline).map_err(|stop| told(&producer, "cannot begin to send", stop))?;
            let found = self.find(known, deadline)?;
            let run = found.map(|mark| mark.run);
            let given_up = matches!(known, Known::Log { passed: Some(_), .. });
            if let Some(mark) = found.filter(|mark| mark.run == self.run && !given_up) {
                self.go_on(mark, producer);
                return Ok(());
            }
            // Somebody has come in between.
            if *first_found.get_or_insert(run) != run {
                return Err(self.fail(Failure::Fenced { run: run.unwrap_or(0) }));
            }
            let claim = Watermark { run: self.run, ..found.unwrap_or(self.mark) };
            let nothing = Slice::new(claim.position);
            match producer.fill(&nothing, &claim, deadline).and_then(|()| producer.commit(deadline)) {
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
        let found = found.map_err(|_| Failure::WatermarkUnreadable);
        found.and_then(|found| decide::resume(known, found)).map_err(|failure| self.fail(failure))
    }

    fn fail(&mut self, failure: Failure) -> Fault {
        self.producer = None;
        self.failed = Some(failure);
        Fault::Failed(failure)
    }

    /// Sends the slice once.
    fn attempt(&mut self, slice: &Slice, deadline: Deadline) -> Result<(), Stop> {
        let Some(producer) = &self.producer else { return Err(Stop::Do(Action::Renew, "not connected".into())) };
        let incarnation = slice.incarnation().unwrap_or(self.mark.incarnation);
        let mark = Watermark { run: self.run, incarnation, position: slice.end() };
        match self.config.delivery {
            Delivery::ExactlyOnce => {
                self.sent = self.sent.max(slice.end());
                producer.fill(slice, &mark, deadline)?;
                tell(&mut self.probe, Step::Filled);
                producer.commit(deadline)?;
            }
            Delivery::AtLeastOnce => producer.send(slice, deadline)?,
        }
        self.mark = mark;
        if producer.batches() == Batches::OfOne {
            // It has found what it was to find.
            self.batches = Batches::Shared;
            self.producer = None;
        }
        tell(&mut self.probe, Step::Committed);
        Ok(())
    }

    /// Prepares for another attempt, or says why there is none.
    ///
    /// Whatever went wrong, the producer is given up: its successor has the transaction aborted that it left open.
    /// Aborting by itself would have to wait for what is on its way, and behind a refusal that is for ever.
    fn recover(&mut self, stop: Stop, deadline: Deadline) -> Result<(), Fault> {
        let Some(producer) = self.producer.take() else { return Ok(()) };
        match stop {
            Stop::Refused(_, Batches::Shared) => {
                self.batches = Batches::OfOne;
                Ok(())
            }
            Stop::Do(Action::Repeat | Action::Renew, _) if !deadline.is_over() => {
                deadline.pause();
                Ok(())
            }
            stop => Err(told(&producer, "cannot send", stop)),
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
        Stop::Refused(refused, _) => Fault::Refused(refused),
    }
}
