//! What the audit log has of orders over HTTP.
//!
//! What changes something is two entries, as everywhere: `begun` once it is known what there is to change and before
//! anything is, and what came of it. An order that finds nothing to change is one entry, or only counted where its caller
//! has had his of them ([`super::allowance`]); how many those were is an entry of its own for each kind.

use super::super::audit::{Actor, Entry, Outcome, Via};
use super::allowance::{Who, who};
use super::asker::{Asker, Remote};
use super::{Command, LetterError, Letters};
use crate::access::{Caller, Credential};
use crate::intake::Order;
use event::UnixMicros;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

/// How long orders are counted before their number is written.
const COUNTED_FOR: Duration = Duration::from_secs(600);
/// Kinds that are counted at once; what is of a further one is recorded.
const KINDS_MAX: usize = 1024;

/// Orders of one kind that have changed nothing and have no entries of their own.
struct Count {
    /// The newest of them.
    entry: Entry,
    more: u64,
    since: UnixMicros,
    until: UnixMicros,
}

/// Whose, which action, and whether it failed.
type Kind = (Who, String, bool);

/// All that are counted.
#[derive(Default)]
pub(super) struct Counts(Mutex<BTreeMap<Kind, Count>>);

impl Counts {
    fn all(&self) -> MutexGuard<'_, BTreeMap<Kind, Count>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Counts an order, if there is room for its kind; whether it is the first of all.
    fn count(&self, who: Who, entry: Entry, now: UnixMicros) -> Option<bool> {
        let mut counts = self.all();
        let is_first = counts.is_empty();
        let kind = (who, entry.action.clone(), entry.outcome == Outcome::Failed);
        if counts.len() >= KINDS_MAX && !counts.contains_key(&kind) {
            return None;
        }
        let (more, since) = counts.get(&kind).map_or((0, now), |before| (before.more, before.since));
        counts.insert(kind, Count { entry, more: more + 1, since, until: now });
        Some(is_first)
    }

    /// What is to be said of them.
    fn take(&self) -> Vec<Entry> {
        let counts = std::mem::take(&mut *self.all());
        let told = counts.into_values().map(|Count { mut entry, more, since, until }| {
            entry.details["more"] = more.into();
            entry.details["since"] = since.to_string().into();
            entry.details["until"] = until.to_string().into();
            entry
        });
        told.collect()
    }
}

