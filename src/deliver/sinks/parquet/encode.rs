//! Rows to Parquet bytes: a little buffer of rows, then a column writer for each column.

use crate::Config;
use crate::pages::Chunk;
use bytes::BytesMut;
use event::{Seq, UnixMicros};
use parquet::basic::{Compression, Encoding, ZstdLevel};
use parquet::column::writer::ColumnWriter;
use parquet::data_type::ByteArray;
use parquet::errors::{ParquetError, Result};
use parquet::file::metadata::{KeyValue, ParquetMetaData, SortingColumn};
use parquet::file::properties::{EnabledStatistics, WriterProperties, WriterPropertiesPtr};
use parquet::file::writer::SerializedFileWriter;
use parquet::schema::parser::parse_message_type;
use parquet::schema::types::ColumnPath;
use std::io::Write;
use std::sync::Arc;

/// The columns; their order is that of [`Buffer::push`].
const SCHEMA: &str = "message event {
    required int64 seq;
    required binary tenant (STRING);
    required binary event_id (STRING);
    required binary event_type (STRING);
    required int64 timestamp (TIMESTAMP(MICROS,true));
    optional binary user_id (STRING);
    required binary session_id (STRING);
    required binary store_id (STRING);
    required binary data (STRING);
    optional binary metadata (STRING);
    required binary raw (STRING);
    required int64 received_at (TIMESTAMP(MICROS,true));
    required int64 committed_at (TIMESTAMP(MICROS,true));
}";

/// Version of the columns above, in every footer.
const LAYOUT: &str = "1";

const NUMBERS: [&str; 4] = ["seq", "timestamp", "received_at", "committed_at"];
/// Columns whose values come again and again.
const REPEATING: [&str; 6] = ["tenant", "event_type", "user_id", "session_id", "store_id", "metadata"];
/// Columns whose smallest and largest value nobody asks for.
const LONG: [&str; 3] = ["data", "metadata", "raw"];

/// Rows, and bytes of their values, that are gathered before they are encoded.
const BUFFER_ROWS: usize = 1024;
const BUFFER_BYTES: usize = 1 << 20;

/// One event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Row<'a> {
    /// Position in the log.
    pub seq: Seq,
    /// The owner.
    pub tenant: &'a str,
    /// `eventId`.
    pub event_id: &'a str,
    /// `eventType`.
    pub event_type: &'a str,
    /// `timestamp`.
    pub timestamp: UnixMicros,
    /// `userId`.
    pub user_id: Option<&'a str>,
    /// `sessionId`.
    pub session_id: &'a str,
    /// `storeId`.
    pub store_id: &'a str,
    /// `data`, JSON text.
    pub data: &'a str,
    /// `metadata`, JSON text.
    pub metadata: Option<&'a str>,
    /// The bytes as received.
    pub raw: &'a str,
    /// When the request was read.
    pub received_at: UnixMicros,
    /// When the event became durable.
    pub committed_at: UnixMicros,
}

/// What a footer says of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileMark {
    /// Position of the first row.
    pub first: Seq,
    /// Position of the last row.
    pub last: Seq,
    /// How many rows there are.
    pub rows: u64,
    /// The start of the daemon that committed the last row: tells a log from its copies.
    pub incarnation: u64,
}

impl FileMark {
    const LAYOUT_KEY: &'static str = "ingestd.layout";
    const FIRST_KEY: &'static str = "ingestd.first_seq";
    const LAST_KEY: &'static str = "ingestd.last_seq";
    const INCARNATION_KEY: &'static str = "ingestd.incarnation";

    /// Names and values of the footer's entries, for whoever writes the file anew.
    #[must_use]
    pub fn texts(&self) -> [(String, String); 4] {
        [
            (Self::LAYOUT_KEY.into(), LAYOUT.to_owned()),
            (Self::FIRST_KEY.into(), self.first.to_string()),
            (Self::LAST_KEY.into(), self.last.to_string()),
            (Self::INCARNATION_KEY.into(), format!("{:016x}", self.incarnation)),
        ]
    }

    fn entries(&self) -> [KeyValue; 4] {
        self.texts().map(|(name, value)| KeyValue::new(name, value))
    }

