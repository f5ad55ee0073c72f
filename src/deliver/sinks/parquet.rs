//! The embedded sink: from the log's events to the files of crate `parquet_sink`.
//!
//! An event that cannot be taken apart, which only a bug or damage below the checksum can cause, does not stop the
//! sink: its row has what is known, an empty `event_id` marks it, it is counted and named in the log.

use super::super::verify::{Asked, Census, Held, HeldFile};
use super::super::{Cursor, Destination, FailureCode, Fault, Letter, Manifest, Origin, Sent, Shipper, Start};
use crate::commit::{Ages, Control, Tail, Timeline};
use event::{Seq, UnixMicros};
use parquet_sink::{Config, Draft, FileError, FileMark, Folder, Found, Published, Row, UtcDate};
use prepare::processed::Extractor;
use record::EventView;
use std::borrow::Cow;
use std::sync::Arc;
use std::time::{Duration, Instant};
use wal::Reader;

/// How long commits gather before they are read: files take seconds, so that reading each commit at once would only cost
/// time.
const LINGER: Duration = Duration::from_millis(200);

/// Version of the columns; see crate `parquet_sink`.
const LAYOUT: u8 = 1;

/// The Parquet sink.
pub type ParquetSink = Shipper<ParquetFiles>;

impl ParquetSink {
    /// A sink that writes into `config.dir`, following the log from its stored cursor on. `timeline` is that of the log
    /// before the first commit of this start.
    #[must_use]
    pub fn new(config: Config, timeline: Timeline, reader: Reader, control: Control, tail: Tail) -> Self {
        let ages = Some(Ages::new(timeline, reader.clone()));
        Shipper::to(ParquetFiles { ages, ..ParquetFiles::new(config) }, reader, control, tail)
    }
}

/// Parquet files as a destination.
pub struct ParquetFiles {
    folder: Folder,
    extractor: Extractor,
    draft: Option<Draft>,
    oldest: Option<UnixMicros>,
    /// Since when there are events for the next file.
    since: Option<Instant>,
    /// The start of the daemon that committed the newest row.
    incarnation: u64,
    surveyed: bool,
    /// Oldest first; kept only where retention needs it.
    published: Vec<Published>,
    /// How old files are; without it none is too old.
    ages: Option<Ages>,
    unreadable: u64,
    unreadable_total: u64,
}

impl ParquetFiles {
    /// Files in `config.dir`; nothing is touched yet.
    #[must_use]
    pub fn new(config: Config) -> Self {
        ParquetFiles {
            folder: Folder::new(config),
            extractor: Extractor::new(),
            draft: None,
            oldest: None,
            since: None,
            incarnation: 0,
            surveyed: false,
            published: Vec::new(),
            ages: None,
            unreadable: 0,
            unreadable_total: 0,
        }
    }

    /// How many files, oldest first, are to be removed.
    fn expired(&mut self) -> Result<usize, Fault> {
        let retention = self.folder.config().retention;
        let mut ages = self.ages.as_mut().filter(|_| retention.age_max.is_some());
        if let Some(ages) = &mut ages {
            ages.look().map_err(|error| Fault::Retry(error.to_string()))?;
        }
        let age = |date: UtcDate| ages.as_ref().map_or(Duration::ZERO, |ages| ages.of(date.next().midnight()));
        Ok(Folder::expired(&retention, &self.published, age))
    }

    fn keep_in_mind(&mut self, file: Published) {
        if !self.folder.config().retention.keeps_all()
            && self.published.last().is_none_or(|last| last.first < file.first)
        {
            self.published.push(file);
        }
    }

    /// Whether this very log has sent a file.
    fn is_of(&self, start: &Start<'_>, file: &Published) -> Result<bool, Fault> {
        let Some(mark) = self.folder.mark(file).map_err(retry)? else { return Ok(false) };
        let wrote = start.history.iter().rfind(|wrote| wrote.first <= mark.last);
        Ok(mark.last < start.end.next && wrote.is_some_and(|wrote| wrote.id == mark.incarnation))
    }

    /// Moves on over files that this very log has sent and that begin at the cursor, one after the other: a log that was
    /// restored beside newer files finds them there.
    fn already_there(&self, start: &Start<'_>, cursor: Seq, files: &[Published]) -> Result<Seq, Fault> {
        let mut next = cursor;
        while let Some(file) = files.iter().find(|file| file.first == next && file.last >= next)
            && !start.frozen.iter().any(|batch| batch.first == file.first)
            && self.is_of(start, file)?
        {
            next = file.last.next();
        }
        if next > cursor {
            tracing::warn!(%cursor, %next, "the Parquet files reach further than the log's place in them: they are kept");
        }
        Ok(next)
    }

    fn count_unreadable(&mut self, seq: Seq, reason: &str) {
        self.unreadable += 1;
        self.unreadable_total += 1;
        // Should there be many, the log is not to be filled with them.
        if self.unreadable_total.is_power_of_two() {
            let total = self.unreadable_total;
            tracing::error!(seq = seq.get(), reason, total, "stored event cannot be taken apart");
        }
    }
}

