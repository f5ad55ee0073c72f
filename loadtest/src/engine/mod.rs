//! One engine: a thread that owns its connections and an epoll.
//!
//! Reading order: [`Engine::run`] here is the loop and its stages; `connect` brings connections up and takes them
//! down; `send` decides when a request goes out; `receive` reads answers and settles what they mean.

mod connect;
mod connection;
mod pace;
mod receive;
mod send;

use crate::figures::{Counts, Outcome, Second, Tally};
use crate::ledger::Ledger;
use crate::options::{Mode, Options};
use crate::process;
use crate::request::Encoder;
use anyhow::{Context, Result};
use connection::{Connection, Slot};
use pace::{Absence, Pace};
use rustix::event::epoll;
use rustix::fd::OwnedFd;
use rustix::io::Errno;
use rustix::thread::set_current_timer_slack;
use rustix::time::Timespec;
use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::mem::MaybeUninit;
use std::num::NonZeroU64;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Events taken from epoll at once.
const EVENTS_MAX: usize = 256;
/// An answer buffer; longer answers are gathered per connection.
const SCRATCH_BYTES: usize = 256 << 10;
/// The loop looks at the clock at least this often.
const TURN_MAX_NS: u64 = 5_000_000;
/// "Not yet" for a moment.
const NEVER: u64 = u64::MAX;

/// What engines and the runner share.
#[derive(Debug)]
pub struct Shared {
    /// Moments are nanoseconds since then.
    pub origin: Instant,
    /// When the load starts; `u64::MAX` until all are connected.
    pub go_ns: AtomicU64,
    /// Connections ready, over all engines.
    pub up: AtomicUsize,
    /// The runner wants an end.
    pub stop: AtomicBool,
}

impl Default for Shared {
    fn default() -> Self {
        Self {
            origin: Instant::now(),
            go_ns: AtomicU64::new(NEVER),
            up: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
        }
    }
}

/// What engines tell the runner.
#[derive(Debug)]
pub enum Note {
    /// All of this engine's connections are up.
    Connected,
    /// A second of the load is over.
    Second(Second),
    /// The engine ended.
    Finished(Box<Outcome>),
}

/// How far a run has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Connecting,
    Warming,
    Measuring,
    Draining,
}

/// Moments of the run, known once it starts.
#[derive(Clone, Copy, Debug)]
struct Timeline {
    go_ns: u64,
    measure_ns: u64,
    end_ns: u64,
    drained_ns: u64,
    limit_ns: u64,
}

/// A thread's share of the load.
pub struct Engine {
    options: Options,
    shared: std::sync::Arc<Shared>,
    notes: Sender<Note>,
    encoder: Encoder,
    epoll: OwnedFd,
    connections: Vec<Connection>,
    /// `options.depth` slots for each connection.
    slots: Vec<Slot>,
    /// Connections to be made, by when.
    timers: BinaryHeap<Reverse<(u64, u32)>>,
    /// Connections between the first packet and readiness.
    rising: usize,
    ready: usize,
    last_up_ns: u64,
    /// Open loop: connections with room, longest free first.
    free: VecDeque<u32>,
    pace: Option<Pace>,
    absence: Absence,
    outstanding: usize,
    next_k: u64,
    /// Requests still to be sent for the first time.
    budget: u64,
    /// Places of requests to send again.
    again: Vec<u64>,
    stage: Stage,
    timeline: Timeline,
    announced: bool,
    warm: Tally,
    tally: Tally,
    second: Option<Second>,
    ledger: Option<Ledger>,
    scratch: Box<[u8]>,
    burst: Vec<u8>,
    window: Counts,
    marks: Marks,
}

/// Readings at the ends of the measured stretch.
#[derive(Clone, Copy, Debug, Default)]
struct Marks {
    cpu: [Duration; 2],
    run_delay: [Duration; 2],
    at_ns: [u64; 2],
    up: usize,
}

