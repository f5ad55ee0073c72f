//! Writing it: one line at a time, synced before anybody is answered.

use super::entry::{Actor, Entry, Via};
use super::files::{self, Head};
use super::query::{self, Query};
use super::verify::{self, Verdict};
use arc_swap::ArcSwap;
use serde_json::{Value, json};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// How much is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Size at which a file is closed, bytes.
    pub file_bytes_max: u64,
    /// Files that are kept, with the one that is written to.
    pub files_max: u64,
}

/// The audit log of a data folder.
#[derive(Debug)]
pub struct AuditLog {
    folder: PathBuf,
    limits: ArcSwap<Limits>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// None until the first entry, and after a failure: then it is opened again, and looked through, for the next one.
    open: Option<Open>,
    /// The newest line that this process has written; it knows better than the files.
    head: Option<Head>,
}

#[derive(Debug)]
struct Open {
    current: File,
    head: File,
    bytes: u64,
    first: u64,
}

impl AuditLog {
    /// The audit log in `folder`. Nothing is touched before the first entry.
    #[must_use]
    pub fn new(folder: &Path, limits: Limits) -> Self {
        AuditLog { folder: folder.into(), limits: ArcSwap::from_pointee(limits), state: Mutex::default() }
    }

    /// Keeps more or less from now on.
    pub fn set_limits(&self, limits: Limits) {
        self.limits.store(Arc::new(limits));
    }

    /// Appends an entry; it is synced when this returns. Blocks.
    ///
    /// # Errors
    /// What the system said: the entry may not be there, and what it speaks of must not be done.
    pub fn record(&self, entry: Entry) -> io::Result<()> {
        self.append(&entry).map(drop)
    }

    /// The same; returns the entry's number.
    ///
    /// # Errors
    /// As [`AuditLog::record`].
    pub fn append(&self, entry: &Entry) -> io::Result<u64> {
        let mut state = self.state();
        let appended = self.append_to(&mut state, entry);
        if appended.is_err() {
            state.open = None;
        }
        appended.map_err(|error| {
            let path = self.folder.join(files::CURRENT);
            io::Error::new(error.kind(), format!("{}: {error}", path.display()))
        })
    }

    /// The newest entries that are asked for, in order. Blocks.
    ///
    /// # Errors
    /// What the system said.
    pub fn query(&self, query: &Query) -> io::Result<Vec<Value>> {
        let there = {
            // No file is closed or removed while they are opened.
            let _state = self.state();
            files::all(&self.folder)?
        };
        query::select(&there, query)
    }

    /// Checks every entry that is kept, and that none is missing. Blocks.
    ///
    /// # Errors
    /// What the system said.
    pub fn verify(&self) -> io::Result<Verdict> {
        let (there, head) = {
            let state = self.state();
            (files::all(&self.folder)?, state.head.clone().or_else(|| Head::read(&self.folder)))
        };
        verify::verify(&there, head.as_ref())
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn append_to(&self, state: &mut State, entry: &Entry) -> io::Result<u64> {
        let (mut open, mut head) = match state.open.take().filter(|open| open.is_in(&self.folder)) {
            Some(open) => (open, state.head.clone().unwrap_or_default()),
            None => self.open(state)?,
        };
        let limits = **self.limits.load();
        // The line's number and hash are as long as any.
        let bytes = entry.line(u64::MAX, files::NOTHING).len() as u64 + 1;
        if open.bytes > 0 && open.bytes + bytes > limits.file_bytes_max {
            open = self.rotate(open, &mut head, limits)?;
        }
        open.put(entry, &mut head)?;
        state.head = Some(head.clone());
        state.open = Some(open);
        Ok(head.seq)
    }

    /// Opens the files, cuts off what a crash has left of a line, and says in the log what does not fit together.
    fn open(&self, state: &State) -> io::Result<(Open, Head)> {
        let (current, head_file) = (files::open_current(&self.folder)?, files::open_head(&self.folder)?);
        files::sync_folder(&self.folder)?;
        let there = current.metadata()?.len();
        let text = files::contents(&current, there)?;
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end as u64 + 1);
        let mut troubles = Vec::new();
        if whole < there {
            current.set_len(whole)?;
            troubles.push(format!("the last {} bytes were no whole line and are cut off", there - whole));
        }
        let newest = match files::lines(&text).next_back() {
            Some(line) => Head::of(line),
            None => last_closed(&self.folder)?,
        };
        let stored = state.head.clone().or_else(|| Head::read(&self.folder));
        let (mut head, trouble) = go_on_with(stored, newest, &text);
        troubles.extend(trouble);
        let first = files::lines(&text).next().and_then(Head::of).map_or(head.seq + 1, |head| head.seq);
        let mut open = Open { current, head: head_file, bytes: whole, first };
        if troubles.is_empty() {
            // A crash may have come between a line and its head.
            head.write(&open.head)?;
        } else {
            tracing::error!("audit log: {}", troubles.join("; "));
            let entry = Entry::new(Actor::own(Via::Daemon), "recover").with(json!({"found": troubles}));
            open.put(&entry, &mut head)?;
        }
        Ok((open, head))
    }

