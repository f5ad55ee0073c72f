//! What is done with stored dead letters: edited, replayed, removed, erased. The letter itself is never changed, for sinks
//! may be about to send it: what happens to it is kept beside it, in [`Family::Projection`]. Only what is erased is changed:
//! a letter that a sink still has to get is emptied, so that sinks count it as before.
//!
//! | key | value |
//! |---|---|
//! | `dead_edit/`, id (u64 big-endian) | the bytes that a replay takes instead of those that were received |
//! | `dead_replay/`, id (u64 big-endian) | the newest [`Replay`], JSON, so that fields can be added |

use super::dead_letter::{DeadLetter, DeadLetters, Moment, decode, emptied};
use super::submission::Submission;
use event::{Receipt, UnixMicros, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeSet;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

const EDIT: &[u8] = b"dead_edit/";
const REPLAY: &[u8] = b"dead_replay/";

/// Whose letters are within somebody's reach. To him there are no others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// Everybody's: the operator's reach.
    All,
    /// One tenant's.
    Tenant(Box<str>),
}

impl Whose {
    /// Whether a letter is within reach. One that cannot be read is nobody's.
    #[must_use]
    pub fn holds(&self, letter: Option<&DeadLetter>) -> bool {
        match self {
            Whose::All => true,
            Whose::Tenant(tenant) => letter.is_some_and(|letter| letter.tenant == **tenant),
        }
    }
}

/// What is to be done. Of letters that are not within reach nothing is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LetterOrder {
    /// Keeps other bytes beside the letter's own.
    Edit {
        /// The letter.
        id: u64,
        /// The bytes.
        bytes: Vec<u8>,
        /// Whose it may be.
        whose: Whose,
    },
    /// Keeps what became of a replay that stored nothing.
    Note {
        /// The letter.
        id: u64,
        /// What became of it.
        replay: Replay,
    },
    /// Removes letters for good, as far as every sink has them.
    Remove {
        /// The letters.
        ids: Vec<u64>,
        /// Whose they may be.
        whose: Whose,
    },
    /// Removes letters for good; one that some sink still has to get stays as one that holds nothing of its event.
    Erase {
        /// The letters.
        ids: Vec<u64>,
    },
}

/// What was done.
#[derive(Debug, Default)]
pub struct Ordered {
    /// Letters that are as was ordered.
    pub done: BTreeSet<u64>,
    /// Letters that stay, since some sink still has to get them.
    pub awaited: BTreeSet<u64>,
    /// The tenant's room for dead letters is used up.
    pub is_full: bool,
    /// What could not be read and ended it: the letters behind it are as they were.
    pub ended_by: Option<ReadError>,
}

/// What became of a letter that was replayed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Replay {
    /// When, microseconds since 1970.
    pub at: i64,
    /// `accepted`, `duplicate` or `rejected`.
    pub status: String,
    /// The event's position, unless it was rejected.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seq: Option<u64>,
    /// Of a duplicate: whether its content is not the first one's.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub differs: bool,
    /// Why it was rejected, in a word.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Where in the event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pointer: Option<String>,
    /// What is wrong there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Replay {
    /// Of what the writer has decided.
    #[must_use]
    pub fn of(verdict: Verdict, at: UnixMicros) -> Self {
        let (status, differs) = match verdict {
            Verdict::Accepted(_) => ("accepted", false),
            Verdict::Duplicate { differs, .. } => ("duplicate", differs),
        };
        let (code, pointer, detail) = (None, None, None);
        Replay { at: at.get(), status: status.into(), seq: Some(verdict.seq().get()), differs, code, pointer, detail }
    }

    /// Whether the letter's event is in the log by now, so that it is done with.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.seq.is_some()
    }
}

/// What is kept beside a letter.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Beside {
    /// The bytes that a replay takes.
    pub edit: Option<Vec<u8>>,
    /// What became of the newest replay.
    pub replay: Option<Replay>,
}

