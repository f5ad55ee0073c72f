//! Prebuilt messages with a slot for the id, so that sending an event costs one small patch.

use crate::ids::{ID_LEN, Ids, mix};
use jiff::{SignedDuration, Timestamp};
use std::fmt::Write as _;

/// The event types of the cart domain.
pub const EVENT_TYPES: [&str; 6] =
    ["cart_created", "cart_updated", "cart_abandoned", "item_added", "item_removed", "purchase_completed"];

/// Stands in an event's text where the id goes.
const PLACEHOLDER: &str = "00000000-0000-0000-0000-000000000000";
const NO_ID: u32 = u32::MAX;

/// Ways in which an event is bad; those after `READABLE_BAD` are not even JSON.
const BAD_KINDS: usize = 6;
/// How many of the bad kinds are still one JSON object, and so may stand in a batch.
const READABLE_BAD: usize = 5;

/// Messages laid end to end, each with the place of its id.
#[derive(Debug, Default)]
pub struct Pool {
    bytes: Vec<u8>,
    entries: Vec<Entry>,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    start: u32,
    len: u32,
    id_at: u32,
    mask: [u8; 4],
}

/// A message as a wrapper makes it: its bytes, where the id stands, and the mask in force there (WebSocket).
pub struct Message {
    /// The whole message.
    pub bytes: Vec<u8>,
    /// Offset of the id, if it has one.
    pub id_at: Option<usize>,
    /// Mask as it applies from the id's first byte on; zeros for none.
    pub mask: [u8; 4],
}

impl Message {
    /// An unmasked message.
    pub fn plain(bytes: Vec<u8>) -> Self {
        let id_at = memchr::memmem::find(&bytes, PLACEHOLDER.as_bytes());
        Self { bytes, id_at, mask: [0; 4] }
    }
}

impl Pool {
    /// `count` good events, each wrapped into a message.
    pub fn good(seed: u64, count: usize, wrap: impl Fn(&str) -> Message) -> Self {
        let now = Timestamp::now();
        let mut pool = Pool::default();
        for n in 0..count as u64 {
            pool.push(wrap(&event(seed, n, now)));
        }
        pool
    }

    /// Bad events of each kind; `readable` leaves out what would spoil a whole batch.
    pub fn bad(seed: u64, readable: bool, wrap: impl Fn(&str) -> Message) -> Self {
        let now = Timestamp::now();
        let mut pool = Pool::default();
        let kinds = if readable { READABLE_BAD } else { BAD_KINDS };
        for n in 0..(kinds * 8) as u64 {
            pool.push(wrap(&spoil(&event(seed, n, now), n as usize % kinds)));
        }
        pool
    }

    fn push(&mut self, message: Message) {
        self.entries.push(Entry {
            start: self.bytes.len() as u32,
            len: message.bytes.len() as u32,
            id_at: message.id_at.map_or(NO_ID, |at| at as u32),
            mask: message.mask,
        });
        self.bytes.extend_from_slice(&message.bytes);
    }

    /// The message of `counter`, its id patched in place.
    #[inline]
    pub fn message(&mut self, ids: &Ids, counter: u64) -> &[u8] {
        let entry = self.entries[(counter % self.entries.len() as u64) as usize];
        let message = &mut self.bytes[entry.start as usize..][..entry.len as usize];
        if entry.id_at != NO_ID {
            let mut id = ids.text(counter);
            if entry.mask != [0; 4] {
                for chunk in id.chunks_exact_mut(4) {
                    for (byte, mask) in chunk.iter_mut().zip(entry.mask) {
                        *byte ^= mask;
                    }
                }
            }
            message[entry.id_at as usize..][..ID_LEN].copy_from_slice(&id);
        }
        message
    }

    /// Length of the message of `counter`.
    #[inline]
    pub fn message_len(&self, counter: u64) -> usize {
        self.entries[(counter % self.entries.len() as u64) as usize].len as usize
    }

    /// Mean length of a message.
    pub fn mean_len(&self) -> usize {
        self.bytes.len() / self.entries.len().max(1)
    }
}

