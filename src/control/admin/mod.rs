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
//! | `checkpoint` | copies the data folder to `path`, absolute and not there yet; `end` (its newest event), `bytes`, whether its tables are `linked` |
//! | `checkpoint_progress` | `bytes` and `of` of the copy that is being made, null while none is |
//! | `dead_letters` | lists, by the filters `code`, `sink`, `tenant`, `state`, `since`, `limit`, `cursor`: `items`, `nextCursor` |
//! | `dead_letter`, `dead_letter_edit`, `dead_letter_replay`, `dead_letter_purge` | the letter `id`; an edit with its bytes in `raw` |
//! | `dead_letters_replay`, `dead_letters_purge` | those that a filter takes, or `all`; counts, `nextCursor` |
//! | `audit` | `{"balanced": bool, "wrong": […]}` |
//! | `verify` | what a sink holds beside the log, of the range's beginning: `from`, `to` say how much; `until` where all that was asked for ends |

mod client;
mod server;

pub use client::{AskError, ask};
pub use server::{AdminParts, bind, serve};
