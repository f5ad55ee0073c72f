//! Column chunks that are written side by side into memory, to be appended to the file one after another.

use parquet::column::page::{CompressedPage, PageWriteSpec, PageWriter};
use parquet::column::writer::{ColumnWriter, get_column_writer};
use parquet::errors::{ParquetError, Result};
use parquet::file::properties::WriterPropertiesPtr;
use parquet::file::writer::{SerializedPageWriter, SerializedRowGroupWriter, TrackedWrite};
use parquet::schema::types::ColumnDescPtr;
use std::io::Write;
use std::sync::{Arc, Mutex, PoisonError};

type Sink = Arc<Mutex<TrackedWrite<Vec<u8>>>>;

/// The encoder of one column of one row group, and where its pages gather.
pub(crate) struct Chunk {
    pub(crate) writer: ColumnWriter<'static>,
    pages: Sink,
}

/// Lets a column writer own its way into the buffer.
struct Pages(Sink);

impl Chunk {
    pub(crate) fn new(column: ColumnDescPtr, properties: WriterPropertiesPtr) -> Self {
        let pages: Sink = Arc::new(Mutex::new(TrackedWrite::new(Vec::new())));
        let writer = get_column_writer(column, properties, Box::new(Pages(Arc::clone(&pages))));
        Chunk { writer, pages }
    }

    /// Closes the chunk and appends it to the row group.
    pub(crate) fn append_to<W: Write + Send>(self, group: &mut SerializedRowGroupWriter<'_, W>) -> Result<()> {
        let closed = self.writer.close()?;
        let pages = Arc::into_inner(self.pages).ok_or_else(|| ParquetError::General("chunk still in use".into()))?;
        let bytes = pages.into_inner().unwrap_or_else(PoisonError::into_inner).into_inner()?;
        group.append_column(&bytes::Bytes::from(bytes), closed)
    }
}

impl PageWriter for Pages {
    fn write_page(&mut self, page: CompressedPage) -> Result<PageWriteSpec> {
        let mut sink = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        SerializedPageWriter::new(&mut sink).write_page(page)
    }

    fn close(&mut self) -> Result<()> {
        Ok(())
    }
}