/// One cart event of about 480 bytes.
fn event(seed: u64, n: u64, now: Timestamp) -> String {
    let mut state = mix(seed ^ n.wrapping_mul(0x9E37_79B9_7F4A_7C15));
    let mut draw = |bound: u64| {
        state = mix(state.wrapping_add(0x9E37_79B9_7F4A_7C15));
        state % bound
    };
    let kind = EVENT_TYPES[draw(6) as usize];
    let at = now - SignedDuration::from_millis(draw(60_000) as i64);
    let (user, session, store) = (draw(1_000_000), draw(1 << 48), draw(500));
    let mut text = format!(
        "{{\"eventId\":\"{PLACEHOLDER}\",\"eventType\":\"{kind}\",\"timestamp\":\"{at:.3}\",\
         \"userId\":\"user_{user:06}\",\"sessionId\":\"sess_{session:012x}\",\"storeId\":\"store_{store:03}\",\
         \"data\":{{\"items\":["
    );
    for item in 0..1 + draw(2) {
        let comma = if item > 0 { "," } else { "" };
        let (sku, quantity, price) = (draw(100_000), 1 + draw(5), draw(30_000));
        push(
            &mut text,
            format_args!(
                "{comma}{{\"productId\":\"sku_{sku:05}\",\"quantity\":{quantity},\"price\":{}.{:02}}}",
                price / 100,
                price % 100
            ),
        );
    }
    let (subtotal, tax, host) = (100 + draw(90_000), draw(9_000), draw(256));
    let total = subtotal + tax;
    push(
        &mut text,
        format_args!(
            "],\"totals\":{{\"subtotal\":{}.{:02},\"tax\":{}.{:02},\"total\":{}.{:02}}}}},\
             \"metadata\":{{\"userAgent\":\"Mozilla/5.0 (X11; Linux x86_64) Chrome/130.0\",\
             \"ipAddress\":\"203.0.113.{host}\",\"referrer\":\"https://shop.example/cart\"}}}}",
            subtotal / 100,
            subtotal % 100,
            tax / 100,
            tax % 100,
            total / 100,
            total % 100
        ),
    );
    text
}

fn push(text: &mut String, part: std::fmt::Arguments<'_>) {
    // Writing to a String cannot fail.
    let written = text.write_fmt(part);
    debug_assert!(written.is_ok());
}

/// Makes a good event bad in the given way.
fn spoil(event: &str, kind: usize) -> String {
    match kind {
        0 => event.replacen(&format!("\"eventId\":\"{PLACEHOLDER}\","), "", 1),
        1 => event.replacen("\"eventType\":\"", "\"eventType\":\"no_such_", 1),
        2 => event.replacen("\"timestamp\":\"2", "\"timestamp\":\"yesterday 2", 1),
        3 => event.replacen("\"data\":{\"items\":", "\"data\":\"none\",\"extra\":{\"items\":", 1),
        4 => event.replacen("\"sessionId\":", "\"session\":", 1),
        _ => event[..event.len() - 2].to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn good_events_are_json_of_the_documented_shape_and_size() {
        let mut pool = Pool::good(1, 64, |event| Message::plain(event.as_bytes().to_vec()));
        let ids = Ids::new(1);
        assert!((450..=510).contains(&pool.mean_len()), "{}", pool.mean_len());
        for counter in 0..200 {
            let value: serde_json::Value = serde_json::from_slice(pool.message(&ids, counter)).unwrap();
            assert_eq!(value["eventId"].as_str().unwrap().as_bytes(), ids.text(counter));
            assert!(EVENT_TYPES.contains(&value["eventType"].as_str().unwrap()));
            let at: Timestamp = value["timestamp"].as_str().unwrap().parse().unwrap();
            assert!(at <= Timestamp::now());
            assert!(value["data"]["items"].is_array());
            assert!(value["metadata"]["userAgent"].is_string());
        }
    }

    #[test]
    fn bad_events_are_json_when_they_must_be_readable() {
        let mut pool = Pool::bad(1, true, |event| Message::plain(event.as_bytes().to_vec()));
        for counter in 0..40 {
            let text = pool.message(&Ids::new(1), counter).to_vec();
            assert!(serde_json::from_slice::<serde_json::Value>(&text).is_ok());
        }
    }
}
