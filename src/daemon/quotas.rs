//! What tenants have sent today, over a restart: stored once a second where it has changed, in a group of the log like
//! any other, and once more at a stop. A crash forgets what came since.
//!
//! Format, in `projection`: key `quota/` and the tenant's name; value the day, counted from 1970-01-01 (u32), and the
//! number of events (u64), both little-endian. Rows of other days are removed with the first of a new one.

use crate::access::limits::{Quotas, Usage, day};
use crate::commit::Control;
use event::UnixMicros;
use std::ops::ControlFlow;
use wal::{Family, ReadError, Reader, Write};

const PREFIX: &[u8] = b"quota/";
/// The first key behind those with the prefix.
const END: &[u8] = b"quota0";

/// Goes on from what is stored of today.
///
/// # Errors
/// What the log says.
pub(super) fn load(reader: &Reader, quotas: &Quotas) -> Result<(), ReadError> {
    let mut stored = Vec::new();
    reader.scan(Family::Projection, PREFIX, |key, value| match key.strip_prefix(PREFIX) {
        Some(tenant) => {
            stored.extend(decode(tenant, value));
            ControlFlow::Continue(())
        }
        None => ControlFlow::Break(()),
    })?;
    quotas.load(day(UnixMicros::now()).0, stored);
    Ok(())
}

/// Hands in what has changed.
pub(super) fn store(control: &Control, quotas: &Quotas) {
    let unstored = quotas.unstored();
    if unstored.usages.is_empty() {
        return;
    }
    let mut writes = Vec::with_capacity(unstored.usages.len() + 1);
    if unstored.is_new_day {
        writes.push(Write::DeleteRange(Family::Projection, PREFIX.to_vec(), END.to_vec()));
    }
    writes
        .extend(unstored.usages.iter().map(|usage| Write::Put(Family::Projection, key(&usage.tenant), encode(usage))));
    // There is no room only while the log hangs.
    if !control.post(writes) {
        quotas.take_back(&unstored);
    }
}

fn key(tenant: &str) -> Vec<u8> {
    [PREFIX, tenant.as_bytes()].concat()
}

fn encode(usage: &Usage) -> Vec<u8> {
    [&usage.day.to_le_bytes()[..], &usage.events.to_le_bytes()].concat()
}

/// `None` for what is no count: it is counted anew then.
fn decode(tenant: &[u8], value: &[u8]) -> Option<Usage> {
    let (day, events) = value.split_first_chunk::<4>()?;
    Some(Usage {
        tenant: std::str::from_utf8(tenant).ok()?.into(),
        day: u32::from_le_bytes(*day),
        events: u64::from_le_bytes(events.try_into().ok()?),
    })
}