impl Destination for ParquetFiles {
    const NAME: &'static str = "parquet";
    const FREEZES: bool = true;
    const TAKES_DEAD: bool = false;
    const LINGER: Duration = LINGER;

    async fn start(&mut self, start: &Start<'_>) -> Result<Cursor, Fault> {
        let (mut cursor, frozen) = (start.cursor.next, start.frozen);
        if self.surveyed {
            return Ok(start.cursor);
        }
        let survey = self.folder.survey().map_err(retry)?;
        if start.is_new()
            && let Some(newest) = survey.published.last()
            && self.is_of(start, newest)?
        {
            cursor = cursor.max(newest.last.next());
            tracing::warn!(
                cursor = cursor.get(),
                "the log knows no place of the Parquet files: taken from their names"
            );
        }
        cursor = self.already_there(start, cursor, &survey.published)?;
        let is_frozen =
            |file: &Published| frozen.iter().any(|batch| (batch.first, batch.last) == (file.first, file.last));
        if let Some(file) = survey.published.iter().find(|file| file.last >= cursor && !is_frozen(file)) {
            let name = Folder::name(file.date, file.first, file.last);
            return Err(foreign(&self.folder, &name, cursor));
        }
        if !self.folder.config().retention.keeps_all() {
            self.published = survey.published;
        }
        self.surveyed = true;
        Ok(Cursor { next: cursor, ..start.cursor })
    }

    fn admits(&self, origin: Origin) -> bool {
        self.draft.as_ref().is_none_or(|draft| draft.date() == UtcDate::of(origin.committed_at))
    }

    fn add(&mut self, event: &EventView<'_>, origin: Origin) -> Result<(), Fault> {
        self.incarnation = origin.incarnation;
        // Valid, for it was checked on the way in: the lossy conversion, which looks at each character by itself, is for damage.
        let raw = str::from_utf8(event.raw).map_or_else(|_| String::from_utf8_lossy(event.raw), Cow::Borrowed);
        let (row, unreadable) = match self.extractor.extract(event) {
            Ok(envelope) => (
                Row {
                    seq: event.seq,
                    tenant: event.segment.tenant,
                    event_id: envelope.event_id,
                    event_type: envelope.event_type,
                    timestamp: envelope.timestamp,
                    user_id: envelope.user_id,
                    session_id: envelope.session_id,
                    store_id: envelope.store_id,
                    data: envelope.data,
                    metadata: envelope.metadata,
                    raw: &raw,
                    received_at: event.segment.received_at,
                    committed_at: event.committed_at,
                },
                None,
            ),
            Err(reason) => (what_is_known(event, &raw), Some(reason)),
        };
        let draft = match &mut self.draft {
            Some(draft) => draft,
            none => {
                self.oldest = Some(event.committed_at);
                self.since.get_or_insert_with(Instant::now);
                let draft = self.folder.begin(UtcDate::of(event.committed_at), event.seq).map_err(retry)?;
                none.insert(draft)
            }
        };
        draft.push(&row).map_err(retry)?;
        if let Some(reason) = unreadable {
            self.count_unreadable(event.seq, &reason.to_string());
        }
        Ok(())
    }

    fn pass(&mut self, _: Seq, _: Origin) {}

    fn add_dead(&mut self, _: &Letter<'_>, _: Origin) -> Result<(), Fault> {
        Err(Fault::of(FailureCode::DestinationRefuses, "files take no dead letters"))
    }

    fn rows(&self) -> u64 {
        self.draft.as_ref().map_or(0, Draft::rows)
    }

    fn oldest(&self) -> Option<UnixMicros> {
        self.draft.as_ref().and(self.oldest)
    }

    fn is_full(&self) -> bool {
        // One for which there is no more room is sent as it is: that moves the cursor, and lets the log be trimmed.
        let is_enough =
            |draft: &Draft| draft.is_short_of_room() || draft.bytes() >= self.folder.config().file_bytes_max;
        self.draft.as_ref().is_some_and(is_enough)
    }

    fn due(&self) -> Option<Instant> {
        // Of its events, though the file was begun anew: or it would never be old enough.
        self.draft.as_ref().and(self.since).map(|since| since + self.folder.config().file_age_max)
    }

    fn freeze(&mut self, _: Option<&Manifest>) -> Result<Manifest, Fault> {
        let incarnation = self.incarnation;
        let draft = self.draft.take().ok_or_else(|| Fault::Retry("no file is open".into()))?;
        let date = draft.date();
        let mark = draft.finish(incarnation).map_err(retry)?;
        self.since = None;
        Ok(Manifest {
            dead: false,
            layout: LAYOUT,
            day: date.days(),
            first: mark.first,
            last: mark.last,
            rows: mark.rows,
            incarnation,
            name: Folder::name(date, mark.first, mark.last),
        })
    }

