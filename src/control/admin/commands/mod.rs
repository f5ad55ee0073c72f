//! What can be asked: the table of commands, and the way from a request to its answer.

mod audit_log;
mod checkpoint;
mod config;
mod erase;
mod letters;
mod log;
mod process;
mod sinks;
mod status;
mod support;
mod tokens;

use super::request::{Field, Kind, Refusal, Request};
use super::server::AdminParts;
use crate::control::audit::{Actor, Entry, Outcome};
use serde_json::{Value, json};
use std::io;
use std::rc::Rc;
use std::sync::Arc;

/// Whether a command is kept in the audit log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// It changes nothing.
    No,
    /// Before it is carried out, and what came of it.
    Yes,
    /// The same, where that field is given; else it only shows something.
    With(&'static str),
}

/// A command.
#[derive(Debug, Clone, Copy)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// What it takes.
    pub fields: &'static [Field],
    /// Whether it is kept in the audit log.
    pub recorded: Recorded,
    /// The field that says what it is done to.
    pub target: Option<&'static str>,
    /// Whether the audit log keeps its result, too: not where that is secret, or only looked at.
    pub keeps_result: bool,
}

impl Command {
    const fn new(name: &'static str, fields: &'static [Field]) -> Self {
        Command { name, fields, recorded: Recorded::No, target: None, keeps_result: false }
    }

    const fn recorded(mut self) -> Self {
        self.recorded = Recorded::Yes;
        self
    }

    const fn recorded_with(mut self, field: &'static str) -> Self {
        self.recorded = Recorded::With(field);
        self
    }

    const fn with_result(mut self) -> Self {
        self.keeps_result = true;
        self
    }

    const fn on(mut self, field: &'static str) -> Self {
        self.target = Some(field);
        self
    }
}

const SINK: Field = Field::new("sink", Kind::Text);
const FROM: Field = Field::new("from", Kind::Number);
const TO: Field = Field::new("to", Kind::Number);
const UNTIL: Field = Field::new("until", Kind::Number);
const LIMIT: Field = Field::new("limit", Kind::Number);
const ID: Field = Field::new("id", Kind::Text).needed();
/// Which dead letters are meant; what each may be is known to [`crate::control::dead_letters::Filter`].
const LETTERS: &[Field] = &[
    Field::new("code", Kind::Plain),
    Field::new("sink", Kind::Plain),
    Field::new("tenant", Kind::Plain),
    Field::new("state", Kind::Plain),
    Field::new("since", Kind::Plain),
    Field::new("limit", Kind::Plain),
    Field::new("cursor", Kind::Plain),
    Field::new("all", Kind::Plain),
];

const TOKENS_REVOKE: &str = "tokens_revoke";

