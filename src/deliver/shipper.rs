//! The loop that brings the log to one sink: fill a batch, freeze it, send it, move the cursor; and again.

use super::consumer::{Reached, fault};
use super::flush::Flushes;
use super::{Backoff, Consumer, Cursor, Destination, Fault, Handle, Manifest, Sent, State, Status};
use crate::commit::{Control, Tail};
use event::{Refusal, Seq, UnixMicros};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::watch;
use wal::{Reader, Write};

/// How long commits gather before they are read: batches take seconds, so that reading each commit at once would only
/// cost time.
const LINGER: Duration = Duration::from_millis(200);
/// How often a sink cleans up while nothing is delivered.
const TIDY_EVERY: Duration = Duration::from_secs(3600);

/// The moments in the life of a batch between which a crash makes a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    /// Events were added to the open batch.
    Filled,
    /// The batch is whole and nobody knows of it.
    Frozen,
    /// Its manifest is durable.
    ManifestStored,
    /// The sink has it.
    Sent,
    /// The cursor is past it.
    CursorStored,
}

/// Is told of each [`Step`]; when it returns true, the shipper ends on the spot as by kill -9. For crash tests.
pub type Probe = Box<dyn FnMut(Step) -> bool + Send>;

/// Why the loop was left early.
enum Halt {
    /// A [`Probe`] said so.
    Interrupted,
    Fault(Fault),
}

impl From<Fault> for Halt {
    fn from(fault: Fault) -> Self {
        Halt::Fault(fault)
    }
}

/// One sink, not running yet.
pub struct Shipper<D> {
    destination: D,
    reader: Reader,
    consumer: Consumer,
    control: Control,
    tail: Tail,
    handle: Handle,
    flushes: Flushes,
    backoff: Backoff,
    cursor: Cursor,
    tidied: Instant,
    probe: Option<Probe>,
}

impl<D: Destination> Shipper<D> {
    /// A shipper to `destination`.
    pub fn to(destination: D, reader: Reader, control: Control, tail: Tail) -> Self {
        let status = Arc::new(Status::new(D::NAME));
        let (handle, flushes) = Flushes::new(tail.clone(), status);
        Shipper {
            destination,
            consumer: Consumer::new(reader.clone(), Seq::FIRST),
            reader,
            control,
            tail,
            handle,
            flushes,
            backoff: Backoff::default(),
            cursor: Cursor::default(),
            tidied: Instant::now(),
            probe: None,
        }
    }

    /// Sets the pauses between attempts.
    #[must_use]
    pub fn with_backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets who is told of each step: for crash tests.
    #[must_use]
    pub fn with_probe(mut self, probe: Probe) -> Self {
        self.probe = Some(probe);
        self
    }

    /// What the sink says of itself.
    #[must_use]
    pub fn status(&self) -> Arc<Status> {
        Arc::clone(self.handle.status())
    }

