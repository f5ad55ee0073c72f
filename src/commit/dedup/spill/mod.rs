//! Ids that left memory: sorted files behind Bloom filters, and the thread that writes them.

mod bloom;
mod directory;
mod span;
mod thread;
mod writer;

pub(crate) use directory::Directory;
pub(crate) use span::{Found, Span};
pub(crate) use thread::SpillThread;
pub(crate) use writer::Job;
