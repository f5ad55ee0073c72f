//! A disk of a few megabytes: a test that wants one runs itself once more, with such a disk mounted where only it sees it.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where the disk is, for the run on it.
const PLACE: &str = "INGESTD_TEST_SMALL_DISK";
/// Mounts it and goes on as the program; `$1` is its size.
const MOUNTED: &str = r#"mount -t tmpfs -o size="$1" tmpfs "$0" && shift && exec "$@""#;

/// The folder of a disk with `bytes`, in the run that has one. In the first run `None`, once the second has passed:
/// `test` is the caller's name.
#[track_caller]
pub fn small_disk(test: &str, bytes: u64) -> Option<PathBuf> {
    if let Some(place) = std::env::var_os(PLACE) {
        return Some(place.into());
    }
    let place = tempfile::tempdir().unwrap();
    let mut command = Command::new("unshare");
    command.args(["--map-root-user", "--mount", "sh", "-c", MOUNTED]).arg(place.path()).arg(bytes.to_string());
    command.arg(std::env::current_exe().unwrap()).args(["--exact", test, "--nocapture"]).env(PLACE, place.path());
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "on the small disk: {said}");
    None
}

/// How many bytes are free on the disk of `folder`.
pub fn free_bytes(folder: &Path) -> u64 {
    let stat = rustix::fs::statvfs(folder).unwrap();
    stat.f_bavail * stat.f_frsize
}

/// Fills the disk but for about `bytes`; the file that does it.
pub fn fill_but(folder: &Path, bytes: u64) -> PathBuf {
    let file = folder.join("filler");
    let length = free_bytes(folder).checked_sub(bytes).unwrap();
    std::fs::write(&file, vec![0; length as usize]).unwrap();
    file
}
