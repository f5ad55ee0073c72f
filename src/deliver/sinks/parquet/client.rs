//! The files: drafts, publishing, what lies in the folder, retention.

use crate::decode;
use crate::encode::Encoder;
use crate::paced::PacedFile;
use crate::{Config, FileMark, Retention, Row, UtcDate};
use event::Seq;
use parquet::errors::ParquetError;
use parquet::file::metadata::ParquetMetaDataReader;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const PARTITION: &str = "date=";
const SUFFIX: &str = ".parquet";
const DRAFT_SUFFIX: &str = ".parquet.tmp";

/// Something could not be done to a file.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {cause}", path.display())]
pub struct FileError {
    /// What was tried.
    pub action: &'static str,
    /// On which path.
    pub path: PathBuf,
    /// What the system or the encoder said.
    pub cause: Box<dyn std::error::Error + Send + Sync>,
}

impl FileError {
    fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FileError {
        move |cause| FileError { action, path: path.to_path_buf(), cause: Box::new(cause) }
    }

    fn encode(action: &'static str, path: &Path) -> impl FnOnce(ParquetError) -> FileError {
        move |cause| {
            let cause = match cause {
                ParquetError::External(cause) => cause,
                other => Box::new(other),
            };
            FileError { action, path: path.to_path_buf(), cause }
        }
    }
}

/// The folder of all files.
#[derive(Debug, Clone)]
pub struct Folder {
    config: Config,
}

/// A published file, as its name tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Published {
    /// UTC date of commit.
    pub date: UtcDate,
    /// First event.
    pub first: Seq,
    /// Last event.
    pub last: Seq,
    /// Size in bytes.
    pub bytes: u64,
}

/// What is under a file's name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    /// Nothing, or something that is not a whole Parquet file: it is to be written.
    Nothing,
    /// The very file.
    Whole(Published),
    /// A whole file that was made of something else.
    Another,
}

/// What lies in the folder.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Survey {
    /// Published files, oldest first.
    pub published: Vec<Published>,
    /// Drafts that a crash left behind and that were removed.
    pub drafts_removed: u64,
}

/// A file that is being written.
pub struct Draft {
    path: PathBuf,
    date: UtcDate,
    first: Seq,
    last: Seq,
    rows: u64,
    began: Instant,
    is_short_of_room: bool,
    encoder: Encoder<PacedFile>,
}

impl Folder {
    /// Names the folder; nothing is touched.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Folder { config }
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Makes the folder if it is missing, removes drafts of an earlier run and lists what is published.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn survey(&self) -> Result<Survey, FileError> {
        make_folder(&self.config.dir)?;
        let mut drafts_removed = 0;
        let published = self.walk(|draft| {
            drafts_removed += 1;
            fs::remove_file(draft).map_err(FileError::io("remove", draft))
        })?;
        Ok(Survey { published, drafts_removed })
    }

