//! The events that the rigs send: an id that says where it came from, and a body that follows from the id alone.
//!
//! A body is a pure function of its key, so that a retry and a re-sent duplicate carry the very same bytes.

use std::fmt;
use std::str::FromStr;

use crate::rng::Rng;

/// Who made an event: the round and the client that sent it first, and its number there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key {
    /// Round in which the event was first sent, from 1.
    pub round: u32,
    /// Client thread that made it.
    pub client: u16,
    /// Number within round and client.
    pub number: u32,
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.round, self.client, self.number)
    }
}

impl FromStr for Key {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(3, '.');
        let mut next = || parts.next().ok_or(());
        let (round, client, number) = (next()?, next()?, next()?);
        Ok(Self {
            round: round.parse().map_err(drop)?,
            client: client.parse().map_err(drop)?,
            number: number.parse().map_err(drop)?,
        })
    }
}

/// The prefix that marks a run's own ids, so that an id nobody sent is noticed.
#[derive(Clone, Debug)]
pub struct Tag(String);

impl Tag {
    /// The tag of the run with this seed.
    pub fn of_seed(seed: u64) -> Self {
        Self(format!("rig{:08x}-", seed as u32))
    }

    /// The `eventId` of `key`.
    pub fn event_id(&self, key: Key) -> String {
        format!("{}{key}", self.0)
    }

    /// The key behind an `eventId`; `None` if this run never made such an id.
    pub fn key_of(&self, event_id: &str) -> Option<Key> {
        event_id.strip_prefix(&self.0)?.parse().ok()
    }
}

/// One event of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Item {
    /// The event.
    pub key: Key,
    /// Made wrong on purpose (it has no `sessionId`): must be rejected and never stored.
    pub bad: bool,
}

/// The JSON of one event, about 400 bytes; one in a hundred is some kilobytes long, so that records of very different
/// sizes meet in the log and some of them span its blocks.
pub fn body(tag: &Tag, item: Item) -> String {
    let Key { round, client, number } = item.key;
    let mut rng = Rng::new((u64::from(round) << 48) ^ (u64::from(client) << 32) ^ u64::from(number));
    let kind = ["cart_created", "item_added", "item_added", "cart_updated", "purchase_completed"];
    let kind = kind[rng.below(kind.len() as u64) as usize];
    let session = if item.bad { String::new() } else { format!("\"sessionId\":\"s-{client}-{}\",", number / 20) };
    let filler_bytes = if rng.percent(1) { rng.between(4_000, 40_000) } else { rng.between(20, 200) };
    let filler: String = (0..filler_bytes).map(|_| char::from(b'a' + rng.below(26) as u8)).collect();
    format!(
        concat!(
            "{{\"eventId\":\"{id}\",\"eventType\":\"{kind}\",\"timestamp\":\"2024-05-17T10:{minute:02}:{second:02}.000Z\",",
            "\"userId\":\"u-{user}\",{session}\"storeId\":\"store-{store}\",\"data\":{{\"cartId\":\"c-{number}\",\"items\":",
            "[{{\"sku\":\"{sku}\",\"quantity\":2,\"unitPrice\":2.55}}],\"note\":\"{filler}\"}}}}"
        ),
        id = tag.event_id(item.key),
        kind = kind,
        minute = number / 60 % 60,
        second = number % 60,
        user = rng.below(500),
        session = session,
        store = rng.below(15),
        number = number,
        sku = rng.below(100_000),
        filler = filler,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_leads_back_to_its_key_and_a_strange_one_to_none() {
        let tag = Tag::of_seed(5);
        let key = Key { round: 3, client: 2, number: 77 };
        assert_eq!(tag.key_of(&tag.event_id(key)), Some(key));
        assert_eq!(tag.key_of("rig00000006-3.2.77"), None);
        assert_eq!(tag.key_of("rig00000005-3.2"), None);
    }

    #[test]
    fn a_body_is_json_and_the_same_each_time() {
        let tag = Tag::of_seed(5);
        let item = Item { key: Key { round: 1, client: 1, number: 9 }, bad: false };
        assert_eq!(body(&tag, item), body(&tag, item));
        let good: serde_json::Value = serde_json::from_str(&body(&tag, item)).expect("json");
        assert!(good["sessionId"].is_string());
        let bad: serde_json::Value = serde_json::from_str(&body(&tag, Item { bad: true, ..item })).expect("json");
        assert!(bad["sessionId"].is_null());
    }
}