    /// Closes the file, begins another one, and removes the oldest.
    fn rotate(&self, full: Open, head: &mut Head, limits: Limits) -> io::Result<Open> {
        let name = files::name_of(full.first);
        fs::rename(self.folder.join(files::CURRENT), self.folder.join(&name))?;
        let mut open =
            Open { current: files::open_current(&self.folder)?, head: full.head, bytes: 0, first: head.seq + 1 };
        files::sync_folder(&self.folder)?;
        let closed = files::closed(&self.folder)?;
        let kept = limits.files_max.saturating_sub(1) as usize;
        let (removed, rest) = closed.split_at(closed.len().saturating_sub(kept));
        let until = rest.first().map_or(open.first, |(first, _)| *first) - 1;
        let details = json!({"removedUntil": if removed.is_empty() { 0 } else { until }});
        // Said before it is done: what is missing without a word was taken by somebody else.
        open.put(&Entry::new(Actor::own(Via::Daemon), "rotate").on(Some(name)).with(details), head)?;
        for (_, path) in removed {
            fs::remove_file(path)?;
        }
        Ok(open)
    }
}

impl Open {
    fn put(&mut self, entry: &Entry, head: &mut Head) -> io::Result<()> {
        let line = entry.line(head.seq + 1, &head.hash);
        let next = Head { seq: head.seq + 1, hash: super::entry::hash(line.as_bytes()) };
        if let Err(error) = self.write(&line) {
            // Where this fails too, the next one to open the file cuts it off.
            self.current.set_len(self.bytes).ok();
            return Err(error);
        }
        self.bytes += line.len() as u64 + 1;
        next.write(&self.head)?;
        *head = next;
        Ok(())
    }

    fn write(&mut self, line: &str) -> io::Result<()> {
        self.current.write_all(format!("{line}\n").as_bytes())?;
        self.current.sync_data()
    }

    /// Whether what is open is what is in the folder, as it was left: nobody has moved it away or written to it.
    fn is_in(&self, folder: &Path) -> bool {
        let there = fs::metadata(folder.join(files::CURRENT));
        let ours = self.current.metadata();
        matches!((there, ours), (Ok(there), Ok(ours)) if there.dev() == ours.dev() && there.ino() == ours.ino()
            && there.len() == self.bytes)
    }
}

/// The newest line of the newest file that is written to no more.
fn last_closed(folder: &Path) -> io::Result<Option<Head>> {
    let Some((_, path)) = files::closed(folder)?.pop() else { return Ok(None) };
    let text = fs::read(path)?;
    Ok(files::lines(&text).next_back().and_then(Head::of))
}

/// What the next line follows on, given the head as it is stored and the newest line there is; and what is wrong, if they
/// do not fit. Then it follows on the later one, so that no number comes twice: the break in the chain is to be seen.
fn go_on_with(stored: Option<Head>, newest: Option<Head>, text: &[u8]) -> (Head, Option<String>) {
    match (stored, newest) {
        (None, None) => (Head::default(), None),
        (Some(stored), Some(newest)) if stored == newest => (newest, None),
        (stored, Some(newest)) if is_next(&stored.clone().unwrap_or_default(), &newest, text) => (newest, None),
        (None, Some(newest)) => {
            let trouble = format!("audit.head is missing or damaged, the newest entry is {}", newest.seq);
            (newest, Some(trouble))
        }
        (Some(stored), newest) => {
            let found = newest.as_ref().map_or("no entry".to_owned(), |newest| format!("entry {}", newest.seq));
            let trouble =
                format!("it was cut or edited: its newest entry was {}, and it ends with {found}", stored.seq);
            (newest.filter(|newest| newest.seq > stored.seq).unwrap_or(stored), Some(trouble))
        }
    }
}

/// Whether the newest line follows on `stored`: a crash came before the head was stored.
fn is_next(stored: &Head, newest: &Head, text: &[u8]) -> bool {
    let previous = || {
        let entry: Value = serde_json::from_slice(files::lines(text).next_back()?).ok()?;
        entry["previous"].as_str().map(str::to_owned)
    };
    newest.seq == stored.seq + 1 && previous().as_ref() == Some(&stored.hash)
}