    /// Published files, oldest first.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn list(&self) -> Result<Vec<Published>, FileError> {
        self.walk(|_| Ok(()))
    }

    fn walk(&self, mut draft: impl FnMut(&Path) -> Result<(), FileError>) -> Result<Vec<Published>, FileError> {
        let mut published = Vec::new();
        for partition in entries(&self.config.dir)? {
            let Some(date) = name_of(&partition).strip_prefix(PARTITION).and_then(|text| text.parse().ok()) else {
                continue;
            };
            for path in entries(&partition)? {
                let name = name_of(&path);
                if is_draft(name) {
                    draft(&path)?;
                } else if let Some((first, last)) = range_of(name) {
                    let bytes = fs::metadata(&path).map_err(FileError::io("look at", &path))?.len();
                    published.push(Published { date, first, last, bytes });
                }
            }
        }
        published.sort_unstable_by_key(|file| file.first);
        Ok(published)
    }

    /// Begins a file with the event `first`, all of whose events were committed on `date`.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn begin(&self, date: UtcDate, first: Seq) -> Result<Draft, FileError> {
        let partition = self.partition(date);
        make_folder(&partition)?;
        let path = partition.join(draft_name(first));
        let file = File::create(&path).map_err(FileError::io("create", &path))?;
        let encoder = PacedFile::new(file, self.config.free_bytes_min)
            .map_err(FileError::io("begin", &path))
            .and_then(|file| Encoder::new(file, &self.config).map_err(FileError::encode("begin", &path)))
            // The next attempt may be long in coming.
            .inspect_err(|_| drop(fs::remove_file(&path)))?;
        let (last, began) = (first.prev(), Instant::now());
        Ok(Draft { path, date, first, last, rows: 0, began, is_short_of_room: false, encoder })
    }

    /// Path of a file relative to the folder.
    #[must_use]
    pub fn name(date: UtcDate, first: Seq, last: Seq) -> String {
        format!("{PARTITION}{date}/{:020}-{:020}{SUFFIX}", first.get(), last.get())
    }

    /// Lets readers see a finished draft, durably. Doing it again after a crash replaces the file by itself.
    ///
    /// # Errors
    /// [`FileError`]; the file is published or not, and can be published again.
    pub fn publish(&self, date: UtcDate, first: Seq, last: Seq) -> Result<Published, FileError> {
        let partition = self.partition(date);
        let from = partition.join(draft_name(first));
        let path = self.config.dir.join(Self::name(date, first, last));
        fs::rename(&from, &path).map_err(FileError::io("publish", &path))?;
        sync_folder(&partition)?;
        let bytes = fs::metadata(&path).map_err(FileError::io("look at", &path))?.len();
        Ok(Published { date, first, last, bytes })
    }

    /// Looks whether the file of that range and mark is there; if so, makes sure that its name is durable.
    ///
    /// # Errors
    /// [`FileError`] when that cannot be found out.
    pub fn find(&self, date: UtcDate, mark: &FileMark) -> Result<Found, FileError> {
        let path = self.config.dir.join(Self::name(date, mark.first, mark.last));
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
            Err(error) => return Err(FileError::io("open", &path)(error)),
        };
        let bytes = file.metadata().map_err(FileError::io("look at", &path))?.len();
        let footer = match ParquetMetaDataReader::new().parse_and_finish(&file) {
            Ok(footer) => footer,
            Err(ParquetError::External(cause)) => return Err(FileError { action: "read", path, cause }),
            Err(_) => return Ok(Found::Nothing),
        };
        if FileMark::read(&footer) != Some(*mark) {
            return Ok(Found::Another);
        }
        sync_folder(&self.partition(date))?;
        Ok(Found::Whole(Published { date, first: mark.first, last: mark.last, bytes }))
    }

    /// What a published file says of itself; `None` where it is not whole, or not one of ours.
    ///
    /// # Errors
    /// [`FileError`] when the file cannot be read.
    pub fn mark(&self, file: &Published) -> Result<Option<FileMark>, FileError> {
        let path = self.path(file);
        let opened = File::open(&path).map_err(FileError::io("open", &path))?;
        match ParquetMetaDataReader::new().parse_and_finish(&opened) {
            Ok(footer) => Ok(FileMark::read(&footer)),
            Err(ParquetError::External(cause)) => Err(FileError { action: "read", path, cause }),
            Err(_) => Ok(None),
        }
    }

    /// Position and event id of every row of a published file, in order.
    ///
    /// # Errors
    /// [`FileError`] when the file is not whole, or not one of ours.
    pub fn ids(&self, file: &Published) -> Result<Vec<(Seq, String)>, FileError> {
        let path = self.path(file);
        let opened = File::open(&path).map_err(FileError::io("open", &path))?;
        decode::ids(opened).map_err(FileError::encode("read", &path))
    }

    /// How many rows of a published file, by their tenant, event id and user id, are meant.
    ///
    /// # Errors
    /// [`FileError`] when the file is not whole, or not one of ours.
    pub fn count(
        &self,
        file: &Published,
        is_meant: impl Fn(&str, &str, Option<&str>) -> bool,
    ) -> Result<u64, FileError> {
        let path = self.path(file);
        let opened = File::open(&path).map_err(FileError::io("open", &path))?;
        decode::count(opened, is_meant).map_err(FileError::encode("read", &path))
    }

    /// Where a published file is.
    #[must_use]
    pub fn path(&self, file: &Published) -> PathBuf {
        self.config.dir.join(Self::name(file.date, file.first, file.last))
    }

    /// How many of `published`, oldest first, the retention lets go of, where a date has been over for `age` of it.
    #[must_use]
    pub fn expired(retention: &Retention, published: &[Published], age: impl Fn(UtcDate) -> Duration) -> usize {
        let too_old = |file: &Published| retention.age_max.is_some_and(|max| age(file.date) >= max);
        let mut bytes: u64 = published.iter().map(|file| file.bytes).sum();
        let mut expired = 0;
        for file in published.iter().take(published.len().saturating_sub(1)) {
            if !too_old(file) && retention.bytes_max.is_none_or(|max| bytes <= max) {
                break;
            }
            bytes -= file.bytes;
            expired += 1;
        }
        expired
    }

    /// Removes a published file, and its directory if that was the last one in it. One that is gone is fine.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn remove(&self, file: &Published) -> Result<(), FileError> {
        let path = self.path(file);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(FileError::io("remove", &path)(error)),
            _ => {}
        }
        // Fails while something is left in it, which is as it should be.
        fs::remove_dir(self.partition(file.date)).ok();
        Ok(())
    }

    fn partition(&self, date: UtcDate) -> PathBuf {
        self.config.dir.join(format!("{PARTITION}{date}"))
    }
}

