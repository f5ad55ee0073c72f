//! Whether everything that was written is there, as it was written.

use super::files::{self, Head, NOTHING};
use serde_json::{Value, json};
use std::fs::File;
use std::io;

/// What is wrong is named one by one up to so many times.
const WRONG_MAX: usize = 50;

/// What a check of the audit log found.
#[derive(Debug, Clone, Default)]
pub struct Verdict {
    /// Entries that are there.
    pub entries: u64,
    /// The oldest of them.
    pub first: Option<u64>,
    /// When that was written.
    pub first_time: Option<String>,
    /// Up to which entry older ones were there and were removed by the bound.
    pub dropped_until: Option<u64>,
    /// The newest of them.
    pub last: Option<u64>,
    /// SHA-256 of the newest line: noted elsewhere, it shows whether the whole chain was written anew.
    pub head: Option<String>,
    /// What does not fit, one line each.
    pub wrong: Vec<String>,
}

impl Verdict {
    /// For the admin socket.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "intact": self.wrong.is_empty(),
            "entries": self.entries,
            "first": self.first,
            "firstTime": self.first_time,
            "droppedUntil": self.dropped_until,
            "last": self.last,
            "head": self.head,
            "wrong": self.wrong,
        })
    }

    fn complain(&mut self, what: String) {
        if self.wrong.len() < WRONG_MAX {
            self.wrong.push(what);
        }
    }
}

/// Goes through all files in order; `stored` is what is known of the newest line.
pub(super) fn verify(there: &[(String, File, u64)], stored: Option<&Head>) -> io::Result<Verdict> {
    let mut verdict = Verdict::default();
    let (mut before, mut removed_until) = (None, 0);
    for (name, file, bytes) in there {
        let text = files::contents(file, *bytes)?;
        if text.last().is_some_and(|byte| *byte != b'\n') {
            verdict.complain(format!("{name}: its last line is not whole"));
        }
        for (number, line) in (1..).zip(files::lines(&text)) {
            let Some((head, entry)) = Head::of(line).zip(serde_json::from_slice::<Value>(line).ok()) else {
                verdict.complain(format!("{name}:{number}: this line is no entry"));
                continue;
            };
            check(&mut verdict, before.as_ref(), &head, &entry);
            removed_until = removed_until.max(entry["details"]["removedUntil"].as_u64().unwrap_or_default());
            verdict.entries += 1;
            if verdict.first.is_none() {
                (verdict.first, verdict.first_time) = (Some(head.seq), entry["time"].as_str().map(str::to_owned));
            }
            before = Some(head);
        }
    }
    if let Some(first) = verdict.first.filter(|first| *first > removed_until + 1) {
        let from = removed_until + 1;
        verdict.complain(format!("entries {from} to {} are missing, and no rotation has removed them", first - 1));
    }
    // A crash may have come between the word and the deed: then they are still there.
    verdict.dropped_until =
        verdict.first.map(|first| removed_until.min(first.saturating_sub(1))).filter(|until| *until > 0);
    check_end(&mut verdict, before.as_ref(), stored);
    verdict.last = before.as_ref().map(|head| head.seq);
    verdict.head = before.map(|head| head.hash);
    Ok(verdict)
}

/// Whether an entry follows on the one before.
fn check(verdict: &mut Verdict, before: Option<&Head>, head: &Head, entry: &Value) {
    let previous = entry["previous"].as_str().unwrap_or_default();
    let Some(before) = before else {
        if head.seq == 1 && previous != NOTHING {
            verdict.complain("entry 1 follows on something".into());
        }
        return;
    };
    match head.seq.checked_sub(before.seq + 1) {
        Some(0) => {}
        Some(_) => verdict.complain(format!("entries {} to {} are missing", before.seq + 1, head.seq - 1)),
        None => verdict.complain(format!("entry {} comes behind entry {}", head.seq, before.seq)),
    }
    if head.seq == before.seq + 1 && previous != before.hash {
        verdict.complain(format!(
            "entry {} does not follow on entry {} as it is now: that one was edited",
            head.seq, before.seq
        ));
    }
}

/// Whether the newest line is the one that was written last.
fn check_end(verdict: &mut Verdict, newest: Option<&Head>, stored: Option<&Head>) {
    match (newest, stored) {
        (None, None) => {}
        (Some(newest), Some(stored)) if newest == stored => {}
        (Some(newest), Some(stored)) if newest.seq == stored.seq => {
            verdict.complain(format!("entry {}, the newest one, was edited", newest.seq));
        }
        (newest, Some(stored)) => {
            let found = newest.map_or("there is none".into(), |newest| format!("it ends with entry {}", newest.seq));
            verdict.complain(format!("entry {} was written last, but {found}", stored.seq));
        }
        (Some(_), None) => verdict.complain("audit.head is missing: a cut end would not show".into()),
    }
}