impl Letters {
    /// Carries an order out, and has the audit log say so.
    pub(super) async fn recorded(
        self: &Arc<Self>,
        command: Command,
        (action, target): (&'static str, Option<u64>),
        order: Order,
    ) -> Result<Value, LetterError> {
        let Order { whose, caller, body, permit: _permit, .. } = order;
        let mut asked = told_of(&caller);
        if target.is_none() {
            asked["filter"] = serde_json::from_slice(&body).unwrap_or_default();
        }
        let entry = Entry::new(Actor::unknown(Via::Http), action).on(target.map(|id| id.to_string())).with(asked);
        let asker = Asker::Remote(Box::new(Remote { whose, caller, order: Some(entry), begun: OnceLock::new() }));
        let done = self.run(command, &asker).await;
        let (outcome, told) = match &done {
            Ok(result) if target.is_none() => (Outcome::Done, in_short(result)),
            Ok(_) => (Outcome::Done, json!({})),
            Err(error) => (Outcome::Failed, json!({"error": error.to_string()})),
        };
        self.end(&asker, outcome, told).await?;
        done
    }

    /// Says that something is about to be changed. Before that nothing is; where it cannot be said, nothing is at all.
    pub(super) async fn begin(&self, asker: &Asker) -> Result<(), LetterError> {
        let Some((remote, entry)) = asker.order() else { return Ok(()) };
        self.allowance.change(&who(&remote.caller)).map_err(LetterError::TooMany)?;
        let seq = self.append(entry.clone().outcome(Outcome::Begun)).await?;
        remote.begun.get_or_init(|| seq);
        Ok(())
    }

    /// Says what has come of it.
    async fn end(self: &Arc<Self>, asker: &Asker, outcome: Outcome, told: Value) -> Result<(), LetterError> {
        let Some((remote, entry)) = asker.order() else { return Ok(()) };
        let mut entry = entry.clone().outcome(outcome);
        if let Some(of) = remote.begun.get() {
            return self.append(Entry { of: Some(*of), ..entry.with(told) }).await.map(drop);
        }
        // Nothing was changed, and nobody has been named yet.
        for (name, value) in told.as_object().into_iter().flatten() {
            entry.details[name] = value.clone();
        }
        let who = who(&remote.caller);
        if self.allowance.remark(&who) {
            return self.append(entry).await.map(drop);
        }
        let kind = Entry { target: None, ..entry.clone().with(told_of(&remote.caller)) };
        match self.counts.count(who, kind, UnixMicros::now()) {
            None => self.append(entry).await.map(drop),
            Some(false) => Ok(()),
            Some(true) => {
                let letters = Arc::clone(self);
                tokio::spawn(async move {
                    tokio::time::sleep(COUNTED_FOR).await;
                    letters.sum_up().await;
                });
                Ok(())
            }
        }
    }

    /// Says how many orders were only counted.
    pub(super) async fn sum_up(&self) {
        for entry in self.counts.take() {
            let (action, details) = (entry.action.clone(), entry.details.clone());
            if let Err(error) = self.append(entry).await {
                tracing::error!(%error, %action, %details, "orders that have changed nothing are not on record");
            }
        }
    }

    /// Appends an entry, on a thread where a disk that hangs holds up nobody else.
    async fn append(&self, entry: Entry) -> Result<u64, LetterError> {
        let audit = Arc::clone(&self.audit);
        let recorded = tokio::task::spawn_blocking(move || audit.append(&entry)).await;
        let refused = |error: String| LetterError::NotRecorded(error);
        recorded.map_err(|error| refused(error.to_string()))?.map_err(|error| refused(error.to_string()))
    }
}

/// What the audit log has of whoever asks: by what he is known, never what he has shown.
fn told_of(caller: &Caller) -> Value {
    let mut told = json!({"address": caller.address.to_string(), "tenant": caller.tenant});
    if let Credential::Key(id) = caller.credential {
        told["key"] = id.to_string().into();
    }
    for (name, known) in [("subject", &caller.subject), ("certificate", &caller.certificate)] {
        if let Some(known) = known {
            told[name] = known.as_ref().into();
        }
    }
    told
}

/// What has come of many, in numbers: how long a list of each would be is for whoever asks to say.
fn in_short(result: &Value) -> Value {
    let members = result.as_object().into_iter().flatten();
    let short = members.map(|(name, value)| match value.as_array() {
        Some(list) => (name.clone(), list.len().into()),
        None => (name.clone(), value.clone()),
    });
    short.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_record_names_what_is_known_of_the_caller_and_nothing_else() {
        let anonymous = Caller::anonymous("127.0.0.1".parse().unwrap());
        assert_eq!(told_of(&anonymous), json!({"address": "127.0.0.1", "tenant": "default"}));
        let certificate = Some("CN=till-7".into());
        let credential = Credential::Jwt { expires_at_s: 1, signer: 2 };
        let known = Caller { credential, subject: Some("anna".into()), certificate, ..anonymous };
        assert_eq!(
            told_of(&known),
            json!({"address": "127.0.0.1", "tenant": "default", "subject": "anna", "certificate": "CN=till-7"})
        );
    }

    #[test]
    fn what_is_counted_is_told_by_kind_and_of_further_kinds_nothing_is_counted() {
        let counts = Counts::default();
        let whose = |key| (Box::from("tenant"), Some(key), None);
        let entry = |outcome| Entry::new(Actor::unknown(Via::Http), "dead_letter_purge").outcome(outcome);
        let at = UnixMicros::new;
        assert_eq!(counts.count(whose(1), entry(Outcome::Failed), at(1)), Some(true));
        assert_eq!(counts.count(whose(1), entry(Outcome::Failed), at(2)), Some(false));
        assert_eq!(counts.count(whose(1), entry(Outcome::Done), at(3)), Some(false));
        let told = counts.take();
        let more: Vec<_> = told.iter().map(|entry| (entry.outcome, entry.details["more"].as_u64())).collect();
        assert_eq!(more, [(Outcome::Done, Some(1)), (Outcome::Failed, Some(2))]);
        assert_eq!(told[1].details["since"], at(1).to_string());
        assert_eq!(told[1].details["until"], at(2).to_string());
        for key in 0..KINDS_MAX as u64 {
            assert_eq!(counts.count(whose(key), entry(Outcome::Done), at(4)), Some(key == 0));
        }
        assert_eq!(counts.count(whose(u64::MAX), entry(Outcome::Done), at(5)), None);
        assert_eq!(counts.count(whose(0), entry(Outcome::Done), at(5)), Some(false));
        assert_eq!(counts.take().len(), KINDS_MAX);
    }

    #[test]
    fn of_many_the_record_has_numbers() {
        let result = json!({"accepted": 2, "results": [{"id": "1"}, {"id": "2"}], "nextCursor": null});
        assert_eq!(in_short(&result), json!({"accepted": 2, "results": 2, "nextCursor": null}));
    }
}
