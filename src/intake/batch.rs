//! `POST /events/batch`: up to 1,000 events, each with its own outcome, or all or nothing.

use super::acceptor::{Acceptor, Trace};
use super::answer::{
    Answer, DIFFERS, DUPLICATE_DIFFERS, dead_letter, message, problem_body, put_durability, refused, uuid,
};
use super::body::{self, Arriving, Kind};
use super::delivery::Wait;
use super::options::{awaited, batch_options};
use super::single::reject;
use super::toll::Toll;
use super::{entry, idempotent};
use crate::access::Caller;
use crate::commit::{Claim, Permit, Reject, Remembered, Submission};
use crate::metrics::Stage;
use event::{Batch, Durability, Receipt, Refusal, RejectCode, Rejection, Source, UnixMicros, Verdict};
use hyper::StatusCode;
use hyper::http::request::Parts;
use prepare::{BatchError, BatchOptions, BatchSummary, Failure};
use serde_json::{Value, json};
use std::rc::Rc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Instant;

/// A body that was split into events.
struct Split {
    batch: Batch,
    failures: Vec<Failure>,
    summary: BatchSummary,
}

/// Answers one batch.
///
/// # Errors
/// The answer that refuses it.
pub(super) async fn post(
    acceptor: &Acceptor,
    caller: &Rc<Caller>,
    head: &Parts,
    body: &mut Arriving,
    trace: &Trace,
) -> Result<Answer, Box<Answer>> {
    let (headers, query) = (&head.headers, head.uri.query().unwrap_or_default());
    let kind = body::kind(headers, true)?;
    let options = batch_options(query)?;
    let wait = Wait::for_sinks(acceptor, awaited(query, &acceptor.shared.sinks)?, 0)?;
    let mut permit =
        acceptor.shared.admission.enter().map_err(|reason| Box::new(acceptor.refuse_request(reason, 0)))?;
    let bytes = body::read(acceptor, caller, headers, body, &mut permit).await?;
    let started = Instant::now();
    let now = UnixMicros::now();
    let ndjson: &[u8] = if kind == Kind::NdJson { b"ndjson" } else { b"json" };
    let claim = idempotent::claim(acceptor, caller, headers, &[b"batch", ndjson, query.as_bytes(), &bytes])?;
    let mut batch = Batch::new(&caller.tenant, Source::Http, now);
    batch.traceparent = trace.carried();
    let room = body::room_to_parse(acceptor, kind, &bytes, &permit, 0)?;
    let split = split(acceptor, kind, batch, &bytes, options, now);
    drop(room);
    let split = match split {
        Ok(split) => split,
        Err(error) => {
            let nothing = Batch::new(&caller.tenant, Source::Http, now);
            return unreadable(acceptor, &error, &bytes, Submission::new(nothing, permit), claim).await;
        }
    };
    acceptor.recorder.record(Stage::Parse, started.elapsed());
    let events = u64::from(split.summary.total);
    acceptor.shared.metrics.received.fetch_add(events, Relaxed);
    // A claim that is let go of here is free for the next try.
    let mut toll = entry::pay_events(acceptor, caller, events)?;
    let answer = store(acceptor, &mut toll, split, &bytes, permit, claim, wait).await;
    let mut answer = answer.unwrap_or_else(|refused| *refused);
    entry::tell_standing(acceptor, &mut answer, toll.end());
    Ok(answer)
}

fn split(
    acceptor: &Acceptor,
    kind: Kind,
    mut batch: Batch,
    bytes: &[u8],
    options: BatchOptions,
    now: UnixMicros,
) -> Result<Split, BatchError> {
    let mut failures = Vec::new();
    let mut parser = acceptor.parser();
    let summary = match kind {
        Kind::Json => parser.batch(bytes, options, now, &mut batch, &mut failures),
        Kind::NdJson => parser.ndjson(bytes, options, now, &mut batch, &mut failures),
    }?;
    Ok(Split { batch, failures, summary })
}