    /// Reads the mark of a file; `None` when something else wrote it.
    pub(crate) fn read(metadata: &ParquetMetaData) -> Option<Self> {
        let entries = metadata.file_metadata().key_value_metadata()?;
        let text = |key: &str| entries.iter().find(|entry| entry.key == key)?.value.as_deref();
        Some(FileMark {
            first: Seq::new(text(Self::FIRST_KEY)?.parse().ok()?),
            last: Seq::new(text(Self::LAST_KEY)?.parse().ok()?),
            rows: u64::try_from(metadata.file_metadata().num_rows()).ok()?,
            incarnation: u64::from_str_radix(text(Self::INCARNATION_KEY)?, 16).ok()?,
        })
    }
}

/// Rows that are not encoded yet, by column.
struct Buffer {
    numbers: [Vec<i64>; NUMBERS.len()],
    texts: [Texts; 9],
    rows: usize,
}

#[derive(Default)]
struct Texts {
    bytes: BytesMut,
    lens: Vec<u32>,
    /// 1 for a value, 0 for null; empty for a column that is never null.
    levels: Vec<i16>,
    /// Reused by every flush.
    values: Vec<ByteArray>,
}

impl Texts {
    fn put(&mut self, text: &str) {
        self.bytes.extend_from_slice(text.as_bytes());
        self.lens.push(text.len() as u32);
    }

    fn put_optional(&mut self, text: Option<&str>) {
        self.levels.push(i16::from(text.is_some()));
        if let Some(text) = text {
            self.put(text);
        }
    }

    fn flush(&mut self, writer: &mut ColumnWriter<'_>) -> Result<()> {
        let ColumnWriter::ByteArrayColumnWriter(writer) = writer else { return Err(unexpected_column()) };
        // The values share one allocation, which is reused once the writer has let go of them.
        let mut bytes = self.bytes.split().freeze();
        self.values.extend(self.lens.drain(..).map(|len| ByteArray::from(bytes.split_to(len as usize))));
        let levels = (!self.levels.is_empty()).then_some(&*self.levels);
        writer.write_batch(&self.values, levels, None)?;
        self.values.clear();
        self.levels.clear();
        Ok(())
    }
}

fn unexpected_column() -> ParquetError {
    ParquetError::General("column of another type than its values".into())
}

impl Buffer {
    fn new() -> Self {
        Buffer { numbers: Default::default(), texts: Default::default(), rows: 0 }
    }

    fn push(&mut self, row: &Row<'_>) {
        let [seq, timestamp, received_at, committed_at] = &mut self.numbers;
        let [tenant, event_id, event_type, user_id, session_id, store_id, data, metadata, raw] = &mut self.texts;
        seq.push(row.seq.get() as i64);
        tenant.put(row.tenant);
        event_id.put(row.event_id);
        event_type.put(row.event_type);
        timestamp.push(row.timestamp.get());
        user_id.put_optional(row.user_id);
        session_id.put(row.session_id);
        store_id.put(row.store_id);
        data.put(row.data);
        metadata.put_optional(row.metadata);
        raw.put(row.raw);
        received_at.push(row.received_at.get());
        committed_at.push(row.committed_at.get());
        self.rows += 1;
    }

    fn bytes(&self) -> usize {
        self.texts.iter().map(|texts| texts.bytes.len()).sum()
    }

    /// Hands every column's values to its writer.
    fn flush(&mut self, chunks: &mut [Chunk]) -> Result<()> {
        let (mut numbers, mut texts) = (self.numbers.iter_mut(), self.texts.iter_mut());
        for chunk in chunks {
            match &mut chunk.writer {
                ColumnWriter::Int64ColumnWriter(writer) => {
                    let values = numbers.next().ok_or_else(unexpected_column)?;
                    writer.write_batch(values, None, None)?;
                    values.clear();
                }
                writer => texts.next().ok_or_else(unexpected_column)?.flush(writer)?,
            }
        }
        self.rows = 0;
        Ok(())
    }
}

/// Encodes one file.
pub(crate) struct Encoder<W: Write + Send> {
    file: SerializedFileWriter<W>,
    properties: WriterPropertiesPtr,
    group_rows_max: usize,
    group_bytes_max: usize,
    buffer: Buffer,
    /// The columns of the open row group; empty between groups.
    chunks: Vec<Chunk>,
    group_rows: usize,
    group_bytes: usize,
}

