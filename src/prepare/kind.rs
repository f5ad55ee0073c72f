/// The built-in event types; an event's number in the log is its index here, so the order never changes.
pub const EVENT_TYPES: [&str; 6] =
    ["cart_created", "cart_updated", "cart_abandoned", "item_added", "item_removed", "purchase_completed"];

/// The number of an event whose type is registered by a schema, not built in.
pub const OTHER_TYPE: u8 = 255;

/// The number of a built-in event type.
#[must_use]
#[inline]
pub fn event_type_number(name: &str) -> Option<u8> {
    EVENT_TYPES.iter().position(|known| *known == name).map(|at| at as u8)
}
