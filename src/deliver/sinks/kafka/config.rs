use rdkafka::config::ClientConfig;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaConfRes;
use std::fmt;
use std::time::Duration;

/// Where the events go, under which identity, and with which guarantee.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// `host:port`, several with commas between.
    pub bootstrap_servers: String,
    /// The topics.
    pub topics: Topics,
    /// Who we are to the cluster: node and sink. Whoever opens a session under the same one fences the other.
    pub transactional_id: String,
    /// What arrives how often.
    pub delivery: Delivery,
    /// After this long without an end the cluster aborts a transaction; at most its `transaction.max.timeout.ms`.
    pub transaction_timeout: Duration,
    /// How topics that are missing are made; `None`: they are not, and a missing one is an error.
    pub create: Option<Create>,
    /// How long one call goes on without getting on before it says [`Fault::Unavailable`](crate::Fault::Unavailable).
    pub patience: Duration,
    /// Passed to librdkafka as they are, after and above our own settings: `security.protocol`, `sasl.*`, `ssl.*`,
    /// `compression.type`, `linger.ms` and so on.
    pub options: Options,
}

/// What is promised to readers of the topics.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Delivery {
    /// Each event is there once for readers with `isolation.level=read_committed`: slice and watermark are one
    /// transaction. Survives crashes of either side and lost answers.
    #[default]
    ExactlyOnce,
    /// Each event is there at least once, for readers of either isolation level: an idempotent producer without
    /// transactions. Retries inside one session do not double; after a crash or a lost answer a slice may come again.
    AtLeastOnce,
}

/// Names of the topics.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Topics {
    /// Every accepted event, as received.
    pub raw: String,
    /// The processed form before enrichment.
    pub validated: String,
    /// The enriched form.
    pub enriched: String,
    /// Dead letters.
    pub dead: String,
    /// The watermark of every node; compacted.
    pub watermarks: String,
}

/// How a missing topic is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Create {
    /// Partitions of each event topic.
    pub partitions: i32,
    /// Partitions of the watermark topic: as many as nodes, so that no node ever waits for another one's transaction.
    pub watermark_partitions: i32,
    /// Replicas of each partition; -1: what the cluster has as default.
    pub replication: i32,
}

/// Settings for librdkafka, by name. Values are not printed: some are secrets.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct Options(Vec<(String, String)>);

