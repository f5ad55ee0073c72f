//! When events become visible: in ClickHouse to who asks for the newest row, in Kafka to a reader of committed records.

use super::clickhouse::ClickHouse;
use anyhow::{Result, anyhow};
use hdrhistogram::Histogram;
use rdkafka::Message;
use rdkafka::config::ClientConfig;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::message::Headers;
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// How often ClickHouse is asked: what is found is late by as much at most.
const ASK: Duration = Duration::from_millis(25);

/// How long the broker may take to say where a topic ends.
const BROKER_PATIENCE: Duration = Duration::from_secs(10);

/// Watches both sinks from a thread each.
pub struct Watch {
    stop: Arc<AtomicBool>,
    tables: JoinHandle<Result<Vec<(i64, u64)>>>,
    topic: JoinHandle<Result<Vec<(i64, u64)>>>,
}

/// Microseconds from commit to visible.
#[derive(Debug)]
pub struct Delays {
    /// ClickHouse's.
    pub tables: Histogram<u64>,
    /// Kafka's.
    pub topic: Histogram<u64>,
}

fn now() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_micros() as i64)
}

impl Watch {
    /// Begins, on a topic that is there.
    pub fn start(server: &ClickHouse, broker: &str, topic: &str, partitions: i32) -> Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let (client, stopped) = (server.client(), Arc::clone(&stop));
        let tables = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
            runtime.block_on(async {
                let mut seen = Vec::new();
                while !stopped.load(Ordering::Relaxed) {
                    // Only parts of the last moments are read.
                    let newest = "SELECT max(seq) FROM events_raw WHERE committed_at > now64(6) - 30";
                    seen.push((now(), client.query(newest).fetch_one::<u64>().await.map(|seq| (seq, now()))?));
                    tokio::time::sleep(ASK).await;
                }
                // Visible when the answer came, not when it was asked for.
                Ok(seen.into_iter().map(|(_, (seq, at))| (at, seq)).collect())
            })
        });
        let consumer: BaseConsumer = ClientConfig::new()
            .set("bootstrap.servers", broker)
            .set("group.id", "watch")
            .set("enable.auto.commit", "false")
            .set("isolation.level", "read_committed")
            .set("fetch.wait.max.ms", "10")
            .create()?;
        let mut places = TopicPartitionList::new();
        for partition in 0..partitions {
            // What earlier rounds have left is not to be read first: it would be late for all that comes meanwhile.
            let (_, end) = consumer.fetch_watermarks(topic, partition, BROKER_PATIENCE)?;
            places.add_partition_offset(topic, partition, Offset::Offset(end))?;
        }
        consumer.assign(&places)?;
        let stopped = Arc::clone(&stop);
        let topic = std::thread::spawn(move || {
            let mut seen = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let Some(Ok(message)) = consumer.poll(Duration::from_millis(50)) else { continue };
                let headers = message.headers().ok_or_else(|| anyhow!("a message without headers"))?;
                let seq = headers.iter().find(|header| header.key == "seq").and_then(|header| header.value);
                let seq = seq.and_then(|value| std::str::from_utf8(value).ok()?.parse().ok());
                seen.push((now(), seq.ok_or_else(|| anyhow!("a message without a position"))?));
            }
            Ok(seen)
        });
        Ok(Watch { stop, tables, topic })
    }

    /// Ends, and compares with when the rows say that they were committed.
    pub fn end(self, server: &ClickHouse, after: u64) -> Result<Delays> {
        self.stop.store(true, Ordering::Relaxed);
        let joined = |thread: JoinHandle<Result<Vec<(i64, u64)>>>| thread.join().map_err(|_| anyhow!("panicked"))?;
        let (tables, topic) = (joined(self.tables)?, joined(self.topic)?);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let rows: Vec<(u64, i64)> = runtime.block_on(
            server
                .client()
                .query("SELECT seq, toUnixTimestamp64Micro(committed_at) FROM events_raw WHERE seq > ? ORDER BY seq")
                .bind(after)
                .fetch_all(),
        )?;
        let mut delays = Delays { tables: Histogram::new(3)?, topic: Histogram::new(3)? };
        let mut looks = tables.into_iter().peekable();
        for (seq, committed) in &rows {
            while looks.next_if(|(_, newest)| newest < seq).is_some() {}
            if let Some((at, _)) = looks.peek() {
                delays.tables.record((at - committed).max(0) as u64)?;
            }
        }
        let committed: HashMap<u64, i64> = rows.into_iter().collect();
        for (at, seq) in topic {
            if let Some(committed) = committed.get(&seq) {
                delays.topic.record((at - committed).max(0) as u64)?;
            }
        }
        Ok(delays)
    }
}
