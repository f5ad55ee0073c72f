//! Reading a request's body: every byte is counted against the budget as it arrives, a slow one is cut off, a packed
//! one is unpacked up to the limit and no further.

use super::acceptor::Acceptor;
use super::answer::{Answer, problem};
use super::entry;
use super::share::Unfinished;
use super::unpack::{Codec, Unpack, codec, unpack};
use crate::access::{Caller, Scope};
use crate::commit::Permit;
use bytes::{Bytes, BytesMut};
use event::Refusal;
use http_body_util::BodyExt;
use hyper::StatusCode;
use hyper::body::{Body, Incoming};
use hyper::header::{CONTENT_TYPE, EXPECT, HeaderMap, TRANSFER_ENCODING};
use std::io::{self, ErrorKind};
use std::time::Duration;

/// Packed bodies above this are unpacked on another thread, so that they do not hold up an acceptor.
const INLINE_UNPACK_MAX: usize = 64 << 10;
/// What is read of a body that nobody wants, so that the connection can be used again.
const SKIPPED_BYTES_MAX: usize = 64 << 10;
/// How long such a body is waited for: it mostly came with its head.
const SKIPPED_WITHIN: Duration = Duration::from_millis(100);

/// How long before the end of a drain whoever still sends a body is answered, or a quarter of it where that is less.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// What the content type says about a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Json,
    NdJson,
}

/// The kind of body, or an answer that says what is taken.
pub(super) fn kind(headers: &HeaderMap, ndjson: bool) -> Result<Kind, Box<Answer>> {
    let mut values = headers.get_all(CONTENT_TYPE).iter();
    // curl and simple clients leave the header out; what they send is then taken as JSON.
    let Some(value) = values.next() else { return Ok(Kind::Json) };
    if values.next().is_some() {
        return Err(Box::new(problem(StatusCode::BAD_REQUEST, "Content-Type stands more than once")));
    }
    let value = value.to_str().unwrap_or_default();
    let essence = value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    match essence.as_str() {
        "application/json" | "text/json" => Ok(Kind::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" if ndjson => Ok(Kind::NdJson),
        other if other.starts_with("application/") && other.ends_with("+json") => Ok(Kind::Json),
        _ => Err(Box::new(problem(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            if ndjson {
                "content type must be application/json or application/x-ndjson"
            } else {
                "content type must be application/json"
            },
        ))),
    }
}

/// Whether a body is packed for its way in a manner that is not undone here (RFC 9112, section 6.1).
pub(super) fn is_packed_for_transfer(headers: &HeaderMap) -> bool {
    let lines = headers.get_all(TRANSFER_ENCODING).iter();
    let codings = lines.flat_map(|line| line.as_bytes().split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    let mut codings = codings.filter(|coding| !coding.is_empty()).enumerate();
    codings.any(|(place, coding)| place > 0 || !coding.eq_ignore_ascii_case(b"chunked"))
}

/// A body that may not be there yet.
pub(super) struct Arriving {
    body: Incoming,
    /// Its last byte was read.
    ended: bool,
    /// The client sends nothing before it is told to go on, which the first read does.
    held_back: bool,
    /// It came in a way that cannot be read, or its end never came: nothing can follow it.
    is_broken: bool,
    /// What it is known to bring before it is read; 0 where that is not known.
    pub(super) events: u64,
}

impl Arriving {
    pub(super) fn new(body: Incoming, headers: &HeaderMap) -> Self {
        let ended = body.is_end_stream();
        Arriving { body, ended, held_back: !ended && headers.contains_key(EXPECT), is_broken: false, events: 0 }
    }

    /// Whether all of it was read, or there never was any.
    pub(super) fn has_ended(&self) -> bool {
        self.ended
    }

    /// The next piece; `None` at the end.
    async fn piece(&mut self) -> Option<hyper::Result<Bytes>> {
        self.held_back = false;
        loop {
            match self.body.frame().await {
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Some(Ok(data));
                    }
                }
                other => {
                    let error = other.and_then(Result::err);
                    self.is_broken |= error.is_some();
                    // Behind an error there is nothing more, which is no end.
                    self.ended = !self.is_broken;
                    return error.map(Err);
                }
            }
        }
    }

    /// Reads what an early answer has left unread, if that is not much. False where the body has not ended after all.
    pub(super) async fn skip(&mut self) -> bool {
        if self.ended || self.is_broken || self.held_back || self.body.size_hint().lower() > SKIPPED_BYTES_MAX as u64 {
            return self.ended;
        }
        let rest = async {
            let mut bytes = 0;
            while let Some(Ok(data)) = self.piece().await {
                bytes += data.len();
                if bytes > SKIPPED_BYTES_MAX {
                    break;
                }
            }
        };
        // Whether that was enough is what is asked next.
        tokio::time::timeout(SKIPPED_WITHIN, rest).await.ok();
        self.ended
    }
}

/// Reads and unpacks the body.
pub(super) async fn read(
    acceptor: &Acceptor,
    caller: &Caller,
    headers: &HeaderMap,
    body: &mut Arriving,
    permit: &mut Permit,
) -> Result<Bytes, Box<Answer>> {
    let max = acceptor.shared.body_bytes_max();
    let codec = codec(headers)?;
    if body.body.size_hint().lower() > max as u64 {
        return Err(Box::new(too_large(max)));
    }
    let (unfinished, events) = (begin(acceptor, caller, body)?, body.events);
    let packed = in_time(acceptor, events, collect(acceptor, body, permit, unfinished)).await?;
    entry::admit_again(acceptor, caller, Scope::Intake)?;
    let Some(codec) = codec else { return Ok(packed) };
    match unpacked(codec, packed, max).await {
        Ok(bytes) if permit.grow(bytes.len()) => Ok(bytes),
        Ok(_) => Err(Box::new(acceptor.refuse_request(Refusal::Overloaded, body.events))),
        Err(Unpack::TooLarge) => Err(Box::new(too_large(max))),
        Err(Unpack::Broken) => Err(Box::new(problem(StatusCode::BAD_REQUEST, "the body cannot be unpacked"))),
    }
}

