//! Events as messages in Kafka, exactly once: the Kafka sink's side of the cluster, without the log they come from.
//!
//! A [`Session`] knows how far the topics have everything; a [`Slice`] is what comes next, encoded. [`Session::send`]
//! brings it there as one transaction, together with a [`Watermark`] that says how far the topics have everything now.
//! There is no state elsewhere that could disagree: whatever happens to us, to the cluster or to an answer on its way,
//! the watermark tells the next session, or the next producer of this one, where to go on.
//!
//! ```text
//!                         ┌───────────────── one transaction ─────────────────┐
//! slice (after, end] ───► │ …-raw  …-validated  …-enriched  …-dlq  watermarks │ ───► commit ───► position = end
//!                         └───────────────────────────────────────────────────┘
//! ```
//!
//! # Messages
//!
//! | topic | value | headers |
//! |---|---|---|
//! | `…-raw` | the event, byte for byte as received; never render it | `event_id` `event_type` `tenant` `seq` `incarnation` `schema_version`, and `traceparent` where the request had one |
//! | `…-validated` | the processed form before enrichment | as `…-raw` |
//! | `…-enriched` | the enriched form | as `…-raw` |
//! | `…-dlq` | the bytes as received, even if they are no text | `tenant` `dead_seq` `code`, and where known `event_id` `event_type` `seq` `pointer` `detail` `traceparent` |
//! | `…-watermarks` | see [`Watermark`] | none |
//!
//! * The key is the session; what has none goes anywhere. The partition is that of Kafka's own producers (murmur2), so
//!   other producers and stream joins agree, and the events of a session are in one partition by ascending `seq`.
//! * Header values are text in UTF-8: numbers in decimal, `incarnation` as 16 hex digits. (`incarnation`, `seq`)
//!   identifies an event of a node for ever.
//! * A message's timestamp is the time of sending. The client's own may be years old, and retention would take the
//!   message away at once; commit time may lie ahead of a clock that was set back, and brokers refuse that.
//!
//! # When it fails
//!
//! | | then |
//! |---|---|
//! | the call may be made again | it is, until [`Config::patience`] is over |
//! | the transaction can be aborted | it is, and the slice is sent again |
//! | outcome unknown, fatal, fenced | a new producer, and the watermark: ours → go on after it; another run's → [`Failure::Fenced`] |
//! | watermark gone or older than the cursor | [`Failure::WatermarkLost`] |
//! | watermark not in our history | [`Failure::Diverged`] |
//! | the topic refuses a message | [`Fault::Refused`]: nothing of the slice was delivered |
//! | the cluster refuses *us*, or a topic is missing | [`Fault::Denied`] |
//!
//! A broker refuses batches, not messages. So a slice with a refusal is sent once more with every message in a batch
//! of its own, and whoever is refused then is named.
//!
//! # Two daemons under one id
//!
//! A producer that initialises under a transactional id takes it from the one before. A session does that when it is
//! opened, and writes its run into the watermark; and it does it again when it finds itself fenced, to read the
//! watermark behind everything that is still on its way. If that names another run, it gives in for good: of two, one
//! goes on and one is [`Failure::Fenced`].
//!
//! # TLS and SASL
//!
//! [`Config::options`] go to librdkafka as they are: `security.protocol`, `sasl.mechanism`, `sasl.username`,
//! `sasl.password`, `ssl.ca.location` and all the others. SASL/PLAIN is always there. TLS, SCRAM and OAUTHBEARER need
//! this crate's feature `ssl` (OpenSSL of the system), Kerberos its feature `gssapi` (Cyrus SASL): they are off by
//! default because of what they link; a setting that was not built in is [`Fault::Denied`], in librdkafka's words.
//! zstd is not built in; lz4, the default, gzip and snappy are.
//!
//! What our principal needs: `Write` and `Describe` on the topics and on the transactional id, `Read` on the watermark
//! topic and `IdempotentWrite` on old clusters; `Create` where topics are to be made, and `DescribeConfigs`, without
//! which limits and the watermark topic's policy are not checked.

mod blocking;
mod client;
mod config;
mod connection;
mod decide;
mod encode;
mod error;
mod partition;
mod position;
mod producer;
mod reports;
mod topics;
mod watermark;
mod watermark_reader;

pub use client::{Probe, Session, Start, Step};
pub use config::{Config, ConfigError, Create, Delivery, Options, Topics};
pub use encode::{DeadLetter, Event, Headers, Item, Message, Slice, Topic};
pub use error::{Failure, Fault, Reason, Refused};
pub use position::{History, Position};
pub use watermark::{Unreadable, Watermark};
