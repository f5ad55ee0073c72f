//! Whose data is erased, and how it is known.

use prepare::processed::Extractor;
use record::EventView;
use serde_json::Value;

/// What the id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Of {
    /// A person, by `userId`.
    User,
    /// One event, by `eventId`.
    Event,
}

/// Whose data is erased.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subject {
    /// What the id names.
    pub of: Of,
    /// The id.
    pub id: String,
    /// Only this owner's events.
    pub tenant: Option<String>,
}

/// How something stored is related to a subject.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Match {
    /// It is the subject's.
    Is,
    /// The id stands somewhere else in it, or it cannot be taken apart.
    Mentions,
    No,
}

impl Subject {
    /// Whether an event with these parts is the subject's.
    #[must_use]
    pub fn owns(&self, tenant: &str, event_id: &str, user_id: Option<&str>) -> bool {
        let named = match self.of {
            Of::User => user_id,
            Of::Event => Some(event_id),
        };
        named == Some(self.id.as_str()) && self.is_tenant(tenant)
    }

    fn is_tenant(&self, tenant: &str) -> bool {
        self.tenant.as_deref().is_none_or(|wanted| wanted == tenant)
    }

    fn stands_in(&self, bytes: &[u8]) -> bool {
        memchr::memmem::find(bytes, self.id.as_bytes()).is_some()
    }

    /// Whether the id stands in some text of it, also where its letters are written as escapes.
    fn is_named_in(&self, value: &Value) -> bool {
        match value {
            Value::String(text) => text.contains(&self.id),
            Value::Array(items) => items.iter().any(|item| self.is_named_in(item)),
            Value::Object(fields) => {
                fields.iter().any(|(name, value)| name.contains(&self.id) || self.is_named_in(value))
            }
            _ => false,
        }
    }

    /// Of an event in the log. One that was accepted has its ids in their fields, so elsewhere is not looked.
    pub(super) fn event(&self, event: &EventView<'_>, extractor: &mut Extractor) -> Match {
        match extractor.extract(event) {
            Ok(parts) if self.owns(event.segment.tenant, parts.event_id, parts.user_id) => Match::Is,
            Err(_) if self.is_tenant(event.segment.tenant) && self.stands_in(event.raw) => Match::Mentions,
            _ => Match::No,
        }
    }

    /// Of something that cannot be taken apart, so that nobody knows whose it is.
    pub(super) fn unreadable(&self, bytes: &[u8]) -> Match {
        if self.tenant.is_none() && self.stands_in(bytes) { Match::Mentions } else { Match::No }
    }

    /// Of a dead letter, or of the edit beside it: its fields may have any shape.
    pub(super) fn letter(&self, tenant: &str, event_id: Option<&str>, bytes: &[u8]) -> Match {
        if !self.is_tenant(tenant) {
            return Match::No;
        }
        let parsed: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let field = match self.of {
            Of::User => &parsed["userId"],
            Of::Event => &parsed["eventId"],
        };
        let is_named = match field {
            Value::String(text) => *text == self.id,
            Value::Number(number) => number.to_string() == self.id,
            _ => false,
        };
        match is_named || (self.of == Of::Event && event_id == Some(self.id.as_str())) {
            true => Match::Is,
            false if self.stands_in(bytes) || self.is_named_in(&parsed) => Match::Mentions,
            false => Match::No,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(of: Of, id: &str) -> Subject {
        Subject { of, id: id.into(), tenant: None }
    }

    #[test]
    fn a_letter_is_known_by_its_field_whatever_else_is_wrong_with_it() {
        let user = of(Of::User, "7");
        let letter = |bytes: &str| user.letter("default", None, bytes.as_bytes());
        assert_eq!(letter(r#"{"userId":"7"}"#), Match::Is);
        assert_eq!(letter(r#"{"userId":7,"data":[]}"#), Match::Is);
        assert_eq!(letter(r#"{"user":"7"}"#), Match::Mentions);
        assert_eq!(letter(r#"{"userId":"7""#), Match::Mentions, "cut off");
        let wanda = of(Of::User, "wanda").letter("default", None, br#"{"data":[{"user":"w\u0061nda"}]}"#);
        assert_eq!(wanda, Match::Mentions, "written as an escape");
        assert_eq!(letter(r#"{"userId":"8"}"#), Match::No);
        let event = of(Of::Event, "e-1");
        assert_eq!(event.letter("default", Some("e-1"), b"{}"), Match::Is, "an envelope supplied it");
        let other = Subject { tenant: Some("shop".into()), ..event };
        assert_eq!(other.letter("default", Some("e-1"), b"{}"), Match::No);
    }

    #[test]
    fn what_is_nobodys_for_sure_is_not_of_one_owner() {
        let user = of(Of::User, "7");
        assert_eq!((user.unreadable(b"-7-"), user.unreadable(b"-8-")), (Match::Mentions, Match::No));
        let shops = Subject { tenant: Some("shop".into()), ..user };
        assert_eq!(shops.unreadable(b"-7-"), Match::No);
    }

    #[test]
    fn an_event_is_somebodys_by_its_own_field() {
        let user = of(Of::User, "u");
        assert!(user.owns("default", "e", Some("u")));
        assert!(!user.owns("default", "u", None) && !user.owns("default", "u", Some("uu")));
        assert!(of(Of::Event, "e").owns("default", "e", None));
        let shop = Subject { tenant: Some("shop".into()), ..user };
        assert!(shop.owns("shop", "e", Some("u")) && !shop.owns("default", "e", Some("u")));
    }
}
