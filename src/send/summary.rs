use crate::Exit;
use serde::Serialize;
use std::collections::BTreeMap;

/// How a run of `ingestd send` went. `lines_read` is the sum of `accepted`, `duplicates`, `rejected` and `unsent`.
///
/// The names in JSON are the names here in camelCase; they are part of the command's interface.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Lines that were read and are not blank.
    pub lines_read: u64,
    /// Blank lines, skipped.
    pub blank_lines: u64,
    /// Bytes read, before decompression.
    pub bytes_read: u64,
    /// Events that this run stored.
    pub accepted: u64,
    /// Events that were stored before.
    pub duplicates: u64,
    /// Of the duplicates, those whose request this run repeated after a dropped connection, a time-out or a 5xx: it
    /// may have stored them itself.
    pub duplicates_after_retry: u64,
    /// Lines that can never be accepted as they are.
    pub rejected: u64,
    /// Lines that were read but neither stored nor rejected as far as is known.
    pub unsent: u64,
    /// Rejected lines by reason.
    pub rejected_by_code: BTreeMap<String, u64>,
    /// The first rejected lines.
    pub rejections: Vec<Rejection>,
    /// The first runs of lines that are unsent.
    pub unsent_lines: Vec<Unsent>,
    /// Inputs that could not be read to their end, and a file of rejects that could not be written.
    pub io_errors: Vec<String>,
    /// Why reading stopped before the end of the inputs, if it did.
    pub stopped: Option<String>,
    /// Whether it was asked to stop.
    pub interrupted: bool,
    /// Requests sent.
    pub requests: u64,
    /// Of the requests, repetitions.
    pub retries: u64,
    /// Time it took.
    pub elapsed_seconds: f64,
    /// Answered lines per second.
    pub events_per_second: f64,
}

/// A rejected line.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rejection {
    /// The input.
    pub file: String,
    /// The line in it, from 1.
    pub line: u64,
    /// The reason, for programs.
    pub code: String,
    /// RFC 6901 pointer into the event, if the server gave one.
    pub pointer: Option<String>,
    /// The reason, for a person.
    pub message: String,
}

/// Lines that are unsent for one reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Unsent {
    /// The input of the first of them.
    pub file: String,
    /// The first line.
    pub line: u64,
    /// The input of the last of them.
    pub last_file: String,
    /// The last line; lines between may have been answered.
    pub last_line: u64,
    /// How many lines.
    pub lines: u64,
    /// Why.
    pub reason: String,
}

impl Summary {
    /// Rejected lines that are listed.
    pub const REJECTIONS_MAX: usize = 20;
    /// Runs of unsent lines that are listed.
    pub const UNSENT_MAX: usize = 20;
    /// Reasons that are told apart; the rest is counted as `other`.
    pub const CODES_MAX: usize = 64;

    /// The exit code that says this in short.
    #[must_use]
    pub fn exit(&self) -> Exit {
        if self.interrupted {
            Exit::Interrupted
        } else if self.unsent > 0 || self.stopped.is_some() || !self.io_errors.is_empty() {
            Exit::Unsent
        } else if self.rejected > 0 {
            Exit::Rejected
        } else {
            Exit::Complete
        }
    }

    /// Lines that were answered.
    #[must_use]
    pub fn answered(&self) -> u64 {
        self.accepted + self.duplicates + self.rejected
    }

    /// Whether each line that was read is counted exactly once.
    #[must_use]
    pub fn balances(&self) -> bool {
        self.lines_read == self.answered() + self.unsent && self.rejected == self.rejected_by_code.values().sum::<u64>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_exit_code_is_that_of_the_worst_that_happened() {
        let mut summary = Summary::default();
        assert_eq!(summary.exit(), Exit::Complete);
        summary.duplicates = 1;
        assert_eq!(summary.exit(), Exit::Complete);
        summary.rejected = 1;
        assert_eq!(summary.exit().code(), 1);
        summary.unsent = 1;
        assert_eq!(summary.exit().code(), 3);
        summary.interrupted = true;
        assert_eq!(summary.exit().code(), 130);
        let cut_off = Summary { io_errors: vec!["a.gz: cut off".to_owned()], ..Summary::default() };
        assert_eq!(cut_off.exit().code(), 3);
    }
}
