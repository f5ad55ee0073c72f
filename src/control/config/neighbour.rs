//! Who is at the admin socket before a daemon of this configuration is.

use super::sections::Config;
use crate::control::admin::{Connection, Found, look};
use serde_json::json;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a daemon may take to say whose it is.
const PATIENCE: Duration = Duration::from_secs(5);

/// What is in the way of the socket.
pub(super) enum Neighbour {
    /// Nothing, or what a crash has left.
    Nobody,
    /// The daemon of the same data folder, which runs.
    Own,
    /// Somebody or something else, as it is told.
    Other(String),
}

impl Neighbour {
    /// Looks, and asks.
    pub(super) fn of(config: &Config) -> Self {
        let socket = config.admin_socket();
        let path = socket.display();
        match look(&socket) {
            Ok(Found::Nothing | Found::Left) => Neighbour::Nobody,
            Ok(Found::NoSocket) => Neighbour::Other(format!(
                "what is at {path} is no socket: it stays, and `ingestd admin` will not work; set admin.socket"
            )),
            Ok(Found::Answers) if is_default(config) => Neighbour::Own,
            Ok(Found::Answers) => match data_folder(&socket) {
                Some(folder) if is_same(&folder, &config.data_dir) => Neighbour::Own,
                Some(folder) => Neighbour::Other(format!(
                    "the daemon of {} listens on {path} and keeps it, and `ingestd admin` would steer that one; set \
                     admin.socket",
                    folder.display()
                )),
                None => Neighbour::Other(format!(
                    "a process listens on {path} that does not say whose daemon it is, and keeps it; set admin.socket"
                )),
            },
            Err(error) if error.kind() == ErrorKind::PermissionDenied => {
                Neighbour::Other(format!("cannot tell who listens on {path}: {error}"))
            }
            // What it cannot be looked at for keeps it from being made: that is tried.
            Err(_) => Neighbour::Nobody,
        }
    }
}

/// Whether it is in the data folder, where nobody else has one.
pub(super) fn is_default(config: &Config) -> bool {
    config.admin.socket.as_os_str().is_empty()
}

/// The data folder of the daemon that listens there, as it calls it.
fn data_folder(socket: &Path) -> Option<PathBuf> {
    let mut connection = Connection::open(socket, Some(PATIENCE)).ok()?;
    let settings = connection.ask(&json!({"command": "config_show"})).ok()?;
    let data_dir = settings.as_array()?.iter().find(|setting| setting["key"] == "data_dir")?;
    Some(data_dir["value"].as_str()?.into())
}

/// Whether it is the same folder. What is relative to where another daemon runs says nothing here.
fn is_same(theirs: &Path, ours: &Path) -> bool {
    let real = |path: &Path| path.canonicalize().ok();
    let is_named_so = std::path::absolute(ours).is_ok_and(|ours| ours == theirs);
    theirs.is_absolute() && (is_named_so || real(theirs).is_some_and(|theirs| real(ours) == Some(theirs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_is_the_same_by_its_place_and_not_by_its_name() {
        let dir = tempfile::tempdir().unwrap();
        let (data, link) = (dir.path().join("data"), dir.path().join("link"));
        std::fs::create_dir(&data).unwrap();
        std::os::unix::fs::symlink(&data, &link).unwrap();
        assert!(is_same(&data, &data) && is_same(&data, &link) && is_same(&link, &data));
        assert!(is_same(&dir.path().join("none"), &dir.path().join("none")));
        assert!(!is_same(&data, dir.path()));
        assert!(is_same(&std::path::absolute("data").unwrap(), Path::new("data")));
        assert!(!is_same(Path::new("data"), Path::new("data")));
    }
}
