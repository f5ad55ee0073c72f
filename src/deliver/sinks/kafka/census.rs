//! Counts what the topics hold, as readers of committed records see it.

use crate::connection::{Deadline, Ears};
use crate::reader::{ends, failed, reader};
use crate::{Config, Fault, topics};
use event::{Seq, UnixMicros};
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, Headers};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::time::Duration;

/// Clocks may have been set while events were on their way: so much before the first of them it begins to read.
const SLACK: Duration = Duration::from_secs(60 * 60);
/// A partition from which nothing comes for so long is not read to its end.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const WHAT: &str = "cannot count what the topics hold";

/// Tells `each` of every event in the topics that was sent since then: topic, position, event id. Dead letters are not
/// told of. Reads to the end that the topics have now.
///
/// # Errors
/// [`Fault::Denied`] and [`Fault::Unavailable`].
pub fn count(config: &Config, since: UnixMicros, mut each: impl FnMut(&str, Seq, &str)) -> Result<(), Fault> {
    let deadline = Deadline::after(config.patience);
    let consumer = reader(config, "read_committed")?;
    let found = topics::metadata(&consumer, deadline)?;
    for topic in [&config.topics.raw, &config.topics.validated, &config.topics.enriched] {
        let partitions = topics::partitions(&found, topic);
        let partitions = partitions.ok_or_else(|| Fault::Denied(format!("{WHAT}: topic {topic} is missing")))?;
        for partition in 0..partitions {
            read(&consumer, (topic, partition), since, Deadline::after(config.patience), |message| {
                if let Some((seq, id)) = event_of(message) {
                    each(topic, seq, &id);
                }
            })?;
        }
    }
    Ok(())
}

/// Reads a partition from that moment on to the end that it has now.
fn read(
    consumer: &BaseConsumer<Ears>,
    place: (&str, i32),
    since: UnixMicros,
    deadline: Deadline,
    mut each: impl FnMut(&BorrowedMessage<'_>),
) -> Result<(), Fault> {
    let failed = |error: KafkaError| failed(consumer, WHAT, &error);
    let (low, end) = ends(consumer, place, WHAT, deadline)?;
    let mut wanted = TopicPartitionList::new();
    let at = Offset::Offset(since.minus(SLACK).get().max(0) / 1000);
    wanted.add_partition_offset(place.0, place.1, at).map_err(failed)?;
    let begin = consumer.offsets_for_times(wanted, deadline.remaining()).map_err(failed)?;
    // Nothing has come since then, or nothing is there.
    let Some(Offset::Offset(_)) = begin.elements().first().map(|place| place.offset()).filter(|_| low < end) else {
        return Ok(());
    };
    consumer.assign(&begin).map_err(failed)?;
    let mut silence = Deadline::after(SILENCE_MAX);
    loop {
        match consumer.poll(Duration::from_millis(200)) {
            Some(Ok(message)) if message.offset() >= end => return Ok(()),
            Some(Ok(message)) => {
                each(&message);
                silence = Deadline::after(SILENCE_MAX);
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
            // Others are heard and passed: the client goes on by itself.
            Some(Err(_)) | None if !silence.is_over() => {}
            Some(Err(error)) => return Err(failed(error)),
            None => return Err(consumer.context().fault(WHAT, "timed out")),
        }
    }
}

fn event_of(message: &BorrowedMessage<'_>) -> Option<(Seq, String)> {
    let headers = message.headers()?;
    let text = |name: &str| {
        let header = headers.iter().find(|header| header.key == name)?;
        std::str::from_utf8(header.value?).ok()
    };
    let seq = text("seq")?.parse().ok()?;
    Some((Seq::new(seq), text("event_id").unwrap_or_default().to_owned()))
}
