//! How far an erasure has got, for whoever waits for it.

use event::Seq;
use serde_json::{Value, json};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What is being done.
#[derive(Debug, Clone, Copy)]
pub(super) enum Stage {
    /// The log is looked through.
    Log {
        /// Where.
        next: Seq,
        /// Up to which event, for now.
        until: Seq,
    },
    /// Sinks let go of what they have read.
    Sinks,
    /// Dead letters are looked through.
    Letters,
    /// The files of the log are rewritten.
    Files,
    /// It is looked where events were delivered to.
    Places,
}

/// The stage of the erasure that is under way.
#[derive(Debug, Default)]
pub(super) struct Progress(Mutex<Option<Stage>>);

/// An erasure that is under way, until it is dropped.
pub(super) struct Shown<'a>(&'a Progress);

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        *self.0.stage() = None;
    }
}

impl Progress {
    pub(super) fn begin(&self) -> Shown<'_> {
        self.is_at(Stage::Log { next: Seq::ZERO, until: Seq::ZERO });
        Shown(self)
    }

    pub(super) fn is_at(&self, stage: Stage) {
        *self.stage() = Some(stage);
    }

    pub(super) fn tell(&self) -> Value {
        match *self.stage() {
            None => Value::Null,
            Some(Stage::Log { next, until }) => json!({"stage": "log", "event": next.get(), "of": until.get()}),
            Some(Stage::Sinks) => json!({"stage": "sinks"}),
            Some(Stage::Letters) => json!({"stage": "dead letters"}),
            Some(Stage::Files) => json!({"stage": "files"}),
            Some(Stage::Places) => json!({"stage": "places"}),
        }
    }

    fn stage(&self) -> MutexGuard<'_, Option<Stage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_over_is_told_no_more() {
        let progress = Progress::default();
        {
            let _shown = progress.begin();
            progress.is_at(Stage::Log { next: Seq::new(7), until: Seq::new(9) });
            assert_eq!(progress.tell(), json!({"stage": "log", "event": 7, "of": 9}));
            progress.is_at(Stage::Files);
            assert_eq!(progress.tell(), json!({"stage": "files"}));
        }
        assert_eq!(progress.tell(), Value::Null);
    }
}
