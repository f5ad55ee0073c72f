//! Who sends, and how much: callers, the tenants they act for, and their `limits`.

mod caller;
pub mod limits;

pub use caller::Caller;
