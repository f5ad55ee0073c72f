//! OTLP/HTTP with JSON: what opentelemetry-proto 1.x calls `ExportTraceServiceRequest`. Ids are hexadecimal and 64-bit
//! numbers are texts, as the protocol's JSON mapping says.

use super::span::{Attribute, Span};
use serde_json::{Value, json};

/// Status codes of a span.
const UNSET: u8 = 0;
const ERROR: u8 = 2;

/// One request's body. `instance` tells nodes apart.
pub(super) fn request(spans: &[Span], instance: u128) -> Vec<u8> {
    let resource = [
        text("service.name", "ingestd"),
        text("service.version", env!("CARGO_PKG_VERSION")),
        text("service.instance.id", &format!("{instance:032x}")),
    ];
    let body = json!({"resourceSpans": [{
        "resource": {"attributes": resource},
        "scopeSpans": [{
            "scope": {"name": "ingestd", "version": env!("CARGO_PKG_VERSION")},
            "spans": spans.iter().map(span).collect::<Vec<_>>(),
        }],
    }]});
    body.to_string().into_bytes()
}

fn span(span: &Span) -> Value {
    let links =
        span.links.iter().map(|link| json!({"traceId": trace(link.trace()), "spanId": link.span().to_string()}));
    let mut out = json!({
        "traceId": trace(span.context.trace()),
        "spanId": span.context.span().to_string(),
        "name": span.name,
        "kind": span.kind as u8,
        "startTimeUnixNano": span.start_nanos.to_string(),
        "endTimeUnixNano": span.end_nanos.to_string(),
        "attributes": span.attributes.iter().map(attribute).collect::<Vec<_>>(),
        "links": links.collect::<Vec<_>>(),
        "status": {"code": if span.failed { ERROR } else { UNSET }},
        "flags": 1,
    });
    if let Some(parent) = span.parent {
        out["parentSpanId"] = parent.to_string().into();
    }
    out
}

fn trace(id: u128) -> String {
    format!("{id:032x}")
}

fn attribute(attribute: &Attribute) -> Value {
    match attribute {
        Attribute::Text(key, value) => text(key, value),
        Attribute::Number(key, value) => json!({"key": key, "value": {"intValue": value.to_string()}}),
    }
}

fn text(key: &str, value: &str) -> Value {
    json!({"key": key, "value": {"stringValue": value}})
}
