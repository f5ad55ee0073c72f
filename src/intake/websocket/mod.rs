//! `WS /events/stream`: read what is there, commit it as one submission, write all acks, read again.
//!
//! While a commit is under way the socket is not read, so a client that sends faster than its events become durable is
//! slowed down by TCP. All connections of a thread share one read buffer: an idle one owns next to nothing.

mod handshake;
mod outgoing;
mod round;
mod socket;
mod subprotocol;

pub(super) use handshake::handshake;
pub(super) use socket::serve;
pub(super) use subprotocol::{SUBPROTOCOL, token_in};
