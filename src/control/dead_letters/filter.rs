//! Which dead letters are meant.

use super::{Kept, LetterError};
use event::UnixMicros;
use serde_json::Value;

/// Letters looked at in one call.
const LIMIT_MAX: usize = 1000;
const LIMIT: usize = 100;

/// A choice of letters: all that is given must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Filter {
    /// The reason code.
    pub code: Option<String>,
    /// The sink that cannot take it; `none` for what was rejected at the door.
    pub sink: Option<String>,
    /// The owner.
    pub tenant: Option<String>,
    /// `open`, `edited` or `replayed`.
    pub state: Option<String>,
    /// Received at that time or later.
    pub since: Option<UnixMicros>,
    /// Whether all are meant where nothing else is given.
    pub all: bool,
    /// Where to go on.
    pub cursor: Option<String>,
    /// So many at most.
    pub limit: usize,
}

impl Default for Filter {
    fn default() -> Self {
        let (code, sink, tenant, state, cursor) = (None, None, None, None, None);
        Filter { code, sink, tenant, state, since: None, all: false, cursor, limit: LIMIT }
    }
}

/// What can be asked for.
const KNOWN: [&str; 8] = ["code", "sink", "tenant", "state", "since", "all", "cursor", "limit"];
/// Longest value: more than any of those that are compared with it has.
const VALUE_BYTES_MAX: usize = 256;

fn unknown(name: &str) -> LetterError {
    LetterError::question(format!("there is no filter `{name}`; there are: {}", KNOWN.join(", ")))
}

impl Filter {
    /// Of a query string.
    pub(super) fn of_query(query: &str) -> Result<Self, LetterError> {
        let mut filter = Filter::default();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            filter.set(&name, &value)?;
        }
        Ok(filter)
    }

    /// Of a JSON object whose members are strings, numbers or booleans; others than `except` are an error.
    pub(super) fn of_object(object: &Value, except: &[&str]) -> Result<Self, LetterError> {
        let members = object.as_object().ok_or_else(|| LetterError::question("the filter is a JSON object"))?;
        let mut filter = Filter::default();
        for (name, value) in members.iter().filter(|(name, _)| !except.contains(&name.as_str())) {
            match value {
                Value::Null if KNOWN.contains(&name.as_str()) => {}
                Value::Null => return Err(unknown(name)),
                Value::String(text) => filter.set(name, text)?,
                Value::Number(_) | Value::Bool(_) => filter.set(name, &value.to_string())?,
                _ => return Err(LetterError::question(format!("`{name}` is a string, a number or a boolean"))),
            }
        }
        Ok(filter)
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), LetterError> {
        // It goes into the audit log as it is.
        if value.len() > VALUE_BYTES_MAX {
            return Err(LetterError::question(format!("a filter's value has at most {VALUE_BYTES_MAX} bytes")));
        }
        let text = || Some(value.to_owned());
        match name {
            "code" => self.code = text(),
            "sink" => self.sink = text(),
            "tenant" => self.tenant = text(),
            "state" if ["open", "edited", "replayed"].contains(&value) => self.state = text(),
            "state" => return Err(LetterError::question("`state` is open, edited or replayed")),
            "since" => {
                let since = prepare::parse_timestamp(value);
                self.since =
                    Some(since.map_err(|_| LetterError::question("`since` is a time, as 2026-01-31T12:00:00Z"))?);
            }
            "all" => self.all = value == "true",
            "cursor" => self.cursor = text(),
            "limit" => match value.parse() {
                Ok(limit) if (1..=LIMIT_MAX).contains(&limit) => self.limit = limit,
                _ => return Err(LetterError::question(format!("`limit` is a number from 1 to {LIMIT_MAX}"))),
            },
            _ => return Err(unknown(name)),
        }
        Ok(())
    }

    /// Refuses one that means everything without saying so.
    pub(super) fn must_choose(&self) -> Result<(), LetterError> {
        let chooses = [&self.code, &self.sink, &self.tenant, &self.state].iter().any(|given| given.is_some());
        match chooses || self.since.is_some() || self.all {
            true => Ok(()),
            false => Err(LetterError::question(
                "name a filter (code, sink, tenant, state, since), or all=true for every one",
            )),
        }
    }

    pub(super) fn takes(&self, kept: &Kept) -> bool {
        let is = |wanted: &Option<String>, value: &str| wanted.as_deref().is_none_or(|wanted| wanted == value);
        is(&self.code, &kept.head.code)
            && is(&self.sink, kept.head.sink.as_deref().unwrap_or("none"))
            && is(&self.tenant, &kept.head.tenant)
            && is(&self.state, kept.state())
            && self.since.is_none_or(|since| kept.head.received_at >= since.get())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_the_same_however_it_is_written() {
        let query = Filter::of_query("code=missing_field&since=2026-01-31T12:00:00%2B00:00&cursor=7&limit=5").unwrap();
        let object =
            serde_json::json!({"code": "missing_field", "since": "2026-01-31T12:00:00Z", "cursor": "7", "limit": 5});
        assert_eq!(query, Filter::of_object(&object, &[]).unwrap());
        assert_eq!((query.cursor.as_deref(), query.limit), (Some("7"), 5));
        assert!(query.must_choose().is_ok());
    }

    #[test]
    fn mistakes_are_named() {
        for (query, word) in [
            ("cod=x", "cod"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("since=monday", "since"),
            ("state=gone", "state"),
        ] {
            let error = Filter::of_query(query).unwrap_err().to_string();
            assert!(error.contains(word), "{query}: {error}");
        }
        // What goes into the audit log has an end.
        let long = "A".repeat(VALUE_BYTES_MAX + 1);
        for filter in
            [serde_json::json!({"code": long}), serde_json::json!({"cursor": long}), serde_json::json!({long: null})]
        {
            assert!(Filter::of_object(&filter, &[]).is_err(), "{filter}");
        }
        assert!(Filter::of_query("limit=5").unwrap().must_choose().is_err(), "everything is not meant by accident");
        assert!(Filter::of_query("all=true").unwrap().must_choose().is_ok());
    }
}
