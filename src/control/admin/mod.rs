//! `ingestd admin`: a unix socket on which one line asks and one line answers.
//!
//! A request is one JSON object on a line: `{"command": "flush", "sink": "clickhouse"}`; `sink` only where the command
//! is about one, `from` and `to` where it is about a range of events. The answer is one, too: `{"ok": true, "result": …}` or `{"ok": false, "error": "…"}`. A connection may
//! ask again. What may never change: the meaning of a command and of a field once it is released.
//!
//! | command | result |
//! |---|---|
//! | `status` | version, health, log, sinks |
//! | `sinks` | one object per sink |
//! | `flush` | waits until a sink, or each, has all that is committed now; its positions |
//! | `pause`, `resume` | stops a sink, also over restarts; has it go on, also after a failure; durable when answered |
//! | `skip` | has a sink give up what it has not got before `until`; where it goes on |
//! | `reconcile` | has a sink begin again with `from`, whatever it holds: what lies before counts as handed over |
//! | `config_show` | every value in effect and where it was set |
//! | `config_check`, `config_reload` | `{"changed": [{"key", "from", "to"}], "restart": […]}`, of what would change, and does |
//! | `tokens_add` | makes an API key: `tenant`, `scopes`, `name`, `expires` (RFC 3339, or a time from now such as `90d`); it, with its text in `token`, this once |
//! | `tokens_list` | every API key, without its text |
//! | `tokens_revoke` | has a key, `id`, refused from now on; it |
//! | `audit` | `{"balanced": bool, "wrong": […]}` |
//! | `verify` | what a sink holds beside the log, of the range's beginning: `from`, `to` say how much; `until` where all that was asked for ends |

mod client;
mod server;
mod tokens;

pub use client::{AskError, ask};
pub use server::{AdminParts, bind, serve};
