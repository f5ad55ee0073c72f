//! JSON Web Tokens: signed by a key of ours (`keys`), verified (`verifier`) with the cryptography of ring (`crypto`).

mod crypto;
mod keys;
mod verifier;

pub use keys::JwtError;
pub(super) use verifier::{Verified, Verifier};
