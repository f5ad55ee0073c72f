//! What one read brought, what became of it, and how that is told.

use super::outgoing::{Ack, EventError, put_ack, put_error, put_simple};
use crate::access::Caller;
use crate::commit::{Reject, Submission};
use crate::intake::acceptor::Acceptor;
use crate::intake::answer::message;
use crate::intake::single::reject;
use event::{Batch, Durability, Refusal, Rejection, Source, UnixMicros};
use frame::{Decoder, Event, close, put_pong};
use prepare::{Channel, Failure, Message, Subscription};
use std::ops::ControlFlow;

/// One thing to answer, in order.
pub(super) enum Step {
    /// The batch's entry at this place.
    Entry {
        at: usize,
        index: Option<u32>,
    },
    /// The reject at this place.
    Reject {
        at: usize,
        index: Option<u32>,
    },
    Heartbeat,
    Pong(Vec<u8>),
    Subscribe,
    /// From one channel, or from all.
    Unsubscribe(Option<Channel>),
    /// A code, and what it means.
    Error(&'static str, &'static str),
}

/// What one read brought.
pub(super) struct Round {
    pub(super) batch: Batch,
    pub(super) rejects: Vec<Reject>,
    pub(super) steps: Vec<Step>,
    /// The connection ends after this round, with a code and a reason.
    pub(super) close: Option<(Option<u16>, String)>,
    pub(super) messages: u64,
}

/// What became of a round's events.
pub(super) enum Stored {
    /// There were none.
    Nothing,
    Done(Box<Submission>),
    Refused(Refusal, Batch, Vec<Reject>),
    /// They did not come back, or not in time: whether they are stored is unknown.
    Unknown(Ids),
}

/// The ids of a round's events, for the case that the events themselves do not come back.
#[derive(Default)]
pub(super) struct Ids {
    /// Of the entries, back to back.
    text: Vec<u8>,
    /// Where each of them ends.
    ends: Vec<u32>,
    rejects: Vec<Option<Vec<u8>>>,
}

impl Ids {
    pub(super) fn of(batch: &Batch, rejects: &[Reject]) -> Self {
        let mut ids = Ids { rejects: rejects.iter().map(|one| id_json(&one.rejection)).collect(), ..Ids::default() };
        for entry in &batch.entries {
            ids.text.extend_from_slice(batch.id_json(entry));
            ids.ends.push(ids.text.len() as u32);
        }
        ids
    }

    fn entry(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_sub(1).map_or(Some(&0), |before| self.ends.get(before))?;
        self.text.get(*start as usize..*self.ends.get(at)? as usize)
    }

    fn reject(&self, at: usize) -> Option<&[u8]> {
        self.rejects.get(at)?.as_deref()
    }
}

