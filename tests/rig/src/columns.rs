//! Reads `seq` and `event_id` back from the parquet files of a data folder, as any outsider could.

use std::fs::File;
use std::path::{Path, PathBuf};

use parquet::column::reader::{ColumnReader, ColumnReaderImpl};
use parquet::data_type::{ByteArray, DataType};
use parquet::errors::{ParquetError, Result};
use parquet::file::reader::{FileReader, SerializedFileReader};

/// Every finished file under `data/events`, sorted by name.
pub fn files(data: &Path) -> std::io::Result<Vec<PathBuf>> {
    let (mut found, mut folders) = (Vec::new(), vec![data.join("events")]);
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => return Err(error),
        };
        for entry in entries {
            let path = entry?.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "parquet") {
                found.push(path);
            }
        }
    }
    found.sort();
    Ok(found)
}

/// Calls `row(seq, event_id)` for each row of one file.
pub fn rows(path: &Path, mut row: impl FnMut(u64, &str)) -> Result<u64> {
    let reader = SerializedFileReader::new(File::open(path)?)?;
    let schema = reader.metadata().file_metadata().schema_descr_ptr();
    let column = |name: &str| {
        let index = schema.columns().iter().position(|column| column.name() == name);
        index.ok_or_else(|| ParquetError::General(format!("no column {name}")))
    };
    let (seq_index, id_index) = (column("seq")?, column("event_id")?);
    let mut total = 0;
    for group in 0..reader.num_row_groups() {
        let group = reader.get_row_group(group)?;
        let count = usize::try_from(group.metadata().num_rows()).unwrap_or(0);
        let (ColumnReader::Int64ColumnReader(seqs), ColumnReader::ByteArrayColumnReader(ids)) =
            (group.get_column_reader(seq_index)?, group.get_column_reader(id_index)?)
        else {
            return Err(ParquetError::General("seq is not INT64 or event_id is not BYTE_ARRAY".to_owned()));
        };
        let seqs: Vec<i64> = whole(seqs, count)?;
        let ids: Vec<ByteArray> = whole(ids, count)?;
        for (seq, id) in seqs.iter().zip(&ids) {
            row(seq.cast_unsigned(), id.as_utf8()?);
        }
        total += count as u64;
    }
    Ok(total)
}

/// A column of a row group, every value of it; a null where each row must have a value is an error.
fn whole<T: DataType>(mut reader: ColumnReaderImpl<T>, count: usize) -> Result<Vec<T::T>> {
    // Levels are written even where they are all the same, so room is given for both kinds.
    let (mut values, mut definitions, mut repetitions) = (Vec::new(), Vec::new(), Vec::new());
    reader.read_records(count, Some(&mut definitions), Some(&mut repetitions), &mut values)?;
    if values.len() == count {
        Ok(values)
    } else {
        Err(ParquetError::General(format!("{count} rows but {} values", values.len())))
    }
}