    async fn find(&mut self, batch: &Manifest) -> Result<Option<Sent>, Fault> {
        let mark = FileMark { first: batch.first, last: batch.last, rows: batch.rows, incarnation: batch.incarnation };
        let date = UtcDate::from_days(batch.day);
        match self.folder.find(date, &mark).map_err(retry)? {
            Found::Nothing => Ok(None),
            Found::Whole(file) => {
                self.keep_in_mind(file);
                Ok(Some(Sent { bytes: file.bytes, refused: Vec::new() }))
            }
            Found::Another => Err(foreign(&self.folder, &batch.name, batch.first)),
        }
    }

    async fn send(&mut self, batch: &Manifest, _: bool) -> Result<Sent, Fault> {
        let date = UtcDate::from_days(batch.day);
        let file = self.folder.publish(date, batch.first, batch.last).map_err(retry)?;
        self.keep_in_mind(file);
        Ok(Sent { bytes: file.bytes, refused: Vec::new() })
    }

    async fn count(&mut self, _: &Manifest) -> Result<u64, Fault> {
        // Files are given up for nobody.
        Ok(0)
    }

    async fn ping(&mut self) -> Result<(), Fault> {
        Ok(())
    }

    fn discard(&mut self) {
        if let Some(draft) = self.draft.take() {
            draft.discard();
        }
    }

    fn revive(&mut self) {
        self.surveyed = false;
    }

    fn tidy(&mut self) -> Result<u64, Fault> {
        let expired = self.expired()?;
        let mut removed = 0;
        let result = self.published.iter().take(expired).try_for_each(|file| {
            self.folder.remove(file)?;
            removed += 1;
            Ok(())
        });
        self.published.drain(..removed);
        result.map_err(retry).map(|()| removed as u64)
    }

    fn take_unreadable(&mut self) -> u64 {
        std::mem::take(&mut self.unreadable)
    }

    fn census(&self) -> Arc<dyn Census> {
        Arc::new(FileCensus(Folder::new(self.folder.config().clone())))
    }
}

struct FileCensus(Folder);

impl Census for FileCensus {
    fn events_max(&self) -> u64 {
        200_000
    }

    fn count(&self, asked: &Asked) -> Result<Vec<Held>, String> {
        let mut held = asked.nothing_in("files");
        let files = self.0.list().map_err(|error| error.to_string())?;
        for file in
            files.iter().filter(|file| file.first <= *asked.range().end() && file.last >= *asked.range().start())
        {
            for (seq, id) in self.0.ids(file).map_err(|error| error.to_string())? {
                if asked.is_ours(seq, &id) {
                    held.add(seq, 1);
                }
            }
        }
        Ok(vec![held])
    }

    fn holding(&self, is_meant: &dyn Fn(&str, &str, Option<&str>) -> bool) -> Result<Vec<HeldFile>, String> {
        let mut found = Vec::new();
        for file in self.0.list().map_err(|error| error.to_string())? {
            let path = self.0.path(&file);
            match self.look(&file, is_meant) {
                Ok((0, _)) => {}
                Ok((events, mark)) => found.push(HeldFile { path, events, mark, unread: None }),
                // One that is too old is removed meanwhile.
                Err(_) if !path.exists() => {}
                Err(reason) => found.push(HeldFile { path, events: 0, mark: Vec::new(), unread: Some(reason) }),
            }
        }
        Ok(found)
    }
}

impl FileCensus {
    /// How many rows of a file are meant, and the entries of its footer.
    fn look(
        &self,
        file: &Published,
        is_meant: &dyn Fn(&str, &str, Option<&str>) -> bool,
    ) -> Result<(u64, Vec<(String, String)>), String> {
        let events = self.0.count(file, is_meant).map_err(|error| error.to_string())?;
        let mark = self.0.mark(file).map_err(|error| error.to_string())?;
        Ok((events, mark.map(|mark| mark.texts().to_vec()).unwrap_or_default()))
    }
}

/// The row of an event that cannot be taken apart.
fn what_is_known<'a>(event: &EventView<'a>, raw: &'a str) -> Row<'a> {
    Row {
        seq: event.seq,
        tenant: event.segment.tenant,
        event_id: "",
        event_type: prepare::EVENT_TYPES.get(usize::from(event.event_type)).copied().unwrap_or_default(),
        timestamp: event.segment.received_at,
        user_id: None,
        session_id: "",
        store_id: "",
        data: "{}",
        metadata: None,
        raw,
        received_at: event.segment.received_at,
        committed_at: event.committed_at,
    }
}

fn retry(error: FileError) -> Fault {
    Fault::Retry(error.to_string())
}

fn foreign(folder: &Folder, name: &str, cursor: Seq) -> Fault {
    let dir = folder.config().dir.display();
    let reason = format!(
        "{dir}/{name} holds events that this log has not sent (its next one is {cursor}): the folder belongs to another \
         log, or the log is older than the folder; give the sink an empty folder, or move the newer files away"
    );
    Fault::of(FailureCode::Diverged, reason)
}
