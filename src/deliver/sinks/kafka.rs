//! The Kafka sink: from the log's events and dead letters to the topics of crate `kafka_sink`.
//!
//! Nothing is frozen: the topics themselves say how far they have everything, and a slice begins there.

use super::super::verify::{Asked, Census, Held};
use super::super::{Cursor, Destination, FailureCode, Fault, Letter, Manifest, Origin, Refused, Sent, Shipper, Start};
use crate::commit::{Control, Tail};
use event::{Seq, UnixMicros};
use kafka_sink::{Config, DeadLetter, Event, Failure, History, Item, Position, Reason, Session, Slice};
use prepare::processed::Extractor;
use record::EventView;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::Reader;

/// How long commits gather before they are read.
const LINGER: Duration = Duration::from_millis(5);
/// Messages and bytes of one transaction.
const MESSAGES_MAX: usize = 30_000;
const BYTES_MAX: usize = 16 << 20;

/// The Kafka sink.
pub type KafkaSink = Shipper<KafkaTopics>;

impl KafkaSink {
    /// A sink that sends as configured, following the log from its stored cursor on. `run` is a random id of this start;
    /// `age` is how old a slice may become.
    #[must_use]
    pub fn new(config: Config, run: u64, age: Duration, reader: Reader, control: Control, tail: Tail) -> Self {
        Shipper::to(KafkaTopics::new(config, run, age), reader, control, tail)
    }
}

/// Kafka topics as a destination.
pub struct KafkaTopics {
    config: Config,
    run: u64,
    age: Duration,
    session: Option<Session>,
    slice: Slice,
    /// Since when the slice is open, and the first thing in it.
    open: Option<(Instant, Seq, Origin, bool)>,
    rows: u64,
    passed: u64,
    extractor: Extractor,
    processed: Vec<u8>,
    unreadable: u64,
}

impl KafkaTopics {
    /// Topics as configured; nothing is connected to yet.
    #[must_use]
    pub fn new(config: Config, run: u64, age: Duration) -> Self {
        KafkaTopics {
            config,
            run,
            age,
            session: None,
            slice: Slice::default(),
            open: None,
            rows: 0,
            passed: 0,
            extractor: Extractor::new(),
            processed: Vec::new(),
            unreadable: 0,
        }
    }

    /// Opens a slice, if none is.
    fn widen(&mut self, first: Seq, origin: Origin, dead: bool) {
        if self.open.is_none() {
            let after = self.session.as_ref().map(Session::position).unwrap_or_default();
            self.slice.restart(after);
            (self.rows, self.passed) = (0, 0);
            self.open = Some((Instant::now(), first, origin, dead));
        }
    }

    fn place<'a>(&self, start: &Start<'_>, starts: &'a [(u64, Seq)]) -> kafka_sink::Start<'a> {
        kafka_sink::Start {
            run: self.run,
            history: History { starts, end: position(start.end) },
            cursor: (!start.is_new()).then(|| position(start.cursor)),
            passed: start.passed.map(position),
            begin: position(start.cursor),
        }
    }

    /// Opens a session, which takes our id from whoever had it.
    fn connect(&self, start: &Start<'_>) -> Result<Session, Fault> {
        let starts = starts(start);
        let place = self.place(start, &starts);
        let session = match start.adopts {
            true => Session::adopt(self.config.clone(), &place),
            false => Session::open(self.config.clone(), &place),
        };
        let session = session.map_err(fault)?;
        let position = session.position();
        if let Some(mark) = session.found().filter(|mark| mark.position != position) {
            tracing::warn!(
                watermark = %mark.position, goes_on_after = %position,
                "Kafka's watermark was behind: what is between was given up, sent at least once, or is in the log no more"
            );
        }
        Ok(session)
    }
}

impl Destination for KafkaTopics {
    const NAME: &'static str = "kafka";
    const FREEZES: bool = false;
    const TAKES_DEAD: bool = true;
    const LINGER: Duration = LINGER;

    async fn look(&mut self, start: &Start<'_>) -> Result<Option<Cursor>, Fault> {
        // What it has under way is aborted, or through.
        self.session = None;
        let starts = starts(start);
        let mark = Session::look(self.config.clone(), &self.place(start, &starts)).map_err(fault)?;
        Ok(mark.map(|Position { seq, dead_seq }| Cursor { next: seq.next(), next_dead: dead_seq + 1 }))
    }