async fn store(
    acceptor: &Acceptor,
    toll: &mut Toll<'_>,
    split: Split,
    bytes: &[u8],
    permit: Permit,
    claim: Option<Claim>,
    wait: Wait,
) -> Result<Answer, Box<Answer>> {
    let Split { mut batch, failures, summary } = split;
    let metrics = &acceptor.shared.metrics;
    let aborted = summary.fail_on_error && !failures.is_empty();
    if aborted {
        let refused = batch.entries.len() as u64;
        metrics.refuse(Refusal::BatchAborted, refused);
        toll.give_back(refused);
        batch.entries.clear();
        batch.records.clear();
    }
    let mut submission = Box::new(Submission::new(batch, permit));
    let rejects = failures.into_iter();
    submission.rejects = rejects.map(|failure| reject(failure.index, failure.rejection, &bytes[failure.raw])).collect();
    let shape = Shape { id: uuid(), total: summary.total, aborted, durability: acceptor.shared.durability };
    if let Some(mut claim) = claim {
        let shape = shape.clone();
        claim.answer_with(move |batch, rejects, receipt| shape.render(batch, rejects, receipt));
        submission.claim = Some(claim);
    }
    if submission.is_empty() {
        let now = Receipt { committed_at: UnixMicros::now(), verdicts: Vec::new(), dead_letters: Vec::new() };
        return Ok(idempotent::first(shape.render(&submission.batch, &[], &now)));
    }
    let mut submission = toll.commit(submission).await.map_err(|(reason, _)| Box::new(refused(reason)))?;
    let answer = submission.claim.take().and_then(Claim::into_answer);
    let receipt = submission.outcome.as_ref().map_err(|reason| Box::new(refused(*reason)))?;
    let answer = answer.unwrap_or_else(|| shape.render(&submission.batch, &submission.rejects, receipt));
    Ok(idempotent::first(wait.finish(acceptor, submission, answer).await))
}

/// A body that is no batch fails whole: counted once and kept as one dead letter, unless it merely is too large.
async fn unreadable(
    acceptor: &Acceptor,
    error: &BatchError,
    bytes: &[u8],
    submission: Submission,
    claim: Option<Claim>,
) -> Result<Answer, Box<Answer>> {
    let whole = WholeFailure::of(error);
    let mut submission = Box::new(submission);
    if let Some(code) = error.code() {
        acceptor.shared.metrics.received.fetch_add(1, Relaxed);
        submission.rejects.push(reject(0, Rejection::new(code, error.pointer(), error.to_string()), bytes));
    }
    if let Some(mut claim) = claim {
        let whole = whole.clone();
        claim.answer_with(move |_, _, receipt| whole.render(dead_letter(receipt, 0)));
        submission.claim = Some(claim);
    }
    if submission.is_empty() {
        return Ok(idempotent::first(whole.render(None)));
    }
    let submission = acceptor.commit(submission).await.map_err(|(reason, _)| Box::new(refused(reason)))?;
    let receipt = submission.outcome.as_ref().map_err(|reason| Box::new(refused(*reason)))?;
    Ok(idempotent::first(whole.render(dead_letter(receipt, 0))))
}

/// What is told of a body that failed whole.
#[derive(Clone)]
struct WholeFailure {
    detail: String,
    more: Vec<(&'static str, Value)>,
}

impl WholeFailure {
    fn of(error: &BatchError) -> Self {
        let detail = error.to_string();
        let code = error.code().map_or("invalid_batch", RejectCode::as_str);
        let mut more = vec![("code", code.into()), ("message", detail.clone().into())];
        more.push(("errors", json!([{"pointer": error.pointer(), "detail": detail}])));
        WholeFailure { detail, more }
    }

