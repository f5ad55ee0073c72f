//! Consumers without a group: they read partitions that they are told to, to the end.

use crate::connection::{Deadline, Ears, not_made, settings};
use crate::{Config, Fault, decide};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

/// A consumer of that isolation level.
pub(crate) fn reader(config: &Config, isolation: &str) -> Result<BaseConsumer<Ears>, Fault> {
    let own = [
        // Assigning needs one; nothing is ever committed under it.
        ("group.id", config.transactional_id.as_str()),
        ("isolation.level", isolation),
        ("enable.auto.commit", "false"),
        ("enable.partition.eof", "true"),
        ("auto.offset.reset", "earliest"),
    ];
    BaseConsumer::from_config_and_context(&settings(config, &own), Ears::of(config))
        .map_err(|error| not_made(config, &error))
}

/// First and next offset of the partition, as far as that consumer may see.
pub(crate) fn ends(
    consumer: &BaseConsumer<Ears>,
    place: (&str, i32),
    what: &str,
    deadline: Deadline,
) -> Result<(i64, i64), Fault> {
    loop {
        let error = match consumer.fetch_watermarks(place.0, place.1, deadline.remaining()) {
            Ok(ends) => return Ok(ends),
            Err(error) => error,
        };
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        // A partition that was just made, or whose broker has just started, has no leader yet.
        if decide::is_denial(code) || deadline.is_over() {
            return Err(failed(consumer, what, &error));
        }
        deadline.pause();
    }
}

/// The fault that a failed read comes to.
pub(crate) fn failed(consumer: &BaseConsumer<Ears>, what: &str, error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if decide::is_denial(code) => Fault::Denied(format!("{what}: {error}")),
        _ => consumer.context().fault(what, &error.to_string()),
    }
}
