//! What counts as one address.

use std::net::IpAddr;

/// The addresses that are limited together: an IPv4 address alone, an IPv6 one with all that share its first
/// `ipv6_prefix_bits`, for whoever has one of them mostly has them all.
#[must_use]
pub fn block_of(address: IpAddr, ipv6_prefix_bits: u8) -> u128 {
    match address.to_canonical() {
        IpAddr::V4(address) => address.to_ipv6_mapped().to_bits(),
        IpAddr::V6(address) => {
            let rest = 128_u32.saturating_sub(ipv6_prefix_bits.into());
            // A prefix of no bits is all addresses.
            address.to_bits() & u128::MAX.checked_shl(rest).unwrap_or(0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_count_as_one_only_in_ipv6_and_only_within_the_prefix() {
        let block = |text: &str, bits| block_of(text.parse().unwrap(), bits);
        assert_ne!(block("10.0.0.1", 64), block("10.0.0.2", 64));
        assert_eq!(block("::ffff:10.0.0.1", 64), block("10.0.0.1", 64));
        assert_eq!(block("2001:db8::1", 64), block("2001:db8::ffff:2", 64));
        assert_ne!(block("2001:db8::1", 64), block("2001:db8:0:1::1", 64));
        assert_eq!(block("2001:db8::1", 48), block("2001:db8:0:1::1", 48));
        assert_ne!(block("2001:db8::1", 128), block("2001:db8::2", 128));
        assert_eq!(block("2001:db8::1", 0), block("fe80::", 0));
    }
}
