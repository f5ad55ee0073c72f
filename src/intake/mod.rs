//! Every way in: all end in one [`crate::commit::Submission`] and wait for its receipt.
//!
//! `connection` serves one connection, `express` answers what is plain and whole on it, `http` routes and answers, `http2`
//! does the same with many requests at once, `own_words` has hyper say nothing by itself, `entry` lets callers in, `body`
//! reads, `unpack` unpacks, `options` reads what the query asks for, `settings` is what a reload replaces, `single` and
//! `batch` are the two calls, `order` reads what is no intake and may change something, `delivery` waits for sinks,
//! `websocket` is the stream, `admission` says whether anything is let in at all, `answer` builds what goes back.

mod acceptor;
mod admission;
mod answer;
mod batch;
mod body;
mod connection;
mod date;
mod delivery;
mod entry;
mod express;
mod http;
mod http2;
mod idempotent;
mod options;
mod order;
mod own_words;
mod settings;
mod single;
mod unpack;
mod websocket;

pub use acceptor::{Shared, run};
pub use admission::Admission;
pub use answer::{Answer, problem};
pub use order::{Order, Orders};
pub use settings::{Deadlines, Settings};
