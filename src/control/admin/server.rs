//! The answering side, on a thread of its own: it answers while the data plane is busy.

use super::super::config::Reloader;
use super::super::dead_letters::{Command, Letters};
use super::super::{Backups, Health, Pipeline};
use crate::deliver::Handle;
use serde_json::{Value, json};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::watch;
use tokio::task::LocalSet;

/// Longest request: an event of 256 KiB as a JSON string, with an escape for each byte.
const LINE_BYTES_MAX: u64 = 2 << 20;
/// How long a flush may take.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(300);
/// How long a sink may take to carry out an order: a call to a sink's server is broken off or over by then.
const ORDER_TIMEOUT: Duration = Duration::from_secs(60);

/// What the server answers from.
pub struct AdminParts {
    /// Where it listens; removed at the end.
    pub socket: PathBuf,
    /// The way to the sinks.
    pub pipeline: Pipeline,
    /// Health of the parts.
    pub health: Arc<Health>,
    /// The configuration.
    pub reloader: Arc<Reloader>,
    /// Copies of the data folder.
    pub backups: Arc<Backups>,
    /// Dead letters.
    pub letters: Arc<Letters>,
}

/// Answers on the socket that [`bind`] has made until `stop`. Blocks: it wants a thread to itself.
///
/// # Errors
/// When the runtime cannot be built.
pub fn serve(parts: AdminParts, listener: net::UnixListener, stop: watch::Receiver<bool>) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let served = LocalSet::new().block_on(&runtime, listen(Rc::new(parts), listener, stop));
    // Whoever still counts the events of a sink, or reads a file that does not come, holds up no stop.
    runtime.shutdown_background();
    served
}

async fn listen(parts: Rc<AdminParts>, listener: net::UnixListener, mut stop: watch::Receiver<bool>) -> io::Result<()> {
    let listener = UnixListener::from_std(listener)?;
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
    // The next start removes it otherwise.
    std::fs::remove_file(&parts.socket).ok();
    Ok(())
}

/// Makes the socket, in the place of one that a crash has left: the data folder is locked, so it is nobody's.
///
/// # Errors
/// What the system says, for example that the path is too long for a socket.
pub fn bind(socket: &Path) -> io::Result<net::UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = net::UnixListener::bind(socket)?;
    listener.set_nonblocking(true)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

async fn converse(parts: Rc<AdminParts>, stream: UnixStream) {
    let peer = stream.peer_cred().ok();
    let (from, mut to) = stream.into_split();
    let mut lines = BufReader::new(from.take(LINE_BYTES_MAX));
    let mut line = String::new();
    while lines.read_line(&mut line).await.is_ok_and(|read| read > 0) {
        let answer = match serde_json::from_str::<Value>(&line) {
            Ok(request) => {
                let command = request["command"].as_str().unwrap_or_default();
                let (pid, uid) = (peer.and_then(|peer| peer.pid()), peer.map(|peer| peer.uid()));
                tracing::info!(command, sink = request["sink"].as_str(), ?pid, ?uid, "admin command");
                answer(&parts, command, &request).await
            }
            Err(error) => Err(format!("a request is one JSON object on a line: {error}")),
        };
        let answer = match answer {
            Ok(result) => json!({"ok": true, "result": result}),
            Err(error) => json!({"ok": false, "error": error}),
        };
        if to.write_all(format!("{answer}\n").as_bytes()).await.is_err() {
            return;
        }
        line.clear();
        lines.get_mut().set_limit(LINE_BYTES_MAX);
    }
}

