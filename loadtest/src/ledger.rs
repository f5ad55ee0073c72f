//! The file of acknowledged ids, one line each: `id seq kind`.
//!
//! The kind is `new` or `dup`; a batch's answer tells neither that nor the `seq` of each event: `id - ack`.

use anyhow::{Context, Result};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

/// Bytes gathered before a write.
const FLUSH_AT: usize = 64 << 10;

/// How an event was acknowledged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// As new.
    New,
    /// As a duplicate.
    Duplicate,
    /// With others, in a batch.
    InBatch,
}

/// Appends lines; several engines may append to one file, as each write holds whole lines.
#[derive(Debug)]
pub struct Ledger {
    file: File,
    lines: Vec<u8>,
    failed: bool,
}

impl Ledger {
    /// Opens (or makes) the file.
    pub fn open(path: &Path) -> Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path);
        let file = file.with_context(|| format!("ledger {}", path.display()))?;
        Ok(Self { file, lines: Vec::with_capacity(FLUSH_AT + 128), failed: false })
    }

    /// Notes one acknowledged event.
    #[inline]
    pub fn note(&mut self, id: &[u8], seq: Option<u64>, kind: Kind) {
        self.lines.extend_from_slice(id);
        self.lines.push(b' ');
        match seq {
            Some(seq) => self.lines.extend_from_slice(itoa::Buffer::new().format(seq).as_bytes()),
            None => self.lines.push(b'-'),
        }
        self.lines.extend_from_slice(match kind {
            Kind::New => b" new\n",
            Kind::Duplicate => b" dup\n",
            Kind::InBatch => b" ack\n",
        });
        if self.lines.len() >= FLUSH_AT {
            self.flush();
        }
    }

    /// Hands the lines to the kernel.
    pub fn flush(&mut self) {
        let wanted = !self.failed && !self.lines.is_empty();
        if wanted && let Err(error) = self.file.write_all(&self.lines) {
            eprintln!("loadgen: ledger: {error}; no more is written to it");
            self.failed = true;
        }
        self.lines.clear();
    }
}