impl Beside {
    /// What is kept beside the letter `id`.
    ///
    /// # Errors
    /// [`ReadError`].
    pub fn load(reader: &Reader, id: u64) -> Result<Beside, ReadError> {
        let edit = reader.get(Family::Projection, &key(EDIT, id))?;
        let replay = reader.get(Family::Projection, &key(REPLAY, id))?;
        Ok(Beside { edit, replay: replay.and_then(|value| serde_json::from_slice(&value).ok()) })
    }
}

impl DeadLetters {
    /// Adds the writes of an order.
    pub(super) fn carry_out(
        &mut self,
        order: LetterOrder,
        reader: &Reader,
        needed: u64,
        writes: &mut Vec<Write>,
    ) -> Ordered {
        let mut ordered = Ordered::default();
        ordered.ended_by = self.try_out(order, reader, needed, writes, &mut ordered).err();
        ordered
    }

    /// The same up to what cannot be read; what was done before stays done, and stands in `ordered`.
    fn try_out(
        &mut self,
        order: LetterOrder,
        reader: &Reader,
        needed: u64,
        writes: &mut Vec<Write>,
        ordered: &mut Ordered,
    ) -> Result<(), ReadError> {
        match order {
            LetterOrder::Edit { id, bytes, whose } => self.edit((id, bytes), &whose, reader, writes, ordered)?,
            LetterOrder::Note { id, replay } if self.is_kept(id) => {
                writes.push(note(id, &replay));
                ordered.done.insert(id);
            }
            LetterOrder::Note { .. } => {}
            LetterOrder::Remove { ids, whose } => {
                for id in ids.into_iter().collect::<BTreeSet<_>>() {
                    if id >= needed {
                        ordered.awaited.insert(id);
                    } else if self.remove(id, &whose, reader, writes)? {
                        ordered.done.insert(id);
                    }
                }
            }
            LetterOrder::Erase { ids } => {
                for id in ids.into_iter().collect::<BTreeSet<_>>() {
                    let is_awaited = id >= needed;
                    if (is_awaited && self.empty(id, reader, writes)?)
                        || self.remove(id, &Whose::All, reader, writes)?
                    {
                        ordered.done.insert(id);
                    }
                }
            }
        }
        Ok(())
    }

    /// Adds the write that leaves nothing of an event in its letter; false if there is no letter that can be read.
    fn empty(&mut self, id: u64, reader: &Reader, writes: &mut Vec<Write>) -> Result<bool, ReadError> {
        let stored = if self.is_kept(id) { reader.get(Family::Dead, &id.to_be_bytes())? } else { None };
        let Some((letter, _)) = stored.as_deref().and_then(decode) else { return Ok(false) };
        let before = stored.as_ref().map_or(0, Vec::len) as u64 + edit_bytes(reader, id)?;
        let value = emptied(letter.clone());
        let used = self.used_by(&letter.tenant);
        *used = used.saturating_sub(before) + value.len() as u64;
        writes.push(Write::Put(Family::Dead, id.to_be_bytes().to_vec(), value));
        writes.extend(forget(id));
        Ok(true)
    }

    fn edit(
        &mut self,
        (id, bytes): (u64, Vec<u8>),
        whose: &Whose,
        reader: &Reader,
        writes: &mut Vec<Write>,
        ordered: &mut Ordered,
    ) -> Result<(), ReadError> {
        let stored = if self.is_kept(id) { reader.get(Family::Dead, &id.to_be_bytes())? } else { None };
        let Some((letter, _)) = stored.as_deref().and_then(decode) else { return Ok(()) };
        if !whose.holds(Some(&letter)) {
            return Ok(());
        }
        let before = edit_bytes(reader, id)?;
        let tenant_bytes_max = self.tenant_bytes_max();
        let used = self.used_by(&letter.tenant);
        let after = (*used).saturating_sub(before) + bytes.len() as u64;
        if after > tenant_bytes_max {
            ordered.is_full = true;
            return Ok(());
        }
        *used = after;
        writes.push(Write::Put(Family::Projection, key(EDIT, id), bytes));
        ordered.done.insert(id);
        Ok(())
    }

