//! Reads our watermark, to the end of its partition.
//!
//! A reader that wants committed records only is stopped by the first transaction that is open, also by another
//! node's, and what lies behind that, our own last watermark included, it would not see. So it is made sure first that
//! everything is decided that was there when we began; our own transactions are, once the producer is initialised.

use crate::connection::{Deadline, Ears};
use crate::reader::{ends, failed, reader};
use crate::topics::Layout;
use crate::{Config, Fault, Watermark, watermark};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// How many records at the end of the partition are looked through first: where every node has a partition of its own,
/// ours is among them, and a start does not read what was not compacted yet.
const TAIL: i64 = 1_000;

const WHAT: &str = "cannot read the watermark";

/// The newest watermark of our transactional id, if there is one.
pub(crate) fn read(
    config: &Config,
    layout: &Layout,
    deadline: Deadline,
) -> Result<Option<Result<Watermark, watermark::Unreadable>>, Fault> {
    let place = (config.topics.watermarks.as_str(), layout.watermark_partition);
    let (low, end) = ends(&reader(config, "read_uncommitted")?, place, WHAT, deadline)?;
    if low == end {
        return Ok(None);
    }
    let committed = reader(config, "read_committed")?;
    let mut waits = false;
    loop {
        match ends(&committed, place, WHAT, deadline) {
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
    wanted
        .add_partition_offset(place.0, place.1, Offset::Offset(from))
        .map_err(|error| failed(consumer, WHAT, &error))?;
    consumer.assign(&wanted).map_err(|error| failed(consumer, WHAT, &error))?;
    let mut newest = None;
    while !deadline.is_over() {
        match consumer.poll(deadline.remaining().min(Duration::from_millis(100))) {
            Some(Ok(record)) if record.key() == Some(key) => newest = Some(record.payload().map(<[u8]>::to_vec)),
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(newest),
            // Others are heard and passed: the client goes on by itself, until the deadline.
            Some(Ok(_) | Err(_)) | None => {}
        }
    }
    Err(consumer.context().fault(WHAT, "timed out"))
}
