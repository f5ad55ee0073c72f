//! What a client is told of its limits: the answer when one is used up, and how it stands (header fields of
//! draft-ietf-httpapi-ratelimit-headers).

use super::answer::{Answer, PROBLEM, json_answer, problem_body, put_number, refusal_status};
use crate::access::limits::{Exceeded, Limit, Standing};
use event::Refusal;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, RETRY_AFTER};

/// How a client stands.
const RATE_LIMIT: HeaderName = HeaderName::from_static("ratelimit");
/// Which limits there are.
const RATE_LIMIT_POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// The reason for a limit that is used up.
pub(super) fn reason(exceeded: &Exceeded) -> Refusal {
    match exceeded.limit {
        Limit::TenantDay => Refusal::QuotaExceeded,
        _ => Refusal::RateLimited,
    }
}

/// 429, with the limit and when to try again.
pub(super) fn limited(exceeded: &Exceeded, policy: &str) -> Answer {
    let reason = reason(exceeded);
    let (limit, wait_s) = (exceeded.limit.as_str(), exceeded.wait_s());
    let detail = format!("the limit {limit} is used up; try again in {wait_s} s");
    let more = [("reason", reason.as_str().into()), ("limit", limit.into())];
    let mut answer = json_answer(refusal_status(reason), problem_body(refusal_status(reason), &detail, &more));
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM));
    headers.insert(RETRY_AFTER, wait_s.into());
    put(headers, policy, &field(exceeded.limit, 0, wait_s));
    answer
}

/// Says in an answer how the client stands, unless that is said already.
pub(super) fn put_standing(headers: &mut HeaderMap, policy: &str, standing: &Standing) {
    if !headers.contains_key(RATE_LIMIT) {
        put(headers, policy, &standing_field(standing));
    }
}

/// The `RateLimit` field of the limit that is nearest to its end.
pub(super) fn standing_field(standing: &Standing) -> Vec<u8> {
    field(standing.limit, standing.left, standing.full_in_s)
}

/// What is left (`r`), and the seconds until there is more, or all of it again (`t`).
fn field(limit: Limit, left: u64, seconds: u64) -> Vec<u8> {
    let mut out = Vec::with_capacity(48);
    out.push(b'"');
    out.extend_from_slice(limit.as_str().as_bytes());
    out.extend_from_slice(b"\";r=");
    put_number(&mut out, left);
    out.extend_from_slice(b";t=");
    put_number(&mut out, seconds);
    out
}

fn put(headers: &mut HeaderMap, policy: &str, standing: &[u8]) {
    if let (Ok(policy), Ok(standing)) = (HeaderValue::from_str(policy), HeaderValue::from_bytes(standing)) {
        headers.insert(RATE_LIMIT_POLICY, policy);
        headers.insert(RATE_LIMIT, standing);
    }
}
