//! One producer: it fences whoever had our id before, sends slices, and is thrown away when in doubt.

use crate::connection::{Deadline, EARFUL, Vigil, not_made, settings};
use crate::decide::{self, Action, Trouble, Undelivered};
use crate::reports::{Reports, Stop, WATERMARK, judge};
use crate::stretch::Stretch;
use crate::topics::Layout;
use crate::{Config, Delivery, Fault, Item, Message, Reason, Refused, Slice, Topic, Topics, Watermark};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::message::{Header, OwnedHeaders};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use std::time::Duration;

/// How long it rests when no report is there. Waiting in the client itself spins: it counts in whole milliseconds, and
/// asks without a pause for what is left of one.
const REST: Duration = Duration::from_micros(500);

/// A producer.
pub(crate) struct Producer {
    inner: BaseProducer<Reports>,
    topics: Topics,
    delivery: Delivery,
    transactional_id: String,
    watermark_partition: i32,
    patience: Duration,
    longest: Duration,
}

impl Producer {
    /// A producer that has done nothing yet.
    pub(crate) fn open(config: &Config, layout: &Layout) -> Result<Self, Fault> {
        let transaction_timeout = config.transaction_timeout.as_millis().to_string();
        let batch_bytes = layout.batch_bytes_max.to_string();
        let message_bytes = layout.message_bytes_max.to_string();
        let mut own = vec![
            ("enable.idempotence", "true"),
            ("partitioner", "murmur2_random"),
            ("compression.type", "lz4"),
            ("linger.ms", "2"),
            ("batch.size", &batch_bytes),
            ("message.max.bytes", &message_bytes),
        ];
        match config.delivery {
            Delivery::ExactlyOnce => own.extend([
                ("transactional.id", config.transactional_id.as_str()),
                ("transaction.timeout.ms", &transaction_timeout),
            ]),
            // Its messages are given up when the wait for them is: the client is not to do so before.
            Delivery::AtLeastOnce => own.push(("message.timeout.ms", &transaction_timeout)),
        }
        let inner = BaseProducer::from_config_and_context(&settings(config, &own), Reports::of(config));
        Ok(Producer {
            inner: inner.map_err(|error| not_made(config, &error))?,
            topics: config.topics.clone(),
            delivery: config.delivery,
            transactional_id: config.transactional_id.clone(),
            watermark_partition: layout.watermark_partition,
            patience: config.patience,
            // What has not been sent by then could not be committed before the cluster aborts it.
            longest: config.transaction_timeout / 5 * 4,
        })
    }

    /// The fault that a failed attempt comes to.
    pub(crate) fn fault(&self, what: &str, text: &str) -> Fault {
        // Lets the client say why, one complaint at a time.
        (0..EARFUL).for_each(|_| self.inner.poll(Duration::ZERO));
        self.inner.context().ears.fault(what, text)
    }

    /// Fences whoever had our transactional id, and has their transaction ended.
    pub(crate) fn init(&self, deadline: Deadline) -> Result<(), Stop> {
        if self.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        self.persist(deadline, |remaining| self.inner.init_transactions(remaining))
    }

    /// Sends all of a stretch and the watermark: exactly once, in one transaction up to the point where it can be
    /// committed; at least once, the watermark when the topics have the rest. Once it has failed, this producer is of no
    /// more use.
    pub(crate) fn fill(&self, stretch: &Stretch<'_>, watermark: &Watermark) -> Result<(), Stop> {
        let mut vigil = Vigil::new(self.patience, self.longest);
        let filled = match self.delivery {
            Delivery::ExactlyOnce => {
                self.persist(Deadline::after(self.patience), |_| self.inner.begin_transaction())?;
                self.put_all(stretch, &mut vigil)
            }
            Delivery::AtLeastOnce => {
                self.put_all(stretch, &mut vigil).and_then(|()| self.flush(stretch.slice, &mut vigil))
            }
        };
        match filled.and_then(|()| self.put_watermark(watermark, &mut vigil)) {
            // It takes no more: the reports say why.
            Err(Stop::Do(Action::Renew, text)) => {
                self.flush(stretch.slice, &mut vigil)?;
                Err(Stop::Do(Action::Renew, text))
            }
            Err(stop) => Err(stop),
            Ok(()) => self.flush(stretch.slice, &mut vigil),
        }
    }

    /// Commits what was sent.
    pub(crate) fn commit(&self) -> Result<(), Stop> {
        if self.delivery == Delivery::AtLeastOnce {
            return Ok(());
        }
        self.persist(Deadline::after(self.patience), |remaining| self.inner.commit_transaction(remaining))
    }

    /// Asks who leads our partition of the watermark topic for its end. Not for metadata: a producer that asks about a
    /// topic that has gone has it made anew, with the cluster's own settings.
    pub(crate) fn ping(&self, within: Duration) -> Result<(), Fault> {
        let asked = self.inner.client().fetch_watermarks(&self.topics.watermarks, self.watermark_partition, within);
        match asked {
            Ok(_) => {
                self.inner.context().ears.forget();
                Ok(())
            }
            Err(error) => Err(self.fault("cannot reach the cluster", &error.to_string())),
        }
    }

