//! One connection: wait, read, commit, answer, until one side ends it.

use super::outgoing::put_news;
use super::round::{Ids, Round, Step, Stored};
use crate::access::{Caller, Scope};
use crate::commit::{Confirmation, Listener, Permit, Reject, Submission};
use crate::intake::acceptor::{Acceptor, Guest};
use crate::intake::entry::is_outdated;
use crate::intake::limited;
use crate::intake::share::Unfinished;
use crate::intake::toll::Toll;
use crate::net::{Stream, linger};
use event::{Batch, Refusal, UnixMicros};
use frame::{Decoder, Limits, close, put_close, put_ping};
use prepare::Channel;
use std::io;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWriteExt, ReadBuf};
use tokio::time::{Instant, Interval, MissedTickBehavior, interval};

/// Bytes of an unfinished message that do not count against the budget yet: any read may end within a message.
const GATHERED_FREE_BYTES: usize = 16 << 10;
/// Unanswered pings after which a peer counts as dead.
const MISSED_PINGS_MAX: u8 = 2;
/// How long a socket waits for a place between socket and log.
const ADMISSION_WAIT: Duration = Duration::from_secs(5);
/// Pause between two tries to get such a place.
const ADMISSION_RETRY: Duration = Duration::from_millis(2);
/// How long a socket whose client sends faster than it may is not read, before its events are refused.
const SLOWED_MAX: Duration = Duration::from_secs(5);
/// How long a closing peer may take to answer.
const LINGER: Duration = Duration::from_secs(1);

/// Goes on with a connection after its handshake, in a task of its own: what HTTP needed is given back.
pub(in crate::intake) fn serve(
    acceptor: &Rc<Acceptor>,
    stream: Stream,
    guest: Guest,
    caller: Rc<Caller>,
    already_read: Vec<u8>,
) {
    let limits = Limits { message_bytes_max: acceptor.shared.body_bytes_max() };
    let metrics = &acceptor.shared.metrics;
    metrics.websockets.fetch_add(1, Relaxed);
    metrics.websockets_total.fetch_add(1, Relaxed);
    let socket = Socket {
        acceptor: Rc::clone(acceptor),
        stream,
        decoder: Decoder::new(limits),
        gathering: None,
        listening: None,
        missed_pings: 0,
        caller,
        _guest: guest,
    };
    tokio::task::spawn_local(socket.run(already_read));
}

/// What one connection keeps.
struct Socket {
    acceptor: Rc<Acceptor>,
    stream: Stream,
    decoder: Decoder,
    gathering: Option<Box<Gathering>>,
    /// Of confirmations.
    listening: Option<Box<Listener>>,
    missed_pings: u8,
    /// Whose events come this way.
    caller: Rc<Caller>,
    _guest: Guest,
}

/// A message whose end has not arrived.
struct Gathering {
    /// For a large one.
    permit: Option<Permit>,
    /// And what it holds of its address's share.
    unfinished: Option<Unfinished>,
    since: Instant,
}

enum Wake {
    Readable(io::Result<()>),
    News(Arc<[Confirmation]>),
    Ping,
    Stop,
}

impl Socket {
    async fn run(mut self, already_read: Vec<u8>) {
        let mut ping = interval(self.acceptor.shared.deadlines().ping);
        ping.set_missed_tick_behavior(MissedTickBehavior::Delay);
        ping.reset();
        let mut flow = match already_read.is_empty() {
            true => ControlFlow::Continue(()),
            false => Box::pin(self.first(already_read)).await,
        };
        while flow.is_continue() {
            // The long parts are boxed: what is kept while the connection idles is this loop's state only.
            flow = match self.wait(&mut ping).await {
                _ if is_outdated(&self.acceptor, &self.caller) => {
                    Box::pin(self.close(Some(close::RESTART), "how connections begin has changed; connect again")).await
                }
                _ if !self.is_welcome() => {
                    Box::pin(self.close(Some(close::POLICY), "the credential is no longer valid")).await
                }
                Wake::Readable(Ok(())) => {
                    let flow = Box::pin(self.read()).await;
                    // What brings nothing to commit waits for nothing: others have their turn all the same.
                    tokio::task::yield_now().await;
                    flow
                }
                Wake::Readable(Err(_)) => ControlFlow::Break(()),
                Wake::News(news) => Box::pin(self.tell(news)).await,
                Wake::Ping => Box::pin(self.ping()).await,
                Wake::Stop => Box::pin(self.close(Some(close::GOING_AWAY), "the daemon is stopping")).await,
            };
        }
    }

