use crate::head::{Head, Opcode};
use crate::partial::Partial;
use crate::{Violation, close, mask};
use std::fmt;
use std::ops::ControlFlow;

/// What a client may send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// The most bytes of one message, over all its fragments. More is refused by the head that announces it, before
    /// any of it is kept.
    pub message_bytes_max: usize,
}

/// One complete message or control frame. The bytes are the read buffer's own, or, for a message that came in pieces,
/// gathered ones; they live for the call only and may be changed in place, as a JSON parser does.
#[derive(Debug, PartialEq, Eq)]
pub enum Event<'a> {
    /// A text message (RFC 6455 §5.6), unmasked and valid UTF-8.
    Text(&'a mut [u8]),
    /// A binary message (§5.6), unmasked.
    Binary(&'a mut [u8]),
    /// A Ping (§5.5.2): answer with a Pong of the same payload.
    Ping(&'a [u8]),
    /// A Pong (§5.5.3).
    Pong(&'a [u8]),
    /// A Close (§5.5.1): answer with a Close of the same code unless one was sent already. Nothing follows.
    Close {
        /// The client's code, one that may stand on the wire; `None` if the frame was empty.
        code: Option<u16>,
        /// The client's words, at most 123 bytes.
        reason: &'a str,
    },
}

/// The two kinds of message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Text,
    Binary,
}

/// Why decoding ends before the bytes do.
enum Stop {
    /// A Close, or the caller's wish.
    Asked,
    Fault(Violation),
}

impl From<Violation> for Stop {
    fn from(violation: Violation) -> Self {
        Stop::Fault(violation)
    }
}

/// The decoder of one connection: a few bytes, and heap only while a frame or fragmented message is incomplete.
pub struct Decoder {
    partial: Option<Box<Partial>>,
    message_bytes_max: usize,
    finished: bool,
}

// Tens of thousands of these lie in idle connections.
const _: () = assert!(size_of::<Decoder>() <= 24);

impl Decoder {
    /// A decoder for a connection whose handshake is done.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Decoder { partial: None, message_bytes_max: limits.message_bytes_max, finished: false }
    }

    /// Decodes what was just read and calls `each` for every complete message and control frame, in the order of
    /// their last byte. `bytes` is unmasked in place; nothing in it is needed after the call.
    ///
    /// Decoding ends for good after a Close, after `each` returned `Break`, and with a violation: whatever is fed then
    /// is dropped in silence (RFC 6455 §1.4, §7.1.7), so that a closing connection can be drained through here.
    ///
    /// # Errors
    ///
    /// The client broke the protocol. What came before was handed out as always: it is the caller's to answer before
    /// it closes with [`Violation::close_code`].
    pub fn feed(
        &mut self,
        bytes: &mut [u8],
        mut each: impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Violation> {
        if self.finished {
            return Ok(());
        }
        let Err(stop) = self.decode(bytes, &mut each) else { return Ok(()) };
        self.finished = true;
        self.partial = None;
        match stop {
            Stop::Asked => Ok(()),
            Stop::Fault(violation) => Err(violation),
        }
    }

    /// Heap bytes held for what is incomplete; 0 between messages. Never more than `message_bytes_max` and 256.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.partial.as_ref().map_or(0, |partial| partial.heap_bytes())
    }

    fn decode(
        &mut self,
        mut bytes: &mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<(), Stop> {
        if self.partial.is_some() {
            bytes = self.resume(bytes, each)?;
        }
        while !bytes.is_empty() {
            let Some(head) = Head::parse(bytes)? else {
                self.partial.get_or_insert_default().tail.push(bytes);
                return Ok(());
            };
            let body = &mut bytes[head.size..];
            bytes = self.frame(&head, body, each)?;
        }
        Ok(())
    }

    /// Goes on where the last read was cut, and returns what lies behind that frame or head.
    fn resume<'b>(
        &mut self,
        bytes: &'b mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<&'b mut [u8], Stop> {
        let Some(partial) = &mut self.partial else { return Ok(bytes) };
        if partial.is_inside_frame() {
            return self.gather(bytes, each);
        }
        let mut used = 0;
        while !partial.tail.as_slice().is_empty() {
            let missing = Head::wanted(partial.tail.as_slice()) - partial.tail.as_slice().len();
            let available = missing.min(bytes.len() - used);
            if available == 0 {
                break;
            }
            partial.tail.push(&bytes[used..used + available]);
            used += available;
            let Some(head) = Head::parse(partial.tail.as_slice())? else { continue };
            // Off the heap first: the frame may be all that kept the memory.
            let mut tail = partial.take_tail();
            if partial.kind.is_none() {
                self.partial = None;
            }
            let rest = &mut bytes[used..];
            if !head.opcode.is_control() {
                return self.frame(&head, rest, each);
            }
            self.frame(&head, &mut tail.as_mut_slice()[head.size..], each)?;
            return Ok(rest);
        }
        Ok(&mut bytes[used..])
    }

    /// One frame: `body` starts with its payload, which for a control frame is all there. Returns what follows.
    #[inline]
    fn frame<'b>(
        &mut self,
        head: &Head,
        body: &'b mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<&'b mut [u8], Stop> {
        if head.opcode.is_control() {
            let (payload, rest) = body.split_at_mut(head.len as usize);
            mask::unmask(payload, head.key);
            control(head.opcode, payload, each)?;
            return Ok(rest);
        }
        let (kind, len) = self.admit(head)?;
        if head.fin && head.opcode != Opcode::Continuation && len <= body.len() {
            let (payload, rest) = body.split_at_mut(len);
            mask::unmask(payload, head.key);
            message(kind, payload, each)?;
            return Ok(rest);
        }
        let partial = self.partial.get_or_insert_default();
        partial.kind = Some(kind);
        partial.begin(head, len);
        self.gather(body, each)
    }

    /// Whether this data frame may stand here (RFC 6455 §5.4) and fits the limit.
    #[inline]
    fn admit(&self, head: &Head) -> Result<(Kind, usize), Violation> {
        let open = self.partial.as_ref().and_then(|partial| Some((partial.kind?, partial.message_bytes())));
        let (kind, before) = match (head.opcode, open) {
            (Opcode::Text, None) => (Kind::Text, 0),
            (Opcode::Binary, None) => (Kind::Binary, 0),
            (Opcode::Continuation, Some(open)) => open,
            (Opcode::Continuation, None) => return Err(Violation::OrphanContinuation),
            _ => return Err(Violation::InterleavedMessage),
        };
        let left = self.message_bytes_max - before;
        if head.len > left as u64 {
            return Err(Violation::TooBig { limit: self.message_bytes_max });
        }
        Ok((kind, head.len as usize))
    }

    /// Adds payload to the open message; hands it out and frees it when it is whole. Returns what follows.
    fn gather<'b>(
        &mut self,
        bytes: &'b mut [u8],
        each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>,
    ) -> Result<&'b mut [u8], Stop> {
        let Some(partial) = &mut self.partial else { return Ok(bytes) };
        let taken = partial.absorb(bytes, self.message_bytes_max);
        if let Some(whole) = self.partial.take_if(|partial| partial.is_whole())
            && let Some(kind) = whole.kind
        {
            message(kind, &mut whole.into_message(), each)?;
        }
        Ok(&mut bytes[taken..])
    }
}