async fn answer(parts: &AdminParts, command: &str, request: &Value) -> Result<Value, String> {
    let pipeline = &parts.pipeline;
    let sink = request["sink"].as_str();
    match command {
        "status" => {
            let mut status = pipeline.status();
            status["version"] = env!("CARGO_PKG_VERSION").into();
            status["health"] = json!({"status": parts.health.status(), "services": parts.health.services()});
            Ok(status)
        }
        "sinks" => Ok(pipeline.status()["sinks"].take()),
        "audit" => {
            let wrong = pipeline.audit();
            Ok(json!({"balanced": wrong.is_empty(), "wrong": wrong, "sinks": pipeline.status()["sinks"].take()}))
        }
        "config_show" => Ok(parts.reloader.settings()),
        "config_check" | "config_reload" => {
            let (reloader, is_meant) = (Arc::clone(&parts.reloader), command == "config_reload");
            // It reads files.
            let read = move || if is_meant { reloader.reload() } else { reloader.look() };
            let reloaded = tokio::task::spawn_blocking(read).await.map_err(|error| error.to_string())?;
            reloaded.map(|reloaded| reloaded.to_json()).map_err(|mistakes| mistakes.to_string())
        }
        "checkpoint" => {
            let path = request["path"].as_str().map(PathBuf::from).ok_or("checkpoint wants `path`, a folder's")?;
            let backups = Arc::clone(&parts.backups);
            let made = tokio::task::spawn_blocking(move || backups.make(&path));
            made.await.unwrap_or_else(|error| Err(error.to_string()))
        }
        "checkpoint_progress" => {
            let backups = Arc::clone(&parts.backups);
            tokio::task::spawn_blocking(move || backups.progress()).await.map_err(|error| error.to_string())
        }
        "flush" => {
            let sinks = match sink {
                Some(name) => std::slice::from_ref(find(pipeline, name)?),
                None => pipeline.sinks(),
            };
            flush(sinks).await
        }
        "skip" => {
            let (name, until) = (sink.ok_or("skip wants the name of a sink")?, request["until"].as_u64());
            let until = until.ok_or("skip wants `until`, a position")?;
            let until = in_time(pipeline.skip(find(pipeline, name)?, until)).await?;
            Ok(json!({"sink": name, "until": until.get()}))
        }
        "reconcile" => {
            let (name, from) = (sink.ok_or("reconcile wants the name of a sink")?, request["from"].as_u64());
            let from = from.ok_or("reconcile wants `from`, a position")?;
            let from = in_time(pipeline.reconcile(find(pipeline, name)?, from)).await?;
            Ok(json!({"sink": name, "from": from.get()}))
        }
        "verify" => {
            let sink = find(pipeline, sink.ok_or("verify wants the name of a sink")?)?.clone();
            let (pipeline, from, to) = (pipeline.clone(), request["from"].as_u64(), request["to"].as_u64());
            // It reads much, from disk and from afar.
            let verified = tokio::task::spawn_blocking(move || pipeline.verify(&sink, from, to));
            verified.await.unwrap_or_else(|error| Err(error.to_string()))
        }
        "pause" | "resume" => {
            let name = sink.ok_or_else(|| format!("{command} wants the name of a sink"))?;
            let sink = find(pipeline, name)?;
            let order = async {
                let done = if command == "pause" { sink.pause().await } else { sink.resume().await };
                done.map_err(|error| error.to_string())
            };
            in_time(order).await?;
            Ok(json!({"sink": name}))
        }
        other => match Command::of_request(other, request) {
            Some(Ok(command)) => Arc::clone(&parts.letters).run(command).await.map_err(|error| error.to_string()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err(format!("there is no command `{other}`")),
        },
    }
}

/// An order that is not carried out in time may still be.
async fn in_time<T>(order: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let late = |_| format!("the sink is busy and has not answered within {} s: look again", ORDER_TIMEOUT.as_secs());
    tokio::time::timeout(ORDER_TIMEOUT, order).await.map_err(late)?
}

async fn flush(sinks: &[Handle]) -> Result<Value, String> {
    let mut positions = serde_json::Map::new();
    for sink in sinks {
        let name = sink.status().snapshot().sink;
        let flushed = tokio::time::timeout(FLUSH_TIMEOUT, sink.flush()).await;
        let flushed = flushed.map_err(|_| format!("{name}: not within {} s", FLUSH_TIMEOUT.as_secs()))?;
        let position = flushed.map_err(|error| format!("{name}: {error}"))?;
        positions.insert(name.to_owned(), position.get().into());
    }
    Ok(Value::Object(positions))
}

fn find<'a>(pipeline: &'a Pipeline, name: &str) -> Result<&'a Handle, String> {
    pipeline.sinks().iter().find(|sink| sink.status().snapshot().sink == name).ok_or_else(|| {
        let known: Vec<_> = pipeline.sinks().iter().map(|sink| sink.status().snapshot().sink).collect();
        format!("there is no sink `{name}`; there are: {}", known.join(", "))
    })
}
