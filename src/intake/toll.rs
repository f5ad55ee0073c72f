//! What requests and their events cost.
//!
//! Events are paid for before anybody knows what becomes of them, so that two requests cannot both have the last one. What
//! is refused is given back, or a client that tries again and again while nothing is taken would find its tenant's day
//! used up by events that nobody has.

use super::acceptor::Acceptor;
use crate::access::Caller;
use crate::access::limits::{Exceeded, Payer, Policy, Standing};
use crate::commit::Submission;
use crate::net::block_of;
use event::{Refusal, UnixMicros};
use std::rc::Rc;

/// What was paid: its events are given back when it is dropped, unless they were handed to the writer.
#[must_use = "dropped, it gives the events back"]
pub(super) struct Toll<'a> {
    acceptor: &'a Acceptor,
    /// `None` where there are no limits. Boxed, for every connection keeps room for what it waits with.
    paid: Option<Box<Paid>>,
}

struct Paid {
    caller: Rc<Caller>,
    /// The limits that it was charged by.
    policy: Policy,
    /// When: what was counted for a day is given back to that day.
    at: UnixMicros,
    /// Events that are not stored, as far as is known.
    events: u64,
    standing: Option<Standing>,
}

impl<'a> Toll<'a> {
    /// Charges requests and events.
    ///
    /// # Errors
    /// The limit that is used up; nothing is charged.
    pub(super) fn pay(
        acceptor: &'a Acceptor,
        caller: &Rc<Caller>,
        requests: u64,
        events: u64,
    ) -> Result<Self, Exceeded> {
        let settings = acceptor.shared.settings.load();
        let policy = &settings.policy;
        if policy.is_off() {
            return Ok(Toll { acceptor, paid: None });
        }
        let at = UnixMicros::now();
        let standing = acceptor.shared.limits.charge(policy, payer(caller, policy), requests, events, at)?;
        let paid = Paid { caller: Rc::clone(caller), policy: policy.clone(), at, events, standing };
        Ok(Toll { acceptor, paid: Some(Box::new(paid)) })
    }

    /// Hands a submission to the writer and waits for it. Its events are given back where they are not stored for certain.
    ///
    /// # Errors
    /// As [`Acceptor::commit`].
    pub(super) async fn commit(
        &mut self,
        submission: Box<Submission>,
    ) -> Result<Box<Submission>, (Refusal, Option<Box<Submission>>)> {
        // From here on they may be stored, also where nobody waits for them any more.
        let events = self.paid.as_mut().map_or(0, |paid| std::mem::take(&mut paid.events));
        let committed = self.acceptor.commit(submission).await;
        if let (Some(paid), Err((reason, _))) = (&mut self.paid, &committed)
            && !reason.may_be_stored()
        {
            paid.events = events;
        }
        committed
    }

    /// Gives so many of the events back.
    pub(super) fn give_back(&mut self, events: u64) {
        let Some(paid) = &mut self.paid else { return };
        let events = events.min(paid.events);
        if events == 0 {
            return;
        }
        paid.events -= events;
        self.acceptor.shared.limits.give_back(&paid.policy, payer(&paid.caller, &paid.policy), events, paid.at);
        if let Some(standing) = paid.standing.as_mut().filter(|standing| standing.limit.counts_events()) {
            standing.left = standing.left.saturating_add(events).min(standing.capacity);
        }
    }

    /// Gives back what nobody has; what then stands nearest to its end, if there are limits.
    pub(super) fn end(mut self) -> Option<Standing> {
        self.give_back(u64::MAX);
        self.paid.as_ref()?.standing
    }
}

impl Drop for Toll<'_> {
    fn drop(&mut self) {
        self.give_back(u64::MAX);
    }
}

fn payer<'a>(caller: &'a Caller, policy: &Policy) -> Payer<'a> {
    Payer::of(caller, block_of(caller.address, policy.ipv6_prefix_bits))
}
