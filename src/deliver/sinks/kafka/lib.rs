//! Events as messages in Kafka, exactly once: the Kafka sink's side of the cluster, without the log they come from.
//!
//! A [`Session`] knows how far the topics have everything; a [`Slice`] is what comes next, encoded. [`Session::send`]
//! brings it there as one transaction, together with a [`Watermark`] that says how far the topics have everything now.
//! There is no state elsewhere that could disagree: whatever happens to us, to the cluster or to an answer on its way,
//! the watermark tells the next session, or the next producer of this one, where to go on.
//!
//! Calls block, as long as they get on: a session wants a thread to itself.
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
//! | `…-dlq` | the bytes as received, even if they are no text | `tenant` `dead_seq` `code`, and where known `event_id` `pointer` `detail` `traceparent`; of an accepted event, which a sink could not take, `seq` and `event_type`, too |
//! | `…-watermarks` | see [`Watermark`] | none |
//!
//! * The key is the session; what has none, such as a rejected event, goes anywhere. The partition is that of Kafka's own producers (murmur2), so
//!   other producers and stream joins agree, and the events of a session are in one partition by ascending `seq`.
//! * Header values are text in UTF-8: numbers in decimal, `incarnation` as 16 hex digits. (`incarnation`, `seq`)
//!   identifies an event of a node for ever.
//! * A message's timestamp is the time of sending. The client's own may be years old, and retention would take the
//!   message away at once; commit time may lie ahead of a clock that was set back, and brokers refuse that.
//!
//! # How a shipper uses this
//!
//! One thread per sink, as calls block. `run` is the incarnation that this start of the daemon has drawn.
//!
//! 1. [`Session::open`] with the log's [`History`] and the stored cursor: `None` if none was ever stored. While it says
//!    [`Fault::Unavailable`] or [`Fault::Denied`]: again, later.
//! 2. Store [`Session::position`] as the cursor. Never store one before a session was open: the watermark it stands for
//!    does not exist yet, and the next start would call it lost.
//! 3. Build a [`Slice`] after [`Session::position`]: [`push`](Slice::push) the events and
//!    [`push_dead`](Slice::push_dead) the dead letters that follow, [`cover`](Slice::cover) what the sink never gets,
//!    such as events dead-lettered for it before. A few thousand events are a good slice.
//! 4. [`Session::send`] it. `Ok`: the topics have it for good; store the new position as the cursor, at leisure. It may
//!    lag, for the watermark counts; it must never be ahead. What lies after it stays in the log.
//!    * [`Fault::Refused`]: store a dead letter for each *first*, durably, then [`remove`](Slice::remove) it from the
//!      slice and send again, or build another one after [`Session::position`], which may have moved. A dead letter that
//!      is refused stays where it is stored; only remove it.
//!    * [`Fault::Moved`]: back to 3. [`Fault::Unavailable`], [`Fault::Denied`]: the same slice again, later, on the same
//!      session.
//!    * [`Fault::Failed`], [`Fault::Misconfigured`]: say that the sink has failed, and why. A new session only when an operator says so, or at the
//!      next start: a new run takes the id from whoever has it.
//! 5. [`Session::ping`] now and then while there is nothing to send: else a cluster that is gone would not be missed.
//!
//! The history must be on disk before an event of it is pushed: each incarnation with the first event it committed.
//!
//! # When it fails
//!
//! | | then |
//! |---|---|
//! | the call may be made again | it is, until [`Config::patience`] is over |
//! | no message is acknowledged for that long, or not all within 4/5 of [`Config::transaction_timeout`] | [`Fault::Unavailable`], and transactions of half the size from then on, down to 64 KiB; they grow again slowly |
//! | transaction failed, outcome unknown, fatal, fenced | a new producer, which has aborted what was open, and the watermark: ours → go on after it; another run's → [`Failure::Fenced`] |
//! | watermark gone or older than the cursor | [`Failure::WatermarkLost`] |
//! | watermark not in our history, or ahead of all that we sent | [`Failure::Diverged`] |
//! | a message is larger than its topic takes | [`Fault::Refused`] before anything is sent |
//! | the topic refuses a message | [`Fault::Refused`], once it is known which |
//! | the cluster refuses *us*, or a topic is missing and is not to be made | [`Fault::Denied`] |
//! | librdkafka does not take our settings | [`Fault::Misconfigured`], before there is any contact |
//!
//! The limit of a message is its topic's `max.message.bytes`, or `message.max.bytes` of [`Config::options`] if that is
//! less, and it is held to it before it is compressed, as Kafka's own producers do: whether an event arrives does not
//! hang on how well it, or its neighbours, compress. Limits are read when a session opens and after each fault.
//!
//! A broker refuses batches, not messages. So after a refusal that was not foreseen, smaller and smaller parts of the
//! slice are sent, each a transaction, until who is refused is alone; the rest is delivered on the way.
//!
//! A topic that has gone is made again, when topics are to be made, as soon as sending to it has failed. A watermark
//! topic made anew is empty, and the session is over: [`Failure::WatermarkLost`].
//!
//! # At least once
//!
//! The watermark is written here, too, without a transaction and after the messages, so that either kind of delivery can
//! follow the other. A start goes on after it or after the cursor, whichever is further: what the cursor says was
//! acknowledged. Whoever wrote it must be in the log's history all the same.
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
//! `sasl.password`, `ssl.ca.location` and all the others. SASL/PLAIN is always there. TLS, SCRAM and OAUTHBEARER come
//! with this crate's feature `ssl` (OpenSSL of the system), which is on by default, Kerberos with its feature `gssapi`
//! (Cyrus SASL), which is off; a setting that was not built in is [`Fault::Misconfigured`], in librdkafka's words.
//! zstd is not built in; lz4, the default, gzip and snappy are.
//!
//! What our principal needs: `Write` and `Describe` on the topics and on the transactional id, `Read` on the watermark
//! topic and `IdempotentWrite` on old clusters; `Create` where topics are to be made, and `DescribeConfigs`, without
//! which limits and the watermark topic's policy are not checked.

mod blocking;
mod census;
mod check;
mod client;
mod config;
mod connection;
mod decide;
mod encode;
mod error;
mod message;
mod partition;
mod position;
mod producer;
mod reader;
mod reports;
mod stretch;
mod topics;
mod watermark;
mod watermark_reader;

pub use census::count;
pub use check::check;
pub use client::{Probe, Session, Start, Step};
pub use config::{Config, ConfigError, Create, Delivery, Options, Topics};
pub use encode::Slice;
pub use error::{Failure, Fault, Reason, Refused};
pub use message::{DeadLetter, Event, Headers, Item, Message, Topic};
pub use position::{History, Position};
pub use watermark::{Unreadable, Watermark};
