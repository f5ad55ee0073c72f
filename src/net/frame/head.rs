use crate::{CONTROL_BYTES_MAX, Violation};

const FIN: u8 = 0x80;
const RESERVED: u8 = 0x70;
const MASKED: u8 = 0x80;

/// The longest head: two bytes, a 64-bit length and the mask key.
pub(crate) const HEAD_BYTES_MAX: usize = 14;

/// What a frame is (RFC 6455 §5.2, §11.8).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Opcode {
    Continuation = 0x0,
    Text = 0x1,
    Binary = 0x2,
    Close = 0x8,
    Ping = 0x9,
    Pong = 0xA,
}

impl Opcode {
    pub(crate) fn is_control(self) -> bool {
        self as u8 >= Opcode::Close as u8
    }
}

/// A client frame's head, with everything checked that can be checked without knowing the frames before it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Head {
    pub(crate) opcode: Opcode,
    pub(crate) fin: bool,
    /// Payload bytes; for a control frame at most 125.
    pub(crate) len: u64,
    pub(crate) key: [u8; 4],
    /// Bytes of the head itself.
    pub(crate) size: usize,
}

impl Head {
    /// Reads the head at the start of `bytes`. `None` means that more is needed: the rest of the head or, for a
    /// control frame, the rest of the frame. What is wrong is found with the first byte that shows it, whatever
    /// follows, so the finding does not depend on how the stream is cut into reads.
    #[inline]
    pub(crate) fn parse(bytes: &[u8]) -> Result<Option<Head>, Violation> {
        let Some(&first) = bytes.first() else { return Ok(None) };
        let (opcode, fin) = kind(first)?;
        let Some(&second) = bytes.get(1) else { return Ok(None) };
        if second & MASKED == 0 {
            return Err(Violation::Unmasked);
        }
        let short = second & !MASKED;
        if opcode.is_control() && usize::from(short) > CONTROL_BYTES_MAX {
            return Err(Violation::LongControl);
        }
        let Some((len, key_at)) = length(short, bytes)? else { return Ok(None) };
        let Some(key) = array_at::<4>(bytes, key_at) else { return Ok(None) };
        let size = key_at + key.len();
        if opcode.is_control() && ((bytes.len() - size) as u64) < len {
            return Ok(None);
        }
        Ok(Some(Head { opcode, fin, len, key, size }))
    }

    /// How many bytes [`Head::parse`] needs to say more than it can with `bytes`.
    pub(crate) fn wanted(bytes: &[u8]) -> usize {
        let [first, second, ..] = *bytes else { return bytes.len() + 1 };
        let short = second & !MASKED;
        let size = match short {
            126 => 8,
            127 => HEAD_BYTES_MAX,
            _ => 6,
        };
        if first & 0x08 == 0 { size } else { size + usize::from(short) }
    }
}

/// The first byte: FIN, reserved bits and opcode (§5.2).
#[inline]
fn kind(first: u8) -> Result<(Opcode, bool), Violation> {
    if first & RESERVED != 0 {
        return Err(Violation::ReservedBits);
    }
    let opcode = match first & 0x0f {
        0x0 => Opcode::Continuation,
        0x1 => Opcode::Text,
        0x2 => Opcode::Binary,
        0x8 => Opcode::Close,
        0x9 => Opcode::Ping,
        0xA => Opcode::Pong,
        other => return Err(Violation::UnknownOpcode(other)),
    };
    let fin = first & FIN != 0;
    if opcode.is_control() && !fin {
        return Err(Violation::FragmentedControl);
    }
    Ok((opcode, fin))
}

/// The payload's length and where the mask key stands (§5.2: the minimal number of bytes must be used).
#[inline]
fn length(short: u8, bytes: &[u8]) -> Result<Option<(u64, usize)>, Violation> {
    match short {
        126 => {
            let Some(field) = array_at::<2>(bytes, 2) else { return Ok(None) };
            let len = u64::from(u16::from_be_bytes(field));
            if len < 126 { Err(Violation::PaddedLength) } else { Ok(Some((len, 4))) }
        }
        127 => {
            let Some(field) = array_at::<8>(bytes, 2) else { return Ok(None) };
            let len = u64::from_be_bytes(field);
            if len >> 63 != 0 {
                Err(Violation::LengthHighBit)
            } else if len <= u64::from(u16::MAX) {
                Err(Violation::PaddedLength)
            } else {
                Ok(Some((len, 10)))
            }
        }
        _ => Ok(Some((u64::from(short), 2))),
    }
}

#[inline]
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..)?.first_chunk::<N>().copied()
}
