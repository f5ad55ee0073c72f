//! How much of the room between socket and log one address may hold with what has not arrived: a client that begins many
//! bodies and lets them stall keeps nobody else out.

use super::acceptor::Acceptor;
use super::settings::Settings;
use crate::access::Caller;
use crate::net::{Share, block_of};
use event::Refusal;
use std::net::IpAddr;

/// Requests that an address may always have on their way.
const REQUESTS_MIN: usize = 64;
/// Bodies of the largest size that an address may always have on their way.
const BODIES_MIN: usize = 2;

/// What one address may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ShareLimits {
    /// Bodies or messages whose end has not arrived.
    pub requests: usize,
    /// Bytes of them.
    pub bytes: usize,
    /// What part of all that is; from 100 on anybody may have it all.
    pub percent: u8,
}

impl ShareLimits {
    /// A percentage of all requests and bytes, but enough for a few of the largest.
    #[must_use]
    pub fn new(percent: u8, requests_max: usize, bytes_max: usize, body_bytes_max: usize) -> Self {
        let of = |all| part_of(all, percent);
        ShareLimits {
            requests: of(requests_max).max(REQUESTS_MIN),
            bytes: of(bytes_max).max(body_bytes_max.saturating_mul(BODIES_MIN)),
            percent,
        }
    }

    /// What one address may hold of something else that all of them share.
    pub(super) fn part(&self, all: usize) -> usize {
        part_of(all, self.percent)
    }
}

fn part_of(all: usize, percent: u8) -> usize {
    (all as u128 * u128::from(percent) / 100) as usize
}

/// What counts as this address where it is held to its share; a proxy stands for many.
pub(super) fn held_to_share(settings: &Settings, address: IpAddr) -> Option<u128> {
    let is_held = settings.share.percent < 100 && !settings.proxies.trusts(address);
    is_held.then(|| block_of(address, settings.policy.ipv6_prefix_bits))
}

/// What one body or message holds of its address's share until it is whole.
#[derive(Debug)]
pub(super) struct Unfinished(Option<(Share, usize)>);

impl Unfinished {
    /// Begins one.
    ///
    /// # Errors
    /// The address has too many on their way.
    pub(super) fn begin(acceptor: &Acceptor, caller: &Caller) -> Result<Self, Refusal> {
        let settings = acceptor.shared.settings.load();
        let Some(block) = held_to_share(&settings, caller.address) else { return Ok(Unfinished(None)) };
        let share = acceptor.shared.unfinished.enter(block, settings.share.requests).ok_or(Refusal::AddressShare)?;
        Ok(Unfinished(Some((share, settings.share.bytes))))
    }

    /// Notes that so many bytes are there now; false when that is too much.
    #[must_use]
    pub(super) fn reach(&mut self, bytes: usize) -> bool {
        match &mut self.0 {
            Some((share, max)) => share.grow(bytes.saturating_sub(share.bytes()), *max),
            None => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_part_of_all_but_enough_for_a_few_bodies() {
        let limits = ShareLimits::new(25, 16_384, 256 << 20, 8 << 20);
        assert_eq!(limits, ShareLimits { requests: 4096, bytes: 64 << 20, percent: 25 });
        let limits = ShareLimits::new(25, 4, 80_000, 40_000);
        assert_eq!(limits, ShareLimits { requests: 64, bytes: 80_000, percent: 25 });
        assert_eq!((limits.part(10), ShareLimits::new(100, usize::MAX, usize::MAX, 1).part(10)), (2, 10));
    }
}