    /// Adds the removal of one; false if it is not there.
    fn remove(&mut self, id: u64, whose: &Whose, reader: &Reader, writes: &mut Vec<Write>) -> Result<bool, ReadError> {
        let stored = if self.is_kept(id) { reader.get(Family::Dead, &id.to_be_bytes())? } else { None };
        let Some(value) = stored else { return Ok(false) };
        let letter = decode(&value).map(|(letter, _)| letter);
        if !whose.holds(letter.as_ref()) {
            return Ok(false);
        }
        let edit = edit_bytes(reader, id)?;
        if let Some(letter) = letter {
            let used = self.used_by(&letter.tenant);
            *used = used.saturating_sub(value.len() as u64 + edit);
        }
        writes.push(Write::Delete(Family::Dead, id.to_be_bytes().to_vec()));
        writes.extend(forget(id));
        Ok(true)
    }

    /// Adds the write that says what became of a replayed letter, to go with its event.
    pub(super) fn replayed(&self, id: u64, receipt: &Receipt, moment: Moment, writes: &mut Vec<Write>) {
        if let Some(verdict) = receipt.verdicts.first().filter(|_| self.is_kept(id)) {
            writes.push(note(id, &Replay::of(*verdict, moment.now)));
        }
    }
}

/// Empties the replay of a letter whose event is in the log by now: whoever asked for that may have left before it was
/// answered, and the dedup window may have passed over its id.
pub(super) fn drop_repeated(submission: &mut Submission, reader: &Reader) {
    let Some(id) = submission.replays else { return };
    let replay = Beside::load(reader, id).ok().and_then(|beside| beside.replay);
    if replay.is_some_and(|replay| replay.is_done()) {
        let batch = &mut submission.batch;
        batch.entries.clear();
        batch.records.clear();
        batch.packed = None;
    }
}

