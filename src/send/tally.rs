use crate::batch::Place;
use crate::outcome::{Outcome, Reason, Rejected, Unanswered};
use crate::reader::ReadCounts;
use crate::rejects::RejectsFile;
use crate::{Counts, Rejection, Summary, Unsent};
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Something to add to the tally.
#[derive(Debug)]
pub(crate) enum Event {
    /// A batch has come to its end.
    Delivered(Outcome),
    /// A line that no request could carry.
    TooLong(Place),
    /// The rest of this input cannot be read.
    Failed { file: u32, error: io::Error },
    /// The reader has panicked.
    ReaderLost,
}

/// Adds up outcomes, in whatever order they come.
pub(crate) struct Tally {
    names: Vec<Arc<str>>,
    rejects: Option<RejectsFile>,
    rejections: Foremost<Rejected>,
    unsent: Foremost<Unanswered>,
    /// All but the two lists above.
    summary: Summary,
}

impl Tally {
    pub(crate) fn new(names: Vec<Arc<str>>, rejects: Option<RejectsFile>) -> Self {
        Tally {
            names,
            rejects,
            rejections: Foremost::new(Summary::REJECTIONS_MAX),
            unsent: Foremost::new(Summary::UNSENT_MAX),
            summary: Summary::default(),
        }
    }

    pub(crate) fn add(&mut self, event: Event) {
        match event {
            Event::Delivered(outcome) => self.add_outcome(outcome),
            Event::TooLong(place) => {
                let reason = Reason::new("line_too_long", None, "line too long: more than 8 MiB, not sent");
                self.summary.lines_read += 1;
                self.reject(Rejected { place, events: 1, reason });
            }
            Event::Failed { file, error } => {
                let name = &self.names[file as usize];
                self.summary.io_errors.push(format!("cannot read {name} to its end: {error}"));
            }
            Event::ReaderLost => self.summary.io_errors.push("the reader ended early".to_owned()),
        }
    }

    fn add_outcome(&mut self, outcome: Outcome) {
        let summary = &mut self.summary;
        summary.lines_read += outcome.events();
        summary.accepted += outcome.accepted;
        summary.duplicates += outcome.duplicates;
        summary.duplicates_after_retry += outcome.duplicates_after_retry;
        summary.requests += outcome.requests;
        summary.retries += outcome.retries;
        if summary.stopped.is_none() {
            summary.stopped = outcome.hopeless;
        }
        for unanswered in outcome.unanswered {
            summary.unsent += unanswered.events;
            self.unsent.add(unanswered.first, unanswered);
        }
        for rejected in outcome.rejected {
            self.reject(rejected);
        }
    }

    fn reject(&mut self, rejected: Rejected) {
        let by_code = &mut self.summary.rejected_by_code;
        let code = &rejected.reason.code;
        let known = by_code.contains_key(code) || by_code.len() < Summary::CODES_MAX;
        *by_code.entry(if known { code.clone() } else { "other".to_owned() }).or_default() += rejected.events;
        self.summary.rejected += rejected.events;
        if let Some(rejects) = &mut self.rejects
            && let Err(error) = rejects.write(&rejection(&self.names, rejected.clone()))
        {
            self.lose_rejects(&error);
        }
        self.rejections.add(rejected.place, rejected);
    }

    /// The file of rejects cannot be written: say so once, and go on sending.
    fn lose_rejects(&mut self, error: &io::Error) {
        self.rejects = None;
        self.summary.io_errors.push(format!("cannot write all rejects: {error}"));
    }

    /// Where the run stands.
    pub(crate) fn counts(&self, read: &ReadCounts) -> Counts {
        Counts {
            bytes_read: read.bytes.load(Ordering::Relaxed),
            accepted: self.summary.accepted,
            duplicates: self.summary.duplicates,
            rejected: self.summary.rejected,
            unsent: self.summary.unsent,
        }
    }

