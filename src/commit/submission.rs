use super::budget::Permit;
use super::idempotency::Claim;
use event::{Batch, Receipt, Refusal, Rejection};
use std::time::Instant;

/// An event that was rejected in an admitted request, to be kept as a dead letter.
#[derive(Debug)]
pub struct Reject {
    /// Its place in the request.
    pub index: u32,
    /// Why.
    pub rejection: Rejection,
    /// Its bytes as received; `None` where they are not to be kept, being too large.
    pub raw: Option<Box<[u8]>>,
}

/// One request on its way through the writer and back: it returns with its outcome to the thread that made it.
#[derive(Debug)]
pub struct Submission {
    /// The good events; may be none.
    pub batch: Batch,
    /// The bad ones.
    pub rejects: Vec<Reject>,
    /// The `Idempotency-Key` of the request.
    pub claim: Option<Claim>,
    /// The dead letter that this is the replay of: what becomes of it is kept with it, in the same write.
    pub replays: Option<u64>,
    /// What the request holds of the budget, until its answer is written.
    pub permit: Permit,
    /// When it entered the ring.
    pub entered: Instant,
    /// When its group was on stable storage; means nothing before.
    pub settled: Instant,
    /// Set by the writer.
    pub outcome: Result<Receipt, Refusal>,
}

impl Submission {
    /// A submission whose outcome is not known yet.
    #[must_use]
    pub fn new(batch: Batch, permit: Permit) -> Self {
        let now = Instant::now();
        Submission {
            batch,
            rejects: Vec::new(),
            claim: None,
            replays: None,
            permit,
            entered: now,
            settled: now,
            outcome: Err(Refusal::Unknown),
        }
    }

    /// Its events, good and bad.
    #[must_use]
    pub fn events(&self) -> u64 {
        (self.batch.entries.len() + self.rejects.len()) as u64
    }

    /// Whether there is nothing to store.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.batch.entries.is_empty() && self.rejects.is_empty() && self.claim.is_none()
    }
}
