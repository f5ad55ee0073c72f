//! `POST /events`: one event, one answer.

use super::acceptor::{Acceptor, Trace};
use super::answer::{Answer, accepted, dead_letter, failure_body, refused, rejected};
use super::body::{self, Arriving, Kind};
use super::delivery::Wait;
use super::idempotent;
use super::options::awaited;
use super::toll::Toll;
use crate::access::Caller;
use crate::commit::{Permit, Reject, Remembered, Submission};
use crate::metrics::Stage;
use event::{Batch, Durability, Receipt, Refusal, RejectCode, Rejection, Source, UnixMicros};
use hyper::StatusCode;
use hyper::http::request::Parts;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// What such a request brings, be it refused before anything of it is read.
pub(super) const EVENTS: u64 = 1;

/// Answers one event, which is paid for where there is a place for it.
///
/// # Errors
/// The answer that refuses it.
pub(super) async fn post(
    acceptor: &Acceptor,
    caller: &Caller,
    head: &Parts,
    body: &mut Arriving,
    trace: &Trace,
    place: Result<Permit, Refusal>,
    toll: &mut Toll<'_>,
) -> Result<Answer, Box<Answer>> {
    let (headers, query) = (&head.headers, head.uri.query().unwrap_or_default());
    body::kind(headers, false)?;
    let wait = Wait::for_sinks(acceptor, awaited(query, &acceptor.shared.sinks)?, EVENTS)?;
    let mut permit = place.map_err(|reason| Box::new(acceptor.refuse_request(reason, EVENTS)))?;
    body.events = EVENTS;
    let bytes = body::read(acceptor, caller, headers, body, &mut permit).await?;
    let started = Instant::now();
    let now = UnixMicros::now();
    let claim = idempotent::claim(acceptor, caller, headers, &[b"single", query.as_bytes(), &bytes])?;
    let room = body::room_to_parse(acceptor, Kind::Json, &bytes, &permit, EVENTS)?;
    let mut submission = prepare(acceptor, caller, &bytes, trace.carried(), permit, started, now);
    drop(room);
    if let Some(mut claim) = claim {
        let durability = acceptor.shared.durability;
        claim.answer_with(move |batch, rejects, receipt| render(batch, rejects, receipt, durability));
        submission.claim = Some(claim);
    }
    let (answer, submission) = stored(acceptor, toll, submission).await.map_err(|reason| Box::new(refused(reason)))?;
    Ok(idempotent::first(wait.finish(acceptor, submission, answer).await))
}

/// Parses the body, which was whole at `started`, and counts the event in it.
pub(super) fn prepare(
    acceptor: &Acceptor,
    caller: &Caller,
    body: &[u8],
    traceparent: Option<Box<str>>,
    permit: Permit,
    started: Instant,
    now: UnixMicros,
) -> Box<Submission> {
    let mut submission = Box::new(Submission::new(Batch::new(&caller.tenant, Source::Http, now), permit));
    submission.batch.traceparent = traceparent;
    let parsed = acceptor.parser().single(body, now, &mut submission.batch);
    acceptor.shared.metrics.received.fetch_add(1, Relaxed);
    if let Err(rejection) = parsed {
        submission.rejects.push(reject(0, rejection, body));
    }
    acceptor.recorder.record(Stage::Parse, started.elapsed());
    submission
}

/// Commits the event and says what became of it.
///
/// # Errors
/// Why it was not stored.
pub(super) async fn settle(
    acceptor: &Acceptor,
    toll: &mut Toll<'_>,
    submission: Box<Submission>,
) -> Result<Remembered, Refusal> {
    stored(acceptor, toll, submission).await.map(|(answer, _)| answer)
}

/// The same, and the event as it came back.
async fn stored(
    acceptor: &Acceptor,
    toll: &mut Toll<'_>,
    submission: Box<Submission>,
) -> Result<(Remembered, Box<Submission>), Refusal> {
    let mut submission = toll.commit(submission).await.map_err(|(reason, _)| reason)?;
    let answer = submission.claim.take().and_then(crate::commit::Claim::into_answer);
    let Submission { batch, rejects, outcome, .. } = &*submission;
    let receipt = outcome.as_ref().map_err(|reason| *reason)?;
    let answer = answer.unwrap_or_else(|| render(batch, rejects, receipt, acceptor.shared.durability));
    Ok((answer, submission))
}

/// A reject with its bytes, unless they are what is wrong with it.
pub(super) fn reject(index: u32, rejection: Rejection, raw: &[u8]) -> Reject {
    let keep = rejection.code != RejectCode::EventTooLarge && raw.len() <= KEPT_BYTES_MAX;
    Reject { index, rejection, raw: keep.then(|| raw.into()) }
}

/// Largest bad text that is kept; anything larger is only counted.
const KEPT_BYTES_MAX: usize = 256 << 10;

fn render(batch: &Batch, rejects: &[Reject], receipt: &Receipt, durability: Durability) -> Remembered {
    match (batch.entries.first(), receipt.verdicts.first(), rejects.first()) {
        (Some(entry), Some(verdict), _) => {
            let body = accepted(batch.id_json(entry), *verdict, receipt.committed_at, durability);
            Remembered { status: StatusCode::ACCEPTED.as_u16(), body }
        }
        (_, _, Some(reject)) => Remembered {
            status: StatusCode::BAD_REQUEST.as_u16(),
            body: rejected(&reject.rejection, receipt.committed_at, dead_letter(receipt, 0)),
        },
        _ => Remembered { status: StatusCode::INTERNAL_SERVER_ERROR.as_u16(), body: failure_body().into_bytes() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_without_an_outcome_is_our_failure_and_says_so() {
        let batch = Batch::new("default", Source::Http, UnixMicros::default());
        let receipt = Receipt { committed_at: UnixMicros::default(), verdicts: Vec::new(), dead_letters: Vec::new() };
        let answer = render(&batch, &[], &receipt, Durability::Fsync);
        assert_eq!(answer.status, 500);
        let problem: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!((&problem["status"], &problem["title"]), (&500.into(), &"Internal Server Error".into()));
    }
}