    /// For asking it while it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Follows the log until `stop` turns true, then delivers what is committed, at most one more batch, and returns.
    ///
    /// Blocks on files and on the log: it wants a thread and a current-thread runtime (with time) to itself.
    pub async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            match self.follow(&mut stop).await {
                Ok(()) => break,
                Err(Halt::Interrupted) => return,
                Err(Halt::Fault(Fault::Retry(error))) => {
                    let pause = self.backoff.next_pause();
                    self.give_up_batch();
                    self.status_handle().retrying(&error, self.backoff.failures(), pause);
                    if rest(pause, &mut stop).await {
                        break;
                    }
                }
                Err(Halt::Fault(Fault::Final(reason))) => {
                    self.give_up_batch();
                    self.status_handle().failed(&reason);
                    return self.refuse_until_stopped(&reason, &mut stop).await;
                }
            }
        }
        self.status_handle().enter(State::Stopped);
    }

    /// Follows the log from the stored cursor on, until it is time to stop.
    async fn follow(&mut self, stop: &mut watch::Receiver<bool>) -> Result<(), Halt> {
        self.begin().await?;
        loop {
            // A sender that is gone cannot say stop any more.
            let stopping = *stop.borrow() || stop.has_changed().is_err();
            let reached = self.consumer.fill(&mut self.destination, self.tail.committed())?;
            self.note_open();
            if self.destination.rows() > 0 {
                self.step(Step::Filled)?;
            }
            let sends = self.is_time_to_send(reached, stopping);
            if sends {
                self.deliver().await?;
            }
            let idle = self.destination.rows() == 0;
            if idle && reached == Reached::End {
                // What lies between the cursor and here is a known gap.
                self.flushes.answer(self.consumer.next().max(self.cursor.next));
                self.works();
            }
            if stopping && (sends || idle && reached == Reached::End) {
                return Ok(());
            }
            if reached == Reached::End {
                self.wait(stop).await;
            }
            if self.tidied.elapsed() >= TIDY_EVERY {
                self.tidy();
            }
        }
    }

    /// Finds the place to go on, and brings what was frozen before a crash to its end.
    async fn begin(&mut self) -> Result<(), Halt> {
        let stored = Cursor::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        self.cursor = match stored.transpose().map_err(Fault::Final)? {
            Some(cursor) => cursor,
            None => {
                // A new sink gets all that the log still has. Stored at once: from now on the log waits for it.
                let cursor = Cursor { next: self.reader.start().max(Seq::FIRST), next_dead: 0 };
                self.write(vec![cursor.store(D::NAME)]).await?;
                cursor
            }
        };
        self.note_cursor();
        let frozen = Manifest::load(&self.reader, D::NAME).map_err(|error| fault(&error))?;
        let frozen: Vec<_> = frozen.into_iter().collect::<Result<_, _>>().map_err(Fault::Final)?;
        // A repair of the log may bring back what was done long ago.
        let (frozen, done): (Vec<_>, Vec<_>) = frozen.into_iter().partition(|batch| batch.last >= self.cursor.next);
        if !done.is_empty() {
            self.write(done.iter().map(|batch| batch.remove(D::NAME)).collect()).await?;
        }
        self.destination.start(self.cursor.next, &frozen)?;
        for batch in &frozen {
            self.settle(batch).await?;
        }
        self.consumer.seek(self.cursor.next);
        self.tidy();
        Ok(())
    }

    /// Brings a batch that was frozen before a crash to its end.
    async fn settle(&mut self, batch: &Manifest) -> Result<(), Halt> {
        if let Some(sent) = self.destination.find(batch)? {
            return self.advance(batch, sent).await;
        }
        self.consumer.refill(&mut self.destination, batch.first..=batch.last)?;
        if self.destination.rows() == 0 {
            self.status_handle().note(&format!("events {}..={} are no longer in the log", batch.first, batch.last));
            return self.move_cursor(batch, batch.last.next()).await;
        }
        self.step(Step::Filled)?;
        let rewritten = self.destination.freeze(batch.incarnation)?;
        self.step(Step::Frozen)?;
        if rewritten != *batch {
            // Only after a repair has taken damaged events out of the log.
            let text = format!("events {}..={} are not all in the log any more", batch.first, batch.last);
            self.status_handle().note(&text);
            self.write(vec![batch.remove(D::NAME), rewritten.store(D::NAME)]).await?;
        }
        self.step(Step::ManifestStored)?;
        let sent = self.destination.send(&rewritten)?;
        self.step(Step::Sent)?;
        self.advance(&rewritten, sent).await
    }

    fn is_time_to_send(&mut self, reached: Reached, stopping: bool) -> bool {
        self.destination.rows() > 0
            && (reached == Reached::BatchFull
                || self.destination.is_full()
                || self.destination.due().is_some_and(|due| due <= Instant::now())
                || reached == Reached::End && stopping
                || self.flushes.wants(self.consumer.next()))
    }

    /// Sends the open batch and moves the cursor.
    async fn deliver(&mut self) -> Result<(), Halt> {
        let incarnation = self.incarnation_of(self.consumer.next().prev())?;
        let batch = self.destination.freeze(incarnation)?;
        self.step(Step::Frozen)?;
        self.write(vec![batch.store(D::NAME)]).await?;
        self.step(Step::ManifestStored)?;
        let sent = self.destination.send(&batch)?;
        self.step(Step::Sent)?;
        self.advance(&batch, sent).await?;
        self.tidy();
        Ok(())
    }

    /// The sink has the batch: moves the cursor behind it and counts it.
    async fn advance(&mut self, batch: &Manifest, sent: Sent) -> Result<(), Halt> {
        // Counted before the cursor moves, for whoever waits for the cursor reads the counts next.
        self.status_handle().update(|snapshot| {
            snapshot.rows += batch.rows;
            snapshot.batches += 1;
            snapshot.bytes += sent.bytes;
            snapshot.last_delivery = Some(UnixMicros::now());
        });
        self.move_cursor(batch, batch.last.next()).await?;
        self.step(Step::CursorStored)?;
        self.works();
        Ok(())
    }

    async fn move_cursor(&mut self, batch: &Manifest, next: Seq) -> Result<(), Halt> {
        let cursor = Cursor { next, ..self.cursor };
        self.write(vec![cursor.store(D::NAME), batch.remove(D::NAME)]).await?;
        self.cursor = cursor;
        self.note_cursor();
        self.note_open();
        self.flushes.answer(next);
        Ok(())
    }

    async fn write(&self, writes: Vec<Write>) -> Result<(), Halt> {
        self.control.write(writes).await.map_err(|refusal| {
            let reason = match refusal {
                Refusal::ShuttingDown => "the log was closed before the sink had stopped",
                _ => "the log cannot be written any more",
            };
            Halt::Fault(Fault::Final(reason.into()))
        })
    }

    /// The start of the daemon that committed `seq`.
    fn incarnation_of(&self, seq: Seq) -> Result<u64, Fault> {
        let history = self.reader.history().map_err(|error| fault(&error))?;
        Ok(history.iter().rev().find(|start| start.first <= seq).map_or(0, |start| start.id))
    }

    /// Waits until there may be something to do.
    async fn wait(&mut self, stop: &mut watch::Receiver<bool>) {
        let next = self.consumer.next();
        let clean_up = self.tidied + TIDY_EVERY;
        let due = self.destination.due().map_or(clean_up, |due| due.min(clean_up));
        let Shipper { tail, flushes, .. } = self;
        let gathered = async {
            tail.reaches(next).await;
            tokio::time::sleep(LINGER).await;
        };
        tokio::select! {
            // An error means that the sender is gone, which the loop looks at itself.
            _ = stop.changed() => {}
            () = flushes.arrive() => {}
            () = gathered => {}
            () = tokio::time::sleep_until(due.into()) => {}
        }
    }

    /// After a final fault: nothing will be delivered until the daemon starts again.
    async fn refuse_until_stopped(&mut self, reason: &str, stop: &mut watch::Receiver<bool>) {
        loop {
            self.flushes.refuse(reason);
            tokio::select! {
                // An error means that the sender is gone: the daemon is being torn down.
                _ = stop.wait_for(|stop| *stop) => return,
                () = self.flushes.arrive() => {}
            }
        }
    }

    fn tidy(&mut self) {
        self.tidied = Instant::now();
        match self.destination.tidy() {
            Ok(0) => {}
            Ok(removed) => self.status_handle().update(|snapshot| snapshot.expired += removed),
            Err(fault) => self.status_handle().note(&fault.to_string()),
        }
    }

    fn step(&mut self, step: Step) -> Result<(), Halt> {
        let interrupted = self.probe.as_mut().is_some_and(|probe| probe(step));
        if interrupted { Err(Halt::Interrupted) } else { Ok(()) }
    }

    fn status_handle(&self) -> &Status {
        self.handle.status()
    }

    fn works(&mut self) {
        self.backoff.reset();
        self.status_handle().enter(State::Running);
    }

    fn give_up_batch(&mut self) {
        self.destination.discard();
        self.note_open();
    }

    fn note_cursor(&self) {
        self.tail.set_delivered(D::NAME, self.cursor.next);
        self.status_handle().update(|snapshot| snapshot.cursor = self.cursor.next);
    }

    fn note_open(&mut self) {
        let unreadable = self.destination.take_unreadable();
        let (rows, oldest) = (self.destination.rows(), self.destination.oldest());
        self.status_handle().update(|snapshot| {
            snapshot.unreadable += unreadable;
            snapshot.in_flight = rows;
            snapshot.oldest_in_flight = oldest;
        });
    }
}

/// Waits; true when it is time to stop.
async fn rest(pause: Duration, stop: &mut watch::Receiver<bool>) -> bool {
    tokio::time::timeout(pause, stop.wait_for(|stop| *stop)).await.is_ok()
}
