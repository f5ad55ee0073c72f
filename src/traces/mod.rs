//! Traces: who asked for what, and how long each part of it took, sent to an OpenTelemetry collector.
//!
//! ```text
//! client ─traceparent─► request (server) ─► commit (internal)         one trace, the client's
//!                          ▲
//!                          └── link ── ship (client): one batch        a trace of its own, for it is of many requests
//! ```
//!
//! Off unless `traces.endpoint` is set: then [`Tracer::begin`] is one comparison. A request with a `traceparent` is sampled
//! as its client says, one without by `traces.sample_ratio`. Spans go into a bounded queue; what does not fit, or what the
//! collector does not take, is dropped and counted: traces never hold up an event.

mod context;
mod exporter;
mod otlp;
mod span;
mod tracer;

pub use context::{TRACEPARENT, TraceContext};
pub use exporter::{Exporter, endpoint};
pub use span::{Attribute, Kind, Span, SpanId};
pub use tracer::{Opened, Tracer, tracer};
