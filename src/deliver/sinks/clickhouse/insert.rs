//! One batch, one block, one token.

use crate::batch::Part;
use crate::client::{Client, Host, Target};
use crate::layout::Layout;
use crate::{Batch, Failure};
use bytes::Bytes;
use clickhouse::Compression;
use clickhouse::error::{Error, Result};
use clickhouse::insert_formatted::{CompressedData, InsertFormatted};

/// Bytes that are packed and handed to the connection at a time.
const PIECE_BYTES: usize = 1 << 20;
/// More rows and bytes than any batch has.
const WHOLE: &str = "1000000000000";

impl Client {
    /// Inserts a batch whole, or not at all. Rows that are there under the same `token` are not inserted again, as long
    /// as the table remembers it: a repeat is for [`Client::settle`], which counts first.
    ///
    /// Returns once the rows are on the server's disk. An empty batch is nothing to do.
    ///
    /// # Errors
    /// [`Failure`]; while its [`crate::Outcome`] is unknown the batch must go to no other target.
    pub async fn insert(&self, target: &Target, token: &str, batch: &Batch) -> Result<(), Failure> {
        self.insert_part(target, token, &batch.whole()).await
    }

    pub(crate) async fn insert_part(&self, target: &Target, token: &str, part: &Part<'_>) -> Result<(), Failure> {
        if part.len() == 0 {
            return Ok(());
        }
        let token = part.token(token);
        self.on(target, async |host| {
            if !host.is_prepared() {
                self.prepare_host(host, Layout::current).await.map_err(Failure::of_reading)?;
            }
            self.send(host, &token, part).await.map_err(|error| Failure::of(host.url(), &error))
        })
        .await
    }

    async fn send(&self, host: &Host, token: &str, part: &Part<'_>) -> Result<()> {
        let mut insert = self.open(host, token, part);
        match self.send_pieces(&mut insert, part).await {
            Ok(()) => insert.end().await,
            Err(Error::TimedOut) => Err(Error::TimedOut),
            // The server has answered before it had all, or is gone: the answer says why.
            Err(cut) => insert.end().await.and(Err(cut)),
        }
    }

    fn open(&self, host: &Host, token: &str, part: &Part<'_>) -> InsertFormatted {
        let table = part.batch.table();
        let columns: Vec<_> = table.columns().iter().map(|column| column.name).collect();
        let place = self.config().place(table);
        let sql = format!("INSERT INTO {place} ({}) FORMAT RowBinaryWithNamesAndTypes", columns.join(", "));
        let insert = host
            .client()
            .insert_formatted_with(sql)
            .with_timeouts(Some(self.config().send_timeout), Some(self.config().answer_timeout))
            .with_setting("insert_deduplication_token", token)
            .with_setting("insert_deduplicate", "1")
            // On in new servers: a batch would be torn apart and answered under rules of its own.
            .with_setting("async_insert", "0")
            // One block: it is one part, so all or nothing, and one token.
            .with_setting("max_insert_block_size", (part.len() + 1).to_string())
            .with_setting("input_format_parallel_parsing", "0")
            // And it is not ended before it is whole, whatever the user's profile says.
            .with_setting("min_insert_block_size_rows", WHOLE)
            .with_setting("min_insert_block_size_bytes", WHOLE)
            // Types in the header are compared with the table's.
            .with_setting("input_format_with_names_use_header", "1")
            .with_setting("input_format_with_types_use_header", "1");
        host.guards().iter().fold(insert, |insert, (name, value)| insert.with_setting(name, *value))
    }

    async fn send_pieces(&self, insert: &mut InsertFormatted, part: &Part<'_>) -> Result<()> {
        self.send_piece(insert, &part.header()).await?;
        for piece in part.body().chunks(PIECE_BYTES) {
            self.send_piece(insert, piece).await?;
        }
        Ok(())
    }

    async fn send_piece(&self, insert: &mut InsertFormatted, piece: &[u8]) -> Result<()> {
        if self.config().compress {
            insert.send_compressed(CompressedData::new(piece, Compression::Lz4)?).await
        } else {
            insert.send(Bytes::copy_from_slice(piece)).await
        }
    }
}