/// What is wrong with a configuration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Something that must not be empty is.
    #[error("{0} is empty")]
    Empty(&'static str),
    /// A name that Kafka does not take.
    #[error("topic name {0:?} is not 1 to 249 of letters, digits, '.', '_' and '-'")]
    TopicName(String),
    /// Two topics of one name.
    #[error("topic {0} is named twice")]
    TopicTwice(String),
    /// A setting that the guarantee depends on.
    #[error("option {0} is set by the sink itself")]
    Reserved(String),
    /// A setting that has librdkafka load a library as soon as it is made.
    #[error("option {0} would load foreign code into this process, and is not taken")]
    LoadsCode(String),
    /// A number that cannot be meant.
    #[error("{0} must be more than zero")]
    Zero(&'static str),
    /// A setting that librdkafka does not know.
    #[error("option {0} is none of librdkafka's")]
    UnknownOption(String),
    /// A value that it does not take.
    #[error("option {name}: {why}")]
    OptionValue {
        /// The setting.
        name: String,
        /// What librdkafka says, without the value, which may be a secret.
        why: String,
    },
}

/// Settings that are the sink's own: another value would break the order, the keys or the guarantee.
const RESERVED: [&str; 16] = [
    "acks",
    "auto.offset.reset",
    "bootstrap.servers",
    "delivery.timeout.ms",
    "enable.auto.commit",
    "enable.gapless.guarantee",
    "enable.idempotence",
    "enable.partition.eof",
    "group.id",
    "isolation.level",
    "message.timeout.ms",
    "metadata.broker.list",
    "partitioner",
    "request.required.acks",
    "transaction.timeout.ms",
    "transactional.id",
];

/// Loads each library it names where it is set, before there is a client: only to look at its value would run foreign code.
/// (`ssl.engine.location` and `ssl.providers` do nothing before a client is made.)
const PLUGINS: &str = "plugin.library.paths";

impl Config {
    /// The defaults: exactly once, `cart-events-…`, topics are made with 6 partitions.
    #[must_use]
    pub fn new(bootstrap_servers: impl Into<String>, transactional_id: impl Into<String>) -> Self {
        Config {
            bootstrap_servers: bootstrap_servers.into(),
            topics: Topics::with_prefix("cart-events"),
            transactional_id: transactional_id.into(),
            delivery: Delivery::default(),
            transaction_timeout: Duration::from_secs(60),
            create: Some(Create::default()),
            patience: Duration::from_secs(30),
            options: Options::default(),
        }
    }

    /// Says what is wrong, without any contact to the cluster.
    ///
    /// # Errors
    /// The first [`ConfigError`].
    pub fn check(&self) -> Result<(), ConfigError> {
        for (what, text) in
            [("bootstrap servers", &self.bootstrap_servers), ("transactional id", &self.transactional_id)]
        {
            if text.trim().is_empty() {
                return Err(ConfigError::Empty(what));
            }
        }
        self.topics.check()?;
        for (what, time) in [("transaction timeout", self.transaction_timeout), ("patience", self.patience)] {
            if time < Duration::from_millis(1) {
                return Err(ConfigError::Zero(what));
            }
        }
        if let Some(create) = self.create {
            for (what, count) in
                [("partitions", create.partitions), ("watermark partitions", create.watermark_partitions)]
            {
                if count < 1 {
                    return Err(ConfigError::Zero(what));
                }
            }
        }
        self.options.iter().try_for_each(|(name, value)| check_option(name, value))
    }
}

/// Whether a setting may be made, and librdkafka takes its value. How it goes with others is known once there is a client.
fn check_option(name: &str, value: &str) -> Result<(), ConfigError> {
    // Both before librdkafka gets to see the value.
    if name == PLUGINS {
        return Err(ConfigError::LoadsCode(name.to_owned()));
    }
    if RESERVED.contains(&name) {
        return Err(ConfigError::Reserved(name.to_owned()));
    }
    match ClientConfig::new().set(name, value).create_native_config() {
        Ok(_) => Ok(()),
        Err(KafkaError::ClientConfig(RDKafkaConfRes::RD_KAFKA_CONF_UNKNOWN, ..)) => {
            Err(ConfigError::UnknownOption(name.to_owned()))
        }
        Err(error) => Err(ConfigError::OptionValue { name: name.to_owned(), why: without_value(&error) }),
    }
}

/// Parts of names behind which librdkafka's settings hold secrets.
const SECRETS: [&str; 7] = ["password", "secret", "key", "pem", "token", "oauth", "credential"];

/// Shorter parts of a value are in too many words to be taken for it.
const PART_BYTES_MIN: usize = 4;

fn is_secret(name: &str) -> bool {
    SECRETS.iter().any(|part| name.contains(part))
}

/// What librdkafka says of a setting, without the value, which it repeats in quotation marks, or in part.
pub(crate) fn without_value(error: &KafkaError) -> String {
    let KafkaError::ClientConfig(_, text, name, value) = error else { return error.to_string() };
    let text = text.replace(&format!("\"{value}\""), "(not shown)");
    // A number that is out of its range may be told, with the range.
    let is_number = value.parse::<i64>().is_ok();
    let is_told = !is_secret(name) && (is_number || !repeats(&text, value));
    if is_told { text } else { "librdkafka does not take its value (not shown)".to_owned() }
}

/// Whether a text holds a value, or a part of it.
fn repeats(text: &str, value: &str) -> bool {
    let is_part = |part: &&str| part.len() >= PART_BYTES_MIN;
    let mut parts = value.split(|letter: char| letter.is_whitespace() || ",;=".contains(letter)).filter(is_part);
    (!value.is_empty() && text.contains(value)) || parts.any(|part| text.contains(part))
}

impl Topics {
    /// `<prefix>-raw`, `-validated`, `-enriched`, `-dlq` and `-watermarks`.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |what: &str| format!("{prefix}-{what}");
        Topics {
            raw: name("raw"),
            validated: name("validated"),
            enriched: name("enriched"),
            dead: name("dlq"),
            watermarks: name("watermarks"),
        }
    }

    /// The topics that hold events or dead letters.
    #[must_use]
    pub fn of_events(&self) -> [&str; 4] {
        [&self.raw, &self.validated, &self.enriched, &self.dead]
    }

    fn check(&self) -> Result<(), ConfigError> {
        let [raw, validated, enriched, dead] = self.of_events();
        let names = [raw, validated, enriched, dead, &self.watermarks];
        for (place, name) in names.iter().enumerate() {
            let is_fine = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
            if name.is_empty() || name.len() > 249 || matches!(*name, "." | "..") || !name.bytes().all(is_fine) {
                return Err(ConfigError::TopicName((*name).to_owned()));
            }
            if names.iter().take(place).any(|other| other == name) {
                return Err(ConfigError::TopicTwice((*name).to_owned()));
            }
        }
        Ok(())
    }
}

impl Default for Create {
    fn default() -> Self {
        Create { partitions: 6, watermark_partitions: 1, replication: -1 }
    }
}

impl Options {
    /// Sets one; the last one of a name counts.
    pub fn set(&mut self, name: impl Into<String>, value: impl Into<String>) {
        self.0.push((name.into(), value.into()));
    }