/// Reads a body that is not packed and no longer than `max`.
pub(super) async fn read_small(
    acceptor: &Acceptor,
    caller: &Caller,
    body: &mut Arriving,
    max: usize,
    permit: &mut Permit,
) -> Result<Vec<u8>, Box<Answer>> {
    if body.body.size_hint().lower() > max as u64 {
        return Err(Box::new(too_large(max)));
    }
    let (unfinished, events) = (begin(acceptor, caller, body)?, body.events);
    match in_time(acceptor, events, collect(acceptor, body, permit, unfinished)).await? {
        bytes if bytes.len() > max => Err(Box::new(too_large(max))),
        bytes => Ok(bytes.into()),
    }
}

/// Notes among what its address has on its way that a body begins.
fn begin(acceptor: &Acceptor, caller: &Caller, body: &Arriving) -> Result<Unfinished, Box<Answer>> {
    Unfinished::begin(acceptor, caller).map_err(|reason| Box::new(acceptor.refuse_request(reason, body.events)))
}

/// Waits for a body as long as its client may take; once the daemon stops, until shortly before those are cut off whose
/// requests have not ended, so that they are told.
async fn in_time(
    acceptor: &Acceptor,
    events: u64,
    body: impl Future<Output = Result<Bytes, Box<Answer>>>,
) -> Result<Bytes, Box<Answer>> {
    let deadlines = acceptor.shared.deadlines();
    let cut_off = async {
        // An error says that whoever could stop it has gone.
        acceptor.stop.clone().wait_for(|stop| *stop).await.ok();
        tokio::time::sleep(deadlines.drain - LAST_ANSWER.min(deadlines.drain / 4)).await;
    };
    tokio::select! {
        // Nearly always it is there already.
        biased;
        whole = tokio::time::timeout(deadlines.body, body) => whole.unwrap_or_else(|_| Err(Box::new(late()))),
        () = cut_off => Err(Box::new(acceptor.refuse_request(Refusal::ShuttingDown, events))),
    }
}

async fn collect(
    acceptor: &Acceptor,
    body: &mut Arriving,
    permit: &mut Permit,
    mut unfinished: Unfinished,
) -> Result<Bytes, Box<Answer>> {
    let max = acceptor.shared.body_bytes_max();
    let mut first = Bytes::new();
    let mut rest = BytesMut::new();
    while let Some(data) = body.piece().await {
        let data = data.map_err(|error| Box::new(broken_off(&error)))?;
        let so_far = first.len().max(rest.len());
        if so_far + data.len() > max {
            return Err(Box::new(too_large(max)));
        }
        if !permit.grow(data.len()) {
            return Err(Box::new(acceptor.refuse_request(Refusal::Overloaded, body.events)));
        }
        if !unfinished.reach(so_far + data.len()) {
            return Err(Box::new(acceptor.refuse_request(Refusal::AddressShare, body.events)));
        }
        // Nearly always the body is one piece, and nothing is copied.
        if so_far == 0 {
            first = data;
        } else {
            if rest.is_empty() {
                rest.extend_from_slice(&first);
            }
            rest.extend_from_slice(&data);
        }
    }
    Ok(if rest.is_empty() { first } else { rest.freeze() })
}

/// Room for taking a body apart, where that needs unusually much for its size; given back when dropped. Nothing else is
/// done by its thread meanwhile. `events` are those that it is known to bring.
pub(super) fn room_to_parse(
    acceptor: &Acceptor,
    kind: Kind,
    bytes: &[u8],
    permit: &Permit,
    events: u64,
) -> Result<Option<Permit>, Box<Answer>> {
    let needed = match kind {
        Kind::Json => prepare::parsing_bytes(bytes),
        Kind::NdJson => prepare::parsing_bytes_of_lines(bytes),
    };
    let lent = acceptor.shared.admission.lend(needed, permit.bytes());
    lent.map_err(|reason| Box::new(acceptor.refuse_request(reason, events)))
}

async fn unpacked(codec: Codec, packed: Bytes, max: usize) -> Result<Bytes, Unpack> {
    if packed.len() <= INLINE_UNPACK_MAX {
        return unpack(codec, &packed, max);
    }
    let unpacking = tokio::task::spawn_blocking(move || unpack(codec, &packed, max));
    unpacking.await.unwrap_or(Err(Unpack::Broken))
}

fn broken_off(error: &hyper::Error) -> Answer {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    let is_unreadable =
        cause.is_some_and(|cause| matches!(cause.kind(), ErrorKind::InvalidInput | ErrorKind::InvalidData));
    let detail = match is_unreadable {
        true => "the body's chunks are not written as HTTP/1.1 has them",
        false => "the body ended before it was complete",
    };
    problem(StatusCode::BAD_REQUEST, detail)
}

fn late() -> Answer {
    problem(StatusCode::REQUEST_TIMEOUT, "the body did not arrive in time")
}

fn too_large(max: usize) -> Answer {
    problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("the body is larger than {max} bytes"))
}
