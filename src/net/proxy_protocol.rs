//! The PROXY protocol, versions 1 and 2 (haproxy's `proxy-protocol.txt`): what a load balancer that does not speak HTTP
//! says before everything else about whose connection it passes on. Only the header is read, and no byte behind it.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;

/// Version 2 begins so, and nothing else does (section 2.2).
const SIGNATURE: &[u8; 12] = b"\r\n\r\n\0\r\nQUIT\n";
/// Version 1 begins so.
const WORD: &[u8] = b"PROXY ";
/// The longest line of version 1, its end included (section 2.1).
const LINE_BYTES_MAX: usize = 107;
/// The longest rest of version 2: addresses, and what some balancers add. The protocol allows 64 KiB, none needs it.
const REST_BYTES_MAX: usize = 4096;

/// Why a connection is closed without an answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProxyError {
    /// It does not begin with a header.
    #[error("the connection does not begin with a PROXY protocol header")]
    Missing,
    /// It begins with one that is wrong.
    #[error("the PROXY protocol header is malformed: {0}")]
    Malformed(&'static str),
    /// It did not come in time.
    #[error("the PROXY protocol header did not arrive in time")]
    Late,
    /// The peer has gone.
    #[error("the connection ended within the PROXY protocol header: {0}")]
    Ended(#[from] io::Error),
}

/// Reads the header; the client's address, or `None` where the proxy speaks for itself (as its health checks do) or for
/// somebody without an address.
///
/// # Errors
/// [`ProxyError`]; the connection is of no use then.
pub async fn read_proxy_header(stream: &mut TcpStream, within: Duration) -> Result<Option<IpAddr>, ProxyError> {
    tokio::time::timeout(within, read(stream)).await.unwrap_or(Err(ProxyError::Late))
}

async fn read(stream: &mut TcpStream) -> Result<Option<IpAddr>, ProxyError> {
    // No header of either version is shorter.
    let mut start = [0; SIGNATURE.len()];
    stream.read_exact(&mut start).await?;
    if start == *SIGNATURE {
        return binary(stream).await;
    }
    if !start.starts_with(WORD) {
        return Err(ProxyError::Missing);
    }
    let mut line = start.to_vec();
    while !line.ends_with(b"\n") {
        take_line(stream, &mut line).await?;
    }
    text(&line)
}

/// Takes what is there up to the line's end.
async fn take_line(stream: &mut TcpStream, line: &mut Vec<u8>) -> Result<(), ProxyError> {
    let mut buffer = [0; LINE_BYTES_MAX];
    let room = LINE_BYTES_MAX - line.len();
    if room == 0 {
        return Err(ProxyError::Malformed("the line does not end"));
    }
    let there = stream.peek(&mut buffer[..room]).await?;
    if there == 0 {
        return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
    }
    let take = buffer[..there].iter().position(|byte| *byte == b'\n').map_or(there, |end| end + 1);
    stream.read_exact(&mut buffer[..take]).await?;
    line.extend_from_slice(&buffer[..take]);
    Ok(())
}

/// Version 1: `PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n`.
fn text(line: &[u8]) -> Result<Option<IpAddr>, ProxyError> {
    let malformed = ProxyError::Malformed;
    let line = line.strip_suffix(b"\r\n").ok_or(malformed("the line does not end in CR LF"))?;
    let line = std::str::from_utf8(line).map_err(|_| malformed("the line is not ASCII"))?;
    let words: Vec<&str> = line.split(' ').collect();
    let (family, source, target, ports) = match words[..] {
        ["PROXY", "UNKNOWN", ..] => return Ok(None),
        ["PROXY", family, source, target, from, to] => (family, source, target, [from, to]),
        _ => return Err(malformed("it has not the six words it must have")),
    };
    let is_port = |port: &&str| port.parse::<u16>().is_ok() && port.bytes().all(|byte| byte.is_ascii_digit());
    if !ports.iter().all(is_port) {
        return Err(malformed("a port is no port"));
    }
    let address = |text: &str| match family {
        "TCP4" => text.parse::<Ipv4Addr>().map(IpAddr::V4).map_err(|_| malformed("an address is not IPv4")),
        "TCP6" => text.parse::<Ipv6Addr>().map(IpAddr::V6).map_err(|_| malformed("an address is not IPv6")),
        _ => Err(malformed("it is of no known family")),
    };
    address(target)?;
    Ok(Some(address(source)?.to_canonical()))
}

/// Version 2, behind its signature.
async fn binary(stream: &mut TcpStream) -> Result<Option<IpAddr>, ProxyError> {
    let mut head = [0; 4];
    stream.read_exact(&mut head).await?;
    let [version_and_command, family, high, low] = head;
    let length = usize::from(u16::from_be_bytes([high, low]));
    if length > REST_BYTES_MAX {
        return Err(ProxyError::Malformed("it is longer than 4096 bytes"));
    }
    let mut rest = vec![0; length];
    stream.read_exact(&mut rest).await?;
    addresses(version_and_command, family, &rest)
}

fn addresses(version_and_command: u8, family: u8, rest: &[u8]) -> Result<Option<IpAddr>, ProxyError> {
    match version_and_command {
        0x21 => {}
        // LOCAL: the proxy's own connection, whatever stands behind.
        0x20 => return Ok(None),
        _ => return Err(ProxyError::Malformed("its version or command is unknown")),
    }
    let short = ProxyError::Malformed("its addresses are cut off");
    match family >> 4 {
        1 if rest.len() >= 12 => {
            let source = rest.first_chunk::<4>().map(|bytes| Ipv4Addr::from(*bytes));
            Ok(source.map(IpAddr::V4))
        }
        2 if rest.len() >= 36 => {
            let source = rest.first_chunk::<16>().map(|bytes| Ipv6Addr::from(*bytes));
            Ok(source.map(|source| IpAddr::V6(source).to_canonical()))
        }
        1 | 2 => Err(short),
        // UNSPEC and unix sockets have no address that could be limited.
        0 | 3 => Ok(None),
        _ => Err(ProxyError::Malformed("it is of no known family")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    /// What a connection that brings these bytes, in pieces of `piece` bytes, is taken for, and what is left of it.
    async fn taken(bytes: &[u8], piece: usize) -> (Result<Option<IpAddr>, ProxyError>, Vec<u8>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.set_nodelay(true).unwrap();
        let (mut server, _) = listener.accept().await.unwrap();
        let send = async {
            for piece in bytes.chunks(piece) {
                // Fails where the reader has given up.
                client.write_all(piece).await.ok();
                tokio::task::yield_now().await;
            }
            client.shutdown().await.ok();
        };
        let (read, ()) = tokio::join!(read_proxy_header(&mut server, Duration::from_secs(60)), send);
        let mut left = Vec::new();
        server.read_to_end(&mut left).await.ok();
        (read, left)
    }

    fn binary(command: u8, family: u8, rest: &[u8]) -> Vec<u8> {
        let length = (rest.len() as u16).to_be_bytes();
        [&SIGNATURE[..], &[command, family], &length, rest].concat()
    }

    fn ipv4(more: usize) -> Vec<u8> {
        [vec![198, 51, 100, 7, 10, 0, 0, 1, 0xdc, 0x04, 0x01, 0xbb], vec![0; more]].concat()
    }

    #[tokio::test]
    async fn the_client_is_found_and_nothing_behind_the_header_is_touched() {
        let ipv6 = [Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, 7).octets(), [0; 16]].concat();
        for (header, wanted) in [
            (b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n".to_vec(), Some("198.51.100.7")),
            (b"PROXY TCP6 2001:db8::7 ::1 56324 443\r\n".to_vec(), Some("2001:db8::7")),
            (b"PROXY TCP6 ::ffff:198.51.100.7 ::1 1 2\r\n".to_vec(), Some("198.51.100.7")),
            (b"PROXY UNKNOWN\r\n".to_vec(), None),
            (b"PROXY UNKNOWN ff:: ff:: 1 2\r\n".to_vec(), None),
            (binary(0x21, 0x11, &ipv4(0)), Some("198.51.100.7")),
            // With something behind the addresses.
            (binary(0x21, 0x11, &ipv4(300)), Some("198.51.100.7")),
            (binary(0x21, 0x21, &[&ipv6[..], &[0; 4]].concat()), Some("2001:db8::7")),
            (binary(0x20, 0x00, b""), None),
            (binary(0x20, 0x11, &ipv4(0)), None),
            (binary(0x21, 0x31, &[0; 216]), None),
        ] {
            for piece in [1, 5, 1000] {
                let (read, left) = taken(&[&header[..], b"GET /\n"].concat(), piece).await;
                let told = read.unwrap_or_else(|error| panic!("{}: {error}", header.escape_ascii()));
                assert_eq!(told, wanted.map(|text| text.parse().unwrap()), "{}", header.escape_ascii());
                assert_eq!(left, b"GET /\n", "{}", header.escape_ascii());
            }
        }
    }

    #[tokio::test]
    async fn what_is_no_header_is_refused() {
        for bytes in [
            b"POST /events HTTP/1.1\r\n".to_vec(),
            b"PROXY".to_vec(),
            b"".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 70000\r\n".to_vec(),
            b"PROXY TCP4 198.51.100.7 10.0.0.1 +1 443\r\n".to_vec(),
            b"PROXY TCP4 2001:db8::7 ::1 56324 443\r\n".to_vec(),
            b"PROXY TCP6 198.51.100.7 10.0.0.1 56324 443\r\n".to_vec(),
            b"PROXY UDP4 198.51.100.7 10.0.0.1 56324 443\r\n".to_vec(),
            format!("PROXY UNKNOWN {}\r\n", "x".repeat(LINE_BYTES_MAX)).into_bytes(),
            binary(0x11, 0x11, &ipv4(0)),
            binary(0x22, 0x11, &ipv4(0)),
            binary(0x21, 0x41, &ipv4(0)),
            binary(0x21, 0x11, &ipv4(0)[..11]),
            binary(0x21, 0x21, &ipv4(0)),
            binary(0x21, 0x11, &ipv4(REST_BYTES_MAX)),
            binary(0x21, 0x11, &ipv4(0))[..20].to_vec(),
        ] {
            let (read, _) = taken(&bytes, 1000).await;
            assert!(read.is_err(), "{}: {read:?}", bytes.escape_ascii());
        }
    }
}
