//! Words for a terminal. What comes from elsewhere (a sink's last words, an event's id, a name in a file) must not steer it.

use std::fmt::Write as _;

/// Stands for what is left out.
const LEFT_OUT: char = '\u{fffd}';

/// Whether a terminal would obey a character: a control, or one that turns round or breaks the line it stands in.
#[must_use]
pub fn steers(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// A text without what a terminal would obey, on one line.
#[must_use]
pub fn printable(text: &str) -> String {
    text.chars().map(|letter| if steers(letter) { LEFT_OUT } else { letter }).collect()
}

/// The same of a text that may have several lines.
#[must_use]
pub(super) fn printable_lines(text: &str) -> String {
    text.chars().map(|letter| if steers(letter) && letter != '\n' { LEFT_OUT } else { letter }).collect()
}

/// JSON or TOML without what a terminal would obey: what stands in its texts is written as an escape, and means the same.
#[must_use]
pub fn escaped(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    for letter in source.chars() {
        // Between the texts it is our own.
        if steers(letter) && letter != '\n' {
            // Writing to a string does not fail.
            write!(out, "\\u{:04x}", u32::from(letter)).ok();
        } else {
            out.push(letter);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const STEERING: &str = "a\u{1b}[2J\u{7}\u{9b}2J\u{202e}\u{200f}\u{2066}\u{7f}\r\nü";

    #[test]
    fn nothing_that_steers_is_printed_and_words_stay() {
        assert_eq!(
            printable(STEERING),
            "a\u{fffd}[2J\u{fffd}\u{fffd}2J\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}\u{fffd}ü"
        );
        assert!(printable_lines(STEERING).ends_with("\u{fffd}\nü"));
        assert_eq!(printable("Paßwörter «ünïcode» 漢字"), "Paßwörter «ünïcode» 漢字");
    }

    #[test]
    fn what_is_escaped_means_the_same() {
        let json = serde_json::json!({"id": STEERING});
        let printed = escaped(&json.to_string());
        assert!(!printed.contains(steers), "{printed:?}");
        assert_eq!(serde_json::from_str::<serde_json::Value>(&printed).unwrap(), json);
        let toml = toml::Value::from("a\u{9b}\u{202e}b");
        let table: toml::Table = escaped(&format!("id = {toml}")).parse().unwrap();
        assert_eq!(table.get("id"), Some(&toml));
    }
}
