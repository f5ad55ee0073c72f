//! Sends spans to the collector, from a thread of its own. What it does not take is dropped: a trace is worth no retry.

use super::otlp;
use super::span::Span;
use crate::metrics::Metrics;
use crate::net::{post_address, post_json};
use hyper::Uri;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

/// OTLP over HTTP, where the address names none.
const PORT: u16 = 4318;
/// Most spans of one request.
const BATCH: usize = 512;
/// How long spans gather.
const GATHER: Duration = Duration::from_secs(1);
/// How long the collector may take for one request.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a stop may be held up.
const LAST: Duration = Duration::from_secs(1);

/// Where the collector is, from `http://host:port` with or without a path before the protocol's own.
///
/// # Errors
/// What is wrong with it, for a person.
pub fn endpoint(text: &str) -> Result<Uri, String> {
    if post_address(text)?.query().is_some() {
        return Err("has a query, but is to be the collector's base address".into());
    }
    post_address(&format!("{}/v1/traces", text.trim_end_matches('/')))
}

/// The collector's side of a [`super::Tracer`].
pub struct Exporter {
    endpoint: Uri,
    instance: u128,
    spans: mpsc::Receiver<Span>,
    metrics: Arc<Metrics>,
}

impl Exporter {
    pub(super) fn new(endpoint: Uri, instance: u128, spans: mpsc::Receiver<Span>, metrics: Arc<Metrics>) -> Self {
        Exporter { endpoint, instance, spans, metrics }
    }

    /// Sends what comes until `stop`, then what is there.
    ///
    /// # Errors
    /// When the runtime cannot be built.
    pub fn run(mut self, stop: watch::Receiver<bool>) -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(|error| format!("cannot build the traces' runtime: {error}"))?;
        runtime.block_on(self.follow(stop));
        Ok(())
    }

    async fn follow(&mut self, mut stop: watch::Receiver<bool>) {
        let mut batch = Vec::with_capacity(BATCH);
        loop {
            let stopping = tokio::select! {
                // An error means that the sender is gone: the daemon is being torn down.
                _ = stop.wait_for(|stop| *stop) => true,
                () = self.gather(&mut batch) => false,
            };
            if stopping {
                while batch.len() < BATCH
                    && let Ok(span) = self.spans.try_recv()
                {
                    batch.push(span);
                }
                return self.deliver(&mut batch, LAST).await;
            }
            self.deliver(&mut batch, PATIENCE).await;
        }
    }

    /// Gathers a batch; what it has so far stays in `batch` if it is broken off.
    async fn gather(&mut self, batch: &mut Vec<Span>) {
        if batch.is_empty() {
            match self.spans.recv().await {
                Some(span) => batch.push(span),
                None => return std::future::pending().await,
            }
        }
        let due = sleep(GATHER);
        tokio::pin!(due);
        while batch.len() < BATCH {
            tokio::select! {
                () = &mut due => return,
                span = self.spans.recv() => match span {
                    Some(span) => batch.push(span),
                    None => return,
                },
            }
        }
    }

    async fn deliver(&self, batch: &mut Vec<Span>, patience: Duration) {
        if batch.is_empty() {
            return;
        }
        let count = batch.len() as u64;
        let body = otlp::request(batch, self.instance);
        batch.clear();
        let sent = timeout(patience, post_json(&self.endpoint, PORT, body)).await;
        let sent = sent.unwrap_or_else(|_| Err(format!("no answer within {patience:?}")));
        match sent {
            Ok(()) => self.metrics.spans_exported.fetch_add(count, Relaxed),
            Err(error) => {
                tracing::debug!(error, spans = count, endpoint = %self.endpoint, "the collector took no spans");
                self.metrics.spans_dropped.fetch_add(count, Relaxed)
            }
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_is_http_and_gets_the_protocols_path() {
        for (text, url) in [
            ("http://127.0.0.1:4318", "http://127.0.0.1:4318/v1/traces"),
            ("http://collector", "http://collector/v1/traces"),
            ("http://[::1]:4318/otlp/", "http://[::1]:4318/otlp/v1/traces"),
        ] {
            assert_eq!(endpoint(text).unwrap().to_string(), url);
        }
        for text in ["", "127.0.0.1:4318", "https://collector", "http://", "http://a?b=c", "http://a b"] {
            assert!(endpoint(text).is_err(), "{text}");
        }
    }
}
