//! Which boot of the system this is.

use std::sync::OnceLock;

/// What the kernel says. A service that sees nothing of `/proc` but processes cannot read it.
const OF_KERNEL: &str = "/proc/sys/kernel/random/boot_id";
/// What the service manager says, by the unit.
const HANDED_IN: &str = "INGESTD_BOOT_ID";

/// What tells this boot of the system from all others; something random where nobody says it, so that the start counts as
/// one after a reboot.
pub(super) fn this_boot() -> u128 {
    // One answer for all who ask, also a random one.
    static BOOT: OnceLock<u128> = OnceLock::new();
    *BOOT.get_or_init(look_for_it)
}

fn look_for_it() -> u128 {
    let of_kernel = std::fs::read_to_string(OF_KERNEL).ok();
    let handed_in = std::env::var(HANDED_IN).ok();
    first_id([of_kernel.as_deref(), handed_in.as_deref()]).unwrap_or_else(|| {
        tracing::warn!(
            "neither {OF_KERNEL} nor {HANDED_IN} says which boot of the system this is: the start counts as one after a \
             reboot, and a clock that was set meanwhile may have duplicates taken as new"
        );
        u128::from(rand_word())
    })
}

/// The first of these texts that is an id.
fn first_id(texts: [Option<&str>; 2]) -> Option<u128> {
    texts.into_iter().flatten().find_map(parse)
}

/// 128 bits in hexadecimal digits: the kernel writes them with dashes, systemd without.
fn parse(text: &str) -> Option<u128> {
    let digits = text.trim().replace('-', "");
    let is_id = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let id = u128::from_str_radix(&digits, 16).ok()?;
    // All zeros is what stands for no id.
    (is_id && id != 0).then_some(id)
}

fn rand_word() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DASHED: &str = "0f8a1c2d-3e4f-4a5b-8c6d-7e8f9a0b1c2d\n";
    const PLAIN: &str = "0F8A1C2D3E4F4A5B8C6D7E8F9A0B1C2D";
    const ID: u128 = 0x0f8a_1c2d_3e4f_4a5b_8c6d_7e8f_9a0b_1c2d;

    #[test]
    fn kernel_and_service_manager_write_the_same_id_in_two_ways() {
        assert_eq!((parse(DASHED), parse(PLAIN)), (Some(ID), Some(ID)));
    }

    #[test]
    fn what_is_handed_in_counts_only_where_the_kernel_says_nothing() {
        let other = "1".repeat(32);
        assert_eq!(first_id([Some(DASHED), Some(&other)]), Some(ID));
        for nothing in [None, Some(""), Some("\n")] {
            assert_eq!(first_id([nothing, Some(PLAIN)]), Some(ID));
        }
        assert_eq!(first_id([None, None]), None);
    }

    #[test]
    fn what_is_no_id_is_not_taken_for_one() {
        let long = "1".repeat(33);
        for text in
            ["", "%b", "0", &PLAIN[1..], &long, &"0".repeat(32), &"g".repeat(32), "+F8A1C2D3E4F4A5B8C6D7E8F9A0B1C2D"]
        {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
