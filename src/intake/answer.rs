//! What goes back: JSON bodies written by hand on the hot path, problem+json (RFC 9457) for errors.

use bytes::Bytes;
use event::{Durability, FieldError, Receipt, Refusal, Rejection, UnixMicros, Verdict};
use http_body_util::Full;
use hyper::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use hyper::{Response, StatusCode};
use serde_json::json;

/// An HTTP answer.
pub type Answer = Response<Full<Bytes>>;

/// Seconds after which a refused client should try again.
pub(super) const RETRY_AFTER_S: u16 = 1;

/// Content types of answers.
pub(super) const JSON: &str = "application/json";
pub(super) const PROBLEM: &str = "application/problem+json";

/// A JSON answer.
pub(super) fn json_answer(status: StatusCode, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(Full::new(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(JSON));
    answer
}

/// A problem+json answer; `title` is the status's own.
#[must_use]
pub fn problem(status: StatusCode, detail: &str) -> Answer {
    problem_with(status, detail, &[])
}

/// A problem+json answer with more members.
pub(super) fn problem_with(status: StatusCode, detail: &str, more: &[(&str, serde_json::Value)]) -> Answer {
    let mut answer = json_answer(status, problem_body(status, detail, more));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    answer
}

/// The text of a problem.
pub(super) fn problem_body(status: StatusCode, detail: &str, more: &[(&str, serde_json::Value)]) -> String {
    let mut body = json!({
        "type": "about:blank",
        "title": status.canonical_reason().unwrap_or("Error"),
        "status": status.as_u16(),
        "detail": detail,
    });
    for (name, value) in more {
        body[*name] = value.clone();
    }
    body.to_string()
}

/// The problem that tells of a mistake of ours; whatever it has left undone, or done, a repeat finds out.
pub(super) fn failure_body() -> String {
    let detail = "this request met a mistake in the daemon; whether it was stored is unknown, send it again";
    problem_body(StatusCode::INTERNAL_SERVER_ERROR, detail, &[])
}

/// The answer with [`failure_body`].
pub(super) fn failed() -> Answer {
    let mut answer = json_answer(StatusCode::INTERNAL_SERVER_ERROR, failure_body());
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    answer
}

/// 429 where the client is the reason, else 503.
pub(super) fn refusal_status(reason: Refusal) -> StatusCode {
    match reason {
        Refusal::RateLimited | Refusal::QuotaExceeded | Refusal::AddressShare => StatusCode::TOO_MANY_REQUESTS,
        _ => StatusCode::SERVICE_UNAVAILABLE,
    }
}

/// The answer for a refusal, with `Retry-After`.
pub(super) fn refused(reason: Refusal) -> Answer {
    let mut answer = json_answer(refusal_status(reason), refusal_body(reason));
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    answer
}

/// The answer to a request of a connection that could not begin any more as it has.
pub(super) fn outdated() -> Answer {
    let detail = "how connections begin has changed since this one did; connect again";
    let mut answer = problem(StatusCode::SERVICE_UNAVAILABLE, detail);
    answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    answer
}

/// The answer in the place of a large one for which there is no room now.
pub(super) fn crowded_out() -> Answer {
    let detail = "large answers that are not read take all the room there is for them; ask again. What was asked for may \
                  have been done";
    let reason = Refusal::Overloaded.as_str();
    let mut answer = problem_with(StatusCode::SERVICE_UNAVAILABLE, detail, &[("reason", reason.into())]);
    answer.headers_mut().insert(RETRY_AFTER, RETRY_AFTER_S.into());
    answer
}

/// The problem that tells of a refusal.
pub(super) fn refusal_body(reason: Refusal) -> String {
    let detail = match reason {
        Refusal::Overloaded => "all slots between socket and log are in use; try again",
        Refusal::DiskReserve => "free disk space is below the reserve; try again once the operator has made room",
        Refusal::LogBudget => "the log has reached its budget because a sink is behind; try again later",
        Refusal::ShuttingDown => "the daemon is stopping; try again",
        Refusal::StorageFailed => {
            "the log cannot be written; whether this request was stored is unknown, send it again"
        }
        Refusal::LogStalled => "the disk does not answer; try again later",
        Refusal::BatchAborted => "another event of the batch was rejected",
        Refusal::RateLimited => "more is sent than is allowed; slow down and try again",
        Refusal::QuotaExceeded => "the tenant has sent all that it may on this day (UTC)",
        Refusal::AddressShare => {
            "too much of this address is on its way at once; try again when some of it has arrived"
        }
        _ => "the outcome is unknown; send the request again, duplicates are dropped",
    };
    problem_body(refusal_status(reason), detail, &[("reason", reason.as_str().into())])
}

/// Appends `,"durability":"…"` where the promise is weaker than fsync.
pub(super) fn put_durability(out: &mut Vec<u8>, durability: Durability) {
    if durability != Durability::Fsync {
        out.extend_from_slice(b",\"durability\":\"");
        out.extend_from_slice(durability.as_str().as_bytes());
        out.push(b'"');
    }
}

/// The body of a 202 for one event.
pub(super) fn accepted(id_json: &[u8], verdict: Verdict, at: UnixMicros, durability: Durability) -> Vec<u8> {
    let mut out = Vec::with_capacity(id_json.len() + 128);
    out.extend_from_slice(b"{\"eventId\":\"");
    out.extend_from_slice(id_json);
    out.extend_from_slice(b"\",\"status\":\"accepted\",\"timestamp\":\"");
    at.put_rfc3339(&mut out);
    out.extend_from_slice(b"\",\"seq\":");
    put_number(&mut out, verdict.seq().get());
    put_duplicate(&mut out, verdict);
    put_durability(&mut out, durability);
    out.push(b'}');
    out
}

/// What is said of a duplicate whose content is not the first one's.
pub(super) const DIFFERS: &str = "an event with this id but other content was accepted before; this one was dropped";
/// The code of that, among what is told of a batch.
pub(super) const DUPLICATE_DIFFERS: &str = "duplicate_differs";

/// Appends what tells a duplicate from an event that is new.
pub(super) fn put_duplicate(out: &mut Vec<u8>, verdict: Verdict) {
    let Verdict::Duplicate { differs, .. } = verdict else { return };
    out.extend_from_slice(b",\"duplicate\":true");
    if differs {
        out.extend_from_slice(b",\"message\":\"");
        out.extend_from_slice(DIFFERS.as_bytes());
        out.push(b'"');
    }
}

/// The body of a 400 for one event.
pub(super) fn rejected(rejection: &Rejection, at: UnixMicros, dead_letter: Option<u64>) -> Vec<u8> {
    let first = rejection.first();
    let errors: Vec<_> = rejection.errors.iter().map(field).collect();
    let mut body = json!({
        "eventId": rejection.event_id,
        "status": "rejected",
        "timestamp": at.to_string(),
        "message": message(first),
        "code": rejection.code.as_str(),
        "errors": errors,
        "type": "about:blank",
        "title": "Bad Request",
        "detail": message(first),
    });
    if let Some(id) = dead_letter {
        body["deadLetterId"] = id.to_string().into();
    }
    body.to_string().into_bytes()
}

fn field(error: &FieldError) -> serde_json::Value {
    json!({"pointer": error.pointer, "detail": error.detail})
}

/// One line for a person.
pub(super) fn message(error: &FieldError) -> String {
    if error.pointer.is_empty() { error.detail.clone() } else { format!("{}: {}", error.pointer, error.detail) }
}

/// Appends a decimal number.
pub(super) fn put_number(out: &mut Vec<u8>, number: u64) {
    out.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
}

/// The dead-letter id of the n-th reject.
pub(super) fn dead_letter(receipt: &Receipt, reject: usize) -> Option<u64> {
    receipt.dead_letters.get(reject).copied().flatten()
}

/// A random UUID (RFC 9562, version 4).
pub(super) fn uuid() -> String {
    let mut bytes: [u8; 16] = rand::random();
    bytes[6] = (bytes[6] & 0x0f) | 0x40;
    bytes[8] = (bytes[8] & 0x3f) | 0x80;
    let hex = |range: std::ops::Range<usize>| {
        bytes[range].iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
    };
    format!("{}-{}-{}-{}-{}", hex(0..4), hex(4..6), hex(6..8), hex(8..10), hex(10..16))
}
