//! `ingestd admin`: a unix socket on which one line asks and one line answers.
//!
//! A request is one JSON object on a line: `{"command": "flush", "sink": "clickhouse"}`; `sink` only where the command
//! is about one. The answer is one, too: `{"ok": true, "result": …}` or `{"ok": false, "error": "…"}`. A connection may
//! ask again. What may never change: the meaning of a command and of a field once it is released.
//!
//! | command | result |
//! |---|---|
//! | `status` | version, health, log, sinks |
//! | `sinks` | one object per sink |
//! | `flush` | waits until a sink, or each, has all that is committed now; its positions |
//! | `pause`, `resume` | stops a sink, also over restarts; has it go on, also after a failure |
//! | `audit` | `{"balanced": bool, "wrong": […]}` |

mod client;
mod server;

pub use client::{AskError, ask};
pub use server::{AdminParts, serve};
