//! A person's dead letters, and what was edited beside them.

use super::subject::Match;
use super::{Erasure, Wanted, aside, text};
use crate::commit::{Beside, LetterOrder, decode_dead_letter};
use std::ops::ControlFlow;
use std::sync::Arc;
use wal::{Family, Reader};

/// Dead letters that are removed at once.
const LETTERS_MAX: usize = 256;

/// What was found among the dead letters.
#[derive(Debug, Default)]
pub(super) struct InLetters {
    pub(super) letters: u64,
    pub(super) mentions: u64,
    pub(super) erased: u64,
}

impl Erasure {
    /// Erases the letters that are meant.
    pub(super) async fn dead_letters(self: &Arc<Self>, wanted: &Wanted) -> Result<InLetters, String> {
        let (reader, of) = (self.pipeline.reader().clone(), wanted.clone());
        let (ids, mut found) = aside(move || letters_of(&reader, &of)).await?;
        if !wanted.dry_run {
            for ids in ids.chunks(LETTERS_MAX) {
                let ordered = self.control.order(LetterOrder::Erase { ids: ids.to_vec() }).await.map_err(text)?;
                found.erased += ordered.done.len() as u64;
                // Those behind it are as they were.
                if let Some(error) = ordered.ended_by {
                    return Err(format!("a dead letter cannot be read, so that not all of them are erased: {error}"));
                }
            }
        }
        Ok(found)
    }
}

/// The dead letters that are meant.
fn letters_of(reader: &Reader, wanted: &Wanted) -> Result<(Vec<u64>, InLetters), String> {
    let (mut ids, mut found, mut failed) = (Vec::new(), InLetters::default(), None);
    let read = reader.scan(Family::Dead, &[], |key, value| {
        let Ok(id) = key.try_into().map(u64::from_be_bytes) else { return ControlFlow::Continue(()) };
        let matched = match decode_dead_letter(value) {
            Some((head, raw)) => {
                let of = |bytes: &[u8]| wanted.subject.letter(&head.tenant, head.event_id.as_deref(), bytes);
                let edit = match Beside::load(reader, id) {
                    Ok(beside) => beside.edit,
                    Err(error) => {
                        failed = Some(error.to_string());
                        return ControlFlow::Break(());
                    }
                };
                match (of(raw), edit.map_or(Match::No, |edit| of(&edit))) {
                    (Match::Is, _) | (_, Match::Is) => Match::Is,
                    (Match::No, Match::No) => Match::No,
                    _ => Match::Mentions,
                }
            }
            None => wanted.subject.unreadable(value),
        };
        match matched {
            Match::Is => found.letters += 1,
            Match::Mentions => found.mentions += 1,
            Match::No => return ControlFlow::Continue(()),
        }
        if matched == Match::Is || wanted.also_mentions {
            ids.push(id);
        }
        ControlFlow::Continue(())
    });
    read.map_err(text)?;
    failed.map_or(Ok((ids, found)), Err)
}
