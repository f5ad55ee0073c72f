use super::span::{Attribute, Kind, Span, SpanId, unix_nanos};
use super::{Exporter, TraceContext};
use crate::metrics::Metrics;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;
use tokio::sync::mpsc;

/// Spans that wait to be sent; more are dropped.
const QUEUE: usize = 8192;

/// Where spans are begun and ended; clones share it. Off by default.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<On>>);

struct On {
    queue: mpsc::Sender<Span>,
    /// How many of 2^64 traces without a parent are kept.
    threshold: u64,
    metrics: Arc<Metrics>,
}

/// A span that has begun.
#[derive(Debug)]
pub struct Opened {
    /// Its trace and its own id: the parent of what is done for it.
    pub context: TraceContext,
    parent: Option<SpanId>,
    started: Instant,
}

/// A tracer that keeps `sample_ratio` of the traces that begin here, and what sends its spans to `endpoint`.
#[must_use]
pub fn tracer(endpoint: hyper::Uri, sample_ratio: f64, instance: u128, metrics: &Arc<Metrics>) -> (Tracer, Exporter) {
    let (queue, spans) = mpsc::channel(QUEUE);
    // Saturates at both ends.
    let threshold = (sample_ratio * u64::MAX as f64) as u64;
    let exporter = Exporter::new(endpoint, instance, spans, Arc::clone(metrics));
    (Tracer(Some(Arc::new(On { queue, threshold, metrics: Arc::clone(metrics) }))), exporter)
}

impl Tracer {
    /// Whether anything is traced at all.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins a request's span, if it is one of those that are kept: as its parent says, or else by chance.
    #[must_use]
    pub fn begin(&self, parent: Option<TraceContext>, started: Instant) -> Option<Opened> {
        let on = self.0.as_deref()?;
        let trace = match parent {
            Some(parent) => parent.is_sampled().then(|| parent.trace())?,
            None => on.chance()?,
        };
        let context = TraceContext::sampled(trace, SpanId::random());
        Some(Opened { context, parent: parent.map(|parent| parent.span()), started })
    }

    /// Ends a request's span.
    pub fn end(&self, opened: &Opened, name: &'static str, status: u16) {
        let Some(on) = self.0.as_deref() else { return };
        let route = name.split_once(' ').map_or(name, |(_, path)| path);
        let attributes =
            vec![Attribute::Text("http.route", route), Attribute::Number("http.response.status_code", status.into())];
        on.send(Span {
            context: opened.context,
            parent: opened.parent,
            name,
            kind: Kind::Server,
            start_nanos: unix_nanos(opened.started),
            end_nanos: unix_nanos(Instant::now()),
            attributes,
            links: Vec::new(),
            failed: status >= 500,
        });
    }

    /// A part of a request: from its way to the writer to stable storage.
    pub fn committed(&self, request: &TraceContext, entered: Instant, settled: Instant, events: u64) {
        let Some(on) = self.0.as_deref() else { return };
        on.send(Span {
            context: TraceContext::sampled(request.trace(), SpanId::random()),
            parent: Some(request.span()),
            name: "commit",
            kind: Kind::Internal,
            start_nanos: unix_nanos(entered),
            end_nanos: unix_nanos(settled),
            attributes: vec![Attribute::Number("ingestd.events", events)],
            links: Vec::new(),
            failed: false,
        });
    }

    /// A batch that a sink has, with the requests that it was of; nothing where none of them is traced.
    pub fn shipped(&self, sink: &'static str, started: Instant, rows: u64, links: Vec<TraceContext>) {
        let Some(on) = self.0.as_deref() else { return };
        if links.is_empty() {
            return;
        }
        on.send(Span {
            context: TraceContext::sampled(rand::random::<u128>().max(1), SpanId::random()),
            parent: None,
            name: "ship",
            kind: Kind::Client,
            start_nanos: unix_nanos(started),
            end_nanos: unix_nanos(Instant::now()),
            attributes: vec![Attribute::Text("ingestd.sink", sink), Attribute::Number("ingestd.rows", rows)],
            links,
            failed: false,
        });
    }
}

impl On {
    fn chance(&self) -> Option<u128> {
        let trace = rand::random::<u128>().max(1);
        (((trace >> 64) as u64) < self.threshold || self.threshold == u64::MAX).then_some(trace)
    }

    fn send(&self, span: Span) {
        if self.queue.try_send(span).is_err() {
            self.metrics.spans_dropped.fetch_add(1, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(ratio: f64) -> (Tracer, Exporter, Arc<Metrics>) {
        let metrics = Arc::new(Metrics::default());
        let (tracer, exporter) = tracer("http://127.0.0.1:1".parse().unwrap(), ratio, 1, &metrics);
        (tracer, exporter, metrics)
    }

    fn kept(tracer: &Tracer, parent: Option<TraceContext>) -> usize {
        (0..10_000).filter(|_| tracer.begin(parent, Instant::now()).is_some()).count()
    }

    #[test]
    fn traces_that_begin_here_are_kept_by_chance() {
        assert_eq!(kept(&of(0.0).0, None), 0);
        assert_eq!(kept(&of(1.0).0, None), 10_000);
        assert!((300..1_000).contains(&kept(&of(0.06).0, None)));
        assert_eq!(kept(&Tracer::default(), None), 0);
    }

    #[test]
    fn a_parent_decides_for_its_trace() {
        let parent = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01");
        let unsampled = TraceContext::parse(b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00");
        let (never, always) = (of(0.0).0, of(1.0).0);
        let opened = never.begin(parent, Instant::now()).unwrap();
        assert_eq!(opened.context.trace(), parent.unwrap().trace());
        assert_eq!(opened.parent, Some(parent.unwrap().span()));
        assert_ne!(opened.context.span(), parent.unwrap().span());
        assert_eq!(kept(&always, unsampled), 0);
        assert!(Tracer::default().begin(parent, Instant::now()).is_none());
    }

    #[test]
    fn what_does_not_fit_the_queue_is_counted_and_holds_nobody_up() {
        let (tracer, exporter, metrics) = of(1.0);
        let opened = tracer.begin(None, Instant::now()).unwrap();
        (0..QUEUE + 7).for_each(|_| tracer.end(&opened, "POST /events", 202));
        assert_eq!(metrics.spans_dropped.load(Relaxed), 7);
        drop(exporter);
        tracer.end(&opened, "POST /events", 202);
        assert_eq!(metrics.spans_dropped.load(Relaxed), 8);
    }
}
