use crate::client::Reply;
use crate::outcome::{Reason, clip};
use event::Refusal;
use hyper::StatusCode;
use serde_json::Value;
use std::time::Duration;

/// What a reply means for the events that were sent.
#[derive(Debug, PartialEq)]
pub(crate) enum Verdict {
    /// Each event has its answer.
    Answered(Answered),
    /// The request holds too many events, or too large ones; nothing was stored.
    TooBig {
        /// How many events the server takes, if it says so.
        limit: Option<usize>,
        /// For the case that it cannot be made smaller.
        reason: Reason,
    },
    /// Not now.
    Later {
        reason: String,
        /// How long the server wants to be left alone.
        wait: Option<Duration>,
        /// The events may have been stored all the same.
        unclear: bool,
    },
    /// None of them can ever be accepted as it is.
    Rejected(Reason),
    /// This server does not take anything from this sender.
    Hopeless(String),
}

/// How the events of a request fared. Those that are not named were accepted or duplicates.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Answered {
    pub(crate) accepted: u64,
    pub(crate) duplicates: u64,
    /// By index.
    pub(crate) rejected: Vec<(usize, Reason)>,
    /// Rejected, but the answer does not say which they are.
    pub(crate) rejected_somewhere: u64,
    /// Indexes, ascending, of those that were refused for now.
    pub(crate) refused: Vec<usize>,
}

/// Reads the reply to a request of `events` events.
pub(crate) fn judge(reply: &Reply, events: usize, single: bool) -> Verdict {
    let (status, retry_after, body) = match reply {
        Reply::None { reason, unclear } => {
            return Verdict::Later { reason: clip(reason), wait: None, unclear: *unclear };
        }
        Reply::Answer { status, retry_after, body } => (*status, *retry_after, body),
    };
    let parsed: Value = serde_json::from_slice(body).unwrap_or(Value::Null);
    if status == StatusCode::ACCEPTED {
        let answered = if single { read_single(&parsed) } else { read_batch(&parsed, events) };
        return answered.map_or_else(
            || Verdict::Hopeless("the answer is not one of ingestd: is the URL right?".to_owned()),
            Verdict::Answered,
        );
    }
    let reason = problem(status, &parsed);
    match status {
        StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
            later(status, &reason, retry_after, false)
        }
        StatusCode::CONFLICT if retry_after.is_some() => later(status, &reason, retry_after, false),
        status if status.is_server_error() => later(status, &reason, retry_after, true),
        StatusCode::PAYLOAD_TOO_LARGE => Verdict::TooBig { limit: None, reason },
        StatusCode::BAD_REQUEST => match size_limit(&parsed) {
            Some(limit) => Verdict::TooBig { limit: Some(limit), reason },
            None => Verdict::Rejected(reason),
        },
        status if status.is_client_error() && !concerns_all_requests(status) => Verdict::Rejected(reason),
        status => Verdict::Hopeless(describe(status, &reason)),
    }
}

/// Client errors that the next request would meet as well: the events are not to blame.
fn concerns_all_requests(status: StatusCode) -> bool {
    matches!(status.as_u16(), 401..=407 | 411 | 414 | 415 | 417 | 421 | 426 | 431)
}

fn later(status: StatusCode, reason: &Reason, wait: Option<Duration>, unclear: bool) -> Verdict {
    Verdict::Later { reason: describe(status, reason), wait, unclear }
}

fn describe(status: StatusCode, reason: &Reason) -> String {
    format!("the server answers {status}: {}", reason.message)
}

/// Reads problem+json, or the answer to a rejected event, which is a kind of it.
fn problem(status: StatusCode, body: &Value) -> Reason {
    let mut reason = Reason::read(body, &format!("http_{}", status.as_u16()));
    if let Some(first) = body.get("errors").and_then(|errors| errors.get(0)) {
        let first = Reason::read(first, "");
        reason.pointer = reason.pointer.or(first.pointer);
        if !first.message.is_empty() {
            reason.message = first.message;
        }
    }
    if reason.message.is_empty() {
        reason.message = status.canonical_reason().unwrap_or("no reason given").to_owned();
    }
    reason
}

/// Finds `Batch size N exceeds limit M` and reads M.
fn size_limit(body: &Value) -> Option<usize> {
    ["detail", "message", "title"].into_iter().find_map(|key| {
        let text = body.get(key)?.as_str()?;
        let (_, sizes) = text.split_once("Batch size ")?;
        let (_, limit) = sizes.split_once(" exceeds limit ")?;
        let digits = limit.bytes().take_while(u8::is_ascii_digit).count();
        limit[..digits].parse().ok()
    })
}

fn read_single(body: &Value) -> Option<Answered> {
    if body.get("status")?.as_str()? != "accepted" {
        return None;
    }
    let duplicate = body.get("duplicate").and_then(Value::as_bool).unwrap_or(false);
    Some(Answered { accepted: u64::from(!duplicate), duplicates: u64::from(duplicate), ..Answered::default() })
}

/// `None` where the numbers cannot be those of a request of `events` events.
fn read_batch(body: &Value, events: usize) -> Option<Answered> {
    let number = |key: &str| body.get(key)?.as_u64();
    let (successful, failed) = (number("successful")?, number("failed")?);
    let duplicates = number("duplicates").unwrap_or(0);
    if number("totalEvents")? != events as u64
        || successful.checked_add(failed)? != events as u64
        || duplicates > successful
    {
        return None;
    }
    let mut answered = Answered { accepted: successful - duplicates, duplicates, ..Answered::default() };
    let details = body.get("details").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    read_details(details, events, failed, &mut answered);
    Some(answered)
}

/// At most `failed` details count, each index once; what is missing is rejected somewhere.
fn read_details(details: &[Value], events: usize, failed: u64, answered: &mut Answered) {
    let mut seen = vec![false; events];
    let mut unnamed = failed;
    for detail in details {
        // It stands there for a person, and is none of those that failed.
        if detail.get("code").and_then(Value::as_str) == Some("duplicate_differs") {
            continue;
        }
        let index = detail.get("index").and_then(Value::as_u64).and_then(|index| usize::try_from(index).ok());
        let Some(index) = index.filter(|&index| seen.get(index) == Some(&false)) else { continue };
        if unnamed == 0 {
            break;
        }
        unnamed -= 1;
        seen[index] = true;
        let reason = Reason::read(detail, "unknown");
        if Refusal::ALL.iter().any(|refusal| refusal.as_str() == reason.code) {
            answered.refused.push(index);
        } else {
            answered.rejected.push((index, reason));
        }
    }
    answered.refused.sort_unstable();
    answered.rejected_somewhere = unnamed;
}

#[cfg(test)]
mod tests;
