//! Reads our watermark, to the end of its partition.
//!
//! A reader that wants committed records only is stopped by the first transaction that is open, also by another
//! node's, and what lies behind that, our own last watermark included, it would not see. So it is made sure first that
//! everything is decided that was there when we began; our own transactions are, once the producer is initialised.

use crate::connection::{Deadline, Ears, not_made, settings};
use crate::topics::Layout;
use crate::{Config, Fault, Watermark, decide, watermark};
use rdkafka::Message;
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// How many records at the end of the partition are looked through first: where every node has a partition of its own,
/// ours is among them, and a start does not read what was not compacted yet.
const TAIL: i64 = 1_000;

/// The newest watermark of our transactional id, if there is one.
pub(crate) fn read(
    config: &Config,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Option<Result<Watermark, watermark::Unreadable>>, Fault> {
    let place = (config.topics.watermarks.as_str(), layout.watermark_partition);
    let (low, end) = ends(&consumer(config, "read_uncommitted")?, place, deadline)?;
    if low == end {
        return Ok(None);
    }
    let committed = consumer(config, "read_committed")?;
    let mut waits = false;
    loop {
        match ends(&committed, place, deadline) {
            Ok((_, decided)) if decided >= end => break,
            Ok(_) => waits = true,
            // The deadline cuts off the last question.
            Err(Fault::Unavailable(_)) if waits => {}
            Err(fault) => return Err(fault),
        }
        if deadline.is_over() {
            return Err(Fault::Unavailable(format!(
                "{} is held up by an open transaction: another node's, or one that a crash of the brokers has left \
                 (kafka-transactions.sh --bootstrap-server … find-hanging --topic {0} tells)",
                place.0
            )));
        }
        deadline.pause();
    }
    let key = config.transactional_id.as_bytes();
    let mut span = TAIL;
    loop {
        let from = low.max(end.saturating_sub(span));
        match newest(&committed, place, from, key, deadline)? {
            Some(value) => return Ok(value.as_deref().map(Watermark::decode)),
            None if from == low => return Ok(None),
            None => span = span.saturating_mul(16),
        }
    }
}

fn consumer(config: &Config, isolation: &str) -> Result<BaseConsumer<Ears>, Fault> {
    let own = [
        // Assigning needs one; nothing is ever committed under it.
        ("group.id", config.transactional_id.as_str()),
        ("isolation.level", isolation),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
    ];
    BaseConsumer::from_config_and_context(&settings(config, &own), Ears::default()).map_err(|error| not_made(&error))
}

/// First and next offset of the partition, as far as that consumer may see.
fn ends(consumer: &BaseConsumer<Ears>, place: (&str, i32), deadline: Deadline) -> Result<(i64, i64), Fault> {
    loop {
        let error = match consumer.fetch_watermarks(place.0, place.1, deadline.remaining()) {
            Ok(ends) => return Ok(ends),
            Err(error) => error,
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // A partition that was just made, or whose broker has just started, has no leader yet.
        if decide::is_denial(code) || deadline.is_over() {
            return Err(failed(consumer, &error));
        }
        deadline.pause();
    }
}

fn failed(consumer: &BaseConsumer<Ears>, error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if decide::is_denial(code) => Fault::Denied(format!("cannot read the watermark: {error}")),
        _ => consumer.context().fault("cannot read the watermark", &error.to_string()),
    }
}

/// The value of the newest record with our key from there to the end, if there is such a record; one without a value is
/// how an operator takes a watermark away.
fn newest(
    consumer: &BaseConsumer<Ears>,
    place: (&str, i32),
    from: i64,
    key: &[u8],
    deadline: Deadline,
) -> Result<Option<Option<Vec<u8>>>, Fault> {
    let mut wanted = TopicPartitionList::new();
    wanted.add_partition_offset(place.0, place.1, Offset::Offset(from)).map_err(|error| failed(consumer, &error))?;
    consumer.assign(&wanted).map_err(|error| failed(consumer, &error))?;
    let mut newest = None;
    while !deadline.is_over() {
        match consumer.poll(deadline.remaining().min(Duration::from_millis(100))) {
            Some(Ok(record)) if record.key() == Some(key) => newest = Some(record.payload().map(<[u8]>::to_vec)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
            // Others are heard and passed: the client goes on by itself, until the deadline.
            Some(Ok(_) | Err(_)) | None => {}
        }
    }
    Err(consumer.context().fault("cannot read the watermark", "timed out"))
}