/// Every command.
pub const COMMANDS: &[Command] = &[
    Command::new("hello", &[]),
    Command::new("status", &[]),
    Command::new("figures", &[]),
    Command::new("sinks", &[]),
    Command::new("flush", &[SINK]).recorded().on("sink").with_result(),
    Command::new("pause", &[SINK.needed()]).recorded().on("sink"),
    Command::new("resume", &[SINK.needed()]).recorded().on("sink"),
    Command::new("skip", &[SINK.needed(), UNTIL.needed()]).recorded().on("sink").with_result(),
    Command::new("reconcile", &[SINK.needed(), FROM.needed()]).recorded().on("sink").with_result(),
    Command::new("audit", &[]),
    Command::new("verify", &[SINK.needed(), FROM, TO]),
    Command::new(
        "tokens_add",
        &[
            Field::new("tenant", Kind::Text).needed(),
            Field::new("scopes", Kind::Texts).needed(),
            Field::new("name", Kind::Text),
            Field::new("expires", Kind::Text),
        ],
    )
    .recorded()
    .on("tenant"),
    Command::new("tokens_list", &[]),
    Command::new(TOKENS_REVOKE, &[Field::new("id", Kind::Text).needed()]).recorded().on("id"),
    Command::new("checkpoint", &[Field::new("path", Kind::Text).needed()]).recorded().on("path").with_result(),
    Command::new("checkpoint_progress", &[]),
    Command::new("dead_letters", LETTERS),
    Command::new("dead_letters_replay", LETTERS).recorded().with_result(),
    Command::new("dead_letters_purge", LETTERS).recorded().with_result(),
    Command::new("dead_letter", &[ID]),
    Command::new("dead_letter_edit", &[ID, Field::new("raw", Kind::Text).needed().private()]).recorded().on("id"),
    Command::new("dead_letter_replay", &[ID]).recorded().on("id"),
    Command::new("dead_letter_purge", &[ID]).recorded().on("id"),
    Command::new("config_show", &[]),
    Command::new("config_check", &[]),
    Command::new("config_reload", &[]).recorded().with_result(),
    Command::new("wal_inspect", &[]),
    Command::new("wal_verify", &[FROM, TO]),
    Command::new("wal_tail", &[FROM, LIMIT, Field::new("wait_ms", Kind::Number), Field::new("raw", Kind::Flag)]),
    Command::new("wal_trim", &[]).recorded().with_result(),
    Command::new("log_level", &[Field::new("level", Kind::Text)]).recorded_with("level").on("level").with_result(),
    Command::new("drain", &[]).recorded().with_result(),
    Command::new("support", &[]).recorded(),
    Command::new(
        "erase",
        &[
            Field::new("user", Kind::Text).hashed(),
            Field::new("event", Kind::Text).hashed(),
            Field::new("tenant", Kind::Text),
            Field::new("dry_run", Kind::Flag),
            Field::new("also_mentions", Kind::Flag),
        ],
    )
    .recorded(),
    Command::new("erase_progress", &[]),
    Command::new("audit_log", &[Field::new("since", Kind::Text), Field::new("action", Kind::Text), LIMIT]),
    Command::new("audit_verify", &[]),
];

fn find(request: &Request) -> Result<&'static Command, Refusal> {
    COMMANDS.iter().find(|known| known.name == request.command).ok_or_else(|| Refusal {
        code: "unknown_command",
        text: format!("there is no command `{}`; `hello` names them all", request.shown_command()),
    })
}

/// The command's name, if there is such a command.
pub(super) fn name_of(request: &Request) -> Option<&'static str> {
    find(request).ok().map(|command| command.name)
}

fn is_recorded(command: &Command, request: &Request) -> bool {
    match command.recorded {
        Recorded::No => false,
        Recorded::Yes => true,
        Recorded::With(field) => request.fields.contains_key(field),
    }
}

/// Whether the request is for something that the audit log keeps.
pub(super) fn changes(request: &Request) -> bool {
    find(request).is_ok_and(|command| is_recorded(command, request))
}

/// Answers a request; what changes something, between its two entries in the audit log.
pub(super) async fn answer(parts: &Rc<AdminParts>, actor: Actor, mut request: Request) -> Result<Value, Refusal> {
    let command = find(&request)?;
    request.check(command.fields)?;
    let revokes = command.name == TOKENS_REVOKE;
    if revokes {
        tokens::name_by_id(&mut request)?;
        // A leaked key must not live on because a disk is full, or does not return. Of one that is not there it is told below.
        tokens::refuse(parts, &request).ok();
    }
    let request = &request;
    if !is_recorded(command, request) {
        return run(parts, request).await;
    }
    let target = command.target.and_then(|field| request.text(field));
    let entry = Entry::new(actor, command.name).on(target);
    let details = request.recordable(command.fields);
    let of = match record(parts, entry.clone().with(details).outcome(Outcome::Begun)).await {
        Ok(of) => Some(of),
        // It is done already, and is to outlive the process.
        Err(_) if revokes => None,
        Err(error) => {
            let text = format!("the audit log cannot be written, so nothing was done: {error}");
            return Err(Refusal { code: "not_recorded", text });
        }
    };
    let done = run(parts, request).await;
    let (outcome, details) = match &done {
        Ok(result) if command.keeps_result => (Outcome::Done, result.clone()),
        // What was made is known by its id; its text is a secret.
        Ok(result) if command.name == "tokens_add" => (Outcome::Done, json!({"id": result["id"]})),
        // Whose data it was stands in its statements.
        Ok(result) if command.name == "erase" => (Outcome::Done, erase::recordable(result)),
        Ok(_) => (Outcome::Done, json!({})),
        Err(refusal) => (Outcome::Failed, json!({"error": refusal.text})),
    };
    let entry = Entry { of, ..entry.with(details).outcome(outcome) };
    let recorded = record(parts, entry).await;
    if command.name == "drain" && done.is_ok() {
        // Not before: the stop takes along what is not answered by then. This thread writes the answer first.
        parts.drain.notify_one();
    }
    match recorded {
        Ok(_) => done,
        Err(error) => Err(unrecorded(command, &done, &error)),
    }
}

