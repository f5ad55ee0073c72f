//! Looking whether the cluster can be reached and has the topics, changing nothing.

use crate::connection::{Deadline, Ears, not_made, settings};
use crate::topics::{metadata, partitions, wanted};
use crate::{Config, Fault};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::BaseConsumer;

/// Looks at the cluster; returns the topics that are missing and would be made.
///
/// # Errors
/// [`Fault::Unavailable`], [`Fault::Misconfigured`] or [`Fault::Denied`]: also when a topic is missing and is not to be made.
pub fn check(config: &Config) -> Result<Vec<String>, Fault> {
    config.check().map_err(|error| Fault::Misconfigured(error.to_string()))?;
    // A consumer, because its questions make no topics.
    let client: BaseConsumer<Ears> = BaseConsumer::from_config_and_context(&settings(config, &[]), Ears::of(config))
        .map_err(|e| not_made(config, &e))?;
    let found = metadata(&client, Deadline::after(config.patience))?;
    let missing = wanted(config).into_iter().filter(|name| partitions(&found, name).is_none());
    let missing: Vec<_> = missing.map(str::to_owned).collect();
    match (missing.first(), config.create) {
        (Some(first), None) => Err(Fault::Denied(format!("topic {first} is missing, and topics are not to be made"))),
        _ => Ok(missing),
    }
}
