//! A file system of its own in a file, so that what the device counts is ours alone.

use super::place;
use anyhow::{Context, Result, ensure};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The folder's name in a run's folder; a killed run's successor unmounts it.
pub const MOUNT: &str = "mount";

/// A mounted image; unmounted and removed when dropped.
#[derive(Debug)]
pub struct Image {
    folder: PathBuf,
    file: PathBuf,
}

impl Image {
    /// Makes a file system like the one below, of that many bytes at most, and mounts it. Needs root.
    pub fn mount(run: &Path, bytes: u64) -> Result<Self> {
        let (folder, file) = (run.join(MOUNT), run.join("image"));
        std::fs::create_dir_all(&folder)?;
        File::create(&file)?.set_len(bytes)?;
        let image = Self { folder, file };
        // Without lazy initialisation, which would go on behind the measurement.
        let eager = "lazy_itable_init=0,lazy_journal_init=0";
        command(Command::new("mkfs.ext4").args(["-q", "-F", "-E", eager]).arg(&image.file))?;
        command(Command::new("mount").args(["-o", "loop,discard"]).arg(&image.file).arg(&image.folder))?;
        place::mounted(&image.folder);
        Ok(image)
    }

    /// Where it is mounted.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        unmount(&self.folder);
        // The run's folder goes anyway.
        std::fs::remove_file(&self.file).ok();
    }
}

/// Takes a file system off, at the latest when its last user is gone.
pub fn unmount(folder: &Path) {
    // Not mounted is as good.
    let quiet = Command::new("umount").arg("-l").arg(folder).stderr(Stdio::null()).status();
    drop(quiet);
}

fn command(command: &mut Command) -> Result<()> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}
