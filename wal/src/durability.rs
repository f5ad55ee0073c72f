pub use event::Durability;

/// Whether a commit waits for fdatasync itself.
pub(crate) fn syncs_each_commit(durability: Durability) -> bool {
    matches!(durability, Durability::Fsync)
}
