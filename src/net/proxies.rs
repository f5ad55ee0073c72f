//! Which peers speak for others, and for whom: only they are believed.

use ipnet::{IpNet, Ipv4Net};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

/// What all IPv4 addresses that are written as IPv6 ones have in common (RFC 4291, section 2.5.5.2).
const MAPPED_PREFIX_BITS: u8 = 96;

/// The networks of the proxies that are trusted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Proxies(Vec<IpNet>);

impl Proxies {
    /// Networks in CIDR notation, or single addresses.
    ///
    /// # Errors
    /// The first text that is neither.
    pub fn parse(texts: &[String]) -> Result<Self, String> {
        let one = |text: &String| match (text.parse::<IpNet>(), text.parse::<IpAddr>()) {
            (Ok(net), _) => canonical(net).ok_or_else(|| {
                format!(
                    "\"{text}\" is wider than all of IPv4, which it is written in: write 0.0.0.0/0, or an IPv6 network"
                )
            }),
            (_, Ok(address)) => Ok(IpNet::from(address.to_canonical())),
            _ => Err(format!("\"{text}\" is neither an address nor a network such as 10.0.0.0/8")),
        };
        texts.iter().map(one).collect::<Result<_, _>>().map(Proxies)
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether what this peer says of others is believed.
    #[must_use]
    pub fn trusts(&self, address: IpAddr) -> bool {
        self.0.iter().any(|net| net.contains(&address))
    }

    /// Whom a request of `peer` came from: the last hop of `X-Forwarded-For` that is no trusted proxy. `lines` are the
    /// header's values in their order. Each proxy appends whom it was asked by, so that everything left of the first
    /// hop that is not trusted, or cannot be read, may be made up.
    pub fn client<'a>(&self, peer: IpAddr, lines: impl DoubleEndedIterator<Item = &'a [u8]>) -> IpAddr {
        let mut client = peer;
        let hops = lines.rev().flat_map(|line| line.rsplit(|byte| *byte == b','));
        for hop in hops.map(<[u8]>::trim_ascii).filter(|hop| !hop.is_empty()) {
            if !self.trusts(client) {
                break;
            }
            let Some(address) = address(hop) else { break };
            client = address;
        }
        client
    }
}

/// A network as its addresses are met: those of IPv4 within IPv6 (`::ffff:10.0.0.0/104`) as what they are. `None` where it
/// is written so and has others, too.
fn canonical(net: IpNet) -> Option<IpNet> {
    let IpAddr::V6(address) = net.addr() else { return Some(net.trunc()) };
    let Some(mapped) = address.to_ipv4_mapped() else { return Some(net.trunc()) };
    let prefix_bits = net.prefix_len().checked_sub(MAPPED_PREFIX_BITS)?;
    Ipv4Net::new(mapped, prefix_bits).ok().map(|net| IpNet::V4(net).trunc())
}

/// An address as proxies write it: alone, in brackets, with a port.
fn address(hop: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(hop).ok()?;
    let bracketed = || text.strip_prefix('[')?.strip_suffix(']')?.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    let with_port = || text.parse::<SocketAddr>().ok().map(|address| address.ip());
    let address = text.parse::<IpAddr>().ok().or_else(bracketed).or_else(with_port)?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(peer: &str, lines: &[&str]) -> String {
        let proxies = Proxies::parse(&["10.0.0.0/8".into(), "fd00::/8".into(), "192.0.2.7".into()]).unwrap();
        proxies.client(peer.parse().unwrap(), lines.iter().map(|line| line.as_bytes())).to_string()
    }

    #[test]
    fn nobody_but_a_proxy_is_believed() {
        assert_eq!(client("203.0.113.9", &["1.1.1.1"]), "203.0.113.9");
        assert_eq!(client("10.0.0.1", &["1.1.1.1"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &[]), "10.0.0.1");
    }

    #[test]
    fn the_last_hop_that_is_no_proxy_counts_however_many_lines_there_are() {
        assert_eq!(client("10.0.0.1", &["6.6.6.6, 1.1.1.1, 10.0.0.2"]), "1.1.1.1");
        assert_eq!(client("10.0.0.1", &["6.6.6.6", "1.1.1.1", "10.0.0.2,192.0.2.7"]), "1.1.1.1");
        assert_eq!(client("fd00::1", &["10.0.0.3, 10.0.0.2"]), "10.0.0.3");
    }

    #[test]
    fn hops_are_read_in_every_form_that_proxies_write() {
        for (hop, wanted) in [
            ("1.1.1.1:443", "1.1.1.1"),
            ("[2001:db8::1]:443", "2001:db8::1"),
            ("[2001:db8::1]", "2001:db8::1"),
            (" 2001:db8::1 ", "2001:db8::1"),
            ("::ffff:1.1.1.1", "1.1.1.1"),
            ("1.1.1.1,,", "1.1.1.1"),
        ] {
            assert_eq!(client("10.0.0.1", &[hop]), wanted, "{hop}");
        }
    }

    #[test]
    fn behind_what_cannot_be_read_nothing_is_believed() {
        for hop in ["unknown", "_hidden", "1.1.1.1 2.2.2.2", "1.1.1", "\u{e4}", "\"1.1.1.1\"", "1.1.1.1:99999"] {
            assert_eq!(client("10.0.0.1", &[&format!("6.6.6.6, {hop}, 10.0.0.2")]), "10.0.0.2", "{hop}");
        }
    }

    #[test]
    fn networks_of_ipv4_within_ipv6_are_those_of_ipv4() {
        let trusts = |net: &str, peer: &str| Proxies::parse(&[net.into()]).unwrap().trusts(peer.parse().unwrap());
        for net in ["::ffff:127.0.0.0/104", "::ffff:127.9.9.9/104", "::ffff:7f00:0/104", "::ffff:127.0.0.1/128"] {
            assert!(trusts(net, "127.0.0.1"), "{net}");
            assert!(!trusts(net, "128.0.0.1"), "{net}");
        }
        assert!(trusts("::ffff:127.0.0.1", "127.0.0.1"));
        assert!(trusts("::ffff:0:0/96", "192.0.2.1"));
        assert!(trusts("::/0", "2001:db8::1") && !trusts("::/0", "192.0.2.1"));
        let refused = Proxies::parse(&["::ffff:10.0.0.0/95".into()]).unwrap_err();
        assert!(refused.contains("::ffff:10.0.0.0/95") && refused.contains("wider"), "{refused}");
    }

    #[test]
    fn what_is_no_network_is_told() {
        for text in ["", "10.0.0.0/33", "proxy.example", "10.0.0.0/8,"] {
            assert!(Proxies::parse(&[text.to_owned()]).unwrap_err().contains(text), "{text}");
        }
    }
}
