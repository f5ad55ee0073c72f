//! The newest lines of the log, in memory, for `ingestd admin support`.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

/// So much is kept, bytes.
const BYTES_MAX: usize = 512 << 10;

static RECENT: Mutex<Recent> = Mutex::new(Recent::new(BYTES_MAX));

#[derive(Debug)]
struct Recent {
    lines: VecDeque<Box<str>>,
    bytes: usize,
    bytes_max: usize,
}

impl Recent {
    const fn new(bytes_max: usize) -> Self {
        Recent { lines: VecDeque::new(), bytes: 0, bytes_max }
    }

    fn note(&mut self, line: &[u8]) {
        let end = line.len().min(self.bytes_max);
        let line: Box<str> = without_colours(&String::from_utf8_lossy(&line[..end])).into();
        self.bytes += line.len();
        self.lines.push_back(line);
        while self.bytes > self.bytes_max {
            let Some(oldest) = self.lines.pop_front() else { break };
            self.bytes -= oldest.len();
        }
    }

    fn text(&self) -> String {
        self.lines.iter().map(|line| &**line).collect()
    }
}

/// Keeps a line, and lets go of the oldest.
pub(super) fn note(line: &[u8]) {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).note(line);
}

/// What is kept, the newest last.
pub(super) fn text() -> String {
    RECENT.lock().unwrap_or_else(PoisonError::into_inner).text()
}

/// A line without the escape sequences that colour it on a terminal.
fn without_colours(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, sequence)) = rest.split_once("\u{1b}[") {
        out.push_str(before);
        rest = sequence.split_once('m').map_or("", |(_, rest)| rest);
    }
    out + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_lines_are_kept_and_never_more_than_there_is_room_for() {
        let mut recent = Recent::new(20);
        for number in 0..100 {
            recent.note(format!("line {number}\n").as_bytes());
            assert!(recent.bytes <= 20 && recent.bytes == recent.text().len());
        }
        assert_eq!(recent.text(), "line 98\nline 99\n");
        recent.note(&[b'x'; 1000]);
        assert_eq!(recent.text(), "x".repeat(20));
    }

    #[test]
    fn colours_stay_on_the_terminal() {
        assert_eq!(without_colours("\u{1b}[2mnow\u{1b}[0m \u{1b}[32m INFO\u{1b}[0m said\n"), "now  INFO said\n");
    }
}
