//! The topics as they are on the cluster: made if that is wanted, and checked before anything is sent.

use crate::connection::{Deadline, EARFUL, Ears, not_made, settings};
use crate::{Config, Create, Fault, Topic, blocking, decide, partition};
use rdkafka::admin::{AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::config::FromClientConfigAndContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::metadata::Metadata;
use std::time::Duration;

/// librdkafka's own limit of a message and of a batch, used where the cluster does not tell us its limits.
const DEFAULT_BYTES_MAX: usize = 1_000_000;

/// librdkafka weighs a message before it is laid out, and may find it heavier than it will be.
const SLACK: usize = 1_000;

/// What librdkafka takes for `message.max.bytes`; topics may say more.
const BYTES_RANGE: (usize, usize) = (1_000, 1_000_000_000);

/// Bytes of a segment of the watermark topic: only whole ones are compacted, and a start reads what is not.
const SEGMENT_BYTES: &str = "16777216";

/// What the cluster says of our topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layout {
    /// The partition of the watermark topic that holds our key.
    pub(crate) watermark_partition: i32,
    /// The largest message that each of the topics of events takes, in the order of [`Topics::of_events`].
    ///
    /// [`Topics::of_events`]: crate::Topics::of_events
    topic_bytes_max: [usize; 4],
    /// The largest message that the producer is to take: all of those, unless an option says less.
    pub(crate) message_bytes_max: usize,
    /// The largest batch that all of the topics take.
    pub(crate) batch_bytes_max: usize,
}

impl Layout {
    /// The largest message that this topic takes from this producer.
    pub(crate) fn bytes_max(&self, topic: Topic) -> usize {
        let [raw, validated, enriched, dead] = self.topic_bytes_max;
        let of_topic = match topic {
            Topic::Raw => raw,
            Topic::Validated => validated,
            Topic::Enriched => enriched,
            Topic::Dead => dead,
        };
        of_topic.min(self.message_bytes_max)
    }
}

/// Makes what is missing, if that is wanted, and looks at what is there.
pub(crate) fn prepare(config: &Config, deadline: Deadline) -> Result<Layout, Fault> {
    let wanted = wanted(config);
    // A consumer, because its questions make no topics.
    let client: BaseConsumer<Ears> = BaseConsumer::from_config_and_context(&settings(config, &[]), Ears::of(config))
        .map_err(|e| not_made(config, &e))?;
    let mut found = metadata(&client, deadline)?;
    let missing: Vec<&str> = wanted.iter().copied().filter(|name| partitions(&found, name).is_none()).collect();
    let admin: AdminClient<Ears> = AdminClient::from_config_and_context(&settings(config, &[]), Ears::of(config))
        .map_err(|e| not_made(config, &e))?;
    if let Some(first) = missing.first() {
        let Some(create) = config.create else {
            return Err(Fault::Denied(format!("topic {first} is missing, and topics are not to be made")));
        };
        make(&admin, config, create, &missing, deadline)?;
        found = all_there(&client, &wanted, deadline)?;
    }
    let limits = limits(&admin, config, &wanted, deadline)?;
    let marks = partitions(&found, &config.topics.watermarks).unwrap_or(1);
    Ok(Layout { watermark_partition: partition::of(config.transactional_id.as_bytes(), marks), ..limits })
}

pub(crate) fn wanted(config: &Config) -> Vec<&str> {
    let [raw, validated, enriched, dead] = config.topics.of_events();
    vec![raw, validated, enriched, dead, &config.topics.watermarks]
}

pub(crate) fn metadata(client: &BaseConsumer<Ears>, deadline: Deadline) -> Result<Metadata, Fault> {
    client.fetch_metadata(None, deadline.remaining()).map_err(|error| {
        // Lets it say why, one complaint at a time.
        (0..EARFUL).for_each(|_| drop(client.poll(Duration::ZERO)));
        client.context().fault("cannot reach the cluster", &error.to_string())
    })
}

/// How many partitions a topic has; `None` when it is not there.
pub(crate) fn partitions(metadata: &Metadata, name: &str) -> Option<i32> {
    let topic = metadata.topics().iter().find(|topic| topic.name() == name && topic.error().is_none())?;
    Some(topic.partitions().len() as i32).filter(|count| *count > 0)
}

