//! `ingestd admin dead-letters`.

use clap::{Args, Subcommand};
use std::path::PathBuf;

/// What can be done with dead letters.
#[derive(Debug, Subcommand)]
pub(crate) enum DeadLetters {
    /// Those that the filters take, oldest first.
    List {
        #[command(flatten)]
        filter: LetterFilter,
        /// So many at most.
        #[arg(long, default_value_t = 100)]
        limit: u64,
    },
    /// One, with its bytes as received and those that a replay takes.
    Show {
        /// Its id.
        id: String,
    },
    /// Keep other bytes for its replay beside the letter's own.
    Edit {
        /// Its id.
        id: String,
        /// The file with the mended event; - is standard input.
        #[arg(value_hint = clap::ValueHint::FilePath)]
        file: PathBuf,
    },
    /// Have events go in again, as if they came now: checked, deduplicated, stored. Exits 1 when one is rejected again.
    Replay {
        #[command(flatten)]
        which: WhichLetters,
    },
    /// Remove letters for good, as far as every sink that takes them has them. Exits 1 when one stays.
    Purge {
        #[command(flatten)]
        which: WhichLetters,
    },
}

/// Letters by their ids, or those that filters take.
#[derive(Debug, Args)]
pub(crate) struct WhichLetters {
    /// Their ids.
    #[arg(conflicts_with_all = ["code", "sink", "tenant", "state", "since", "all"])]
    pub(crate) ids: Vec<String>,
    #[command(flatten)]
    pub(crate) filter: LetterFilter,
    /// Every one.
    #[arg(long)]
    pub(crate) all: bool,
}

/// A choice of letters: all that is given must hold.
#[derive(Debug, Args)]
pub(crate) struct LetterFilter {
    /// The reason, as missing_field.
    #[arg(long)]
    pub(crate) code: Option<String>,
    /// The sink that cannot take it; none for what was rejected at the door.
    #[arg(long)]
    pub(crate) sink: Option<String>,
    /// The owner.
    #[arg(long)]
    pub(crate) tenant: Option<String>,
    /// open, edited or replayed.
    #[arg(long)]
    pub(crate) state: Option<String>,
    /// Received at that time or later, as 2026-01-31T12:00:00Z.
    #[arg(long)]
    pub(crate) since: Option<String>,
}