    /// The problem, with the dead letter that the body is kept as.
    fn render(&self, dead_letter: Option<u64>) -> Remembered {
        let mut more = self.more.clone();
        more.extend(dead_letter.map(|id| ("deadLetterId", id.to_string().into())));
        let status = StatusCode::BAD_REQUEST;
        Remembered { status: status.as_u16(), body: problem_body(status, &self.detail, &more).into_bytes() }
    }
}

/// What the answer needs besides the receipt.
#[derive(Clone)]
struct Shape {
    id: String,
    total: u32,
    aborted: bool,
    durability: Durability,
}

impl Shape {
    fn render(&self, batch: &Batch, rejects: &[Reject], receipt: &Receipt) -> Remembered {
        let failed = if self.aborted { self.total } else { rejects.len() as u32 };
        let duplicates = receipt.verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Duplicate { .. })).count();
        let mut body = json!({
            "batchId": self.id,
            "totalEvents": self.total,
            "successful": self.total - failed,
            "failed": failed,
            "duplicates": duplicates,
        });
        if failed > 0 {
            body["errors"] = rejects
                .iter()
                .map(|reject| format!("event {}: {}", reject.index, message(reject.rejection.first())))
                .collect();
        }
        let mut details = self.failures(rejects, receipt);
        // Behind those, for they are none: who counts `failed` of them has all that failed.
        details.extend(differing(batch, rejects, receipt));
        if !details.is_empty() {
            body["details"] = details.into();
        }
        body["processedAt"] = receipt.committed_at.to_string().into();
        let mut body = body.to_string().into_bytes();
        body.pop();
        put_durability(&mut body, self.durability);
        body.push(b'}');
        let status = if self.aborted { StatusCode::BAD_REQUEST } else { StatusCode::ACCEPTED };
        Remembered { status: status.as_u16(), body }
    }

    /// What is told of each event that failed.
    fn failures(&self, rejects: &[Reject], receipt: &Receipt) -> Vec<Value> {
        let bad = rejects.iter().enumerate().map(|(at, reject)| {
            let first = reject.rejection.first();
            let mut detail = json!({
                "index": reject.index,
                "code": reject.rejection.code.as_str(),
                "message": message(first),
            });
            if let Some(id) = &reject.rejection.event_id {
                detail["eventId"] = id.clone().into();
            }
            if !first.pointer.is_empty() {
                detail["pointer"] = first.pointer.clone().into();
            }
            if let Some(id) = dead_letter(receipt, at) {
                detail["deadLetterId"] = id.to_string().into();
            }
            (reject.index, detail)
        });
        let mut details: Vec<_> = bad.collect();
        if self.aborted {
            let known: std::collections::HashSet<u32> = details.iter().map(|(index, _)| *index).collect();
            details.extend((0..self.total).filter(|index| !known.contains(index)).map(|index| {
                let message = "not stored, because another event of this all-or-nothing batch was rejected";
                (index, json!({"index": index, "code": Refusal::BatchAborted.as_str(), "message": message}))
            }));
            details.sort_by_key(|(index, _)| *index);
        }
        details.into_iter().map(|(_, detail)| detail).collect()
    }
}

/// What is told of each duplicate whose content is not the first one's.
fn differing(batch: &Batch, rejects: &[Reject], receipt: &Receipt) -> Vec<Value> {
    let differs = |verdict: &Verdict| matches!(verdict, Verdict::Duplicate { differs: true, .. });
    if !receipt.verdicts.iter().any(differs) {
        return Vec::new();
    }
    // The good events have the places that the bad ones have left.
    let mut bad = rejects.iter().map(|reject| reject.index).peekable();
    let good = (0_u32..).filter(|index| bad.next_if_eq(index).is_none());
    let told = good.zip(batch.entries.iter().zip(&receipt.verdicts)).filter(|(_, (_, verdict))| differs(verdict));
    told.map(|(index, (entry, _))| {
        let mut detail = json!({"index": index, "code": DUPLICATE_DIFFERS, "message": DIFFERS});
        let id = [b"\"".as_slice(), batch.id_json(entry), b"\""].concat();
        if let Ok(id) = serde_json::from_slice::<Value>(&id) {
            detail["eventId"] = id;
        }
        detail
    })
    .collect()
}
