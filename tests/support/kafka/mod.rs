//! A real Kafka to test against: the broker, and a reader that shares no code with what is tested.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

mod broker;
mod proxy;
mod reader;

pub use broker::{Broker, eventually};
pub use reader::Record;
