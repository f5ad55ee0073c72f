//! Asking the daemon again and again.

use ingestd::control::admin::{AskError, Connection};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;
use tokio::sync::mpsc;

/// A daemon that answers later counts as away: it answers within a tenth of a second where it does.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// What a look has shown.
#[derive(Debug)]
pub(super) enum Look {
    /// The daemon in numbers.
    Figures(Box<Value>),
    /// Why there are none.
    Away(String),
}

/// Looks at the daemon each `interval` until nobody wants to know any more.
pub(super) fn watch(socket: PathBuf, connection: Connection, interval: Duration, looks: &mpsc::UnboundedSender<Look>) {
    let mut connection = Some(connection);
    while looks.send(look(&socket, &mut connection)).is_ok() {
        std::thread::sleep(interval);
    }
}

fn look(socket: &std::path::Path, connection: &mut Option<Connection>) -> Look {
    let looked = match connection.take() {
        Some(connection) => Ok(connection),
        None => Connection::open(socket, Some(PATIENCE)),
    };
    match looked.and_then(|mut there| there.ask(&json!({"command": "figures"})).map(|figures| (there, figures))) {
        Ok((there, figures)) => {
            *connection = Some(there);
            Look::Figures(Box::new(figures))
        }
        Err(AskError::Reach { cause, .. }) => Look::Away(cause.to_string()),
        Err(error) => Look::Away(error.to_string()),
    }
}
