//! The asking side: what `ingestd admin` does.

use serde_json::Value;
use socket2::{Domain, SockAddr, Socket, Type};
use std::io::{self, BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may take to let somebody in whose question may take as long as it wants.
const CONNECT_PATIENCE: Duration = Duration::from_secs(30);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AskError {
    /// Nobody listens there.
    #[error("cannot reach the daemon at {}: {cause}; is it running, and is this its data folder?", socket.display())]
    Reach {
        /// The socket.
        socket: PathBuf,
        /// What the system said.
        cause: std::io::Error,
    },
    /// The answer is none.
    #[error("the daemon's answer makes no sense: {0}")]
    Answer(#[from] serde_json::Error),
    /// The daemon refuses.
    #[error("{text}")]
    Refused {
        /// `bad_request`, `unknown_command`, `not_recorded` or `refused`.
        code: String,
        /// Why, for a person.
        text: String,
    },
}

/// A conversation with a daemon.
pub struct Connection {
    socket: PathBuf,
    stream: BufReader<UnixStream>,
}

impl Connection {
    /// Connects, if need be in the queue of those who wait to be let in. An answer that takes longer than `patience` counts
    /// as none.
    ///
    /// # Errors
    /// [`AskError::Reach`].
    pub fn open(socket: &Path, patience: Option<Duration>) -> Result<Self, AskError> {
        let connected = connect(socket, patience.unwrap_or(CONNECT_PATIENCE)).and_then(|stream| {
            stream.set_read_timeout(patience)?;
            stream.set_write_timeout(patience)?;
            Ok(stream)
        });
        let stream = connected.map_err(|cause| unreached(socket, cause))?;
        Ok(Connection { socket: socket.into(), stream: BufReader::new(stream) })
    }

    /// Asks one thing; returns the result.
    ///
    /// # Errors
    /// [`AskError`].
    pub fn ask(&mut self, request: &Value) -> Result<Value, AskError> {
        let reach = |cause: io::Error| unreached(&self.socket, cause);
        self.stream.get_mut().write_all(format!("{request}\n").as_bytes()).map_err(reach)?;
        let mut line = String::new();
        if self.stream.read_line(&mut line).map_err(reach)? == 0 {
            return Err(reach(std::io::Error::new(
                std::io::ErrorKind::UnexpectedEof,
                "it went away without an answer",
            )));
        }
        let mut answer: Value = serde_json::from_str(&line)?;
        match answer["ok"].as_bool() {
            Some(true) => Ok(answer["result"].take()),
            _ => {
                let word = |key: &str, default: &str| answer[key].as_str().unwrap_or(default).to_owned();
                Err(AskError::Refused {
                    code: word("code", "refused"),
                    text: word("error", "refused without a reason"),
                })
            }
        }
    }
}

/// Connects; on a unix socket the timeout of writes holds for that, too.
fn connect(socket: &Path, patience: Duration) -> io::Result<UnixStream> {
    let address = SockAddr::unix(socket)?;
    let connecting = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    connecting.set_write_timeout(Some(patience))?;
    connecting.connect(&address)?;
    Ok(connecting.into())
}

fn unreached(socket: &Path, cause: io::Error) -> AskError {
    // What a socket with a timeout says is of no help.
    let is_late = cause.kind() == io::ErrorKind::WouldBlock;
    let late = || io::Error::new(io::ErrorKind::TimedOut, "it does not answer in time");
    AskError::Reach { socket: socket.into(), cause: if is_late { late() } else { cause } }
}

/// Asks one thing on a connection of its own; returns the result.
///
/// # Errors
/// [`AskError`].
pub fn ask(socket: &Path, request: &Value) -> Result<Value, AskError> {
    Connection::open(socket, None)?.ask(request)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    #[test]
    fn a_queue_that_is_full_is_not_waited_for_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let narrow = Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        narrow.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        narrow.listen(0).unwrap();
        let patience = Duration::from_millis(100);
        let waiting: Vec<_> = (0..4).map(|_| connect(&path, patience)).collect();
        assert!(waiting.iter().any(Result::is_err), "{waiting:?}");
        let begun = Instant::now();
        let error = Connection::open(&path, Some(patience)).err().unwrap().to_string();
        assert!(error.contains("does not answer in time") && begun.elapsed() < Duration::from_secs(20), "{error}");
    }
}
