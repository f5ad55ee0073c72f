//! From an accepted socket to a stream under TLS, or to the reason why not.

use super::server::Tls;
use crate::metrics::HandshakeFailure;
use crate::net::Stream;
use rustls::{Error, PeerIncompatible, ServerConnection};
use std::fmt;
use std::io;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;

/// The first byte of a TLS connection: a record of type handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;
/// The protocol name of HTTP/2 (RFC 9113, 3.2).
const HTTP2: &[u8] = b"h2";

/// The byte behind it: the major version of SSL 3.0 and of all that came later.
const MAJOR_VERSION: u8 = 3;

/// Whether a connection that begins so speaks TLS.
#[must_use]
pub fn is_tls(ahead: &[u8]) -> bool {
    ahead.starts_with(&[HANDSHAKE_RECORD, MAJOR_VERSION])
}

/// A connection behind its handshake.
pub struct Secured {
    /// It.
    pub stream: Stream,
    /// Whether HTTP/2 was agreed on.
    pub is_http2: bool,
    /// The subject of the client's certificate, which was verified, if it has shown one.
    pub subject: Option<Box<str>>,
}

/// A connection that did not get there.
#[derive(Debug)]
pub struct Refused {
    /// Why.
    pub reason: HandshakeFailure,
    /// The same in detail.
    pub cause: String,
    /// The connection, where its peer may still hear something.
    pub stream: Option<Stream>,
}

impl Refused {
    fn new(reason: HandshakeFailure, cause: impl fmt::Display, stream: Option<TcpStream>) -> Self {
        Refused { reason, cause: cause.to_string(), stream: stream.map(Stream::Plain) }
    }
}

/// Shakes hands with whoever has connected.
///
/// # Errors
/// Why that came to nothing. An alert that the protocol provides for it is already written.
pub async fn handshake(stream: TcpStream, tls: &Tls, within: Duration) -> Result<Secured, Refused> {
    let shaken = async {
        match first_byte(&stream).await {
            Ok(Some(HANDSHAKE_RECORD)) => {}
            Ok(None) => return Err(Refused::new(HandshakeFailure::Closed, "nothing was sent", None)),
            // Every method of HTTP begins so.
            Ok(Some(byte)) if byte.is_ascii_uppercase() => {
                return Err(Refused::new(HandshakeFailure::PlainHttp, "plain HTTP", Some(stream)));
            }
            Ok(Some(byte)) => {
                let cause = format!("the first byte is {byte}");
                return Err(Refused::new(HandshakeFailure::NotTls, cause, Some(stream)));
            }
            Err(error) => return Err(Refused::new(HandshakeFailure::Closed, error, None)),
        }
        let accepted = TlsAcceptor::from(tls.config()).accept(stream).into_fallible().await;
        accepted.map_err(|(error, stream)| Refused::new(reason(&error), error, Some(stream)))
    };
    match tokio::time::timeout(within, shaken).await {
        Ok(Ok(tls)) => {
            let session = tls.get_ref().1;
            let (is_http2, subject) = (session.alpn_protocol() == Some(HTTP2), subject(session));
            Ok(Secured { stream: Stream::Tls(Box::new(tls)), is_http2, subject })
        }
        Ok(Err(refused)) => Err(refused),
        Err(_) => Err(Refused::new(HandshakeFailure::Timeout, "it did not come to its end in time", None)),
    }
}

/// The first byte, left where it is; `None` at the end.
async fn first_byte(stream: &TcpStream) -> io::Result<Option<u8>> {
    let mut byte = [0];
    let read = stream.peek(&mut byte).await?;
    Ok((read > 0).then_some(byte[0]))
}

/// Whom the client's certificate is for, as RFC 4514 writes it.
fn subject(session: &ServerConnection) -> Option<Box<str>> {
    let first = session.peer_certificates()?.first()?;
    let (_, certificate) = x509_parser::parse_x509_certificate(first).ok()?;
    Some(certificate.subject().to_string().into())
}

fn reason(error: &io::Error) -> HandshakeFailure {
    let Some(error) = error.get_ref().and_then(|error| error.downcast_ref::<Error>()) else {
        return HandshakeFailure::Closed;
    };
    match error {
        Error::PeerIncompatible(
            PeerIncompatible::Tls12NotOffered
            | PeerIncompatible::Tls12NotOfferedOrEnabled
            | PeerIncompatible::SupportedVersionsExtensionRequired
            // Which TLS 1.2 brought.
            | PeerIncompatible::SignatureAlgorithmsExtensionRequired,
        ) => HandshakeFailure::Version,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => HandshakeFailure::Parameters,
        Error::NoCertificatesPresented => HandshakeFailure::NoCertificate,
        Error::InvalidCertificate(_) => HandshakeFailure::BadCertificate,
        Error::AlertReceived(_) => HandshakeFailure::Alert,
        _ => HandshakeFailure::Protocol,
    }
}