fn make(
    admin: &AdminClient<Ears>,
    config: &Config,
    create: Create,
    missing: &[&str],
    deadline: Deadline,
) -> Result<(), Fault> {
    let topics: Vec<_> = missing
        .iter()
        .map(|name| {
            let replication = TopicReplication::Fixed(create.replication);
            if **name == config.topics.watermarks {
                let topic = NewTopic::new(name, create.watermark_partitions, replication);
                topic.set("cleanup.policy", "compact").set("segment.bytes", SEGMENT_BYTES)
            } else {
                NewTopic::new(name, create.partitions, replication)
            }
        })
        .collect();
    let options = AdminOptions::new().request_timeout(Some(deadline.remaining()));
    let made = blocking::wait(admin.create_topics(&topics, &options)).map_err(|error| denied_or_away(admin, &error))?;
    for topic in made {
        match topic {
            // Another node may have been faster.
            Ok(_) | Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let text = format!("topic {name} cannot be made: {code}");
                return Err(if decide::is_denial(code) { Fault::Denied(text) } else { Fault::Unavailable(text) });
            }
        }
    }
    Ok(())
}

/// Waits until the brokers know the topics that were made.
fn all_there(client: &BaseConsumer<Ears>, wanted: &[&str], deadline: Deadline) -> Result<Metadata, Fault> {
    loop {
        let found = metadata(client, deadline)?;
        let has_leaders = |name: &&str| {
            let topic = found.topics().iter().find(|topic| topic.name() == *name);
            topic.is_some_and(|topic| {
                !topic.partitions().is_empty() && topic.partitions().iter().all(|partition| partition.leader() >= 0)
            })
        };
        match wanted.iter().find(|name| !has_leaders(name)) {
            None => return Ok(found),
            Some(name) if deadline.is_over() => {
                return Err(Fault::Unavailable(format!("topic {name} was made and has no leader yet")));
            }
            Some(_) => deadline.pause(),
        }
    }
}

/// Reads the limits of the topics, and refuses a watermark topic that does not keep its records.
fn limits(admin: &AdminClient<Ears>, config: &Config, wanted: &[&str], deadline: Deadline) -> Result<Layout, Fault> {
    let options = AdminOptions::new().request_timeout(Some(deadline.remaining()));
    let asked: Vec<_> = wanted.iter().copied().map(ResourceSpecifier::Topic).collect();
    let answers = blocking::wait(admin.describe_configs(&asked, &options));
    let answers = answers.map_err(|error| denied_or_away(admin, &error))?;
    let (mut known, mut smallest) = ([None; 4], None);
    for (place, (name, answer)) in wanted.iter().zip(answers).enumerate() {
        // We may send without being allowed to look; then the topic is taken as it is.
        let Ok(resource) = answer else { continue };
        if *name == config.topics.watermarks {
            check_policy(name, &resource)?;
        }
        let bytes = setting(&resource, "max.message.bytes").and_then(|text| text.parse::<usize>().ok());
        if let Some(known) = known.get_mut(place) {
            *known = bytes;
        }
        smallest = [smallest, bytes].into_iter().flatten().min();
    }
    // An option goes before what we would set, as in the producer itself.
    let option = config.options.iter().filter(|(name, _)| *name == "message.max.bytes").last();
    let option: Option<usize> = option.and_then(|(_, text)| text.parse().ok());
    let topic_bytes_max = known.map(|known| known.or(option).unwrap_or(DEFAULT_BYTES_MAX));
    let largest = topic_bytes_max.into_iter().max().unwrap_or(DEFAULT_BYTES_MAX);
    Ok(Layout {
        watermark_partition: 0,
        topic_bytes_max,
        message_bytes_max: option.unwrap_or_else(|| (largest + SLACK).clamp(BYTES_RANGE.0, BYTES_RANGE.1)),
        batch_bytes_max: smallest.unwrap_or(DEFAULT_BYTES_MAX).min(DEFAULT_BYTES_MAX),
    })
}

fn check_policy(name: &str, resource: &ConfigResource) -> Result<(), Fault> {
    match setting(resource, "cleanup.policy") {
        None | Some("compact") => Ok(()),
        Some(other) => Err(Fault::Denied(format!(
            "topic {name} has cleanup.policy={other}, under which watermarks expire: it must be compact"
        ))),
    }
}

fn setting<'a>(resource: &'a ConfigResource, name: &str) -> Option<&'a str> {
    resource.entries.iter().find(|entry| entry.name == name)?.value.as_deref()
}

fn denied_or_away(admin: &AdminClient<Ears>, error: &KafkaError) -> Fault {
    match error.rdkafka_error_code() {
        Some(code) if decide::is_denial(code) => Fault::Denied(error.to_string()),
        _ => admin.inner().context().fault("cannot look at the topics", &error.to_string()),
    }
}
