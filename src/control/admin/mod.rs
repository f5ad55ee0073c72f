//! `ingestd admin`: a unix socket on which one line asks and one line answers. `docs/admin.md` is the reference.
//!
//! A request is one JSON object on a line: `{"command": "skip", "sink": "clickhouse", "until": 17}`. A field that the command
//! does not take, or of another kind, is an error; null is as if it were not there. The answer is one, too:
//! `{"ok": true, "result": …}` or `{"ok": false, "error": "…", "code": "…"}`, `code` being one of
//!
//! | code | meaning |
//! |---|---|
//! | `bad_request` | the line is no request, not one that the command takes, or a value in it makes no sense |
//! | `unknown_command` | this daemon has no such command: it is of another version |
//! | `not_recorded` | the audit log cannot be written; the text says whether anything was done |
//! | `refused` | it was not, or could not be, done |
//!
//! A connection may ask again, one thing after the other. `hello` says the protocol's version, which grows when a command or
//! a field is added. What may never change: the meaning of a command and of a field once it is released.
//!
//! What changes something is in the audit log before it is done, and what came of it before it is answered
//! ([`super::audit`]); who asks is known by the socket's peer credentials. Everything that may wait for a disk runs aside,
//! so that the others are answered meanwhile.
//!
//! | command | fields | result |
//! |---|---|---|
//! | `hello` | | `{"protocol", "version", "commands"}` |
//! | `status` | | version, health, log, sinks |
//! | `figures` | | the daemon in numbers: what `top` shows |
//! | `sinks` | | one object per sink |
//! | `flush` | `sink` | waits until a sink, or each, has all that is committed now; its positions |
//! | `pause`, `resume` | `sink` | stops a sink, also over restarts; has it go on, also after a failure; durable when answered |
//! | `skip` | `sink`, `until` | has a sink give up what it has not got before `until`; where it goes on |
//! | `reconcile` | `sink`, `from` | has a sink begin again with `from`, whatever it holds: what lies before counts as handed over |
//! | `audit` | | `{"balanced": bool, "wrong": […]}` |
//! | `verify` | `sink`, `from`, `to` | what a sink holds beside the log, of the range's beginning; `until` where all that was asked for ends |
//! | `tokens_add` | `tenant`, `scopes`, `name`, `expires` | makes an API key; `expires` is RFC 3339 or a time from now such as `90d`; it, with its text in `token`, this once |
//! | `tokens_list` | | every API key, without its text |
//! | `tokens_revoke` | `id` (or the whole key) | has a key refused from now on; it |
//! | `checkpoint` | `path` | copies the data folder to `path`, absolute and not there yet; `end` (its newest event), `bytes`, whether its tables are `linked` |
//! | `checkpoint_progress` | | `bytes` and `of` of the copy that is being made, null while none is |
//! | `dead_letters` | `code`, `sink`, `tenant`, `state`, `since`, `limit`, `cursor` | lists: `items`, `nextCursor` |
//! | `dead_letter`, `dead_letter_edit`, `dead_letter_replay`, `dead_letter_purge` | `id`, `raw` | one letter; an edit with its bytes in `raw` |
//! | `dead_letters_replay`, `dead_letters_purge` | the filters, or `all` | those that they take; counts, `nextCursor` |
//! | `config_show` | | every value in effect and where it was set |
//! | `config_check`, `config_reload` | | `{"changed": [{"key", "from", "to"}], "restart": […]}`, of what would change, and does |
//! | `wal_inspect` | | where the log begins and ends, its room, every start |
//! | `wal_verify` | `from`, `to` | whether every event of the range's beginning can be read; `next` where to go on, `until` its end |
//! | `wal_tail` | `from`, `limit`, `wait_ms`, `raw` | events from `from` on, else from the next one; waits for one; `next` where to go on |
//! | `wal_trim` | | lets go of what every sink has, now |
//! | `log_level` | `level` | the level in effect; with `level` that one, until the next reload or start |
//! | `drain` | | begins what SIGTERM begins; answered when it has begun |
//! | `support` | | `{"files": {name: text}}`, without secrets |
//! | `erase` | `user` or `event`, `tenant`, `dry_run`, `also_mentions` | erases a person's data or an event; what was found and done, and what is to be run where it was delivered to |
//! | `erase_progress` | | `stage` of the erasure that is under way, in the log `event` and `of`; null while none is |
//! | `audit_log` | `since`, `action`, `limit` | the newest entries, in order |
//! | `audit_verify` | | `{"intact", "entries", "first", "firstTime", "droppedUntil", "last", "head", "wrong"}` |

mod client;
mod commands;
mod request;
mod server;
mod socket;

/// The version of what is spoken on the socket.
pub const PROTOCOL: u32 = 1;

pub use client::{AskError, Connection, ask};
pub use commands::{COMMANDS, Command, Recorded};
pub use request::{Field, Kind};
pub use server::{AdminParts, TrimOrder, serve};
pub use socket::{AdminSocket, bind};
pub(super) use socket::{Found, look};