/// What is said of what came of a command, where the audit log does not say it.
fn unrecorded(command: &Command, done: &Result<Value, Refusal>, error: &io::Error) -> Refusal {
    let name = command.name;
    let what = match done {
        Ok(key) if name == TOKENS_REVOKE => {
            let id = key["id"].as_str().unwrap_or_default();
            format!("{id} is refused from now on, but that is not on record: the audit log cannot be written")
        }
        Ok(_) => format!("`{name}` was carried out, but the audit log does not say what came of it"),
        Err(refusal) => format!("{}; nor does the audit log say what came of it", refusal.text),
    };
    Refusal { code: "not_recorded", text: format!("{what}: {error}") }
}

/// Appends an entry, on a thread where a disk that hangs holds up nobody else.
async fn record(parts: &AdminParts, entry: Entry) -> io::Result<u64> {
    let audit = Arc::clone(&parts.audit);
    tokio::task::spawn_blocking(move || audit.append(&entry)).await.unwrap_or_else(|error| Err(io::Error::other(error)))
}

async fn run(parts: &Rc<AdminParts>, request: &Request) -> Result<Value, Refusal> {
    match request.command.as_str() {
        "hello" => Ok(process::hello()),
        "drain" => Ok(process::drain(parts)),
        "log_level" => process::log_level(parts, request),
        "status" => status::status(parts).await,
        "figures" => status::figures(parts).await,
        "support" => support::support(parts).await,
        "sinks" => status::sinks(parts).await,
        "audit" => status::audit(parts).await,
        "flush" => sinks::flush(parts, request).await,
        "pause" | "resume" => sinks::pause_or_resume(parts, request).await,
        "skip" => sinks::skip(parts, request).await,
        "reconcile" => sinks::reconcile(parts, request).await,
        "verify" => sinks::verify(parts, request).await,
        "tokens_add" => tokens::add(parts, request).await,
        "tokens_list" => Ok(tokens::list(&parts.access.keyring)),
        TOKENS_REVOKE => tokens::revoke(parts, request).await,
        "checkpoint" => checkpoint::make(parts, request).await,
        "checkpoint_progress" => checkpoint::progress(parts).await,
        name if name.starts_with("dead_letter") => letters::run(parts, request).await,
        "config_show" => Ok(parts.reloader.settings()),
        "config_check" => config::check(parts).await,
        "config_reload" => config::reload(parts).await,
        "wal_inspect" => log::inspect(parts).await,
        "wal_verify" => log::verify(parts, request).await,
        "wal_tail" => log::tail(parts, request).await,
        "wal_trim" => log::trim(parts).await,
        "erase" => erase::run(parts, request).await,
        "erase_progress" => Ok(parts.erasure.progress()),
        "audit_log" => audit_log::query(parts, request).await,
        "audit_verify" => audit_log::verify(parts).await,
        // Held by a test: every command of the table is above.
        other => Err(format!("`{other}` is not carried out by this daemon").into()),
    }
}

/// Does what may wait for a disk, on a thread of its own: one that hangs holds up no other command.
async fn aside<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.map_err(|error| error.to_string().into())
}