    async fn start(&mut self, start: &Start<'_>) -> Result<Cursor, Fault> {
        let session = match self.session.take() {
            // Unless the topics have to be told that the place is another one.
            Some(session) if start.passed.is_none() && !start.adopts => {
                let session = self.session.insert(session);
                // It is to be reached before the sink says again that it runs.
                session.ping().map_err(fault)?;
                session
            }
            _ => {
                let session = self.connect(start)?;
                self.session.insert(session)
            }
        };
        let Position { seq, dead_seq } = session.position();
        Ok(Cursor { next: seq.next(), next_dead: dead_seq + 1 })
    }

    fn admits(&self, _: Origin) -> bool {
        true
    }

    fn add(&mut self, event: &EventView<'_>, origin: Origin) -> Result<(), Fault> {
        self.widen(event.seq, origin, false);
        let KafkaTopics { slice, extractor, processed, .. } = self;
        let plain = Event {
            seq: event.seq,
            incarnation: origin.incarnation,
            tenant: event.segment.tenant,
            event_id: "",
            event_type: prepare::EVENT_TYPES.get(usize::from(event.event_type)).copied().unwrap_or_default(),
            session_id: "",
            schema_version: 0,
            traceparent: event.segment.traceparent,
            raw: event.raw,
            validated: None,
            enriched: None,
        };
        match extractor.extract(event) {
            Ok(envelope) => {
                envelope.put_processed(processed);
                slice.push(&Event {
                    event_id: envelope.event_id,
                    event_type: envelope.event_type,
                    session_id: envelope.session_id,
                    validated: Some(processed),
                    enriched: Some(processed),
                    ..plain
                });
            }
            Err(reason) => {
                self.unreadable += 1;
                tracing::error!(seq = event.seq.get(), %reason, "stored event cannot be taken apart");
                slice.push(&plain);
            }
        }
        self.rows += 1;
        Ok(())
    }

    fn pass(&mut self, seq: Seq, origin: Origin) {
        self.widen(seq, origin, false);
        self.slice.cover(Position { seq, ..self.slice.end() }, origin.incarnation);
        self.passed += 1;
    }

    fn add_dead(&mut self, letter: &Letter<'_>, origin: Origin) -> Result<(), Fault> {
        self.widen(Seq::new(letter.id), origin, true);
        let head = letter.head;
        self.slice.push_dead(&DeadLetter {
            dead_seq: letter.id,
            seq: head.seq.map(Seq::new),
            tenant: &head.tenant,
            event_id: head.event_id.as_deref(),
            event_type: head.event_type.as_deref(),
            session_id: head.session_id.as_deref(),
            code: &head.code,
            pointer: Some(head.pointer.as_str()).filter(|pointer| !pointer.is_empty()),
            detail: Some(&head.detail),
            traceparent: head.traceparent.as_deref(),
            raw: letter.raw,
        });
        self.rows += 1;
        Ok(())
    }

    fn rows(&self) -> u64 {
        if self.open.is_some() { self.rows + self.passed } else { 0 }
    }

    fn oldest(&self) -> Option<UnixMicros> {
        self.open.map(|(_, _, origin, _)| origin.committed_at)
    }

    fn is_full(&self) -> bool {
        // A slow link is given less.
        let bytes_max = self.session.as_ref().map_or(BYTES_MAX, |session| session.slice_bytes().min(BYTES_MAX));
        self.open.is_some() && (self.slice.len() >= MESSAGES_MAX || self.slice.bytes() >= bytes_max)
    }

    fn due(&self) -> Option<Instant> {
        self.open.map(|(since, ..)| since + self.age)
    }

    fn freeze(&mut self, _: Option<&Manifest>) -> Result<Manifest, Fault> {
        let (_, first, _, dead) = self.open.ok_or_else(|| Fault::Retry("no slice is open".into()))?;
        let end = self.slice.end();
        let last = if dead { Seq::new(end.dead_seq) } else { end.seq };
        let incarnation = self.slice.incarnation().unwrap_or_default();
        Ok(Manifest { dead, layout: 1, day: 0, first, last, rows: self.rows, incarnation, name: String::new() })
    }

    async fn find(&mut self, _: &Manifest) -> Result<Option<Sent>, Fault> {
        Ok(None)
    }