impl Engine {
    /// The engine `thread` among `options.threads`.
    pub fn new(options: &Options, thread: usize, shared: std::sync::Arc<Shared>, notes: Sender<Note>) -> Result<Self> {
        let share = |all: usize| all / options.threads + usize::from(thread < all % options.threads);
        let count = share(options.connections);
        let batch = options.batch as u64;
        let limit_ns = options.time_limit.as_nanos() as u64;
        let never = Timeline { go_ns: NEVER, measure_ns: NEVER, end_ns: NEVER, drained_ns: NEVER, limit_ns };
        let mut options = options.clone();
        options.active = share(options.active);
        let pace = options.rate.map(|rate| Pace::new(rate / options.threads as f64, options.poisson, options.seed));
        Ok(Self {
            encoder: Encoder::new(&options, thread),
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC).context("epoll")?,
            connections: (0..count).map(|_| Connection::default()).collect(),
            slots: vec![Slot::default(); count * options.depth],
            timers: (0..count as u32).map(|c| Reverse((0, c))).collect(),
            rising: 0,
            ready: 0,
            last_up_ns: 0,
            free: VecDeque::with_capacity(count),
            pace,
            absence: Absence::new(),
            outstanding: 0,
            next_k: 0,
            budget: options.events.map_or(u64::MAX, |events| events / batch / options.threads as u64),
            again: Vec::new(),
            stage: Stage::Connecting,
            timeline: never,
            announced: false,
            warm: Tally::default(),
            tally: Tally::default(),
            // A ledger is flushed at the turn of each second.
            second: (options.series.is_some() || options.ledger.is_some()).then(|| Second::new(0)),
            ledger: options.ledger.as_deref().map(Ledger::open).transpose()?,
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            burst: Vec::new(),
            window: Counts::default(),
            marks: Marks::default(),
            options,
            shared,
            notes,
        })
    }

    /// Runs to the end of the load; always returns by the time limit.
    pub fn run(mut self) -> Result<Outcome> {
        let mut events = vec![MaybeUninit::uninit(); EVENTS_MAX];
        // Timers on the dot; where the kernel will not, its default of 50 µs late will do.
        set_current_timer_slack(NonZeroU64::new(1)).unwrap_or_default();
        loop {
            let now = self.now_ns();
            if self.advance(now) {
                break;
            }
            self.start_connections(now);
            self.send_due();
            self.sleep_to_tick();
            let timeout = self.timeout();
            let ready = match epoll::wait(&self.epoll, &mut events[..], Some(&timeout)) {
                Ok((ready, _)) => ready,
                Err(Errno::INTR) => continue,
                Err(error) => return Err(error).context("epoll_wait"),
            };
            for event in &*ready {
                let flags = event.flags;
                self.on_event(event.data.u64() as u32, flags);
            }
        }
        Ok(self.finish())
    }

    #[inline]
    fn now_ns(&self) -> u64 {
        self.shared.origin.elapsed().as_nanos() as u64
    }

    /// Moves on to the stage that the moment calls for; true when the run is over.
    fn advance(&mut self, now: u64) -> bool {
        if now >= self.timeline.limit_ns || self.shared.stop.load(Ordering::Relaxed) {
            return true;
        }
        if self.ready > 0 || self.stage == Stage::Connecting {
            self.last_up_ns = now;
        }
        if self.options.give_up.is_some_and(|limit| now - self.last_up_ns > limit.as_nanos() as u64) {
            return true;
        }
        let started = self.stage == Stage::Connecting && self.wait_for_go(now);
        if self.stage == Stage::Warming && now >= self.timeline.measure_ns {
            self.stage = Stage::Measuring;
            self.mark(0, now);
            self.warm = std::mem::take(&mut self.tally);
        }
        if started {
            (0..self.connections.len() as u32).for_each(|c| self.on_room(c, now));
        }
        if self.stage == Stage::Measuring && (now >= self.timeline.end_ns || self.all_done()) {
            self.end_window(now);
        }
        if self.stage > Stage::Connecting {
            self.turn_second(now);
        }
        let drained = self.outstanding == 0 && !self.has_overdue();
        self.stage == Stage::Draining && (drained || now >= self.timeline.drained_ns)
    }

    /// Becomes true once, when the load starts.
    fn wait_for_go(&mut self, now: u64) -> bool {
        if !self.announced && self.ready == self.connections.len() {
            self.announced = true;
            self.tell(Note::Connected);
        }
        let go_ns = self.shared.go_ns.load(Ordering::Acquire);
        if now < go_ns {
            return false;
        }
        let nanos = |duration: Duration| duration.as_nanos() as u64;
        let measure_ns = go_ns + nanos(self.options.warmup);
        let end_ns = measure_ns + nanos(self.options.duration);
        let drained_ns = end_ns + nanos(self.options.drain);
        self.timeline = Timeline { go_ns, measure_ns, end_ns, drained_ns, ..self.timeline };
        self.stage = Stage::Warming;
        if let Some(pace) = &mut self.pace {
            pace.start(go_ns);
        }
        true
    }

    /// A limited run has sent and settled everything.
    fn all_done(&self) -> bool {
        self.budget == 0 && self.again.is_empty() && self.outstanding == 0 && self.options.mode != Mode::WsIdle
    }

    fn end_window(&mut self, now: u64) {
        if self.stage == Stage::Warming {
            self.mark(0, now);
        }
        self.stage = Stage::Draining;
        self.mark(1, now);
        self.marks.up = self.ready;
        self.window = self.tally.counts;
    }

    fn mark(&mut self, which: usize, now: u64) {
        self.marks.cpu[which] = process::thread_cpu();
        self.marks.run_delay[which] = process::thread_run_delay();
        self.marks.at_ns[which] = now;
    }

    /// Hands over the second that is past, if one is.
    fn turn_second(&mut self, now: u64) {
        let index = (now - self.timeline.go_ns) / 1_000_000_000;
        let Some(second) = self.second.as_mut().filter(|second| second.index < index) else { return };
        let past = std::mem::replace(second, Second::new(index));
        self.tell(Note::Second(past));
        if let Some(ledger) = &mut self.ledger {
            ledger.flush();
        }
    }

    fn tell(&self, note: Note) {
        // The runner hangs up only when the whole process ends.
        drop(self.notes.send(note));
    }

    /// An open loop with a tick looks at schedule and sockets only then, in place of at each request and answer.
    fn sleep_to_tick(&self) {
        let tick = self.options.tick.as_nanos() as u64;
        if tick > 0 && self.pace.is_some() && self.stage > Stage::Connecting {
            let into = (self.now_ns() - self.timeline.go_ns) % tick;
            std::thread::sleep(Duration::from_nanos(tick - into));
        }
    }

    /// How long to wait for events at most.
    fn timeout(&self) -> Timespec {
        if self.stage > Stage::Connecting && self.pace.is_some() && !self.options.tick.is_zero() {
            return Timespec { tv_sec: 0, tv_nsec: 0 };
        }
        let now = self.now_ns();
        let mut until = now + TURN_MAX_NS;
        if let Some(pace) = self.pace.as_ref().filter(|_| !self.free.is_empty() && self.may_send()) {
            until = until.min(pace.due_ns());
        }
        if self.stage <= Stage::Measuring {
            let boundary = if self.stage == Stage::Measuring { self.timeline.end_ns } else { self.timeline.measure_ns };
            until = until.min(boundary);
        }
        if let Some(Reverse((at, _))) = self.timers.peek().filter(|_| self.rising < connect::RISING_MAX) {
            until = until.min(*at);
        }
        Timespec { tv_sec: 0, tv_nsec: until.saturating_sub(now) as i64 }
    }

    /// Settles what is left and closes everything.
    fn finish(mut self) -> Outcome {
        let now = self.now_ns();
        match self.stage {
            Stage::Connecting => self.timeline.go_ns = now,
            Stage::Warming | Stage::Measuring => self.end_window(now),
            Stage::Draining => {}
        }
        let unsent = self.count_unsent(now);
        for c in 0..self.connections.len() as u32 {
            self.say_goodbye(c);
            self.abandon_outstanding(c, now);
        }
        if let Some(second) = self.second.take() {
            self.tell(Note::Second(second));
        }
        if let Some(ledger) = &mut self.ledger {
            ledger.flush();
        }
        let [from, to] = self.marks.at_ns;
        let [cpu_from, cpu_to] = self.marks.cpu;
        let [delay_from, delay_to] = self.marks.run_delay;
        Outcome {
            measured: Duration::from_nanos(to.saturating_sub(from)),
            cpu: cpu_to.saturating_sub(cpu_from),
            run_delay: delay_to.saturating_sub(delay_from),
            numbers: self.next_k,
            unsent,
            up: self.marks.up,
            message_bytes: self.encoder.mean_len(),
            window: self.window,
            warm: self.warm,
            main: self.tally,
        }
    }
}
