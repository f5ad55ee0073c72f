//! One acceptor: a thread with its own runtime, listener, parser and desk.

use super::admission::Admission;
use super::answer::{Answer, refused};
use super::connection::{self, LAST_CALL};
use super::date::Date;
use super::fault_log::FaultLog;
use super::order::Orders;
use super::settings::{Deadlines, Settings};
use super::unread::Owed;
use crate::access::limits::Limits;
use crate::access::{self, Access};
use crate::commit::{Budget, Desk, DeskSeed, Hub, Idempotency, Settled, Submission, Tail};
use crate::metrics::{Metrics, Recorder, Stage};
use crate::net::tls::Tls;
use crate::net::{ConnectionGate, ConnectionPermit, Listener, Share, Shares, accept};
use crate::traces::{Opened, TraceContext, Tracer};
use arc_swap::ArcSwap;
use event::{Durability, FingerprintKey, Refusal};
use hyper::StatusCode;
use hyper::header::HeaderMap;
use prepare::Parser;
use std::cell::{Cell, RefCell, RefMut};
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::runtime::LocalOptions;
use tokio::sync::watch;
use tokio::time::Instant;

/// How long, once the daemon stops, a connection on which nothing is under way may take for its goodbye.
const GOODBYE: Duration = Duration::from_secs(2);

/// Bytes that one read takes from a connection.
const ARRIVALS_BYTES: usize = 64 << 10;

/// WebSockets of one acceptor that are slowed down at once: each may have sent as much as one read takes.
const SLOWED_MAX: usize = 1024;

/// Answers everything that is not intake.
pub(super) type Fallback = dyn Fn(&hyper::Method, &str, Option<&str>, &HeaderMap) -> Answer + Send + Sync;

/// What all acceptors share.
pub struct Shared {
    /// The gate before the log.
    pub admission: Admission,
    /// Known idempotency keys.
    pub idempotency: Idempotency,
    /// Who may come in.
    pub access: Arc<Access>,
    /// Where outcomes are announced.
    pub hub: Hub,
    /// Counters.
    pub metrics: Arc<Metrics>,
    /// What a request may be and how long it may take; replaced as a whole while the daemon runs.
    pub settings: ArcSwap<Settings>,
    /// The node's secret.
    pub key: FingerprintKey,
    /// What a receipt promises.
    pub durability: Durability,
    /// Open connections.
    pub gate: Arc<ConnectionGate>,
    /// What every connection begins with, where it does.
    pub tls: Option<Arc<Tls>>,
    /// Open connections of each address.
    pub guests: Arc<Shares>,
    /// What each address has begun to send and not ended.
    pub unfinished: Arc<Shares>,
    /// Large answers that were not read.
    pub owed: Arc<Owed>,
    /// How much each client has sent.
    pub limits: Arc<Limits>,
    /// What was committed, and how far sinks have it.
    pub tail: Tail,
    /// The sinks that run.
    pub sinks: Vec<&'static str>,
    /// Places for requests that wait for sinks.
    pub ack_places: Arc<Budget>,
    /// Where spans go.
    pub tracer: Tracer,
    /// Answers everything that is not intake.
    pub fallback: Box<Fallback>,
    /// Answers what may change something and is not intake.
    pub orders: Box<Orders>,
}

impl Shared {
    /// How long a client may take from now on.
    pub(super) fn deadlines(&self) -> Deadlines {
        self.settings.load().deadlines
    }

    /// Largest request body or WebSocket message from now on, unpacked.
    pub(super) fn body_bytes_max(&self) -> usize {
        self.settings.load().body_bytes_max
    }
}

/// One thread's state; its connections share it.
pub(super) struct Acceptor {
    pub(super) shared: Arc<Shared>,
    pub(super) desk: Desk,
    parser: RefCell<Parser>,
    /// Where bytes arrive: they are read and taken apart in one go, so that an idle connection owns no buffer.
    pub(super) arrivals: RefCell<Box<[u8]>>,
    /// The `Date` header of now.
    pub(super) date: Date,
    /// Tokens that were verified.
    pub(super) verified: RefCell<access::Cache>,
    /// Reused for packing records.
    pack_scratch: RefCell<Vec<u8>>,
    pub(super) recorder: Arc<Recorder>,
    faults: FaultLog,
    /// Requests under way, WebSockets' rounds included.
    busy: Cell<usize>,
    /// Open connections, WebSockets included: while one is open its last answer may not have left yet.
    open: Cell<usize>,
    /// WebSockets that are not read because their clients send faster than they may.
    slowed: Cell<usize>,
    pub(super) stop: watch::Receiver<bool>,
}

