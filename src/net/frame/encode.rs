use crate::CONTROL_BYTES_MAX;
use crate::head::Opcode;

const FIN: u8 = 0x80;

/// The head of a server's frame: unmasked (RFC 6455 §5.1), never a fragment, 2 to 10 bytes.
#[derive(Debug, Clone, Copy)]
pub struct Header {
    bytes: [u8; 10],
    len: u8,
}

impl Header {
    fn new(opcode: Opcode, payload_len: usize) -> Header {
        let mut bytes = [0; 10];
        bytes[0] = FIN | opcode as u8;
        let len = match payload_len {
            0..126 => {
                bytes[1] = payload_len as u8;
                2
            }
            126..=0xffff => {
                bytes[1] = 126;
                bytes[2..4].copy_from_slice(&(payload_len as u16).to_be_bytes());
                4
            }
            _ => {
                bytes[1] = 127;
                bytes[2..].copy_from_slice(&(payload_len as u64).to_be_bytes());
                10
            }
        };
        Header { bytes, len }
    }

    /// The bytes to write before the payload.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..usize::from(self.len)]
    }
}

/// The head of a text message of `payload_len` bytes (RFC 6455 §5.2, §5.6), for a payload that is written elsewhere.
#[must_use]
pub fn text_header(payload_len: usize) -> Header {
    Header::new(Opcode::Text, payload_len)
}

/// Appends a text message (RFC 6455 §5.6); `payload` must be UTF-8.
pub fn put_text(out: &mut Vec<u8>, payload: &[u8]) {
    put(out, Opcode::Text, payload);
}

/// Appends a text message whose payload `write` appends to `out`, so that an answer is written where it is sent from
/// and its length need not be known before. `write` must only append, and append UTF-8.
pub fn put_text_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    // The head of a payload of 126 bytes to 64 KiB: what most answers need. For others the payload is moved.
    const GAP: usize = 4;
    let start = out.len();
    out.extend_from_slice(&[0; GAP]);
    let body = out.len();
    write(out);
    let header = text_header(out.len() - body);
    let header = header.as_bytes();
    if header.len() == GAP {
        out[start..body].copy_from_slice(header);
    } else {
        out.splice(start..body, header.iter().copied());
    }
}

/// Appends a Ping (RFC 6455 §5.5.2).
///
/// # Panics
///
/// If `payload` is longer than [`CONTROL_BYTES_MAX`].
pub fn put_ping(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, Opcode::Ping, payload);
}

/// Appends a Pong (RFC 6455 §5.5.3): the answer to a Ping, with its payload.
///
/// # Panics
///
/// If `payload` is longer than [`CONTROL_BYTES_MAX`]; a decoded Ping's never is.
pub fn put_pong(out: &mut Vec<u8>, payload: &[u8]) {
    put_control(out, Opcode::Pong, payload);
}

/// Appends a Close (RFC 6455 §5.5.1). Without a code the frame is empty; a reason that does not fit is cut at a
/// character's end. `code` must be one that may be sent: see [`crate::close::is_sendable`].
pub fn put_close(out: &mut Vec<u8>, code: Option<u16>, reason: &str) {
    let Some(code) = code else { return put_control(out, Opcode::Close, &[]) };
    debug_assert!(crate::close::is_sendable(code), "close code {code} may be sent");
    let code = code.to_be_bytes();
    let reason = &reason[..reason.floor_char_boundary(CONTROL_BYTES_MAX - code.len())];
    out.extend_from_slice(Header::new(Opcode::Close, code.len() + reason.len()).as_bytes());
    out.extend_from_slice(&code);
    out.extend_from_slice(reason.as_bytes());
}

fn put_control(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    assert!(payload.len() <= CONTROL_BYTES_MAX, "control frame of {} bytes", payload.len());
    put(out, opcode, payload);
}

fn put(out: &mut Vec<u8>, opcode: Opcode, payload: &[u8]) {
    out.extend_from_slice(Header::new(opcode, payload.len()).as_bytes());
    out.extend_from_slice(payload);
}
