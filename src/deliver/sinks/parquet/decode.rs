//! Reading back what identifies events, to compare files with the log.

use event::Seq;
use parquet::column::reader::ColumnReader;
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, RowGroupReader, SerializedFileReader};
use std::fs::File;

/// Position and event id of every row.
pub(crate) fn ids(file: File) -> Result<Vec<(Seq, String)>> {
    let reader = SerializedFileReader::new(file)?;
    let mut ids = Vec::new();
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let rows = group.metadata().num_rows() as usize;
        let (ColumnReader::Int64ColumnReader(mut seq), ColumnReader::ByteArrayColumnReader(mut id)) =
            (column(&*group, "seq")?, column(&*group, "event_id")?)
        else {
            return Err(ParquetError::General("columns of other types than ours".into()));
        };
        let (mut positions, mut texts) = (Vec::with_capacity(rows), Vec::with_capacity(rows));
        seq.read_records(rows, None, None, &mut positions)?;
        id.read_records(rows, None, None, &mut texts)?;
        for (position, text) in positions.iter().zip(&texts) {
            ids.push((Seq::new(*position as u64), text.as_utf8()?.to_owned()));
        }
    }
    Ok(ids)
}

fn column(group: &dyn RowGroupReader, name: &str) -> Result<ColumnReader> {
    let columns = group.metadata().columns();
    let place = columns.iter().position(|column| column.column_path().string() == name);
    group.get_column_reader(place.ok_or_else(|| ParquetError::General(format!("no column {name}")))?)
}