    /// Whether whoever opened it would still be let in: its key may be revoked, its JWT over. Looked at whenever something
    /// happens, so that nothing passes from then on, and with each ping, so that the connection ends.
    fn is_welcome(&self) -> bool {
        let standing = self.acceptor.shared.access.standing(&self.caller, Scope::Intake, UnixMicros::now());
        standing.map_err(|failure| self.acceptor.shared.metrics.turn_away(failure)).is_ok()
    }

    /// What happens next. Nothing goes first: a busy client hears its news, and the stop.
    async fn wait(&mut self, ping: &mut Interval) -> Wake {
        let news = async {
            match &mut self.listening {
                Some(listener) => listener.hear().await,
                None => std::future::pending().await,
            }
        };
        let mut stop = self.acceptor.stop.clone();
        tokio::select! {
            readable = self.stream.readable() => Wake::Readable(readable),
            news = news => Wake::News(news),
            _ = ping.tick() => Wake::Ping,
            _ = stop.wait_for(|stop| *stop) => Wake::Stop,
        }
    }

    async fn first(&mut self, mut bytes: Vec<u8>) -> ControlFlow<()> {
        let round = Round::decode(&self.acceptor, &self.caller, 0, &mut self.decoder, &mut bytes);
        self.finish(round, None).await
    }

    /// Takes what the socket has and answers all of it.
    async fn read(&mut self) -> ControlFlow<()> {
        let gathering = self.gathering.take();
        let since = gathering.as_ref().map_or_else(Instant::now, |gathering| gathering.since);
        let (mut permit, mut unfinished) = match gathering.map(|gathering| *gathering) {
            Some(Gathering { permit: Some(permit), unfinished, .. }) => (Some(permit), unfinished),
            _ => (self.admitted().await, None),
        };
        if self.acceptor.stopping() || !self.is_welcome() {
            // What was not read is neither stored nor answered.
            return ControlFlow::Continue(());
        }
        let held = permit.as_ref().map_or(0, Permit::bytes);
        let round = {
            let mut buffer = self.acceptor.arrivals.borrow_mut();
            let mut space = ReadBuf::new(&mut buffer);
            // Unlike `try_read`, this knows that a buffer not filled means an empty socket, and saves the read that
            // would find it so. Nobody is to be woken: `wait` does that.
            match Pin::new(&mut self.stream).poll_read(&mut Context::from_waker(Waker::noop()), &mut space) {
                Poll::Ready(Ok(())) if space.filled().is_empty() => Err(ControlFlow::Break(())),
                Poll::Ready(Ok(())) => {
                    Ok(Round::decode(&self.acceptor, &self.caller, held, &mut self.decoder, space.filled_mut()))
                }
                Poll::Ready(Err(_)) => Err(ControlFlow::Break(())),
                Poll::Pending => Err(ControlFlow::Continue(())),
            }
        };
        let gathered = self.decoder.buffered();
        // What is unfinished now began after the last message that ended.
        let since = if matches!(&round, Ok(round) if round.messages > 0) { Instant::now() } else { since };
        if gathered <= GATHERED_FREE_BYTES {
            if gathered > 0 {
                self.gathering = Some(Box::new(Gathering { permit: None, unfinished: None, since }));
            }
            return match round {
                Ok(round) => self.finish(round, permit).await,
                Err(flow) => flow,
            };
        }
        // A message of more than one read fills all of the last one, so that no event can stand beside it.
        let room = permit.as_mut().is_some_and(|permit| permit.grow(gathered.saturating_sub(permit.bytes())))
            && self.may_hold(&mut unfinished, gathered);
        let flow = match round {
            Ok(round) => self.finish(round, None).await,
            Err(flow) => flow,
        };
        match permit.filter(|_| room) {
            _ if flow.is_break() => flow,
            Some(permit) => {
                self.gathering = Some(Box::new(Gathering { permit: Some(permit), unfinished, since }));
                flow
            }
            None => self.close(Some(close::TRY_AGAIN_LATER), "no room for a message of this size now").await,
        }
    }