    async fn send(&mut self, _: &Manifest, _: bool) -> Result<Sent, Fault> {
        let Some(session) = &mut self.session else { return Err(Fault::Elsewhere) };
        loop {
            match session.send(&self.slice) {
                Ok(()) => break,
                Err(kafka_sink::Fault::Refused(refused)) => {
                    let events = refusals(&refused);
                    if !events.is_empty() {
                        return Err(Fault::Refused(events));
                    }
                    // A dead letter that its topic cannot take stays where it is: in the log.
                    for refused in &refused {
                        tracing::error!(item = %refused.item, "left out of the dead letters' topic, which refuses it");
                        self.slice.remove(refused.item);
                    }
                }
                Err(error) => return Err(fault(error)),
            }
        }
        self.open = None;
        Ok(Sent { bytes: self.slice.bytes() as u64, refused: Vec::new() })
    }

    async fn count(&mut self, _: &Manifest) -> Result<u64, Fault> {
        // Nothing is frozen: the watermark tells.
        Ok(0)
    }

    async fn ping(&mut self) -> Result<(), Fault> {
        // Without a session it has not begun.
        self.session.as_mut().map_or(Ok(()), |session| session.ping().map_err(fault))
    }

    fn discard(&mut self) {
        self.open = None;
    }

    fn revive(&mut self) {
        self.session = None;
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        Ok(0)
    }

    fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    fn census(&self) -> Arc<dyn Census> {
        Arc::new(TopicCensus(self.config.clone()))
    }
}

struct TopicCensus(Config);

impl Census for TopicCensus {
    fn events_max(&self) -> u64 {
        // Each time all is read that was sent since then.
        5_000_000
    }

    fn count(&self, asked: &Asked) -> Result<Vec<Held>, String> {
        let topics = &self.0.topics;
        let mut held: Vec<_> =
            [&topics.raw, &topics.validated, &topics.enriched].map(|topic| asked.nothing_in(topic)).into();
        let counted = kafka_sink::count(&self.0, asked.since(), |topic, seq, id| {
            // Other nodes send to the same topics.
            if asked.is_ours(seq, id)
                && let Some(held) = held.iter_mut().find(|held| held.place() == topic)
            {
                held.add(seq, 1);
            }
        });
        counted.map(|()| held).map_err(|fault| fault.to_string())
    }
}

fn starts(start: &Start<'_>) -> Vec<(u64, Seq)> {
    start.history.iter().map(|start| (start.id, start.first)).collect()
}

/// A cursor says what comes next, a position what was last.
fn position(cursor: Cursor) -> Position {
    Position { seq: cursor.next.prev(), dead_seq: cursor.next_dead.saturating_sub(1) }
}

fn refusals(refused: &[kafka_sink::Refused]) -> Vec<Refused> {
    let refusal = |refused: &kafka_sink::Refused| {
        let Item::Event(seq) = refused.item else { return None };
        let (code, detail) = match refused.reason {
            Reason::TooLarge => ("kafka_too_large", "the message is larger than the topic allows"),
            Reason::Invalid => ("kafka_invalid", "the topic does not take the message"),
        };
        let pointer = format!("{:?}", refused.topic);
        Some(Refused { seq, code: code.into(), pointer, detail: format!("{detail} ({})", refused.item) })
    };
    refused.iter().filter_map(refusal).collect()
}

/// What has failed, in a word, and in a line that names what an operator can do.
fn cure(failure: Failure) -> Fault {
    let reconcile = "or say which event the topics are to get next: `ingestd admin sinks reconcile kafka --from N`";
    match failure {
        Failure::Fenced { .. } => {
            Fault::of(FailureCode::Fenced, format_args!("{failure}: `ingestd admin sinks resume kafka`"))
        }
        Failure::Diverged { .. } => Fault::of(FailureCode::Diverged, format_args!("{failure}; {reconcile}")),
        Failure::WatermarkLost { .. } => Fault::of(FailureCode::WatermarkLost, format_args!("{failure}; {reconcile}")),
        Failure::WatermarkUnreadable => {
            Fault::of(FailureCode::WatermarkUnreadable, format_args!("{failure}; {reconcile}"))
        }
    }
}

fn fault(fault: kafka_sink::Fault) -> Fault {
    match fault {
        kafka_sink::Fault::Moved(_) => Fault::Elsewhere,
        kafka_sink::Fault::Failed(failure) => cure(failure),
        kafka_sink::Fault::Misconfigured(what) => Fault::of(
            FailureCode::Misconfigured,
            format_args!("{what}: mend [kafka.options], then start the daemon again"),
        ),
        fault => Fault::Retry(fault.to_string()),
    }
}