/// Bytes of stored edits, each with its letter's id.
pub(super) fn edits(reader: &Reader) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut found = Vec::new();
    reader.scan(Family::Projection, EDIT, |name, value| {
        let Some(id) = name.strip_prefix(EDIT) else { return ControlFlow::Break(()) };
        found.extend(id.try_into().map(|id| (u64::from_be_bytes(id), value.len() as u64)).ok());
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

/// The bytes of an edit; 0 where there is none.
pub(super) fn edit_bytes(reader: &Reader, id: u64) -> Result<u64, ReadError> {
    Ok(reader.get(Family::Projection, &key(EDIT, id))?.map_or(0, |edit| edit.len() as u64))
}

/// The removal of what is kept beside a letter.
pub(super) fn forget(id: u64) -> [Write; 2] {
    [EDIT, REPLAY].map(|what| Write::Delete(Family::Projection, key(what, id)))
}

fn note(id: u64, replay: &Replay) -> Write {
    // Strings and numbers always serialise.
    Write::Put(Family::Projection, key(REPLAY, id), serde_json::to_vec(replay).unwrap_or_default())
}

fn key(what: &[u8], id: u64) -> Vec<u8> {
    [what, &id.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::commit::dead_letter::DeadDraft;
    use event::Seq;
    use std::sync::Arc;

    #[test]
    fn what_is_stored_never_changes() {
        let at = UnixMicros::new(5);
        let Write::Put(Family::Projection, name, value) = note(258, &Replay::of(Verdict::Accepted(Seq::new(7)), at))
        else {
            panic!("not stored")
        };
        assert_eq!(name, b"dead_replay/\0\0\0\0\0\0\x01\x02");
        assert_eq!(value, br#"{"at":5,"status":"accepted","seq":7}"#);
        let verdict = Verdict::Duplicate { first: Seq::new(7), differs: true };
        let stored = serde_json::to_string(&Replay::of(verdict, at)).unwrap();
        assert_eq!(stored, r#"{"at":5,"status":"duplicate","seq":7,"differs":true}"#);
        assert_eq!(key(EDIT, 1), b"dead_edit/\0\0\0\0\0\0\0\x01");
    }

    #[test]
    fn a_rejected_replay_leaves_the_letter_open() {
        let stored = r#"{"at":5,"status":"rejected","code":"missing_field","pointer":"/data","detail":"is missing"}"#;
        let replay: Replay = serde_json::from_str(stored).unwrap();
        assert!(!replay.is_done());
        assert_eq!(serde_json::to_string(&replay).unwrap(), stored);
    }

    /// Where the tables of a log lie.
    fn tables(folder: &std::path::Path) -> BTreeSet<std::path::PathBuf> {
        let (mut found, mut folders) = (BTreeSet::new(), vec![folder.to_owned()]);
        while let Some(folder) = folders.pop() {
            for path in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
                if path.is_dir() {
                    folders.push(path);
                } else if path.extension().is_some_and(|extension| extension == "sst") {
                    found.insert(path);
                }
            }
        }
        found
    }

    #[test]
    fn what_was_removed_before_a_letter_that_cannot_be_read_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let mut letters = DeadLetters::load(&log.reader, Arc::default()).unwrap();
        let moment = Moment { now: UnixMicros::new(5), age: UnixMicros::new(5), after: Seq::ZERO, incarnation: 1 };
        let mut tables_before = BTreeSet::new();
        for _ in 0..2 {
            tables_before = tables(dir.path());
            let mut writes = Vec::new();
            letters.keep_accepted(&draft(), moment, &mut writes);
            log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();
            log.reader.flush().unwrap();
        }
        // The second letter is in tables of its own, which are not what was written.
        for table in tables(dir.path()).difference(&tables_before) {
            let file = std::fs::OpenOptions::new().write(true).open(table).unwrap();
            std::os::unix::fs::FileExt::write_all_at(&file, &[0xff; 8], 0).unwrap();
        }
        let mut writes = Vec::new();
        let order = LetterOrder::Remove { ids: vec![1, 2], whose: Whose::All };
        let ordered = letters.carry_out(order, &log.reader, 3, &mut writes);
        assert_eq!(ordered.done, BTreeSet::from([1]));
        assert!(ordered.ended_by.is_some(), "{ordered:?}");
        assert!(writes.contains(&Write::Delete(Family::Dead, 1u64.to_be_bytes().to_vec())), "{writes:?}");
        assert!(!writes.contains(&Write::Delete(Family::Dead, 2u64.to_be_bytes().to_vec())), "{writes:?}");
        let order = LetterOrder::Remove { ids: vec![2], whose: Whose::All };
        let ordered = letters.carry_out(order, &log.reader, 3, &mut writes);
        assert!(ordered.done.is_empty() && ordered.ended_by.is_some(), "not that it never was: {ordered:?}");
    }

    #[test]
    fn the_writer_itself_leaves_letters_of_other_tenants_as_they_are() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let mut letters = DeadLetters::load(&log.reader, Arc::default()).unwrap();
        let moment = Moment { now: UnixMicros::new(5), age: UnixMicros::new(5), after: Seq::ZERO, incarnation: 1 };
        let mut writes = Vec::new();
        letters.keep_accepted(&draft(), moment, &mut writes);
        log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();
        for (tenant, done) in [("other", BTreeSet::new()), ("default", BTreeSet::from([1]))] {
            let whose = || Whose::Tenant(tenant.into());
            let edit = LetterOrder::Edit { id: 1, bytes: b"{}".to_vec(), whose: whose() };
            for order in [edit, LetterOrder::Remove { ids: vec![1], whose: whose() }] {
                let mut writes = Vec::new();
                assert_eq!(letters.carry_out(order, &log.reader, 2, &mut writes).done, done, "{tenant}");
                assert_eq!(writes.is_empty(), done.is_empty(), "{writes:?}");
            }
        }
        assert!(!Whose::Tenant("default".into()).holds(None) && Whose::All.holds(None));
    }

    #[test]
    fn what_is_erased_is_emptied_where_a_sink_still_has_to_get_it_and_else_removed() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let mut letters = DeadLetters::load(&log.reader, Arc::default()).unwrap();
        let moment = Moment { now: UnixMicros::new(5), age: UnixMicros::new(5), after: Seq::ZERO, incarnation: 1 };
        let mut writes = Vec::new();
        let mut draft = draft();
        (draft.letter.event_id, draft.letter.pointer) = (Some("e-1".into()), "/data/wanda".into());
        for field in [&mut draft.letter.event_type, &mut draft.letter.session_id, &mut draft.letter.store_id] {
            *field = Some("wanda".into());
        }
        for _ in 0..2 {
            letters.keep_accepted(&draft, moment, &mut writes);
        }
        log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();
        let edit = LetterOrder::Edit { id: 2, bytes: b"wanda".to_vec(), whose: Whose::All };
        let mut writes = Vec::new();
        letters.carry_out(edit, &log.reader, 2, &mut writes);
        log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();

        let mut writes = Vec::new();
        let ordered = letters.carry_out(LetterOrder::Erase { ids: vec![1, 2, 3] }, &log.reader, 2, &mut writes);
        assert_eq!((ordered.done, ordered.awaited), (BTreeSet::from([1, 2]), BTreeSet::new()), "there is no third");
        log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();
        let stored = |id: u64| log.reader.get(Family::Dead, &id.to_be_bytes()).unwrap();
        assert_eq!(stored(1), None);
        let rest = stored(2).unwrap();
        let (head, raw) = decode(&rest).unwrap();
        assert_eq!((head.committed_at, head.event_id, head.detail.as_str(), raw), (5, None, "erased", &b""[..]));
        assert!(!rest.windows(5).any(|part| part == b"wanda"), "{rest:?}");
        assert_eq!(Beside::load(&log.reader, 2).unwrap(), Beside::default());
        assert_eq!(*letters.used_by("default"), rest.len() as u64, "the rest of the room is free again");
    }

    fn draft() -> DeadDraft {
        let letter = DeadLetter {
            tenant: "default".into(),
            code: "missing_field".into(),
            pointer: String::new(),
            detail: String::new(),
            event_id: None,
            received_at: 5,
            source: 0,
            sink: None,
            seq: None,
            event_type: None,
            session_id: None,
            store_id: None,
            traceparent: None,
            committed_at: 0,
            after: 0,
            incarnation: 0,
        };
        DeadDraft { letter, raw: b"{}".to_vec() }
    }

    #[test]
    fn a_letter_whose_event_is_in_the_log_goes_in_no_more() {
        let dir = tempfile::tempdir().unwrap();
        let mut log = wal::open(dir.path(), &wal::Options::default()).unwrap();
        let at = UnixMicros::new(5);
        let budget = crate::commit::Budget::new(9, 0);
        let replay_of = |id| {
            let mut submission =
                Submission::new(event::Batch::new("default", event::Source::Http, at), budget.enter().unwrap());
            submission.replays = Some(id);
            submission.batch.records = vec![0; 8];
            submission
        };
        let writes = [note(1, &Replay::of(Verdict::Accepted(Seq::new(7)), at))];
        log.writer.commit(&wal::Group { events: None, writes: &writes }).unwrap();
        let (mut done, mut open) = (replay_of(1), replay_of(2));
        drop_repeated(&mut done, &log.reader);
        drop_repeated(&mut open, &log.reader);
        assert!(done.batch.records.is_empty() && !open.batch.records.is_empty());
    }
}
