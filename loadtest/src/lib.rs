//! `loadgen`: load for HTTP and WebSocket intake that costs a few microseconds of CPU per request, because it
//! shares its cores with the server that it loads.
//!
//! One engine per thread owns its connections and an epoll: it picks the next number, patches that number's id
//! into a prebuilt request ([`template`], [`request`]), writes it, and reads the little of the answer that matters
//! ([`answer`]). What an event is follows from seed and number alone ([`ids`], [`plan`]), so another tool can say
//! which ids were sent. [`run`] starts the engines, watches the server's process and makes the [`report`].

pub mod answer;
pub mod engine;
pub mod figures;
pub mod ids;
pub mod ledger;
pub mod options;
pub mod plan;
pub mod process;
pub mod report;
pub mod request;
pub mod run;
pub mod template;
