//! Why a TLS handshake came to nothing: a fixed list, as labels must be.

/// How a connection failed before its first request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum HandshakeFailure {
    /// It did not come to its end in time.
    Timeout,
    /// The peer left.
    Closed,
    /// The peer speaks plain HTTP.
    PlainHttp,
    /// The peer speaks neither TLS nor HTTP.
    NotTls,
    /// The peer offers no version that is taken.
    Version,
    /// Versions fit, but no cipher, group, signature or protocol does.
    Parameters,
    /// The peer has no certificate, and must.
    NoCertificate,
    /// The peer's certificate is not one of the configured authority's, or does not hold now.
    BadCertificate,
    /// The peer broke it off with an alert: mostly it does not trust our certificate.
    Alert,
    /// The peer does not keep to the protocol.
    Protocol,
}

impl HandshakeFailure {
    /// Every reason, in order.
    pub const ALL: [HandshakeFailure; 10] = [
        HandshakeFailure::Timeout,
        HandshakeFailure::Closed,
        HandshakeFailure::PlainHttp,
        HandshakeFailure::NotTls,
        HandshakeFailure::Version,
        HandshakeFailure::Parameters,
        HandshakeFailure::NoCertificate,
        HandshakeFailure::BadCertificate,
        HandshakeFailure::Alert,
        HandshakeFailure::Protocol,
    ];

    /// The label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            HandshakeFailure::Timeout => "timeout",
            HandshakeFailure::Closed => "closed",
            HandshakeFailure::PlainHttp => "plain_http",
            HandshakeFailure::NotTls => "not_tls",
            HandshakeFailure::Version => "version",
            HandshakeFailure::Parameters => "parameters",
            HandshakeFailure::NoCertificate => "no_certificate",
            HandshakeFailure::BadCertificate => "bad_certificate",
            HandshakeFailure::Alert => "alert",
            HandshakeFailure::Protocol => "protocol",
        }
    }
}
