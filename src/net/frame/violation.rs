use crate::close;

/// What a client did against RFC 6455. The connection must be failed (§7.1.7): a Close frame with
/// [`Violation::close_code`] and this error's text, then the end of the TCP connection.
///
/// The texts fit a Close frame (at most 123 bytes) and never contain the client's data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Violation {
    /// A client's frame came without a mask (§5.1).
    #[error("frame is not masked")]
    Unmasked,
    /// RSV1–3 is set though no extension was negotiated (§5.2).
    #[error("reserved bits are set but no extension was negotiated")]
    ReservedBits,
    /// Opcode 3–7 or 11–15 (§5.2).
    #[error("opcode {0} is reserved")]
    UnknownOpcode(u8),
    /// A Close, Ping or Pong without FIN (§5.5).
    #[error("control frame is fragmented")]
    FragmentedControl,
    /// A Close, Ping or Pong of more than 125 bytes (§5.5).
    #[error("control frame is longer than 125 bytes")]
    LongControl,
    /// A continuation while no message is open (§5.4).
    #[error("continuation without a message to continue")]
    OrphanContinuation,
    /// A new text or binary frame inside a fragmented message (§5.4).
    #[error("new message inside a fragmented one")]
    InterleavedMessage,
    /// A length that fits a shorter form (§5.2).
    #[error("length is not in its shortest form")]
    PaddedLength,
    /// A 64-bit length with its highest bit set (§5.2).
    #[error("highest bit of the 64-bit length is set")]
    LengthHighBit,
    /// The frame, or the fragments together, announce more than [`crate::Limits::message_bytes_max`] (§7.4.1).
    #[error("message is larger than {limit} bytes")]
    TooBig {
        /// The limit.
        limit: usize,
    },
    /// A text message that is not UTF-8 as a whole (§5.6, §8.1).
    #[error("text message is not valid UTF-8")]
    InvalidText,
    /// A Close frame of one byte: a code needs two (§5.5.1).
    #[error("close frame of one byte")]
    CutCloseCode,
    /// A close code that must not be sent, or is not assigned (§7.4).
    #[error("close code {0} is not allowed on the wire")]
    InvalidCloseCode(u16),
    /// A close reason that is not UTF-8 (§5.5.1, §8.1).
    #[error("close reason is not valid UTF-8")]
    InvalidReason,
}

impl Violation {
    /// The code to fail the connection with (§7.4.1).
    #[must_use]
    pub const fn close_code(self) -> u16 {
        match self {
            Violation::InvalidText | Violation::InvalidReason => close::INVALID_PAYLOAD,
            Violation::TooBig { .. } => close::TOO_BIG,
            _ => close::PROTOCOL_ERROR,
        }
    }
}
