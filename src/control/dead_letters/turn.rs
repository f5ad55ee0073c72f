//! What is waited for before anything is done, and for how long.

use super::{Asker, LetterError, Letters};
use crate::access::Scope;
use crate::intake::Shared;
use event::{Refusal, UnixMicros};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::MutexGuard;

impl Letters {
    /// Waits for an order's turn, and looks at what the order is about; where that takes too long, nothing is done.
    pub(super) async fn at_its_turn<T>(
        &self,
        asker: &Asker,
        look: impl Future<Output = Result<T, LetterError>>,
    ) -> Result<(MutexGuard<'_, ()>, T), LetterError> {
        let looked = async {
            let turn = self.turn.lock().await;
            let seen = look.await;
            self.may_still(asker, Scope::Manage)?;
            Ok((turn, seen?))
        };
        self.in_time(looked).await
    }

    /// What is to be had as long as a request may wait for the log.
    pub(super) async fn in_time<T>(
        &self,
        wanted: impl Future<Output = Result<T, LetterError>>,
    ) -> Result<T, LetterError> {
        let patience = self.shared()?.settings.load().deadlines.request;
        tokio::time::timeout(patience, wanted).await.unwrap_or(Err(LetterError::Late(patience)))
    }

    /// Whether whoever asks would be let in again: a key may have been revoked while its turn was waited for.
    pub(super) fn may_still(&self, asker: &Asker, group: Scope) -> Result<(), LetterError> {
        let Asker::Remote(remote) = asker else { return Ok(()) };
        let shared = self.shared()?;
        shared.access.standing(&remote.caller, group, UnixMicros::now()).map_err(|failure| {
            shared.metrics.turn_away(failure);
            LetterError::TurnedAway(failure, group)
        })
    }

    /// What requests go by.
    pub(super) fn shared(&self) -> Result<Arc<Shared>, LetterError> {
        self.shared.upgrade().ok_or(LetterError::Refused(Refusal::ShuttingDown))
    }
}
