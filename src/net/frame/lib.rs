//! WebSocket frames (RFC 6455), server side, without I/O.
//!
//! A connection that is idle between messages must cost next to nothing, so a connection has no read buffer of its
//! own. All connections of a thread share one; whoever is readable reads into it and feeds what it got:
//!
//! ```text
//! readable ─► read ≤ 64 KiB into the thread's buffer ─► Decoder::feed ─► each(Event) … each(Event)
//!                                                           │
//!                       heap, only while something is incomplete: the tail of a header or control frame,
//!                       or the payload so far of a message whose end has not arrived
//! ```
//!
//! A message that lies in the buffer in one piece is unmasked and handed out in place: nothing is copied and nothing
//! allocated. Only what is cut by the end of a read, or sent in fragments, is gathered on the heap; each byte of it is
//! copied once and the memory is given back with the message's delivery.
//!
//! ```
//! use frame::{Decoder, Event, Limits, put_close, put_pong, put_text};
//! use std::ops::ControlFlow;
//!
//! let mut decoder = Decoder::new(Limits { message_bytes_max: 1 << 20 });
//! let mut read = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2]; // what a client sends for "hi"
//! let mut out = Vec::new();
//! let fed = decoder.feed(&mut read, |event| {
//!     match event {
//!         Event::Text(message) | Event::Binary(message) => put_text(&mut out, message),
//!         Event::Ping(payload) => put_pong(&mut out, payload),
//!         Event::Pong(_) => {}
//!         Event::Close { code, .. } => put_close(&mut out, code, ""),
//!     }
//!     ControlFlow::Continue(())
//! });
//! if let Err(violation) = fed {
//!     put_close(&mut out, Some(violation.close_code()), &violation.to_string());
//! }
//! assert_eq!(out, b"\x81\x02hi");
//! assert_eq!(decoder.buffered(), 0);
//! ```
//!
//! What it does not do: extensions (a set RSV bit is a violation, as none is ever negotiated), the client's side,
//! subprotocols and origins (the HTTP layer's business), timeouts.

pub mod close;
mod decode;
mod encode;
mod handshake;
mod head;
mod mask;
mod partial;
mod violation;

pub use decode::{Decoder, Event, Limits};
pub use encode::{Header, put_close, put_ping, put_pong, put_text, put_text_with, text_header};
pub use handshake::{Refused, VERSION, accept_key, handshake};
pub use violation::Violation;

/// The most bytes a control frame carries (RFC 6455 §5.5).
pub const CONTROL_BYTES_MAX: usize = 125;