    /// All of them, in order.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value.as_str()))
    }
}

impl Options {
    /// Those whose values are secrets.
    pub(crate) fn secrets(&self) -> Options {
        Options(self.0.iter().filter(|(name, _)| is_secret(name)).cloned().collect())
    }

    /// A complaint of librdkafka's, which may repeat what of a secret it cannot read.
    pub(crate) fn unrepeated(&self, complaint: &str) -> String {
        let is_repeated = |(name, value): &(&str, &str)| complaint.contains(*name) && repeats(complaint, value);
        match self.iter().find(is_repeated) {
            Some((name, _)) => format!("option {name}: librdkafka cannot use its value (not shown)"),
            None => complaint.to_owned(),
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.iter().map(|(name, _)| name)).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config::new("localhost:9092", "node-1-kafka")
    }

    #[test]
    fn the_defaults_are_fine() {
        assert_eq!(config().check(), Ok(()));
        assert_eq!(
            config().topics.of_events().join(" "),
            "cart-events-raw cart-events-validated cart-events-enriched cart-events-dlq"
        );
    }

    #[test]
    fn what_cannot_work_is_refused() {
        let refused = |change: fn(&mut Config)| {
            let mut config = config();
            change(&mut config);
            config.check().unwrap_err()
        };
        assert_eq!(refused(|config| config.bootstrap_servers.clear()), ConfigError::Empty("bootstrap servers"));
        assert_eq!(refused(|config| config.transactional_id = " ".into()), ConfigError::Empty("transactional id"));
        assert_eq!(refused(|config| config.topics.raw = "a b".into()), ConfigError::TopicName("a b".into()));
        assert_eq!(
            refused(|config| config.topics = Topics::with_prefix(&"x".repeat(250))),
            ConfigError::TopicName(format!("{}-raw", "x".repeat(250)))
        );
        assert_eq!(
            refused(|config| config.topics.dead = config.topics.raw.clone()),
            ConfigError::TopicTwice("cart-events-raw".into())
        );
        assert_eq!(refused(|config| config.patience = Duration::ZERO), ConfigError::Zero("patience"));
        assert_eq!(
            refused(|config| config.create = Some(Create { partitions: 0, ..Create::default() })),
            ConfigError::Zero("partitions")
        );
        assert_eq!(refused(|config| config.options.set("acks", "1")), ConfigError::Reserved("acks".into()));
        // It is not there to be loaded: what librdkafka would say of that is another error.
        let plugin = refused(|config| config.options.set("plugin.library.paths", "/nowhere/plugin.so"));
        assert_eq!(plugin, ConfigError::LoadsCode("plugin.library.paths".into()));
        let unknown = refused(|config| config.options.set("sasl.pasword", "hunter2"));
        assert_eq!(unknown, ConfigError::UnknownOption("sasl.pasword".into()));
    }

    #[test]
    fn a_value_that_is_not_taken_is_named_by_its_setting_alone() {
        for name in ["security.protocol", "statistics.interval.ms", "enable.ssl.certificate.verification"] {
            let mut config = config();
            config.options.set("client.rack", "fine");
            config.options.set(name, "hunter2");
            let error = config.check().unwrap_err();
            let text = error.to_string();
            assert!(matches!(error, ConfigError::OptionValue { .. }), "{error:?}");
            assert!(text.contains(name) && !text.contains("hunter2"), "{text}");
        }
    }

    #[test]
    fn of_a_secret_nothing_that_librdkafka_says_is_repeated() {
        for (name, value) in [("sasl.mechanism", "hunter2,PLAIN"), ("debug", "hunter2,all"), ("ssl.key.pem", "hunter2")]
        {
            let mut config = config();
            config.options.set(name, value);
            if let Err(error) = config.check() {
                assert!(!error.to_string().contains("hunter2"), "{error}");
            }
        }
        let mut options = Options::default();
        options.set("client.rack", "beginning");
        options.set("sasl.oauthbearer.config", "principal=me hunter2");
        let secrets = options.secrets();
        assert_eq!(secrets.iter().count(), 1);
        let said = secrets.unrepeated("Unrecognized sasl.oauthbearer.config beginning at: hunter2");
        assert!(said.contains("sasl.oauthbearer.config") && !said.contains("hunter2"), "{said}");
        assert_eq!(secrets.unrepeated("hunter:9092: Connection refused"), "hunter:9092: Connection refused");
    }

    #[test]
    fn secrets_are_not_printed() {
        let mut config = config();
        config.options.set("sasl.password", "hunter2");
        let text = format!("{config:?}");
        assert!(text.contains("sasl.password") && !text.contains("hunter2"), "{text}");
    }
}
