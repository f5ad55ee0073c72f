//! The answering side, on a thread of its own: it answers while the data plane is busy.

use super::super::audit::{Actor, AuditLog, Via};
use super::super::config::Reloader;
use super::super::dead_letters::Letters;
use super::super::{Backups, Erasure, Figures, Health, Pipeline};
use super::commands;
use super::request::{Refusal, Request, cut};
use super::socket::AdminSocket;
use crate::access::Access;
use serde_json::json;
use std::collections::BTreeSet;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::task::LocalSet;

/// Longest request: an event of 256 KiB as a JSON string, with an escape for each byte.
const LINE_BYTES_MAX: u64 = 2 << 20;

/// Has the log trimmed now; answered when that is done.
pub type TrimOrder = oneshot::Sender<()>;

/// What the server answers from.
pub struct AdminParts {
    /// The way to the sinks.
    pub pipeline: Pipeline,
    /// Health of the parts.
    pub health: Arc<Health>,
    /// The configuration.
    pub reloader: Arc<Reloader>,
    /// The API keys.
    pub access: Arc<Access>,
    /// Who has changed what.
    pub audit: Arc<AuditLog>,
    /// The daemon in numbers.
    pub figures: Arc<Figures>,
    /// Told when the daemon is to drain.
    pub drain: Arc<Notify>,
    /// The way to whoever trims the log.
    pub trims: mpsc::Sender<TrimOrder>,
    /// Copies of the data folder.
    pub backups: Arc<Backups>,
    /// Dead letters.
    pub letters: Arc<Letters>,
    /// What erases a person's data.
    pub erasure: Arc<Erasure>,
}

/// Answers on the socket that [`super::bind`] has made until `stop`. Blocks: it wants a thread to itself.
///
/// # Errors
/// When the runtime cannot be built.
pub fn serve(parts: AdminParts, socket: AdminSocket, stop: watch::Receiver<bool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = LocalSet::new().block_on(&runtime, listen(Rc::new(parts), socket, stop));
    // Whoever still counts the events of a sink, or reads a file that does not come, holds up no stop.
    runtime.shutdown_background();
    served
}

async fn listen(parts: Rc<AdminParts>, socket: AdminSocket, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let listener = UnixListener::from_std(socket.listener)?;
    loop {
        tokio::select! {
            // An error means that the sender is gone: the daemon is being torn down.
            _ = stop.wait_for(|stop| *stop) => break,
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => drop(tokio::task::spawn_local(converse(Rc::clone(&parts), stream))),
                // No descriptors left: somebody will go.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
        }
    }
    socket.file.remove();
    Ok(())
}

async fn converse(parts: Rc<AdminParts>, stream: UnixStream) {
    let actor = actor(&stream);
    let mut logged = BTreeSet::new();
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from.take(LINE_BYTES_MAX));
    let mut line = Vec::new();
    while lines.read_until(b'\n', &mut line).await.is_ok_and(|read| read > 0) {
        let is_whole = line.ends_with(b"\n") || (line.len() as u64) < LINE_BYTES_MAX;
        let answer = if is_whole {
            match Request::parse(&line) {
                Ok(request) => {
                    log(&request, actor, &mut logged);
                    commands::answer(&parts, actor, request).await
                }
                Err(refusal) => Err(refusal),
            }
        } else {
            Err(Refusal::bad_request(format!("a request has {LINE_BYTES_MAX} bytes at most")))
        };
        let answer = match answer {
            Ok(result) => json!({"ok": true, "result": result}),
            Err(refusal) => refusal.to_json(),
        };
        // Where a line was cut off, nobody knows where the next one begins.
        if to.write_all(format!("{answer}\n").as_bytes()).await.is_err() || !is_whole {
            return;
        }
        line.clear();
        lines.get_mut().set_limit(LINE_BYTES_MAX);
    }
}

/// Who is at the other end, as the kernel says.
fn actor(stream: &UnixStream) -> Actor {
    match stream.peer_cred() {
        Ok(peer) => Actor {
            via: Via::Socket,
            uid: Some(peer.uid()),
            gid: Some(peer.gid()),
            pid: peer.pid().and_then(|pid| pid.try_into().ok()),
        },
        Err(_) => Actor::unknown(Via::Socket),
    }
}

/// Says who asks for what; once for what one connection asks again and again. Commands that there are not are one.
fn log(request: &Request, actor: Actor, logged: &mut BTreeSet<Option<&'static str>>) {
    let command = request.shown_command();
    // Of dead letters it is a filter, and whatever somebody has written.
    let sink = request.text("sink").filter(|_| !command.starts_with("dead_letter")).map(cut);
    let Actor { pid, uid, gid, .. } = actor;
    if commands::changes(request) || logged.insert(commands::name_of(request)) {
        tracing::info!(command, sink, ?pid, ?uid, ?gid, "admin command");
    } else {
        tracing::debug!(command, sink, ?pid, ?uid, ?gid, "admin command");
    }
}