/// Counts a request as under way while it lives.
pub(super) struct Busy(Rc<Acceptor>);

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.busy.update(|busy| busy - 1);
    }
}

/// Counts a WebSocket as slowed down while it lives.
pub(super) struct Slowed<'a>(&'a Acceptor);

impl Drop for Slowed<'_> {
    fn drop(&mut self) {
        self.0.slowed.update(|slowed| slowed - 1);
    }
}

/// An open connection's place: with the gate of all acceptors, and in this acceptor's count.
pub(super) struct Guest {
    acceptor: Rc<Acceptor>,
    _permit: ConnectionPermit,
    /// Given back with it.
    _place: Option<Share>,
}

impl Guest {
    pub(super) fn new(acceptor: &Rc<Acceptor>, permit: ConnectionPermit) -> Self {
        acceptor.open.update(|open| open + 1);
        Guest { acceptor: Rc::clone(acceptor), _permit: permit, _place: None }
    }
}

impl Guest {
    /// Keeps its place among those of its address, too.
    pub(super) fn keep(&mut self, place: Option<Share>) {
        self._place = place;
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        self.acceptor.open.update(|open| open - 1);
    }
}

impl Acceptor {
    /// Notes that something is under way, until the result is dropped.
    pub(super) fn busy(self: &Rc<Self>) -> Busy {
        self.busy.update(|busy| busy + 1);
        Busy(Rc::clone(self))
    }

    /// Notes that a WebSocket is slowed down, until the result is dropped; `None` where too many are, for what each has
    /// sent is kept meanwhile.
    pub(super) fn slowed(&self) -> Option<Slowed<'_>> {
        (self.slowed.get() < SLOWED_MAX).then(|| {
            self.slowed.update(|slowed| slowed + 1);
            Slowed(self)
        })
    }

    /// Makes anew what is reused from request to request: a panic may have left it in the middle of something.
    pub(super) fn start_over(&self) {
        *self.parser.borrow_mut() = new_parser(&self.shared);
        self.pack_scratch.take();
    }

    /// The parser, with the limits of now.
    pub(super) fn parser(&self) -> RefMut<'_, Parser> {
        let mut parser = self.parser.borrow_mut();
        let settings = self.shared.settings.load();
        if *parser.limits() != settings.limits {
            parser.set_limits(settings.limits.clone());
        }
        parser
    }

    /// Whether the daemon is stopping.
    pub(super) fn stopping(&self) -> bool {
        *self.stop.borrow()
    }

    /// Hands a submission to the writer and waits for it.
    ///
    /// # Errors
    /// Why it was not stored, with the submission where it came back.
    pub(super) async fn commit(
        &self,
        mut submission: Box<Submission>,
    ) -> Result<Box<Submission>, (Refusal, Option<Box<Submission>>)> {
        submission.batch.packed = record::pack(&submission.batch.records, &mut self.pack_scratch.borrow_mut());
        let events = submission.events();
        let pending = self.desk.submit(submission).map_err(|(reason, submission)| (reason, Some(submission)))?;
        match pending.await {
            Settled::Back(submission) => match submission.outcome {
                Ok(_) => {
                    self.recorder.record(Stage::Ack, submission.settled.elapsed());
                    if self.shared.tracer.is_on() {
                        self.trace_commit(&submission);
                    }
                    Ok(submission)
                }
                Err(reason) => Err((reason, Some(submission))),
            },
            Settled::Lost => {
                self.shared.metrics.refuse(Refusal::Unknown, events);
                Err((Refusal::Unknown, None))
            }
            Settled::Overdue => Err((Refusal::Unknown, None)),
        }
    }

    /// Refuses a request that was not taken apart, and counts the events that it is known to bring; 0 where that is not
    /// known.
    pub(super) fn refuse_request(&self, reason: Refusal, events: u64) -> Answer {
        self.shared.metrics.refuse_unread(reason, events);
        refused(reason)
    }

    /// Counts what was no request, but was answered.
    pub(super) fn count_refused(&self, status: StatusCode) {
        let metrics = &self.shared.metrics;
        metrics.requests.fetch_add(1, Relaxed);
        if status.is_client_error() {
            metrics.requests_4xx.fetch_add(1, Relaxed);
        }
    }

    /// Ends a request in trace and log; `name` is its route's.
    pub(super) fn finish(&self, trace: &Trace, name: &'static str, status: StatusCode, request_id: &[u8]) {
        if let Some(opened) = &trace.opened {
            self.shared.tracer.end(opened, name, status.as_u16());
        }
        self.faults.tell(status, request_id, trace.context());
    }

    fn trace_commit(&self, submission: &Submission) {
        let context = submission.batch.traceparent.as_deref().and_then(|text| TraceContext::parse(text.as_bytes()));
        if let Some(context) = context.filter(TraceContext::is_sampled) {
            let (entered, settled) = (submission.entered, submission.settled);
            self.shared.tracer.committed(&context, entered, settled, submission.events());
        }
    }

    /// Counts an answered request.
    pub(super) fn count(&self, status: StatusCode, started: std::time::Instant) {
        let metrics = &self.shared.metrics;
        metrics.requests.fetch_add(1, Relaxed);
        if status.is_client_error() {
            metrics.requests_4xx.fetch_add(1, Relaxed);
        } else if status.is_server_error() {
            metrics.requests_5xx.fetch_add(1, Relaxed);
        }
        self.recorder.record(Stage::Request, started.elapsed());
    }
}

