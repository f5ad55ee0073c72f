//! Values in complaints. Those are written to the log and to the audit log, and sent to whoever asks for a reload: what
//! may hold a secret is not repeated there.

use crate::control::redact::redact;

/// Stands for such a value.
pub(super) const UNREPEATED: &str = "(not repeated: it may hold a secret)";

/// Whether a user and a password may be in a text, or a query with them.
pub(super) fn may_hold_secret(text: &str) -> bool {
    let has_query = text.split_once('?').is_some_and(|(_, query)| query.contains('='));
    has_query || text.contains('@') || text.contains("%40") || redact(text) != text
}

/// A value in quotation marks, if it may be repeated.
pub(super) fn quoted(text: &str) -> String {
    if may_hold_secret(text) { UNREPEATED.to_owned() } else { format!("\"{text}\"") }
}

/// What is said of values by whoever reads them, which repeats them, and be it in part or with escapes: nothing of it
/// where one of them may hold a secret.
pub(super) fn said_of<'a>(values: impl IntoIterator<Item = &'a String>, what: String) -> String {
    match values.into_iter().any(|value| may_hold_secret(value)) {
        true => format!("a value is not taken {UNREPEATED}"),
        false => what,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_may_hold_a_secret_is_not_repeated() {
        for text in
            ["https://me:hunter2@shop", "db:8123/?user=me&pass=hunter2", "me%40:hunter2%40db", "password=hunter2"]
        {
            assert_eq!(quoted(text), UNREPEATED);
            let said = said_of(&["fine".to_owned(), text.to_owned()], format!("{text:?} is none"));
            assert!(!said.contains("hunter2"), "{said}");
        }
        for text in ["shop.example", "info,hyper=warn", "what?", "", "http://db:8123"] {
            assert_eq!(quoted(text), format!("\"{text}\""));
        }
        assert_eq!(said_of(&["a".to_owned()], "`a` is none".into()), "`a` is none");
    }
}
