use rocksdb::{BlockBasedOptions, ColumnFamilyDescriptor, DBCompressionType, Options};

/// A column family. The names are stored: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    /// Blocks of events.
    Log,
    /// Id lists for the dedup window.
    Ids,
    /// Positions of sinks.
    Cursor,
    /// Frozen batches.
    Manifest,
    /// Dead letters.
    Dead,
    /// Remembered answers.
    Idempotency,
    /// Small state that changes with events.
    Projection,
    /// What the log knows of itself.
    Meta,
}

impl Family {
    pub(crate) const ALL: [Family; 8] = [
        Family::Log,
        Family::Ids,
        Family::Cursor,
        Family::Manifest,
        Family::Dead,
        Family::Idempotency,
        Family::Projection,
        Family::Meta,
    ];

    pub(crate) const fn name(self) -> &'static str {
        match self {
            Family::Log => "log",
            Family::Ids => "ids",
            Family::Cursor => "cursor",
            Family::Manifest => "manifest",
            Family::Dead => "dead",
            Family::Idempotency => "idempotency",
            Family::Projection => "projection",
            Family::Meta => "meta",
        }
    }

    /// Tuning for what the family holds: sequential large values, or small random ones.
    fn options(self) -> Options {
        let mut options = Options::default();
        let mut table = BlockBasedOptions::default();
        table.set_format_version(6);
        match self {
            Family::Log | Family::Ids => {
                table.set_block_size(64 << 10);
                options.set_write_buffer_size(64 << 20);
                options.set_max_write_buffer_number(4);
                // Sequential keys move down level by level without being rewritten, and only files that have left
                // level 0 can be deleted whole when the log is trimmed: so move them at once, and never split them.
                options.set_level_zero_file_num_compaction_trigger(1);
                options.set_target_file_size_base(256 << 20);
                options.set_max_bytes_for_level_base(256 << 20);
                // One codec on every level, or moving a file down would mean rewriting it.
                // Ids are random bytes: packing them would only cost time.
                let codec = if self == Family::Log { DBCompressionType::Lz4 } else { DBCompressionType::None };
                options.set_compression_type(codec);
            }
            _ => {
                options.set_write_buffer_size(16 << 20);
                options.set_compression_type(DBCompressionType::Lz4);
                table.set_bloom_filter(10.0, false);
            }
        }
        options.set_block_based_table_factory(&table);
        options
    }

    /// All families, in the order of their numbers: RocksDB's records name a family by number only, so never change it.
    pub(crate) fn descriptors(without_compactions: bool) -> Vec<ColumnFamilyDescriptor> {
        let describe = |family: &Family| {
            let mut options = family.options();
            options.set_disable_auto_compactions(without_compactions);
            ColumnFamilyDescriptor::new(family.name(), options)
        };
        let mut all: Vec<_> = Family::ALL.iter().map(describe).collect();
        all.push(ColumnFamilyDescriptor::new("default", Options::default()));
        all
    }
}