fn new_parser(shared: &Shared) -> Parser {
    Parser::new(shared.settings.load().limits.clone(), shared.key.clone())
}

/// What belongs to a request wherever it goes: whose trace it is, and the span that was begun for it.
pub(super) struct Trace {
    /// As the client sent it.
    pub(super) parent: Option<TraceContext>,
    opened: Option<Opened>,
}

impl Trace {
    /// Of a request with this `traceparent`.
    pub(super) fn begin(acceptor: &Acceptor, header: Option<&[u8]>, started: std::time::Instant) -> Self {
        let parent = header.and_then(TraceContext::parse);
        Trace { parent, opened: acceptor.shared.tracer.begin(parent, started) }
    }

    /// What travels on with the events: our own span, or else the client's.
    pub(super) fn carried(&self) -> Option<Box<str>> {
        let context = self.opened.as_ref().map(|opened| opened.context).or(self.parent);
        context.map(|context| context.as_str().into())
    }

    /// The trace, for the log.
    pub(super) fn context(&self) -> Option<TraceContext> {
        self.opened.as_ref().map(|opened| opened.context).or(self.parent)
    }
}

/// Runs one acceptor in the calling thread until `stop`, then waits for open connections, as long as the settings of then
/// say. Calls `accepting` once it accepts.
///
/// # Errors
/// When the runtime cannot be built.
pub fn run(
    listener: Listener,
    shared: Arc<Shared>,
    desk: DeskSeed,
    stop: watch::Receiver<bool>,
    accepting: impl FnOnce(),
) -> std::io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        // Look at the sockets often: under load a tick is full of ready tasks.
        .event_interval(61)
        // For unpacking large bodies: each such thread may hold one body and what it grew from.
        .max_blocking_threads(1)
        // Not a `LocalSet` on a runtime: there, what a socket wakes takes a detour over a pipe to the thread itself.
        .build_local(LocalOptions::default())?;
    runtime.block_on(async move {
        let Listener { socket, held } = listener;
        let listener = tokio::net::TcpListener::from_std(socket)?;
        let desk = desk.open();
        let patience = {
            let shared = Arc::clone(&shared);
            move || shared.deadlines().request
        };
        tokio::task::spawn_local(desk.clone().run(patience));
        let acceptor = Rc::new(Acceptor {
            parser: RefCell::new(new_parser(&shared)),
            arrivals: RefCell::new(vec![0; ARRIVALS_BYTES].into()),
            date: Date::default(),
            verified: RefCell::default(),
            pack_scratch: RefCell::default(),
            recorder: shared.metrics.recorder(),
            faults: FaultLog::default(),
            busy: Cell::new(0),
            open: Cell::new(0),
            slowed: Cell::new(0),
            stop: stop.clone(),
            desk,
            shared,
        });
        let gate = Arc::clone(&acceptor.shared.gate);
        let serve = |stream, peer: SocketAddr, permit| {
            let taken = std::time::Instant::now();
            tokio::task::spawn_local(connection::serve(Rc::clone(&acceptor), stream, peer.ip(), permit, taken));
        };
        let refused = || {
            acceptor.shared.metrics.connections_refused.fetch_add(1, Relaxed);
        };
        accepting();
        accept(&listener, held, &gate, stop, serve, refused).await;
        drop(listener);
        // Whoever takes longer is cut off.
        tokio::time::timeout(acceptor.shared.deadlines().drain, ended(&acceptor)).await.ok();
        Ok(())
    })
}

/// Resolves once every connection has ended. Those on which nothing is under way have a short time of their own: a
/// peer that never finishes a head, or never closes, holds nothing up.
async fn ended(acceptor: &Acceptor) {
    let goodbye = Instant::now() + LAST_CALL + GOODBYE;
    while acceptor.open.get() > 0 && (acceptor.busy.get() > 0 || Instant::now() < goodbye) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
