//! Every way in: all end in one [`crate::commit::Submission`] and wait for its receipt.
//!
//! `arrival` says whose a connection is, `connection` serves it, `express` answers what is plain and whole on it, `http`
//! routes and answers, `http2` does the same with many requests at once, `own_words` has hyper say nothing by itself,
//! `body` reads, `unpack` unpacks, `options` reads what the query asks for, `settings` is what a reload replaces, `single`
//! and `batch` are the two calls, `order` reads what is no intake and may change something, `delivery` waits for sinks,
//! `websocket` is the stream, `admission` says whether anything is let in at all, `share` how much of that one address may
//! hold, `entry` who comes in and what it may still send, `toll` what that costs, `cors` which pages may, `answer` and
//! `limited` build what goes back, `unread` bounds what of it is kept for clients that do not read, `fault_log` says which
//! requests failed, `caught` makes a panic one of them.

mod acceptor;
mod admission;
mod answer;
mod arrival;
mod batch;
mod body;
mod caught;
mod connection;
mod cors;
mod date;
mod delivery;
mod entry;
mod express;
mod fault_log;
mod http;
mod http2;
mod idempotent;
mod limited;
mod options;
mod order;
mod own_words;
mod settings;
mod share;
mod single;
mod toll;
mod unpack;
mod unread;
mod websocket;

pub use acceptor::{Shared, run};
pub use admission::Admission;
pub use answer::{Answer, problem};
pub use cors::Cors;
pub use entry::turned_away;
pub use order::{Order, Orders};
pub use settings::{Deadlines, Settings};
pub use share::ShareLimits;
pub use unread::Owed;
