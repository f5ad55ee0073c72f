//! Names of tenants.

/// Longest name, bytes.
const TENANT_BYTES_MAX: usize = 64;

/// Whether a text can be a tenant's name: 1 to 64 of `a`–`z`, `0`–`9`, `_`, `-` and `.`.
#[must_use]
pub fn is_tenant(name: &str) -> bool {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'_' | b'-' | b'.');
    (1..=TENANT_BYTES_MAX).contains(&name.len()) && name.bytes().all(fits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_short_and_plain() {
        for name in ["default", "a", "shop-7.eu_west", &"x".repeat(64)] {
            assert!(is_tenant(name), "{name}");
        }
        for name in ["", "Shop", "a b", "a/b", "\u{e4}", "a\n", &"x".repeat(65)] {
            assert!(!is_tenant(name), "{name:?}");
        }
    }
}