    /// Notes that so much of a message has arrived; false when its address may hold no more of what has not ended.
    fn may_hold(&self, unfinished: &mut Option<Unfinished>, bytes: usize) -> bool {
        if unfinished.is_none() {
            *unfinished = Unfinished::begin(&self.acceptor, &self.caller).ok();
        }
        unfinished.as_mut().is_some_and(|unfinished| unfinished.reach(bytes))
    }

    /// Charges what the client has sent, or waits until it may send that, as long as that is not too long: it is not read
    /// meanwhile, so that TCP slows it down. While it waits it holds no place that others could use.
    ///
    /// # Errors
    /// Why its events are refused; also where nothing may pass any more.
    async fn paid(&self, messages: u64, events: u64, permit: &mut Option<Permit>) -> Result<Toll<'_>, Refusal> {
        let mut exceeded = match Toll::pay(&self.acceptor, &self.caller, messages, events) {
            Ok(toll) => return Ok(toll),
            Err(exceeded) => exceeded,
        };
        let deadline = Instant::now() + SLOWED_MAX;
        let Some(_slowed) = self.acceptor.slowed() else { return Err(limited::reason(&exceeded)) };
        self.acceptor.shared.metrics.ws_slowed.fetch_add(1, Relaxed);
        // A large message keeps the bytes that it holds counted.
        permit.take_if(|permit| permit.bytes() == 0);
        let mut stop = self.acceptor.stop.clone();
        while Instant::now() < deadline && !self.acceptor.stopping() {
            tokio::select! {
                () = tokio::time::sleep_until(deadline.min(Instant::now() + exceeded.wait)) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
            if !self.is_welcome() {
                break;
            }
            match Toll::pay(&self.acceptor, &self.caller, messages, events) {
                Ok(toll) => return Ok(toll),
                Err(again) => exceeded = again,
            }
        }
        Err(limited::reason(&exceeded))
    }

    /// A place between socket and log; `None` when there was none for too long, or there is none to wait for.
    async fn admitted(&self) -> Option<Permit> {
        let waited = async {
            loop {
                match self.acceptor.shared.admission.enter() {
                    Ok(permit) => return Some(permit),
                    Err(Refusal::Overloaded) => tokio::time::sleep(ADMISSION_RETRY).await,
                    // Nothing that passes soon: the client is told, and its heartbeats go on.
                    Err(_) => return None,
                }
            }
        };
        tokio::time::timeout(ADMISSION_WAIT, waited).await.ok().flatten()
    }

    /// Commits a round, writes its answers, closes where it ends so.
    async fn finish(&mut self, round: Round, permit: Option<Permit>) -> ControlFlow<()> {
        let _busy = self.acceptor.busy();
        self.missed_pings = 0;
        let metrics = Arc::clone(&self.acceptor.shared.metrics);
        metrics.ws_received.fetch_add(round.messages, Relaxed);
        let Round { batch, rejects, steps, close, messages } = round;
        // All of it before anything is committed, or the confirmations of what comes in the same round would be missed: also
        // by a listener that replaces another one.
        steps.iter().for_each(|step| self.subscription(step));
        let stored = self.store(batch, rejects, messages, permit).await;
        let mut out = Vec::with_capacity(steps.len() * 160);
        for step in &steps {
            step.put(&mut out, &stored, self.acceptor.shared.durability);
        }
        // What the round held is given back first: a peer that reads slowly must not take the room of others.
        drop(stored);
        let messages = steps.iter().filter(|step| step.is_message()).count();
        // Counted before it is written: a client that has its answer finds it counted.
        metrics.ws_sent.fetch_add(messages as u64, Relaxed);
        let mut flow = self.write(&out).await;
        if flow.is_continue()
            && let Some((code, reason)) = close
        {
            flow = self.close(code, &reason).await;
        }
        flow
    }

    /// Hands the events to the writer and waits for it; the batch comes back for its ids.
    async fn store(&self, batch: Batch, rejects: Vec<Reject>, messages: u64, mut permit: Option<Permit>) -> Stored {
        let events = (batch.entries.len() + rejects.len()) as u64;
        if events == 0 {
            if messages > 0 {
                // They are only slowed down.
                drop(self.paid(messages, 0, &mut permit).await);
            }
            return Stored::Nothing;
        }
        let let_in = self.let_in(messages, events, batch.records.len(), permit).await;
        let metrics = &self.acceptor.shared.metrics;
        metrics.received.fetch_add(events, Relaxed);
        let (permit, mut toll) = match let_in {
            Ok(let_in) => let_in,
            Err(reason) => {
                metrics.refuse(reason, events);
                return Stored::Refused(reason, batch, rejects);
            }
        };
        let ids = Ids::of(&batch, &rejects);
        let mut submission = Box::new(Submission::new(batch, permit));
        submission.rejects = rejects;
        match toll.commit(submission).await {
            Ok(submission) => Stored::Done(submission),
            Err((reason, Some(submission))) => Stored::Refused(reason, submission.batch, submission.rejects),
            Err((_, None)) => Stored::Unknown(ids),
        }
    }