impl Round {
    /// Takes apart what was read; `held` bytes were taken from the budget for what stands before it.
    pub(super) fn decode(
        acceptor: &Acceptor,
        caller: &Caller,
        held: usize,
        decoder: &mut Decoder,
        bytes: &mut [u8],
    ) -> Self {
        let now = UnixMicros::now();
        let mut round = Round {
            batch: Batch::new(&caller.tenant, Source::WebSocket, now),
            rejects: Vec::new(),
            steps: Vec::new(),
            close: None,
            messages: 0,
        };
        let fed = decoder.feed(bytes, |event| {
            match event {
                Event::Text(text) => round.text(acceptor, text, held, now),
                Event::Binary(_) => round.close = Some((Some(close::UNSUPPORTED), "send text, not binary".into())),
                Event::Ping(payload) => round.steps.push(Step::Pong(payload.to_vec())),
                Event::Pong(_) => {}
                Event::Close { code, .. } => round.close = Some((code, String::new())),
            }
            if round.close.is_some() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        if let Err(violation) = fed {
            round.close = Some((Some(violation.close_code()), violation.to_string()));
        }
        round
    }

    fn text(&mut self, acceptor: &Acceptor, text: &mut [u8], held: usize, now: UnixMicros) {
        self.messages += 1;
        let Ok(_room) = acceptor.shared.admission.lend(prepare::parsing_bytes(text), held) else {
            acceptor.shared.metrics.refuse_request(Refusal::Overloaded);
            let error = "to take this message apart needs more memory than there is now; send it again";
            return self.steps.push(Step::Error("overloaded", error));
        };
        let mut failures = Vec::new();
        let first = self.batch.entries.len();
        let parsed = acceptor.parser().message(text, now, &mut self.batch, &mut failures);
        match parsed {
            Ok(Message::Events { total, array }) => self.message_events(first, total, array, failures, text),
            Ok(Message::Heartbeat) => self.steps.push(Step::Heartbeat),
            Ok(Message::Subscribe(wanted)) if wanted.channel == Channel::Confirmations => {
                self.steps.push(match wanted {
                    Subscription { store_id: None, event_type: None, from_seq: None, .. } => Step::Subscribe,
                    // Who asks for less is not to get more.
                    _ => Step::Error(
                        "unsupported_filter",
                        "confirmations are of all events, from now on: subscribe without filters",
                    ),
                })
            }
            Ok(Message::Subscribe(_)) => {
                self.steps.push(Step::Error("unknown_channel", "this release has the channel confirmations only"));
            }
            Ok(Message::Unsubscribe { channel }) => self.steps.push(Step::Unsubscribe(channel)),
            Err(rejection) => self.reject(0, None, rejection, text),
        }
    }

    /// One step per element, in order.
    fn message_events(&mut self, mut entry: usize, total: u32, array: bool, failures: Vec<Failure>, text: &[u8]) {
        let mut failures = failures.into_iter().peekable();
        for place in 0..total {
            let index = array.then_some(place);
            match failures.next_if(|failure| failure.index == place) {
                Some(failure) => {
                    let raw = text.get(failure.raw).unwrap_or_default();
                    self.reject(place, index, failure.rejection, raw);
                }
                None => {
                    self.steps.push(Step::Entry { at: entry, index });
                    entry += 1;
                }
            }
        }
    }

    fn reject(&mut self, place: u32, index: Option<u32>, rejection: Rejection, raw: &[u8]) {
        self.steps.push(Step::Reject { at: self.rejects.len(), index });
        self.rejects.push(reject(place, rejection, raw));
    }
}

impl Step {
    /// Whether the answer is a message.
    pub(super) fn is_message(&self) -> bool {
        !matches!(self, Step::Pong(_))
    }

    /// Writes the answer.
    pub(super) fn put(&self, out: &mut Vec<u8>, stored: &Stored, durability: Durability) {
        match self {
            Step::Pong(payload) => put_pong(out, payload),
            Step::Heartbeat => put_simple(out, "heartbeat_ack", None),
            Step::Subscribe => put_simple(out, "subscribed", Some(Channel::Confirmations.as_str())),
            Step::Unsubscribe(channel) => {
                put_simple(out, "unsubscribed", Some(channel.unwrap_or(Channel::Confirmations).as_str()));
            }
            Step::Error(code, error) => {
                put_error(out, &EventError { id_json: None, index: None, code, error, pointer: "" });
            }
            Step::Entry { at, index } => stored.put_entry(out, *at, *index, durability),
            Step::Reject { at, index } => stored.put_reject(out, *at, *index),
        }
    }
}

impl Stored {
    fn put_entry(&self, out: &mut Vec<u8>, at: usize, index: Option<u32>, durability: Durability) {
        match self {
            Stored::Done(submission) => {
                let id_json = submission.batch.id_json(&submission.batch.entries[at]);
                let told =
                    submission.outcome.as_ref().ok().and_then(|receipt| Some((receipt, receipt.verdicts.get(at)?)));
                match told {
                    Some((receipt, verdict)) => put_ack(out, &Ack { id_json, receipt, verdict: *verdict, durability }),
                    None => put_refused(out, Some(id_json), index, Refusal::Unknown),
                }
            }
            Stored::Refused(reason, batch, _) => {
                put_refused(out, Some(batch.id_json(&batch.entries[at])), index, *reason);
            }
            Stored::Unknown(ids) => put_refused(out, ids.entry(at), index, Refusal::Unknown),
            Stored::Nothing => put_refused(out, None, index, Refusal::Unknown),
        }
    }

    fn put_reject(&self, out: &mut Vec<u8>, at: usize, index: Option<u32>) {
        match self {
            Stored::Done(submission) => {
                let Some(Reject { rejection, .. }) = submission.rejects.get(at) else {
                    return put_refused(out, None, index, Refusal::Unknown);
                };
                let (id, first) = (id_json(rejection), rejection.first());
                let (code, error, pointer) = (rejection.code.as_str(), message(first), first.pointer.as_str());
                put_error(out, &EventError { id_json: id.as_deref(), index, code, error: &error, pointer });
            }
            // Its rejection is not on record, so it counts as refused: sent again, it will be told what is wrong.
            Stored::Refused(reason, _, rejects) => {
                let id = rejects.get(at).and_then(|reject| id_json(&reject.rejection));
                put_refused(out, id.as_deref(), index, *reason);
            }
            Stored::Unknown(ids) => put_refused(out, ids.reject(at), index, Refusal::Unknown),
            Stored::Nothing => put_refused(out, None, index, Refusal::Unknown),
        }
    }
}

fn put_refused(out: &mut Vec<u8>, id_json: Option<&[u8]>, index: Option<u32>, reason: Refusal) {
    let error = match reason {
        _ if reason.may_be_stored() => "whether it is stored is unknown; send it again",
        Refusal::RateLimited => "more is sent than is allowed; send it again, and more slowly",
        Refusal::QuotaExceeded => "the tenant has sent all that it may on this day (UTC); send it again tomorrow",
        _ => "not taken now; send it again",
    };
    put_error(out, &EventError { id_json, index, code: reason.as_str(), error, pointer: "" });
}

/// The event's id as the content of a JSON string.
fn id_json(rejection: &Rejection) -> Option<Vec<u8>> {
    let text = serde_json::to_vec(rejection.event_id.as_deref()?).ok()?;
    Some(text.get(1..text.len() - 1)?.to_vec())
}