    /// The summary of a run that is over.
    pub(crate) fn finish(mut self, read: &ReadCounts, interrupted: bool, started: Instant) -> Summary {
        if let Some(Err(error)) = self.rejects.as_mut().map(RejectsFile::flush) {
            self.lose_rejects(&error);
        }
        let Tally { names, rejections, unsent, mut summary, .. } = self;
        summary.rejections = rejections.items().map(|rejected| rejection(&names, rejected)).collect();
        summary.unsent_lines = unsent.items().map(|unanswered| unsent_lines(&names, unanswered)).collect();
        summary.bytes_read = read.bytes.load(Ordering::Relaxed);
        summary.blank_lines = read.blank_lines.load(Ordering::Relaxed);
        summary.interrupted = interrupted;
        summary.elapsed_seconds = started.elapsed().as_secs_f64();
        summary.events_per_second = summary.answered() as f64 / summary.elapsed_seconds.max(1e-6);
        debug_assert!(summary.balances(), "each line is counted once: {summary:?}");
        summary
    }
}

fn rejection(names: &[Arc<str>], Rejected { place, reason, .. }: Rejected) -> Rejection {
    let Reason { code, pointer, message } = reason;
    Rejection { file: names[place.file as usize].to_string(), line: place.line, code, pointer, message }
}

fn unsent_lines(names: &[Arc<str>], Unanswered { first, last, events, reason }: Unanswered) -> Unsent {
    Unsent {
        file: names[first.file as usize].to_string(),
        line: first.line,
        last_file: names[last.file as usize].to_string(),
        last_line: last.line,
        lines: events,
        reason,
    }
}

/// The items that come first in the inputs, in their order, however late they are added.
struct Foremost<T> {
    items: Vec<(Place, T)>,
    most: usize,
}

impl<T> Foremost<T> {
    fn new(most: usize) -> Self {
        Foremost { items: Vec::new(), most }
    }

    fn add(&mut self, place: Place, item: T) {
        let at = self.items.partition_point(|(other, _)| *other <= place);
        if at < self.most {
            self.items.truncate(self.most - 1);
            self.items.insert(at, (place, item));
        }
    }

    fn items(self) -> impl Iterator<Item = T> {
        self.items.into_iter().map(|(_, item)| item)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejected(line: u64, code: &str) -> Event {
        let rejected =
            vec![Rejected { place: Place { file: 0, line }, events: 1, reason: Reason::new(code, None, "") }];
        Event::Delivered(Outcome { rejected, ..Outcome::default() })
    }

    fn finish(tally: Tally) -> Summary {
        tally.finish(&ReadCounts::default(), false, Instant::now())
    }

    #[test]
    fn the_first_rejected_lines_are_listed_in_their_order_whatever_the_order_of_answers() {
        let mut tally = Tally::new(vec!["a".into()], None);
        for number in 0..100 {
            tally.add(rejected(1 + number * 37 % 100, "too_deep"));
        }
        let summary = finish(tally);
        assert_eq!(summary.rejected, 100);
        assert!(summary.rejections.iter().map(|rejection| rejection.line).eq(1..=20));
    }

    #[test]
    fn a_server_that_makes_up_reasons_cannot_fill_the_memory() {
        let mut tally = Tally::new(vec!["a".into()], None);
        for line in 1..=200 {
            tally.add(rejected(line, &format!("reason-{line}")));
        }
        let summary = finish(tally);
        assert_eq!(summary.rejected_by_code.len(), Summary::CODES_MAX + 1);
        assert_eq!(summary.rejected_by_code["other"], 200 - Summary::CODES_MAX as u64);
        assert!(summary.balances());
    }

    #[test]
    fn a_file_of_rejects_that_cannot_be_written_is_reported_and_sending_goes_on() {
        let full = RejectsFile::open(std::path::Path::new("/dev/full")).unwrap();
        let mut tally = Tally::new(vec!["a".into()], Some(full));
        tally.add(rejected(1, "too_deep"));
        tally.add(rejected(2, "too_deep"));
        let summary = finish(tally);
        assert_eq!((summary.rejected, summary.io_errors.len()), (2, 1));
        assert_eq!(summary.exit().code(), 3);
    }
}
