//! The contract's rules again, slowly and with serde_json, to hold the parser against.

use super::NOW;
use crate::parse_timestamp;
use serde::de::{Deserialize, Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;
use std::fmt;

/// An object's members as they stand, the same key more than once included.
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct InOrder;
        impl<'de> Visitor<'de> for InOrder {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, &RawValue>()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(InOrder)
    }
}

/// Whether the bytes are JSON by RFC 8259's grammar.
pub(super) fn is_json(text: &[u8]) -> bool {
    std::str::from_utf8(text).is_ok_and(|text| serde_json::from_str::<&RawValue>(text).is_ok())
}

/// The texts of an array's elements, if it is an array.
pub(super) fn elements(text: &str) -> Option<Vec<&str>> {
    let elements: Vec<&RawValue> = serde_json::from_str(text).ok()?;
    Some(elements.into_iter().map(RawValue::get).collect())
}

/// The texts of all members called `key`.
pub(super) fn members<'a>(text: &'a str, key: &str) -> Vec<&'a str> {
    let members = serde_json::from_str::<Members<'a>>(text).map(|members| members.0).unwrap_or_default();
    members.into_iter().filter(|(name, _)| name == key).map(|(_, value)| value.get()).collect()
}

/// Whether the contract accepts this one event.
pub(super) fn accepts(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else { return false };
    let Ok(Members(members)) = serde_json::from_str::<Members<'_>>(text) else { return false };
    let find = |key: &str| -> Result<Option<&str>, ()> {
        let mut found = members.iter().filter(|(name, _)| name == key).map(|(_, value)| value.get());
        let first = found.next();
        if found.next().is_some() { Err(()) } else { Ok(first) }
    };
    let string = |key: &str| -> Option<String> { serde_json::from_str(find(key).ok()??).ok() };
    let id = |key: &str| string(key).is_some_and(|text| (1..=128).contains(&text.len()));
    let object = |text: &str| text.starts_with('{');
    let timestamp = string("timestamp").and_then(|text| parse_timestamp(&text).ok());
    text.trim_matches([' ', '\t', '\r', '\n']).len() <= 256 * 1024
        && id("eventId")
        && string("eventType").is_some_and(|name| crate::EVENT_TYPES.contains(&name.as_str()))
        && timestamp.is_some_and(|at| (0..=NOW.get() + 86_400_000_000).contains(&at.get()))
        && id("sessionId")
        && id("storeId")
        && find("userId").is_ok_and(|user| {
            user.is_none_or(|user| user == "null" || string("userId").is_some_and(|user| user.len() <= 128))
        })
        && find("data").is_ok_and(|data| data.is_some_and(object))
        && find("metadata").is_ok_and(|metadata| metadata.is_none_or(|text| text == "null" || object(text)))
        && members.iter().all(|(_, value)| depth(value.get()) <= 32)
        && strings(text).all(|text| serde_json::from_str::<String>(text).is_ok())
}

fn depth(text: &str) -> usize {
    let (mut depth, mut deepest) = (0, 0);
    let mut rest = text;
    while let Some(byte) = rest.bytes().next() {
        match byte {
            b'"' => {
                rest = &rest[string_len(rest)..];
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' => depth -= 1,
            _ => {}
        }
        deepest = deepest.max(depth);
        rest = &rest[1..];
    }
    deepest
}

/// All strings of valid JSON, keys included, with their quotes.
fn strings(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        rest = &rest[rest.find('"')?..];
        let (string, after) = rest.split_at(string_len(rest));
        rest = after;
        Some(string)
    })
}

/// The length of the string that `text` starts with, quotes included.
fn string_len(text: &str) -> usize {
    let mut escaped = false;
    for (at, byte) in text.bytes().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}
