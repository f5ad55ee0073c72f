//! TLS in front of a socket: who we say we are (`identity`, from files), whom of others we ask for a certificate
//! (`settings`), how a connection gets there (`handshake`), and how all that changes while connections go on (`server`).

mod handshake;
mod identity;
mod server;
mod settings;

pub use handshake::{Refused, Secured, handshake, is_tls};
pub use identity::{EXPIRY_WARNING, Identity, TlsError, Validity};
pub use server::Tls;
pub use settings::{ClientAuth, MinVersion, TlsSettings};