    fn put_all(&self, stretch: &Stretch<'_>, vigil: &mut Vigil) -> Result<(), Stop> {
        // The messages of an item stand together and have the same headers.
        let mut headers: Option<(Item, OwnedHeaders)> = None;
        let mut refused: Vec<Refused> = Vec::new();
        for (place, message) in stretch.messages() {
            let (item, made) = match headers.take() {
                Some((item, made)) if item == message.item => (item, made),
                _ => (message.item, make_headers(&message)),
            };
            // Said by our own client, and of this very message.
            if let Some(reason) = self.put(place, &message, &made, vigil)?
                && refused.last().is_none_or(|last| last.item != item)
            {
                refused.push(Refused { item, topic: message.topic, reason });
            }
            headers = Some((item, made));
        }
        if refused.is_empty() { Ok(()) } else { Err(Stop::Refused(refused)) }
    }

    fn put(
        &self,
        place: usize,
        message: &Message<'_>,
        headers: &OwnedHeaders,
        vigil: &mut Vigil,
    ) -> Result<Option<Reason>, Stop> {
        let topic = self.name(message.topic);
        self.enqueue(vigil, || {
            let mut record = BaseRecord::with_opaque_to(topic, place).payload(message.value).headers(headers.clone());
            record.key = message.key;
            self.inner.send(record).map_err(|(error, _)| error)
        })
    }

    fn put_watermark(&self, watermark: &Watermark, vigil: &mut Vigil) -> Result<(), Stop> {
        let value = watermark.encode();
        let refused = self.enqueue(vigil, || {
            let record = BaseRecord::with_opaque_to(&self.topics.watermarks, WATERMARK)
                .partition(self.watermark_partition)
                .key(self.transactional_id.as_bytes())
                .payload(value.as_slice());
            self.inner.send(record).map_err(|(error, _)| error)
        })?;
        match refused {
            None => Ok(()),
            Some(_) => Err(Stop::Do(Action::Deny, "the watermark is larger than a message may be".into())),
        }
    }

    /// Hands a message to the client, which may have to send others first; says why if it will never take it.
    fn enqueue(&self, vigil: &mut Vigil, send: impl Fn() -> Result<(), KafkaError>) -> Result<Option<Reason>, Stop> {
        loop {
            let Err(error) = send() else { return Ok(None) };
            let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
            if code == RDKafkaErrorCode::QueueFull && !self.has_failed() {
                self.listen(vigil)?;
                continue;
            }
            return match decide::undelivered(code) {
                Undelivered::Refused(reason) => Ok(Some(reason)),
                Undelivered::Do(action) => Err(Stop::Do(action, error.to_string())),
                Undelivered::Collateral => Err(Stop::Do(Action::Renew, error.to_string())),
            };
        }
    }

    /// Waits for the report of every message, or until the transaction has failed.
    fn flush(&self, slice: &Slice, vigil: &mut Vigil) -> Result<(), Stop> {
        while self.inner.in_flight_count() > 0 && !self.has_failed() {
            self.listen(vigil)?;
        }
        self.hear_out();
        let failed = self.inner.context().take();
        if !failed.is_empty() {
            return Err(judge(slice, &failed));
        }
        self.inner.context().ears.forget();
        Ok(())
    }

    /// Whether a report tells that the transaction has failed. Behind that one the client sends nothing more until it is
    /// aborted, and reports of the rest would never come.
    fn has_failed(&self) -> bool {
        self.delivery == Delivery::ExactlyOnce && self.inner.context().has_failed()
    }

    /// Takes all reports that are there: the first one may be of a message that only fell with the one that is to blame.
    fn hear_out(&self) {
        loop {
            let before = self.inner.context().heard();
            (0..EARFUL).for_each(|_| self.inner.poll(Duration::ZERO));
            if self.inner.context().heard() == before {
                return;
            }
        }
    }

    /// Takes a report, or rests a little if there is none.
    fn listen(&self, vigil: &mut Vigil) -> Result<(), Stop> {
        let before = self.inner.context().heard();
        self.inner.poll(Duration::ZERO);
        if self.inner.context().heard() != before {
            vigil.heard();
        } else if vigil.is_over() {
            return Err(Stop::Late("messages are not acknowledged".into()));
        } else {
            std::thread::sleep(REST);
        }
        Ok(())
    }

    /// Makes a call until it says something else than "again".
    fn persist(&self, deadline: Deadline, call: impl Fn(Duration) -> Result<(), KafkaError>) -> Result<(), Stop> {
        loop {
            let Err(error) = call(deadline.remaining()) else { return Ok(()) };
            let trouble = Trouble::from(error);
            match decide::action(&trouble) {
                Action::Repeat if deadline.is_over() => return Err(Stop::Late(trouble.text)),
                Action::Repeat => deadline.pause(),
                action => return Err(Stop::Do(action, trouble.text)),
            }
        }
    }

    fn name(&self, topic: Topic) -> &str {
        match topic {
            Topic::Raw => &self.topics.raw,
            Topic::Validated => &self.topics.validated,
            Topic::Enriched => &self.topics.enriched,
            Topic::Dead => &self.topics.dead,
        }
    }
}

fn make_headers(message: &Message<'_>) -> OwnedHeaders {
    let made = OwnedHeaders::new_with_capacity(message.headers.count());
    message.headers.iter().fold(made, |made, (key, value)| made.insert(Header { key, value: Some(value) }))
}