    /// A place for events of so many bytes, and what they cost. That is asked for in this order: events for which there is
    /// no place cost nothing, and their messages what messages cost.
    ///
    /// # Errors
    /// Why they are refused.
    async fn let_in(
        &self,
        messages: u64,
        events: u64,
        bytes: usize,
        permit: Option<Permit>,
    ) -> Result<(Permit, Toll<'_>), Refusal> {
        let place = |permit: Option<Permit>| permit.map_or_else(|| self.acceptor.shared.admission.enter(), Ok);
        let mut permit = match place(permit) {
            Ok(permit) => Some(permit),
            Err(reason) => {
                drop(self.paid(messages, 0, &mut None).await);
                return Err(reason);
            }
        };
        let toll = self.paid(messages, events, &mut permit).await?;
        let mut permit = place(permit)?;
        if permit.grow(bytes) { Ok((permit, toll)) } else { Err(Refusal::Overloaded) }
    }

    /// Begins or ends to listen where the client asked for it.
    fn subscription(&mut self, step: &Step) {
        match step {
            Step::Subscribe if self.listening.is_none() => {
                self.listening = Some(Box::new(self.acceptor.shared.hub.listen(&self.caller.tenant)));
            }
            Step::Unsubscribe(None | Some(Channel::Confirmations)) => self.listening = None,
            _ => {}
        }
    }

    /// Passes on what became of the tenant's events.
    async fn tell(&mut self, news: Arc<[Confirmation]>) -> ControlFlow<()> {
        let Some(listener) = &mut self.listening else { return ControlFlow::Continue(()) };
        let mut out = Vec::new();
        let shared = &self.acceptor.shared;
        let messages = put_news(&mut out, listener, &news, shared.durability);
        // A peer that does not read must not keep what all the others have heard.
        drop(news);
        shared.metrics.ws_sent.fetch_add(messages, Relaxed);
        self.write(&out).await
    }

    async fn ping(&mut self) -> ControlFlow<()> {
        let deadline = self.acceptor.shared.deadlines().body;
        if self.gathering.as_ref().is_some_and(|gathering| gathering.since.elapsed() > deadline) {
            return self.close(Some(close::POLICY), "the message did not arrive in time").await;
        }
        if self.missed_pings >= MISSED_PINGS_MAX {
            return ControlFlow::Break(());
        }
        self.missed_pings += 1;
        let mut out = Vec::new();
        put_ping(&mut out, b"");
        self.write(&out).await
    }

    /// Writes everything or gives the connection up: a peer that does not read must not hold memory for ever.
    async fn write(&mut self, out: &[u8]) -> ControlFlow<()> {
        if out.is_empty() {
            return ControlFlow::Continue(());
        }
        let deadline = self.acceptor.shared.deadlines().write;
        match tokio::time::timeout(deadline, self.put(out)).await {
            Ok(Ok(())) => ControlFlow::Continue(()),
            _ => ControlFlow::Break(()),
        }
    }

    async fn put(&mut self, out: &[u8]) -> io::Result<()> {
        self.stream.write_all(out).await?;
        // Under TLS the end of it may not have left yet.
        self.stream.flush().await
    }

    /// Says goodbye (RFC 6455 §7.1.1): close frame, end of writing, then what the peer still sends is dropped.
    async fn close(&mut self, code: Option<u16>, reason: &str) -> ControlFlow<()> {
        let _busy = self.acceptor.busy();
        // Nothing is decoded from here on: what was gathered must not wait for the peer.
        self.decoder = Decoder::new(Limits { message_bytes_max: 0 });
        self.gathering = None;
        let mut out = Vec::new();
        put_close(&mut out, code, reason);
        if self.write(&out).await.is_continue() {
            linger(&mut self.stream, LINGER).await;
        }
        ControlFlow::Break(())
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.acceptor.shared.metrics.websockets.fetch_sub(1, Relaxed);
    }
}
