//! What can be asked, whoever asks.

use super::{Asker, Filter, LetterError, Letters};
use crate::commit::Whose;
use serde_json::Value;
use std::sync::Arc;

/// A question or an order.
#[derive(Debug)]
pub enum Command {
    /// Tells some.
    List(Filter),
    /// Tells one, with its bytes.
    Show(u64),
    /// Keeps other bytes for its replay.
    Edit(u64, Vec<u8>),
    /// Has it go in again.
    Replay(u64),
    /// Has some go in again.
    ReplayAll(Filter),
    /// Removes it.
    Purge(u64),
    /// Removes some.
    PurgeAll(Filter),
}

impl Command {
    /// What it changes, by its name in the audit log, and in which letter; `None` for what only looks.
    #[must_use]
    pub const fn change(&self) -> Option<(&'static str, Option<u64>)> {
        match self {
            Command::List(_) | Command::Show(_) => None,
            Command::Edit(id, _) => Some(("dead_letter_edit", Some(*id))),
            Command::Replay(id) => Some(("dead_letter_replay", Some(*id))),
            Command::ReplayAll(_) => Some(("dead_letters_replay", None)),
            Command::Purge(id) => Some(("dead_letter_purge", Some(*id))),
            Command::PurgeAll(_) => Some(("dead_letters_purge", None)),
        }
    }

    /// As it comes over the admin socket; `None` for another command.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn of_request(command: &str, request: &Value) -> Option<Result<Command, LetterError>> {
        let id = || id_of(request["id"].as_str().unwrap_or_default());
        let filter = || Filter::of_object(request, &["command"]);
        let raw =
            || request["raw"].as_str().ok_or_else(|| LetterError::question("`raw` is the mended event, a string"));
        Some(match command {
            "dead_letters" => filter().map(Command::List),
            "dead_letters_replay" => filter().map(Command::ReplayAll),
            "dead_letters_purge" => filter().map(Command::PurgeAll),
            "dead_letter" => id().map(Command::Show),
            "dead_letter_replay" => id().map(Command::Replay),
            "dead_letter_purge" => id().map(Command::Purge),
            "dead_letter_edit" => id().and_then(|id| Ok(Command::Edit(id, raw()?.as_bytes().to_vec()))),
            _ => return None,
        })
    }
}

impl Letters {
    /// Does what is asked, with the letters that are within reach.
    ///
    /// # Errors
    /// [`LetterError`]; unless it is [`LetterError::Refused`], nothing was changed.
    pub async fn run(self: &Arc<Self>, command: Command, asker: &Asker) -> Result<Value, LetterError> {
        match command {
            Command::List(filter) => self.read_for(asker, move |letters, whose| letters.list(&filter, whose)).await,
            Command::Show(id) => self.read_for(asker, move |letters, whose| letters.show(id, whose)).await,
            Command::Edit(id, bytes) => self.edit(id, bytes, asker).await,
            Command::Replay(id) => self.replay(id, asker).await,
            Command::ReplayAll(filter) => self.replay_all(filter, asker).await,
            Command::Purge(id) => self.purge(id, asker).await,
            Command::PurgeAll(filter) => self.purge_all(filter, asker).await,
        }
    }

    /// Answers a question; those that come over HTTP wait for one another, and for nobody else.
    async fn read_for(
        self: &Arc<Self>,
        asker: &Asker,
        read: impl FnOnce(&Letters, &Whose) -> Result<Value, LetterError> + Send + 'static,
    ) -> Result<Value, LetterError> {
        let wanted = async {
            let place = match asker {
                Asker::Operator => None,
                Asker::Remote(_) => self.workshop.reader().await,
            };
            let whose = asker.whose().clone();
            let read = move |letters: &Letters| {
                // Kept until it is read, also where nobody waits for it any more.
                let _place = place;
                read(letters, &whose)
            };
            self.aside(read).await
        };
        self.in_time(wanted).await
    }
}

/// A letter's id, as answers tell it.
pub(super) fn id_of(text: &str) -> Result<u64, LetterError> {
    text.parse().map_err(|_| LetterError::question("the id of a dead letter is a number"))
}
