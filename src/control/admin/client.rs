//! The asking side: what `ingestd admin` does.

use serde_json::Value;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

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
    #[error("{0}")]
    Refused(String),
}

/// Asks one thing; returns the result.
///
/// # Errors
/// [`AskError`].
pub fn ask(socket: &Path, request: &Value) -> Result<Value, AskError> {
    let reach = |cause| AskError::Reach { socket: socket.into(), cause };
    let mut stream = UnixStream::connect(socket).map_err(reach)?;
    writeln!(stream, "{request}").map_err(reach)?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line).map_err(reach)?;
    let mut answer: Value = serde_json::from_str(&line)?;
    match answer["ok"].as_bool() {
        Some(true) => Ok(answer["result"].take()),
        _ => Err(AskError::Refused(answer["error"].as_str().unwrap_or("refused without a reason").to_owned())),
    }
}
