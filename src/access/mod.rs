//! Who sends: callers and the tenants they act for.

mod caller;

pub use caller::Caller;
