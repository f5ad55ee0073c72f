//! Every way in: all end in one [`crate::commit::Submission`] and wait for its receipt.
//!
//! `connection` serves one connection, `express` answers what is plain and whole on it, `http` routes and answers,
//! `body` reads, `unpack` unpacks, `options` reads what the query asks for, `settings` is what a reload replaces, `single` and `batch` are the two calls,
//! `delivery` waits for sinks, `websocket` is the stream, `admission` says whether anything is let in at all, `answer`
//! builds what goes back, `fault_log` says which requests failed.

mod acceptor;
mod admission;
mod answer;
mod batch;
mod body;
mod connection;
mod date;
mod delivery;
mod express;
mod fault_log;
mod http;
mod idempotent;
mod options;
mod settings;
mod single;
mod unpack;
mod websocket;

pub use acceptor::{Shared, run};
pub use admission::Admission;
pub use answer::{Answer, problem};
pub use settings::{Deadlines, Settings};
