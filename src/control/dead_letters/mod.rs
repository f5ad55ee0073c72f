//! Dead letters, for people: listed, shown, edited, replayed, purged; over HTTP (`/dead-letters`) and the admin socket
//! alike. What each means: `docs/dead-letters.md`.
//!
//! ```text
//! http ──► workshop ──► Letters ──► wal::Reader                     list, show
//! admin ───────────────────┘ └────► commit::Control ──► the writer   edit, purge; a replay, which goes in like any event
//! ```

mod allowance;
mod asker;
mod change;
mod command;
mod cursor;
mod error;
mod filter;
mod http;
mod listing;
mod record;
mod replay;
mod turn;
mod workshop;

pub use asker::{Asker, Remote};
pub use command::Command;
pub use error::LetterError;
pub use filter::Filter;
pub use workshop::runtime;

use super::audit::AuditLog;
use crate::commit::{Beside, Control, DeadLetter, Whose, decode_dead_letter};
use crate::intake::Shared;
use allowance::Allowance;
use cursor::Seal;
use event::Refusal;
use prepare::Parser;
use record::Counts;
use std::sync::{Arc, Mutex, Weak};
use tokio::runtime::Handle;
use wal::{Family, Reader};
use workshop::Workshop;

/// The dead letters of the running daemon.
pub struct Letters {
    reader: Reader,
    control: Control,
    /// What requests go by; gone once the daemon is.
    shared: Weak<Shared>,
    parser: Mutex<Parser>,
    /// Keeps what is changed over HTTP; the admin socket keeps its own.
    audit: Arc<AuditLog>,
    /// One change at a time: what is looked at is what is changed.
    turn: tokio::sync::Mutex<()>,
    /// Where what is asked over HTTP is done.
    workshop: Workshop,
    /// What each caller may still leave in the audit log.
    allowance: Allowance,
    /// Orders that are only counted there.
    counts: Counts,
    /// Of places in lists.
    seal: Seal,
}

/// A stored letter and what is kept beside it.
struct Kept {
    id: u64,
    head: DeadLetter,
    raw: Vec<u8>,
    beside: Beside,
}

impl Letters {
    /// The letters of a log, changed through `control`; what is asked over HTTP is done on `runtime`.
    #[must_use]
    pub fn new(reader: Reader, control: Control, shared: &Arc<Shared>, audit: Arc<AuditLog>, runtime: Handle) -> Self {
        let parser = Mutex::new(Parser::new(shared.settings.load().limits.clone(), shared.key.clone()));
        let (allowance, counts, seal) = (Allowance::default(), Counts::default(), Seal::new(&shared.key));
        let (shared, turn, workshop) = (Arc::downgrade(shared), tokio::sync::Mutex::default(), Workshop::new(runtime));
        Letters { reader, control, shared, parser, audit, turn, workshop, allowance, counts, seal }
    }

    /// Keeps every letter as it is until that is dropped.
    pub(super) async fn hold(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.turn.lock().await
    }

    /// Reads on a thread where reading much, or a disk that hangs, holds up nobody.
    async fn aside<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Letters) -> Result<T, LetterError> + Send + 'static,
    ) -> Result<T, LetterError> {
        let letters = Arc::clone(self);
        let read = tokio::task::spawn_blocking(move || read(&letters)).await;
        read.unwrap_or(Err(LetterError::Refused(Refusal::ShuttingDown)))
    }

    async fn get_aside(self: &Arc<Self>, id: u64, asker: &Asker) -> Result<Kept, LetterError> {
        let whose = asker.whose().clone();
        self.aside(move |letters| letters.get(id, &whose)).await
    }

    /// One that is within reach. Blocks.
    fn get(&self, id: u64, whose: &Whose) -> Result<Kept, LetterError> {
        let stored = self.reader.get(Family::Dead, &id.to_be_bytes())?;
        let stored = stored.ok_or(LetterError::Missing(id))?;
        let found = decode_dead_letter(&stored);
        if !whose.holds(found.as_ref().map(|(head, _)| head)) {
            return Err(LetterError::Missing(id));
        }
        let (head, raw) = found.ok_or(LetterError::Unreadable(id))?;
        Ok(Kept { id, head, raw: raw.to_vec(), beside: Beside::load(&self.reader, id)? })
    }
}
