use memchr::memchr;
use std::io::{self, Read};

/// Longest line that is sent: with its line feed, a body of 8 MiB, which is all a daemon takes.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024 * 1024 - 1;

/// Read at a time.
const CHUNK_BYTES: usize = 256 * 1024;

/// A line of an input, without its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Line<'a> {
    /// Something to send.
    Text(&'a [u8]),
    /// Nothing but white space.
    Blank,
    /// Longer than [`LINE_BYTES_MAX`]; its bytes were dropped.
    TooLong,
}

/// Cuts an input into lines, in memory bounded by the longest line allowed.
///
/// Taking lines ([`Lines::next_read`]) and reading more ([`Lines::fill`]) are apart, so that the caller knows when the
/// next line may have to be waited for.
pub(crate) struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    /// Where the line at hand starts.
    start: usize,
    /// Up to where it holds no line feed.
    scanned: usize,
    /// Up to where the buffer is filled.
    end: usize,
    /// Lines taken.
    number: u64,
    /// The line at hand is too long: drop its bytes up to the next line feed.
    dropping: bool,
    ended: bool,
}

impl<R: Read> Lines<R> {
    pub(crate) fn new(source: R) -> Self {
        Lines {
            source,
            buffer: vec![0; CHUNK_BYTES],
            start: 0,
            scanned: 0,
            end: 0,
            number: 0,
            dropping: false,
            ended: false,
        }
    }

    /// Whether the source has ended; lines may be left to take.
    pub(crate) fn ended(&self) -> bool {
        self.ended
    }

    /// The next line and its number, from 1, if it is in memory.
    pub(crate) fn next_read(&mut self) -> Option<(u64, Line<'_>)> {
        let line_end = match memchr(b'\n', &self.buffer[self.scanned..self.end]) {
            Some(length) => self.scanned + length,
            None if self.ended && (self.start < self.end || self.dropping) => self.end,
            None => {
                self.scanned = self.end;
                return None;
            }
        };
        let line = self.start..line_end;
        self.start = (line_end + 1).min(self.end);
        self.scanned = self.start;
        self.number += 1;
        if std::mem::take(&mut self.dropping) || line.len() > LINE_BYTES_MAX {
            return Some((self.number, Line::TooLong));
        }
        let mut text = &self.buffer[line];
        if self.number == 1 {
            text = text.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(text);
        }
        let text = trimmed(text);
        Some((self.number, if text.is_empty() { Line::Blank } else { Line::Text(text) }))
    }

    /// Reads more; to be called when [`Lines::next_read`] has nothing. Waits where the source does.
    pub(crate) fn fill(&mut self) -> io::Result<()> {
        debug_assert_eq!(self.scanned, self.end, "all lines in memory are taken");
        if self.dropping || self.end - self.start > LINE_BYTES_MAX {
            self.dropping = true;
            self.start = self.end;
        }
        self.buffer.copy_within(self.start..self.end, 0);
        self.end -= self.start;
        self.start = 0;
        self.scanned = self.end;
        if self.buffer.len() < self.end + CHUNK_BYTES {
            self.buffer.resize((self.buffer.len() * 2).min(LINE_BYTES_MAX + 2 * CHUNK_BYTES), 0);
        }
        loop {
            match self.source.read(&mut self.buffer[self.end..]) {
                Ok(0) => self.ended = true,
                Ok(read) => self.end += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            }
            return Ok(());
        }
    }
}

/// `text` without white space around it, as JSON has it: more would change what the server is to judge.
fn trimmed(text: &[u8]) -> &[u8] {
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t' | b'\r' | b'\n');
    let start = text.iter().position(|byte| !is_space(byte)).unwrap_or(text.len());
    let end = text.iter().rposition(|byte| !is_space(byte)).map_or(start, |last| last + 1);
    &text[start..end]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(source: impl Read) -> Vec<(u64, String)> {
        let mut lines = Lines::new(source);
        let mut found = Vec::new();
        loop {
            let line = lines.next_read().map(|(number, line)| match line {
                Line::Text(text) => (number, String::from_utf8_lossy(text).into_owned()),
                Line::Blank => (number, "(blank)".to_owned()),
                Line::TooLong => (number, "(too long)".to_owned()),
            });
            match line {
                Some(line) => found.push(line),
                None if lines.ended() => return found,
                None => lines.fill().unwrap(),
            }
            assert!(lines.buffer.len() <= LINE_BYTES_MAX + 2 * CHUNK_BYTES);
        }
    }

    fn expect(source: impl Read, expected: &[&str]) {
        let found = lines(source);
        assert_eq!(found.iter().map(|(_, line)| line.as_str()).collect::<Vec<_>>(), expected);
        assert!(found.iter().map(|(number, _)| *number).eq(1..=found.len() as u64));
    }

    /// Gives one byte at a time.
    struct Trickle<'a>(&'a [u8]);

    impl Read for Trickle<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let some = self.0.len().min(1);
            self.0.read(&mut into[..some])
        }
    }

    #[test]
    fn line_ends_of_both_kinds_and_none_at_the_end() {
        expect(&b"a\r\n\n b \n \t\r\nc"[..], &["a", "(blank)", "b", "(blank)", "c"]);
        expect(Trickle(b"a\r\n\n b \n \t\r\nc"), &["a", "(blank)", "b", "(blank)", "c"]);
        expect(&b""[..], &[]);
        expect(&b"\n"[..], &["(blank)"]);
        expect(&b"a"[..], &["a"]);
        expect(&b"\x0c\n"[..], &["\x0c"]);
    }

    #[test]
    fn a_byte_order_mark_is_no_part_of_the_first_line() {
        expect(&b"\xEF\xBB\xBFa\nb"[..], &["a", "b"]);
    }

    #[test]
    fn a_line_of_the_longest_length_is_whole_and_one_more_byte_is_too_long() {
        let longest = "x".repeat(LINE_BYTES_MAX);
        let text = format!("a\n{longest}\n{longest}y\nb\n");
        expect(text.as_bytes(), &["a", &longest, "(too long)", "b"]);
    }

    #[test]
    fn an_endless_line_is_dropped_in_bounded_memory() {
        let endless = io::repeat(b'x').take(5 * LINE_BYTES_MAX as u64);
        expect((&b"a\n"[..]).chain(endless).chain(&b"\nb"[..]), &["a", "(too long)", "b"]);
        let endless = io::repeat(b'x').take(2 * LINE_BYTES_MAX as u64);
        expect((&b"a\n"[..]).chain(endless), &["a", "(too long)"]);
    }
}
