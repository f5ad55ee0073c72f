//! What is asked, taken apart and held to what the command takes, and how it is refused.

use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

/// Why a request is not carried out: a word for programs and a text for people.
#[derive(Debug)]
pub(super) struct Refusal {
    /// `bad_request`, `unknown_command`, `not_recorded` or `refused`.
    pub(super) code: &'static str,
    pub(super) text: String,
}

impl Refusal {
    pub(super) fn bad_request(text: impl Into<String>) -> Self {
        Refusal { code: "bad_request", text: text.into() }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({"ok": false, "error": self.text, "code": self.code})
    }
}

impl From<String> for Refusal {
    fn from(text: String) -> Self {
        Refusal { code: "refused", text }
    }
}

/// What the value of a field must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A text.
    Text,
    /// A whole number from 0 on.
    Number,
    /// A list of texts.
    Texts,
    /// True or false.
    Flag,
    /// A text, a number, or true or false.
    Plain,
}

impl Kind {
    /// The words for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Kind::Text => "a text",
            Kind::Number => "a whole number",
            Kind::Texts => "a list of texts",
            Kind::Flag => "true or false",
            Kind::Plain => "a text, a number, or true or false",
        }
    }

    fn takes(self, value: &Value) -> bool {
        match self {
            Kind::Text => value.is_string(),
            Kind::Number => value.is_u64(),
            Kind::Texts => value.as_array().is_some_and(|values| values.iter().all(Value::is_string)),
            Kind::Flag => value.is_boolean(),
            Kind::Plain => value.is_string() || value.is_u64() || value.is_boolean(),
        }
    }
}

/// A field that a command takes.
#[derive(Debug, Clone, Copy)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What its value must be.
    pub kind: Kind,
    /// Whether the command does nothing without it.
    pub needed: bool,
    /// Whether the audit log must not have its value: a secret, or bytes of an event.
    pub private: bool,
    /// Whether the audit log has the SHA-256 of its value instead: whom it names can be looked up, not read.
    pub hashed: bool,
}

impl Field {
    pub(super) const fn new(name: &'static str, kind: Kind) -> Self {
        Field { name, kind, needed: false, private: false, hashed: false }
    }

    pub(super) const fn needed(mut self) -> Self {
        self.needed = true;
        self
    }

    /// The same, of whose value the audit log has the SHA-256 only.
    #[must_use]
    pub const fn hashed(mut self) -> Self {
        self.hashed = true;
        self
    }

    /// The same, whose value the audit log must not have.
    #[must_use]
    pub const fn private(mut self) -> Self {
        self.private = true;
        self
    }
}

/// `sha256:` and the digest of a text, as `printf %s TEXT | sha256sum` tells it.
fn sha256(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    digest.iter().fold("sha256:".to_owned(), |out, byte| format!("{out}{byte:02x}"))
}

/// So much of what somebody has made up is repeated, bytes: more than any name has.
const SHOWN_BYTES_MAX: usize = 64;

/// The beginning of a text that may be as long as a line.
pub(super) fn cut(text: &str) -> &str {
    &text[..text.floor_char_boundary(SHOWN_BYTES_MAX)]
}

/// A request whose line could be read.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) command: String,
    /// Beside the command; what is null is not there.
    pub(super) fields: Map<String, Value>,
}

impl Request {
    pub(super) fn parse(line: &[u8]) -> Result<Self, Refusal> {
        let not_one = |what: String| Refusal::bad_request(format!("a request is one JSON object on a line: {what}"));
        let value: Value = serde_json::from_slice(line).map_err(|error| not_one(error.to_string()))?;
        let Value::Object(mut fields) = value else { return Err(not_one("this is something else".into())) };
        let Some(Value::String(command)) = fields.remove("command") else {
            return Err(Refusal::bad_request("`command` is missing, or is no text"));
        };
        fields.retain(|_, value| !value.is_null());
        Ok(Request { command, fields })
    }

    /// Its command, as it may be shown.
    pub(super) fn shown_command(&self) -> &str {
        cut(&self.command)
    }

    /// Holds it to what its command takes.
    pub(super) fn check(&self, taken: &[Field]) -> Result<(), Refusal> {
        for (name, value) in &self.fields {
            let Some(field) = taken.iter().find(|field| field.name == name) else {
                let known: Vec<_> = taken.iter().map(|field| field.name).collect();
                let known = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
                let text = format!("`{}` takes no field `{name}`; it takes: {known}", self.command);
                return Err(Refusal::bad_request(text));
            };
            if !field.kind.takes(value) {
                return Err(Refusal::bad_request(format!("`{name}` must be {}, is {value}", field.kind.as_str())));
            }
        }
        match taken.iter().find(|field| field.needed && !self.fields.contains_key(field.name)) {
            Some(field) => Err(Refusal::bad_request(format!("`{}` wants `{}`", self.command, field.name))),
            None => Ok(()),
        }
    }

