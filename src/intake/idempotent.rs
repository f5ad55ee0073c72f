//! The `Idempotency-Key` header: claim a key, or answer for it.

use super::acceptor::Acceptor;
use super::answer::{Answer, JSON, PROBLEM, json_answer, problem};
use crate::access::Caller;
use crate::commit::{Begin, Claim, Remembered};
use hyper::StatusCode;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, RETRY_AFTER};

/// Longest key in bytes.
const KEY_BYTES_MAX: usize = 255;

/// Claims the request's key; `None` without one, an answer where the request must not run.
pub(super) fn claim(
    acceptor: &Acceptor,
    caller: &Caller,
    headers: &HeaderMap,
    request: &[&[u8]],
) -> Result<Option<Claim>, Box<Answer>> {
    let mut values = headers.get_all("idempotency-key").iter();
    let Some(value) = values.next() else { return Ok(None) };
    if values.next().is_some() {
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, "Idempotency-Key stands more than once")));
    }
    let key = value.as_bytes();
    let key = key.strip_prefix(b"\"").and_then(|key| key.strip_suffix(b"\"")).unwrap_or(key);
    if key.is_empty() || key.len() > KEY_BYTES_MAX {
        let detail = format!("Idempotency-Key must have 1 to {KEY_BYTES_MAX} bytes");
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, &detail)));
    }
    match acceptor.shared.idempotency.begin(&caller.tenant, key, request) {
        Ok(Begin::First(claim)) => Ok(Some(claim)),
        Ok(Begin::Repeat(answer)) => Err(Box::new(repeat(answer))),
        Ok(Begin::Running) => {
            let mut answer =
                problem(StatusCode::CONFLICT, "the first request with this Idempotency-Key is still running");
            answer.headers_mut().insert(RETRY_AFTER, HeaderValue::from_static("1"));
            Err(Box::new(answer))
        }
        Ok(Begin::Mismatch) => Err(Box::new(problem(
            StatusCode::UNPROCESSABLE_ENTITY,
            "this Idempotency-Key was used for another request",
        ))),
        Err(error) => {
            tracing::error!(%error, "cannot look up an idempotency key");
            Err(Box::new(problem(StatusCode::INTERNAL_SERVER_ERROR, "the key could not be looked up")))
        }
    }
}

/// An answer as it is stored, given for the first time.
pub(super) fn first(answer: Remembered) -> Answer {
    let status = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::ACCEPTED);
    let kind = content_type(&answer);
    let mut http = json_answer(status, answer.body);
    http.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    http
}

/// A batch that failed whole has the shape of a batch, everything else that failed that of a problem.
pub(super) fn content_type(answer: &Remembered) -> &'static str {
    if answer.status >= 400 && !answer.body.starts_with(b"{\"batchId\"") { PROBLEM } else { JSON }
}

fn repeat(answer: Remembered) -> Answer {
    let mut http = first(answer);
    http.headers_mut().insert("idempotency-replayed", HeaderValue::from_static("true"));
    http
}
