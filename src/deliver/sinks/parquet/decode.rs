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

/// How many rows, by their tenant, event id and user id, are meant.
pub(crate) fn count(file: File, is_meant: impl Fn(&str, &str, Option<&str>) -> bool) -> Result<u64> {
    let reader = SerializedFileReader::new(file)?;
    let mut meant = 0;
    for number in 0..reader.num_row_groups() {
        let group = reader.get_row_group(number)?;
        let rows = group.metadata().num_rows() as usize;
        let [tenants, events, users] = ["tenant", "event_id", "user_id"].map(|name| texts(&*group, name, rows));
        for ((tenant, event), user) in tenants?.iter().zip(&events?).zip(&users?) {
            let plain = |text: &Option<String>| text.clone().unwrap_or_default();
            meant += u64::from(is_meant(&plain(tenant), &plain(event), user.as_deref()));
        }
    }
    Ok(meant)
}

/// The values of a column of texts, `None` for null.
fn texts(group: &dyn RowGroupReader, name: &str, rows: usize) -> Result<Vec<Option<String>>> {
    let ColumnReader::ByteArrayColumnReader(mut reader) = column(group, name)? else {
        return Err(ParquetError::General("columns of other types than ours".into()));
    };
    let (mut levels, mut values) = (Vec::new(), Vec::new());
    reader.read_records(rows, Some(&mut levels), None, &mut values)?;
    let mut values = values.iter().map(|value| Ok(value.as_utf8()?.to_owned()));
    // A column that is never null has no levels.
    let is_there = |row: usize| levels.get(row).is_none_or(|level| *level > 0);
    (0..rows).map(|row| if is_there(row) { values.next().transpose() } else { Ok(None) }).collect()
}

fn column(group: &dyn RowGroupReader, name: &str) -> Result<ColumnReader> {
    let columns = group.metadata().columns();
    let place = columns.iter().position(|column| column.column_path().string() == name);
    group.get_column_reader(place.ok_or_else(|| ParquetError::General(format!("no column {name}")))?)
}
