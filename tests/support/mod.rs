//! The daemon as its clients and its operator see it: a process, sockets, a data folder.
//!
//! Nothing here knows the daemon from inside. Every wait has a deadline, so that a test that cannot pass fails.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

mod api_key;
mod daemon;
mod event;
mod http;
mod issuer;
mod shim;
mod socket;
mod stopped;
mod tls;

pub use api_key::{ApiKey, leaks, post_as, tokens, upgrade};
pub use daemon::{BINARY as PROGRAM, Daemon, Place, Stored, eventually};
pub use event::{event, events, events_with, ndjson, real_lines, shape};
pub use http::{Answer, Connection, Wire, request};
pub use issuer::Issuer;
pub use shim::Shim;
pub use socket::{BINARY, CLOSE, CONTINUATION, Frame, PING, PONG, Socket, TEXT, cart_event, frame, masked};
pub use stopped::Stopped;
pub use tls::{Authority, Files, Pair};