impl<W: Write + Send> Encoder<W> {
    pub(crate) fn new(sink: W, config: &Config) -> Result<Self> {
        let properties = Arc::new(properties(config)?);
        let schema = Arc::new(parse_message_type(SCHEMA)?);
        Ok(Encoder {
            file: SerializedFileWriter::new(sink, schema, Arc::clone(&properties))?,
            properties,
            group_rows_max: config.row_group_rows_max.max(1),
            group_bytes_max: config.row_group_bytes_max,
            buffer: Buffer::new(),
            chunks: Vec::new(),
            group_rows: 0,
            group_bytes: 0,
        })
    }

    /// Adds a row; returns whether the file has grown by it and those before.
    pub(crate) fn push(&mut self, row: &Row<'_>) -> Result<bool> {
        self.buffer.push(row);
        let rows_max = BUFFER_ROWS.min(self.group_rows_max - self.group_rows);
        let is_full = self.buffer.rows >= rows_max || self.buffer.bytes() >= BUFFER_BYTES;
        if is_full {
            self.flush_buffer()?;
        }
        Ok(is_full)
    }

    /// Bytes of the file so far; what is not compressed yet does not count.
    pub(crate) fn bytes(&self) -> u64 {
        self.file.bytes_written() as u64 + self.unwritten_bytes()
    }

    /// Those of them that are still in memory: the pages of the open row group.
    pub(crate) fn unwritten_bytes(&self) -> u64 {
        self.chunks.iter().map(|chunk| written(&chunk.writer)).sum()
    }

    /// Where the file goes.
    pub(crate) fn sink(&self) -> &W {
        self.file.inner()
    }

    /// Writes what is left and the footer.
    pub(crate) fn finish(mut self, mark: &FileMark) -> Result<W> {
        if self.buffer.rows > 0 {
            self.flush_buffer()?;
        }
        self.close_group()?;
        for entry in mark.entries() {
            self.file.append_key_value_metadata(entry);
        }
        self.file.into_inner()
    }

    fn flush_buffer(&mut self) -> Result<()> {
        if self.chunks.is_empty() {
            let columns = self.file.schema_descr().columns();
            let chunk = |column: &_| Chunk::new(Arc::clone(column), Arc::clone(&self.properties));
            self.chunks = columns.iter().map(chunk).collect();
        }
        self.group_rows += self.buffer.rows;
        self.group_bytes += self.buffer.bytes();
        self.buffer.flush(&mut self.chunks)?;
        if self.group_rows >= self.group_rows_max || self.group_bytes >= self.group_bytes_max {
            self.close_group()?;
        }
        Ok(())
    }

    fn close_group(&mut self) -> Result<()> {
        if self.chunks.is_empty() {
            return Ok(());
        }
        let mut group = self.file.next_row_group()?;
        for chunk in self.chunks.drain(..) {
            chunk.append_to(&mut group)?;
        }
        group.close()?;
        (self.group_rows, self.group_bytes) = (0, 0);
        Ok(())
    }
}

/// Bytes of the pages that a column has written.
fn written(writer: &ColumnWriter<'_>) -> u64 {
    match writer {
        ColumnWriter::Int64ColumnWriter(writer) => writer.get_total_bytes_written(),
        ColumnWriter::ByteArrayColumnWriter(writer) => writer.get_total_bytes_written(),
        _ => 0,
    }
}

fn properties(config: &Config) -> Result<WriterProperties> {
    let path = |name: &str| ColumnPath::from(name);
    let mut builder = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(config.zstd_level)?))
        .set_dictionary_enabled(false)
        .set_statistics_enabled(EnabledStatistics::Chunk)
        .set_sorting_columns(Some(vec![SortingColumn { column_idx: 0, descending: false, nulls_first: false }]));
    for name in NUMBERS {
        builder = builder.set_column_encoding(path(name), Encoding::DELTA_BINARY_PACKED);
    }
    for name in REPEATING {
        builder = builder.set_column_dictionary_enabled(path(name), true);
    }
    for name in LONG {
        builder = builder.set_column_statistics_enabled(path(name), EnabledStatistics::None);
    }
    Ok(builder.build())
}
