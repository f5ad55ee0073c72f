//! `keys.jsonl` in the data folder: a line that says how many keys follow and what their SHA-256 is, then one line a key.
//!
//! It is replaced as a whole (temporary file, fsync, rename, fsync of the folder), so that a crash leaves the old one or
//! the new one. A file that is not as it was written is refused: a key that was revoked must not come back.

use super::key::{Key, KeyId, digest_of};
use super::scope::{Scope, Scopes};
use super::tenant::is_tenant;
use event::UnixMicros;
use serde::{Deserialize, Serialize};
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;

/// The name of the file of API keys, in the data folder.
pub const NAME: &str = "keys.jsonl";
const FORMAT: u32 = 1;

/// Why the keys cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The system does not give it.
    #[error("cannot read the API keys in {}: {cause}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        cause: io::Error,
    },
    /// It is not as it was written.
    #[error(
        "the API keys in {} are damaged: {what}; put back a copy of the file, and revoke again what was revoked \
         since; or remove it and make new keys (`ingestd admin tokens add`): every key in it is then unknown",
        path.display()
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// A newer version wrote it.
    #[error("the API keys in {} have format {format}, this version knows {FORMAT}: use the version that wrote them", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its format.
        format: u32,
    },
}

#[derive(Serialize, Deserialize)]
struct Head {
    format: u32,
    keys: usize,
    sha256: String,
}

/// A key's line; times in microseconds since 1970.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    id: String,
    name: String,
    tenant: String,
    scopes: Vec<String>,
    created_us: i64,
    expires_us: Option<i64>,
    revoked_us: Option<i64>,
    used_us: Option<i64>,
    sha256: String,
}

/// The keys of the data folder; none where there is no file.
pub(super) fn load(path: &Path) -> Result<Vec<Key>, KeyFileError> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(cause) if cause.kind() == io::ErrorKind::InvalidData => {
            return Err(KeyFileError::Damaged { path: path.into(), what: "it is no text".into() });
        }
        Err(cause) => return Err(KeyFileError::Read { path: path.into(), cause }),
    };
    let damaged = |what: String| KeyFileError::Damaged { path: path.into(), what };
    let (head, lines) = text.split_once('\n').ok_or_else(|| damaged("it has no first line".into()))?;
    let head: Head = serde_json::from_str(head).map_err(|error| damaged(format!("first line: {error}")))?;
    if head.format != FORMAT {
        return Err(KeyFileError::Newer { path: path.into(), format: head.format });
    }
    if head.sha256 != hex(&digest_of(lines.as_bytes())) {
        return Err(damaged("its lines do not have the SHA-256 that the first one says".into()));
    }
    let keys = lines.lines().map(read_line).collect::<Result<Vec<_>, _>>().map_err(&damaged)?;
    if keys.len() != head.keys {
        return Err(damaged(format!("it has {} keys, the first line says {}", keys.len(), head.keys)));
    }
    Ok(keys)
}

fn read_line(line: &str) -> Result<Key, String> {
    let line: Line = serde_json::from_str(line).map_err(|error| error.to_string())?;
    let scopes = line.scopes.iter().map(|name| Scope::of(name).ok_or_else(|| format!("there is no scope {name}")));
    let digest = from_hex(&line.sha256).ok_or("a key's hash is none")?;
    if !is_tenant(&line.tenant) {
        return Err(format!("{:?} is no tenant's name", line.tenant));
    }
    Ok(Key {
        id: KeyId::of(&line.id).ok_or("a key's id is none")?,
        name: line.name.into(),
        tenant: line.tenant.into(),
        scopes: scopes.collect::<Result<Scopes, _>>()?,
        created_at: UnixMicros::new(line.created_us),
        expires_at: line.expires_us.map(UnixMicros::new),
        revoked_at: line.revoked_us.map(UnixMicros::new),
        digest,
        used: Arc::new(AtomicI64::new(line.used_us.unwrap_or_default())),
    })
}

/// Puts these keys in the place of those in the file, durably.
pub(super) fn store<'a>(path: &Path, keys: impl Iterator<Item = &'a Key>) -> io::Result<()> {
    let (mut lines, mut count) = (String::new(), 0);
    for key in keys {
        lines += &serde_json::to_string(&line_of(key)).map_err(io::Error::other)?;
        lines.push('\n');
        count += 1;
    }
    let head = Head { format: FORMAT, keys: count, sha256: hex(&digest_of(lines.as_bytes())) };
    let head = serde_json::to_string(&head).map_err(io::Error::other)?;
    let new = path.with_extension("new");
    // What a crash has left may have other rights.
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = File::options().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(format!("{head}\n{lines}").as_bytes())?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder)?.sync_all()
}

fn line_of(key: &Key) -> Line {
    Line {
        id: key.id.to_string(),
        name: key.name.to_string(),
        tenant: key.tenant.to_string(),
        scopes: key.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        created_us: key.created_at.get(),
        expires_us: key.expires_at.map(UnixMicros::get),
        revoked_us: key.revoked_at.map(UnixMicros::get),
        used_us: key.last_used_at().map(UnixMicros::get),
        sha256: hex(&key.digest),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| text + &format!("{byte:02x}"))
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let mut out = [0; 32];
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    for (at, byte) in out.iter_mut().enumerate() {
        *byte = u8::from_str_radix(text.get(at * 2..at * 2 + 2)?, 16).ok()?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn key(id: u64) -> Key {
        Key {
            id: KeyId(id),
            name: "a \"name\"\n".into(),
            tenant: "shop".into(),
            scopes: [Scope::Intake, Scope::Manage].into_iter().collect(),
            created_at: UnixMicros::new(5),
            expires_at: Some(UnixMicros::new(6)),
            revoked_at: (id == 2).then(|| UnixMicros::new(7)),
            digest: [id as u8; 32],
            used: Arc::new(AtomicI64::new(60_000_000)),
        }
    }

    #[test]
    fn what_is_stored_is_loaded_and_nobody_else_may_read_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        assert!(load(&path).unwrap().is_empty());
        let keys = [key(1), key(2)];
        fs::write(path.with_extension("new"), "left behind").unwrap();
        store(&path, keys.iter()).unwrap();
        assert_eq!(format!("{:?}", load(&path).unwrap()), format!("{keys:?}"));
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        store(&path, keys[..1].iter()).unwrap();
        assert_eq!(load(&path).unwrap().len(), 1);
    }

    #[test]
    fn any_damage_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(NAME);
        store(&path, [key(1), key(2)].iter()).unwrap();
        let good = fs::read(&path).unwrap();
        for end in 0..good.len() {
            fs::write(&path, &good[..end]).unwrap();
            assert!(matches!(load(&path), Err(KeyFileError::Damaged { .. })), "cut at {end}");
        }
        // Any byte of the lines: the first line's own are its names and white space, too.
        let lines = good.iter().position(|byte| *byte == b'\n').unwrap() + 1;
        for at in lines..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 1;
            fs::write(&path, &bad).unwrap();
            assert!(load(&path).is_err(), "changed at {at}");
        }
        fs::write(&path, String::from_utf8(good).unwrap().replacen("\"format\":1", "\"format\":2", 1)).unwrap();
        assert!(matches!(load(&path), Err(KeyFileError::Newer { format: 2, .. })));
    }
}
