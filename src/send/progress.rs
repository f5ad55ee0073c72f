use crate::{Counts, Observer, Trouble, render};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use std::io::{self, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Between two lines about trouble, where there is no bar to show it.
const TROUBLE_INTERVAL: Duration = Duration::from_secs(30);

/// Shows on standard error how a run goes on: as a bar on a terminal, otherwise a line now and then about trouble.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    said_at: Mutex<Option<Instant>>,
}

impl Progress {
    pub(crate) fn new(terminal: bool) -> Self {
        let bar = terminal.then(|| ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()));
        Progress { bar, said_at: Mutex::new(None) }
    }
}

/// The bar where the size is known, a spinner where it is not. Both are constants that indicatif takes; if ever not,
/// its own style does.
fn style(bytes: Option<u64>) -> ProgressStyle {
    let template = match bytes {
        Some(_) => "{bar:24} {percent:>3}% {binary_bytes}/{binary_total_bytes} eta {eta}  {msg}",
        None => "{spinner} {binary_bytes} {elapsed}  {msg}",
    };
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn counts_message(counts: &Counts) -> String {
    let mut message = format!("{} accepted", counts.accepted);
    for (count, name) in [(counts.duplicates, "duplicate"), (counts.rejected, "rejected"), (counts.unsent, "unsent")] {
        if count > 0 {
            message.push_str(&format!(", {count} {name}"));
        }
    }
    message
}

fn trouble_message(trouble: &Trouble) -> String {
    let Trouble { reason, attempt, wait } = trouble;
    format!("{}; attempt {} in {:.1} s", render::printable(reason), attempt + 1, wait.as_secs_f64())
}

impl Observer for Progress {
    fn begin(&self, bytes: Option<u64>) {
        if let Some(bar) = &self.bar {
            if let Some(bytes) = bytes {
                bar.set_length(bytes);
            }
            bar.set_style(style(bytes));
            bar.enable_steady_tick(Duration::from_millis(250));
        }
    }

    fn progress(&self, counts: &Counts) {
        if let Some(bar) = &self.bar {
            bar.set_position(counts.bytes_read);
            bar.set_message(counts_message(counts));
        }
    }

    fn trouble(&self, trouble: &Trouble) {
        if let Some(bar) = &self.bar {
            bar.set_message(trouble_message(trouble));
            return;
        }
        let mut said_at = self.said_at.lock().unwrap_or_else(PoisonError::into_inner);
        if said_at.is_none_or(|at| at.elapsed() >= TROUBLE_INTERVAL) {
            *said_at = Some(Instant::now());
            // There is nobody left to tell.
            drop(writeln!(io::stderr().lock(), "ingestd send: {}", trouble_message(trouble)));
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_that_are_zero_are_not_shown() {
        let mut counts = Counts { accepted: 7, ..Counts::default() };
        assert_eq!(counts_message(&counts), "7 accepted");
        counts.rejected = 2;
        counts.duplicates = 1;
        assert_eq!(counts_message(&counts), "7 accepted, 1 duplicate, 2 rejected");
    }

    #[test]
    fn trouble_names_the_next_attempt_and_nothing_that_moves_the_cursor() {
        let trouble = Trouble { reason: "busy\u{1b}[2J".to_owned(), attempt: 1, wait: Duration::from_millis(1500) };
        assert_eq!(trouble_message(&trouble), "busy\u{fffd}[2J; attempt 2 in 1.5 s");
    }

    #[test]
    fn both_styles_are_valid() {
        for bytes in [None, Some(1)] {
            let bar = ProgressBar::hidden();
            bar.set_style(style(bytes));
        }
    }
}
