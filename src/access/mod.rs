//! Who sends, what it may and how much: credentials, tenants, scopes, limits.
//!
//! `presented` finds the credential in a request's headers; `entrance` decides by the `rules` whose it is: an API key
//! (`key`, kept in the `keyring` and its `key_file`) or a JWT (`jwt`). `cache` remembers JWTs that were verified;
//! `failure` names every way of being turned away; `caller` is what comes of it, and `limits` what that may send.

mod cache;
mod caller;
mod entrance;
mod failure;
mod jwt;
mod key;
mod key_file;
mod keyring;
pub mod limits;
mod presented;
mod rules;
mod scope;
mod tenant;

pub use cache::Cache;
pub use caller::{Caller, Credential};
pub use entrance::{Access, AccessError, Prepared};
pub use failure::Failure;
pub use jwt::JwtError;
pub use key::{Key, KeyId};
pub use key_file::KeyFileError;
pub use key_file::NAME as KEY_FILE;
pub use keyring::{Keyring, NewKey, TokenError};
pub use presented::Presented;
pub use rules::{JwtRules, Mode, Rules};
pub use scope::{Scope, Scopes};
pub use tenant::is_tenant;
