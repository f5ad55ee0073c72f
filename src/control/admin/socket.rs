//! The socket as a file: made where nobody has one, and removed by whoever has made it. What is somebody else's stays.

use socket2::{Domain, SockAddr, Type};
use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

/// A socket that listens, and the file that leads to it.
pub struct AdminSocket {
    pub(super) listener: UnixListener,
    pub(super) file: SocketFile,
}

/// The file of a socket, known again by its inode.
pub(super) struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Removes it, unless it has become another one's.
    pub(super) fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| inode(&found) == self.inode) {
            // The next start removes it otherwise.
            fs::remove_file(&self.path).ok();
        }
    }
}

/// What is where a socket is to be.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::control) enum Found {
    /// Nothing.
    Nothing,
    /// A socket behind which nobody is any more: a crash has left it.
    Left,
    /// A socket behind which somebody is.
    Answers,
    /// Something else, which may matter to somebody.
    NoSocket,
}

/// Makes the socket, also in the place of one that a crash has left.
///
/// # Errors
/// What the system says, for example that the path is too long for a socket; or that the place is taken.
pub fn bind(path: &Path) -> io::Result<AdminSocket> {
    let taken = |what: &str| Err(io::Error::new(ErrorKind::AddrInUse, what));
    match look(path)? {
        Found::Nothing => {}
        Found::Left => fs::remove_file(path)?,
        Found::Answers => return taken("another process listens there, and keeps it: set admin.socket"),
        Found::NoSocket => return taken("what is there is no socket, and stays: set admin.socket"),
    }
    let listener = UnixListener::bind(path)?;
    listener.set_nonblocking(true)?;
    fs::set_permissions(path, Permissions::from_mode(0o660))?;
    let file = SocketFile { path: path.into(), inode: inode(&fs::symlink_metadata(path)?) };
    Ok(AdminSocket { listener, file })
}

/// Looks what is there, and whether somebody is behind it.
pub(in crate::control) fn look(path: &Path) -> io::Result<Found> {
    match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(error),
        Ok(found) if !found.file_type().is_socket() => return Ok(Found::NoSocket),
        Ok(_) => {}
    }
    match connect(path) {
        Ok(()) => Ok(Found::Answers),
        Err(error) => match error.kind() {
            ErrorKind::ConnectionRefused => Ok(Found::Left),
            // It is just going.
            ErrorKind::NotFound => Ok(Found::Nothing),
            // So many wait already: somebody is behind it, if stuck.
            ErrorKind::WouldBlock => Ok(Found::Answers),
            ErrorKind::PermissionDenied => Err(not_ours(path)),
            _ => Err(error),
        },
    }
}

/// Of a socket that may not even be connected to nobody can tell whether a crash has left it: `/proc/net/unix` does not know
/// those of other containers, nor where a relative path leads.
fn not_ours(path: &Path) -> io::Error {
    let user = rustix::process::geteuid().as_raw();
    let what = format!(
        "user {user} may not connect to the socket that is there, of another user: if its daemon is gone, remove {}; else \
         set admin.socket",
        path.display()
    );
    io::Error::new(ErrorKind::PermissionDenied, what)
}

/// Connects, and waits for nobody.
fn connect(path: &Path) -> io::Result<()> {
    let address = SockAddr::unix(path)?;
    let socket = socket2::Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&address)
}

fn inode(found: &Metadata) -> (u64, u64) {
    (found.dev(), found.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_socket_that_nobody_listens_on_makes_way() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        let first = bind(&path).unwrap();
        assert_eq!(look(&path).unwrap(), Found::Answers);
        assert!(bind(&path).err().unwrap().to_string().contains("another process listens there"));
        drop(first);
        assert_eq!(look(&path).unwrap(), Found::Left);
        let second = bind(&path).unwrap();
        second.file.remove();
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        let make: [fn(&Path) -> io::Result<()>; 2] = [|path| fs::write(path, "kept"), |path| fs::create_dir(path)];
        for make in make {
            make(&path).unwrap();
            assert!(bind(&path).err().unwrap().to_string().contains("is no socket"));
            second.file.remove();
            assert_eq!(look(&path).unwrap(), Found::NoSocket);
            fs::remove_file(&path).or_else(|_| fs::remove_dir(&path)).unwrap();
        }
    }

    #[test]
    fn a_file_that_has_become_another_ones_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let first = bind(&path).unwrap();
        // Elsewhere, so that its inode is not given to the next one.
        fs::rename(&path, dir.path().join("moved")).unwrap();
        let _second = bind(&path).unwrap();
        first.file.remove();
        assert_eq!(look(&path).unwrap(), Found::Answers);
    }

    #[test]
    fn one_of_another_user_is_named_with_what_to_do() {
        // To whoever runs the tests as root nothing is forbidden: only what is said is looked at.
        let text = not_ours(Path::new("/run/admin.sock")).to_string();
        assert!(text.contains("remove /run/admin.sock") && text.contains("set admin.socket"), "{text}");
    }

    #[test]
    fn one_whose_queue_is_full_is_somebodys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("admin.sock");
        let narrow = socket2::Socket::new(Domain::UNIX, Type::STREAM, None).unwrap();
        narrow.bind(&SockAddr::unix(&path).unwrap()).unwrap();
        narrow.listen(0).unwrap();
        let waiting: Vec<_> = (0..4).map(|_| connect(&path)).collect();
        assert!(waiting.iter().any(Result::is_err), "{waiting:?}");
        assert_eq!(look(&path).unwrap(), Found::Answers);
    }
}