    /// Its fields as the audit log may have them.
    pub(super) fn recordable(&self, taken: &[Field]) -> Value {
        let shown = |(name, value): (&String, &Value)| {
            let value = match taken.iter().find(|field| field.name == name) {
                Some(field) if field.private => "(left out)".into(),
                Some(field) if field.hashed => sha256(value.as_str().unwrap_or_default()).into(),
                _ => value.clone(),
            };
            (name.clone(), value)
        };
        Value::Object(self.fields.iter().map(shown).collect())
    }

    /// A text, where it is there.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.fields.get(name)?.as_str()
    }

    /// A number, where it is there.
    pub(super) fn number(&self, name: &str) -> Option<u64> {
        self.fields.get(name)?.as_u64()
    }

    /// The texts of a list; none where it is not there.
    pub(super) fn texts(&self, name: &str) -> impl Iterator<Item = &str> {
        self.fields.get(name).and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str)
    }

    /// Whether a flag is there and set.
    pub(super) fn flag(&self, name: &str) -> bool {
        self.fields.get(name).and_then(Value::as_bool).unwrap_or_default()
    }

    /// `from` and `to`, as far as they are there; not one before the other's beginning, of which nothing could be told.
    pub(super) fn range(&self) -> Result<(Option<u64>, Option<u64>), Refusal> {
        let (from, to) = (self.number("from"), self.number("to"));
        match (from, to) {
            (Some(from), Some(to)) if from > to => {
                Err(Refusal::bad_request(format!("`from` = {from} lies behind `to` = {to}")))
            }
            range => Ok(range),
        }
    }

    /// A text that [`Request::check`] has seen.
    pub(super) fn needed_text(&self, name: &str) -> Result<&str, Refusal> {
        self.text(name).ok_or_else(|| Refusal::bad_request(format!("`{}` wants `{name}`", self.command)))
    }

    /// A number that [`Request::check`] has seen.
    pub(super) fn needed_number(&self, name: &str) -> Result<u64, Refusal> {
        self.number(name).ok_or_else(|| Refusal::bad_request(format!("`{}` wants `{name}`", self.command)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TAKEN: &[Field] = &[Field::new("sink", Kind::Text).needed(), Field::new("until", Kind::Number)];

    fn refused(line: &str) -> String {
        Request::parse(line.as_bytes()).and_then(|request| request.check(TAKEN)).unwrap_err().text
    }

    #[test]
    fn what_is_private_is_not_for_the_record() {
        let hashed = Field::new("user", Kind::Text).hashed();
        let taken = [Field::new("id", Kind::Number), Field::new("raw", Kind::Text).private(), hashed];
        let request = Request::parse(br#"{"command": "x", "id": 7, "raw": "a shopper's", "user": "abc"}"#).unwrap();
        let digest = "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(request.recordable(&taken), json!({"id": 7, "raw": "(left out)", "user": digest}));
    }

    #[test]
    fn what_a_command_does_not_take_is_named() {
        assert!(refused("[]").contains("one JSON object"));
        assert!(refused("{").contains("one JSON object"));
        assert!(refused(r#"{"command": 1}"#).contains("`command`"));
        assert_eq!(
            refused(r#"{"command": "x", "sink": "a", "sinks": 1}"#),
            "`x` takes no field `sinks`; it takes: sink, until"
        );
        assert_eq!(refused(r#"{"command": "x", "sink": 1}"#), "`sink` must be a text, is 1");
        assert_eq!(refused(r#"{"command": "x", "sink": "a", "until": -1}"#), "`until` must be a whole number, is -1");
        assert_eq!(refused(r#"{"command": "x", "sink": null}"#), "`x` wants `sink`");
        let request = Request::parse(br#"{"command": "x", "sink": "a", "until": null}"#).unwrap();
        request.check(TAKEN).unwrap();
        assert_eq!((request.text("sink"), request.number("until")), (Some("a"), None));
    }

    #[test]
    fn a_range_does_not_end_before_it_begins() {
        let range = |line: &str| Request::parse(line.as_bytes()).unwrap().range();
        assert_eq!(range(r#"{"command": "x", "from": 3, "to": 3}"#).unwrap(), (Some(3), Some(3)));
        assert_eq!(range(r#"{"command": "x", "to": 1}"#).unwrap(), (None, Some(1)));
        let refusal = range(r#"{"command": "x", "from": 3, "to": 1}"#).unwrap_err();
        assert_eq!((refusal.code, &*refusal.text), ("bad_request", "`from` = 3 lies behind `to` = 1"));
    }
}