impl Draft {
    /// Adds the next event.
    ///
    /// # Errors
    /// [`FileError`]; the draft is then of no more use.
    pub fn push(&mut self, row: &Row<'_>) -> Result<(), FileError> {
        assert!(row.seq > self.last, "rows come in order");
        let has_grown = self.encoder.push(row).map_err(FileError::encode("write", &self.path))?;
        if has_grown {
            let has_room = self.encoder.sink().has_room_for(self.encoder.unwritten_bytes());
            self.is_short_of_room = !has_room.map_err(FileError::io("look at the disk of", &self.path))?;
        }
        self.last = row.seq;
        self.rows += 1;
        Ok(())
    }

    /// Whether the disk has no room for more: what there is can still be finished, and much more could not.
    #[must_use]
    pub fn is_short_of_room(&self) -> bool {
        self.is_short_of_room
    }

    /// The date all its rows must have.
    #[must_use]
    pub fn date(&self) -> UtcDate {
        self.date
    }

    /// Position of the last row.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.last
    }

    /// How many rows it has.
    #[must_use]
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// When it was begun.
    #[must_use]
    pub fn began(&self) -> Instant {
        self.began
    }

    /// How large the file is so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.encoder.bytes()
    }

    /// Writes the rest and the footer and makes the content durable; the name follows with [`Folder::publish`].
    ///
    /// # Errors
    /// [`FileError`]; the draft is then removed.
    pub fn finish(self, incarnation: u64) -> Result<FileMark, FileError> {
        let Draft { path, first, last, rows, encoder, .. } = self;
        let mark = FileMark { first, last, rows, incarnation };
        encoder
            .finish(&mark)
            .map_err(FileError::encode("finish", &path))
            .and_then(|file| file.finish().map_err(FileError::io("sync", &path)))
            // Room is what is missing, as a rule.
            .inspect_err(|_| drop(fs::remove_file(&path)))?;
        Ok(mark)
    }

    /// Gives the draft up and its room back, as far as that works: the next survey removes what is left.
    pub fn discard(self) {
        fs::remove_file(&self.path).ok();
    }
}

impl std::fmt::Debug for Draft {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Draft").field("path", &self.path).field("rows", &self.rows).finish_non_exhaustive()
    }
}

fn draft_name(first: Seq) -> String {
    format!(".{:020}{DRAFT_SUFFIX}", first.get())
}

fn is_draft(name: &str) -> bool {
    let digits = name.strip_prefix('.').and_then(|rest| rest.strip_suffix(DRAFT_SUFFIX));
    digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()))
}

fn range_of(name: &str) -> Option<(Seq, Seq)> {
    let (first, last) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    Some((Seq::new(first.parse().ok()?), Seq::new(last.parse().ok()?)))
}

fn name_of(path: &Path) -> &str {
    path.file_name().and_then(|name| name.to_str()).unwrap_or_default()
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, FileError> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        // Something else than a directory is none of ours.
        Err(error) if error.kind() == io::ErrorKind::NotADirectory => return Ok(Vec::new()),
        Err(error) => return Err(FileError::io("list", folder)(error)),
    };
    let paths: io::Result<Vec<_>> = entries.map(|entry| entry.map(|entry| entry.path())).collect();
    paths.map_err(FileError::io("list", folder))
}

/// Makes a folder whose name is durable.
fn make_folder(folder: &Path) -> Result<(), FileError> {
    if folder.is_dir() {
        return Ok(());
    }
    let parent = match folder.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    };
    make_folder(parent)?;
    match fs::create_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(FileError::io("make", folder)(error)),
        _ => sync_folder(parent),
    }
}

fn sync_folder(folder: &Path) -> Result<(), FileError> {
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(FileError::io("sync", folder))
}
