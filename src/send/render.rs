use crate::Summary;
use std::borrow::Cow;
use std::fmt::{self, Write};

/// The summary as one JSON object on a line.
#[must_use]
pub fn json(summary: &Summary) -> String {
    let mut value = serde_json::to_value(summary).unwrap_or_default();
    value["exitCode"] = summary.exit().code().into();
    format!("{value}\n")
}

/// The summary for a person.
#[must_use]
pub fn text(summary: &Summary) -> String {
    let mut text = String::new();
    // Writing to a string cannot fail.
    write(summary, &mut text).unwrap_or_default();
    text
}

fn write(summary: &Summary, text: &mut String) -> fmt::Result {
    let Summary { lines_read, elapsed_seconds, events_per_second, .. } = summary;
    writeln!(text, "{lines_read} lines read in {elapsed_seconds:.1} s, {events_per_second:.0} events/s")?;
    writeln!(text, "  accepted   {:>12}", summary.accepted)?;
    write!(text, "  duplicates {:>12}", summary.duplicates)?;
    if summary.duplicates_after_retry > 0 {
        write!(text, "  ({} of them in repeated requests)", summary.duplicates_after_retry)?;
    }
    writeln!(text)?;
    writeln!(text, "  rejected   {:>12}", summary.rejected)?;
    writeln!(text, "  unsent     {:>12}", summary.unsent)?;
    write_rejections(summary, text)?;
    write_unsent(summary, text)?;
    for error in &summary.io_errors {
        writeln!(text, "error: {}", printable(error))?;
    }
    if let Some(reason) = &summary.stopped {
        writeln!(text, "stopped: {}", printable(reason))?;
    }
    if summary.interrupted {
        writeln!(text, "interrupted: run it again to send the rest")?;
    }
    Ok(())
}

/// The first rejected lines, and if those are not all, how many there are for each reason.
fn write_rejections(summary: &Summary, text: &mut String) -> fmt::Result {
    for rejection in &summary.rejections {
        write!(text, "{}:{}: {}", printable(&rejection.file), rejection.line, printable(&rejection.code))?;
        if let Some(pointer) = rejection.pointer.as_deref().filter(|pointer| !pointer.is_empty()) {
            write!(text, " at {}", printable(pointer))?;
        }
        if !rejection.message.is_empty() {
            write!(text, ": {}", printable(&rejection.message))?;
        }
        writeln!(text)?;
    }
    if summary.rejected > summary.rejections.len() as u64 {
        writeln!(text, "rejected lines by reason:")?;
        for (code, count) in &summary.rejected_by_code {
            writeln!(text, "  {count:>12}  {}", printable(code))?;
        }
    }
    Ok(())
}

fn write_unsent(summary: &Summary, text: &mut String) -> fmt::Result {
    for unsent in &summary.unsent_lines {
        write!(text, "{}:{}", printable(&unsent.file), unsent.line)?;
        if (&unsent.file, unsent.line) != (&unsent.last_file, unsent.last_line) {
            write!(text, " to {}:{}", printable(&unsent.last_file), unsent.last_line)?;
        }
        writeln!(text, ": {} unsent: {}", unsent.lines, printable(&unsent.reason))?;
    }
    let listed: u64 = summary.unsent_lines.iter().map(|unsent| unsent.lines).sum();
    if summary.unsent > listed {
        writeln!(text, "and {} more unsent", summary.unsent - listed)?;
    }
    Ok(())
}

/// `text` without what could steer a terminal: servers and file names are not trusted.
pub(crate) fn printable(text: &str) -> Cow<'_, str> {
    let steers = |c: char| {
        c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
    };
    if text.contains(steers) {
        Cow::Owned(text.chars().map(|c| if steers(c) { '\u{fffd}' } else { c }).collect())
    } else {
        Cow::Borrowed(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Rejection, Unsent};

    fn summary() -> Summary {
        Summary {
            lines_read: 10,
            accepted: 5,
            duplicates: 2,
            rejected: 2,
            unsent: 1,
            rejected_by_code: [("invalid_json".to_owned(), 1), ("missing_field".to_owned(), 1)].into(),
            rejections: vec![
                Rejection {
                    file: "a.ndjson".to_owned(),
                    line: 3,
                    code: "missing_field".to_owned(),
                    pointer: Some("/storeId".to_owned()),
                    message: "is missing".to_owned(),
                },
                Rejection {
                    file: "-".to_owned(),
                    line: 9,
                    code: "invalid_json".to_owned(),
                    pointer: Some(String::new()),
                    message: String::new(),
                },
            ],
            unsent_lines: vec![Unsent {
                file: "a.ndjson".to_owned(),
                line: 10,
                last_file: "a.ndjson".to_owned(),
                last_line: 10,
                lines: 1,
                reason: "stopped".to_owned(),
            }],
            elapsed_seconds: 2.0,
            events_per_second: 4.5,
            ..Summary::default()
        }
    }

    #[test]
    fn the_text_names_every_rejected_line_while_they_are_few() {
        let expected = "\
10 lines read in 2.0 s, 4 events/s
  accepted              5
  duplicates            2
  rejected              2
  unsent                1
a.ndjson:3: missing_field at /storeId: is missing
-:9: invalid_json
a.ndjson:10: 1 unsent: stopped
";
        assert_eq!(text(&summary()), expected);
    }

    #[test]
    fn the_text_counts_by_reason_when_there_are_more_than_it_lists() {
        let mut summary = summary();
        summary.rejected = 30;
        summary.rejected_by_code.insert("too_deep".to_owned(), 28);
        let text = text(&summary);
        assert!(text.contains("            28  too_deep\n"), "{text}");
    }

    #[test]
    fn the_json_is_one_object_on_one_line_with_the_exit_code() {
        let json = json(&summary());
        assert_eq!(json.matches('\n').count(), 1);
        let value: serde_json::Value = serde_json::from_str(&json).unwrap();
        assert_eq!(value["linesRead"], 10);
        assert_eq!(value["rejectedByCode"]["missing_field"], 1);
        assert_eq!(value["rejections"][0]["pointer"], "/storeId");
        assert_eq!(value["exitCode"], 3);
        assert_eq!(value["stopped"], serde_json::Value::Null);
    }

    #[test]
    fn nothing_that_steers_a_terminal_is_printed() {
        let mut summary = summary();
        summary.rejections[0].message = "\u{1b}]0;x\u{7}\r\n\u{202e}".to_owned();
        let text = text(&summary);
        assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
        assert_eq!(text.lines().count(), 8);
    }
}
