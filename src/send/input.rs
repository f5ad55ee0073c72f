use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// One thing to read events from.
#[derive(Debug, Clone)]
pub(crate) struct Input {
    origin: Origin,
    compression: Compression,
    /// Its name in summaries.
    pub(crate) name: Arc<str>,
    /// Bytes to read in all, before decompression, where that is known.
    pub(crate) bytes: Option<u64>,
    /// Device and inode, where it is a regular file.
    pub(crate) identity: Option<(u64, u64)>,
}

#[derive(Debug, Clone)]
enum Origin {
    Stdin,
    File(PathBuf),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Compression {
    None,
    Gzip,
    Zstd,
}

impl Compression {
    fn of(path: &Path) -> Self {
        match path.extension() {
            Some(end) if end.eq_ignore_ascii_case("gz") => Compression::Gzip,
            Some(end) if end.eq_ignore_ascii_case("zst") => Compression::Zstd,
            _ => Compression::None,
        }
    }
}

impl Input {
    /// Looks whether `path` can be read, without reading it.
    pub(crate) fn check(path: &Path) -> io::Result<Input> {
        if path == Path::new("-") {
            let (origin, compression) = (Origin::Stdin, Compression::None);
            return Ok(Input { origin, compression, name: "-".into(), bytes: None, identity: None });
        }
        let metadata = fs::metadata(path)?;
        if metadata.is_dir() {
            return Err(io::ErrorKind::IsADirectory.into());
        }
        // Opening a pipe here would wait for its writer, and closing it would end the writer.
        if metadata.is_file() {
            drop(File::open(path)?);
        }
        Ok(Input {
            origin: Origin::File(path.to_owned()),
            compression: Compression::of(path),
            name: path.to_string_lossy().into(),
            bytes: metadata.is_file().then_some(metadata.len()),
            identity: metadata.is_file().then_some((metadata.dev(), metadata.ino())),
        })
    }

    /// Whether somebody may still be writing it: what has come is then worth sending before the batch is full.
    pub(crate) fn is_live(&self) -> bool {
        self.bytes.is_none()
    }

    /// Opens it for reading; `bytes_read` counts what is read, before decompression.
    pub(crate) fn open(&self, bytes_read: Arc<AtomicU64>) -> io::Result<Box<dyn Read + Send>> {
        let file = match &self.origin {
            // Not `io::stdin()`: its buffer of 8 KiB would make small batches.
            Origin::Stdin => File::from(io::stdin().as_fd().try_clone_to_owned()?),
            Origin::File(path) => File::open(path)?,
        };
        let counted = Counted { file, bytes_read };
        Ok(match self.compression {
            Compression::None => Box::new(counted),
            Compression::Gzip => Box::new(flate2::read::MultiGzDecoder::new(counted)),
            Compression::Zstd => Box::new(zstd::Decoder::new(counted)?),
        })
    }
}

struct Counted {
    file: File,
    bytes_read: Arc<AtomicU64>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.bytes_read.fetch_add(read as u64, Ordering::Relaxed);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(path: &Path) -> io::Result<String> {
        let mut text = String::new();
        Input::check(path)?.open(Arc::default())?.read_to_string(&mut text)?;
        Ok(text)
    }

    #[test]
    fn gzip_and_zstd_are_told_by_extension_and_read_to_the_last_member() {
        let dir = tempfile::tempdir().unwrap();
        let gzip = dir.path().join("a.ndjson.gz");
        let mut members = Vec::new();
        for text in ["one\n", "two\n"] {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            encoder.write_all(text.as_bytes()).unwrap();
            members.extend(encoder.finish().unwrap());
        }
        fs::write(&gzip, &members).unwrap();
        assert_eq!(read(&gzip).unwrap(), "one\ntwo\n");

        let zst = dir.path().join("a.ZST");
        let frames = [zstd::encode_all(&b"one\n"[..], 1).unwrap(), zstd::encode_all(&b"two\n"[..], 1).unwrap()];
        fs::write(&zst, frames.concat()).unwrap();
        assert_eq!(read(&zst).unwrap(), "one\ntwo\n");
    }

    #[test]
    fn a_compressed_file_that_was_cut_off_is_an_error_not_an_end() {
        let dir = tempfile::tempdir().unwrap();
        let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        encoder.write_all(b"one\n").unwrap();
        let whole = encoder.finish().unwrap();
        let gzip = dir.path().join("a.gz");
        fs::write(&gzip, &whole[..whole.len() - 4]).unwrap();
        assert!(read(&gzip).is_err());

        let whole = zstd::encode_all(&b"one\n"[..], 1).unwrap();
        let zst = dir.path().join("a.zst");
        fs::write(&zst, &whole[..whole.len() - 1]).unwrap();
        assert!(read(&zst).is_err());
    }

    #[test]
    fn directories_and_missing_files_are_found_before_reading() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Input::check(dir.path()).unwrap_err().kind(), io::ErrorKind::IsADirectory);
        assert_eq!(Input::check(&dir.path().join("no")).unwrap_err().kind(), io::ErrorKind::NotFound);
    }
}
