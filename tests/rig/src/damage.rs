//! Damage to the files of a stopped data folder, at seeded places.

use std::fs::OpenOptions;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::rng::Rng;

/// What is done to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Damage {
    /// One bit changes.
    FlipBit,
    /// A sector's worth of bytes becomes zero, as a lost write leaves it.
    ZeroSector,
    /// The file ends early.
    Truncate,
    /// The file is gone.
    Delete,
}

/// What was done, for a report.
#[derive(Clone, Debug)]
pub struct Done {
    /// The kind of damage.
    pub damage: Damage,
    /// The file, within the data folder.
    pub file: PathBuf,
    /// Where in the file.
    pub offset: u64,
    /// The file's length before.
    pub length: u64,
}

impl std::fmt::Display for Done {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?} {} at {} of {}", self.damage, self.file.display(), self.offset, self.length)
    }
}

/// The files of the log folder whose name begins with `prefix` and ends with `suffix`, not empty, oldest name first.
pub fn files(data: &Path, prefix: &str, suffix: &str) -> io::Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(data.join("log"))? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let chosen = name.starts_with(prefix) && name.ends_with(suffix);
        if chosen && entry.file_type()?.is_file() && entry.metadata()?.len() > 0 {
            found.push(entry.path());
        }
    }
    found.sort();
    Ok(found)
}

/// Damages `file` at a place where it holds something.
pub fn inflict(damage: Damage, data: &Path, file: &Path, rng: &mut Rng) -> io::Result<Done> {
    let handle = OpenOptions::new().read(true).write(true).open(file)?;
    let length = handle.metadata()?.len();
    let offset = occupied(&std::fs::read(file)?, rng);
    match damage {
        Damage::FlipBit => {
            let mut byte = [0];
            handle.read_exact_at(&mut byte, offset)?;
            byte[0] ^= 1 << rng.below(8);
            handle.write_all_at(&byte, offset)?;
        }
        Damage::ZeroSector => {
            let start = offset / 512 * 512;
            let zeros = vec![0; 512.min((length - start) as usize)];
            handle.write_all_at(&zeros, start)?;
        }
        Damage::Truncate => handle.set_len(offset)?,
        Damage::Delete => std::fs::remove_file(file)?,
    }
    let file = file.strip_prefix(data).unwrap_or(file).to_owned();
    Ok(Done { damage, file, offset, length })
}

/// A random place that is not in an empty stretch: log files are often longer than what was written to them.
fn occupied(bytes: &[u8], rng: &mut Rng) -> u64 {
    let length = bytes.len() as u64;
    (0..1_000).map(|_| rng.below(length)).find(|offset| bytes[*offset as usize] != 0).unwrap_or(0)
}

/// The ranges of `whole` (sorted) that are not in `left` (sorted).
pub fn missing_ranges(whole: &[u64], left: &[u64]) -> Vec<(u64, u64)> {
    let mut ranges: Vec<(u64, u64)> = Vec::new();
    let mut left = left.iter().copied().peekable();
    for seq in whole {
        while left.next_if(|found| found < seq).is_some() {}
        if left.peek() == Some(seq) {
            continue;
        }
        match ranges.last_mut() {
            Some((_, last)) if *last + 1 == *seq => *last = *seq,
            _ => ranges.push((*seq, *seq)),
        }
    }
    ranges
}

/// Does `text` name both ends of each range, as whole numbers? The end may be told as the first seq behind it.
pub fn names_ranges(text: &str, ranges: &[(u64, u64)]) -> bool {
    let numbers: std::collections::HashSet<u64> =
        text.split(|c: char| !c.is_ascii_digit()).filter_map(|word| word.parse().ok()).collect();
    ranges
        .iter()
        .all(|(first, last)| numbers.contains(first) && (numbers.contains(last) || numbers.contains(&(last + 1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn missing_seqs_are_told_as_ranges() {
        assert_eq!(missing_ranges(&[1, 2, 3, 4, 5, 6], &[1, 4]), [(2, 3), (5, 6)]);
        assert_eq!(missing_ranges(&[1, 2], &[1, 2, 3]), []);
        assert!(names_ranges("missing seq 2..=3 and 5-6", &[(2, 3), (5, 6)]));
        assert!(!names_ranges("missing seq 12..=3", &[(2, 3)]));
    }

    #[test]
    fn a_flip_changes_exactly_one_bit() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("a");
        std::fs::write(&file, [7; 64]).expect("write");
        let done = inflict(Damage::FlipBit, dir.path(), &file, &mut Rng::new(3)).expect("flip");
        let bits: u32 = std::fs::read(&file).expect("read").iter().map(|byte| (byte ^ 7).count_ones()).sum();
        assert_eq!((bits, done.file.to_string_lossy().as_ref()), (1, "a"));
    }
}
