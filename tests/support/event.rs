//! Events to send.

use serde_json::{Value, json};

/// A good event.
pub fn event(id: &str) -> Value {
    json!({
        "eventId": id, "eventType": "cart_created", "timestamp": "2026-01-01T00:00:00Z",
        "sessionId": "session-1", "storeId": "store-1", "data": {"cartId": "c-1"},
    })
}

/// Good events with the ids `PREFIX-0` and so on.
pub fn events(prefix: &str, count: usize) -> Vec<Value> {
    (0..count).map(|number| event(&format!("{prefix}-{number}"))).collect()
}

/// The texts of good events that have this JSON text in their data.
pub fn events_with(prefix: &str, count: usize, text: &str) -> Vec<String> {
    let with = |mut event: Value| {
        event["data"]["more"] = "MORE".into();
        event.to_string().replace("\"MORE\"", text)
    };
    events(prefix, count).into_iter().map(with).collect()
}

/// One event a line.
pub fn ndjson(events: &[Value]) -> String {
    events.iter().map(|event| event.to_string() + "\n").collect()
}

/// Real events, one JSON text each.
pub fn real_lines() -> Vec<String> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/cart-events.ndjson");
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

/// The names of an object's members, in alphabetical order.
#[track_caller]
pub fn shape(value: &Value) -> Vec<&str> {
    let members = value.as_object().unwrap_or_else(|| panic!("no object: {value}"));
    let mut names: Vec<_> = members.keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}