/// Sizes only: what clients send does not belong into logs.
impl fmt::Debug for Decoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Decoder")
            .field("message_bytes_max", &self.message_bytes_max)
            .field("buffered", &self.buffered())
            .field("finished", &self.finished)
            .finish()
    }
}

/// Hands out a complete message. Text is checked here, as a whole: a code point may be cut by fragments (§5.6).
#[inline]
fn message(kind: Kind, payload: &mut [u8], each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> Result<(), Stop> {
    let event = match kind {
        Kind::Text if simdutf8::basic::from_utf8(payload).is_err() => return Err(Violation::InvalidText.into()),
        Kind::Text => Event::Text(payload),
        Kind::Binary => Event::Binary(payload),
    };
    go_on(each(event))
}

/// Hands out a control frame (§5.5).
fn control(opcode: Opcode, payload: &[u8], each: &mut impl FnMut(Event<'_>) -> ControlFlow<()>) -> Result<(), Stop> {
    match opcode {
        Opcode::Ping => go_on(each(Event::Ping(payload))),
        Opcode::Pong => go_on(each(Event::Pong(payload))),
        _ => {
            let (code, reason) = close::parse(payload)?;
            go_on(each(Event::Close { code, reason }))?;
            // Nothing follows a Close, whatever `each` says.
            Err(Stop::Asked)
        }
    }
}

fn go_on(flow: ControlFlow<()>) -> Result<(), Stop> {
    if flow.is_break() { Err(Stop::Asked) } else { Ok(()) }
}
