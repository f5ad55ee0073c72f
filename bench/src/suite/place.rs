//! Where a run works, and that nothing of it stays: not its processes, not its folder, whatever ends it.
//!
//! A signal or the end of the run removes both; children also carry a parent-death signal, and folders of runs that
//! were killed outright are removed by the next one.

use super::image;
use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process, test_kill_process};
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

const PREFIX: &str = "run-";

/// What a signal has to clean up.
static LEFT: Mutex<Left> = Mutex::new(Left { folder: None, mount: None, children: BTreeSet::new() });

struct Left {
    folder: Option<PathBuf>,
    mount: Option<PathBuf>,
    children: BTreeSet<u32>,
}

fn left() -> MutexGuard<'static, Left> {
    LEFT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The run's folder; removed when dropped.
#[derive(Debug)]
pub struct Place {
    folder: PathBuf,
}

impl Place {
    /// Makes the folder in `cache`, removes those of dead runs, and arms the clean-up for signals.
    pub fn new(cache: &Path) -> Result<Self> {
        fs::create_dir_all(cache).with_context(|| cache.display().to_string())?;
        remove_dead(cache)?;
        let folder = cache.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).with_context(|| folder.display().to_string())?;
        left().folder = Some(folder.clone());
        arm()?;
        Ok(Self { folder })
    }

    /// A name in the folder, free of what an earlier use left there.
    pub fn fresh(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.join(name);
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error.into()),
            _ => Ok(path),
        }
    }

    /// The folder itself.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        clean_up();
    }
}

/// Notes a child that must not outlive the run.
pub fn born(pid: u32) {
    left().children.insert(pid);
}

/// Forgets a child that has been waited for.
pub fn gone(pid: u32) {
    left().children.remove(&pid);
}

/// Notes a file system that must not stay mounted.
pub fn mounted(folder: &Path) {
    left().mount = Some(folder.to_owned());
}

/// Sends a signal to a child; false when it is gone.
pub fn signal(pid: u32, signal: Signal) -> bool {
    Pid::from_raw(pid as i32).is_some_and(|pid| kill_process(pid, signal).is_ok())
}

fn clean_up() {
    let (folder, mount, children) = {
        let mut left = left();
        (left.folder.take(), left.mount.take(), std::mem::take(&mut left.children))
    };
    for child in &children {
        signal(*child, Signal::KILL);
    }
    if let Some(mount) = mount {
        image::unmount(&mount);
    }
    let Some(folder) = folder else { return };
    // A process that is being killed may still make a file or two.
    for _ in 0..20 {
        match fs::remove_dir_all(&folder) {
            Ok(()) => return,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(_) => std::thread::sleep(std::time::Duration::from_millis(50)),
        }
    }
    eprintln!("{} could not be removed", folder.display());
}

/// A thread that waits for the signals which end a program.
fn arm() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let wait = move || {
        runtime.block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()];
            let [Ok(mut int), Ok(mut term), Ok(mut hup)] = kinds.map(signal) else { return };
            let number = tokio::select! {
                _ = int.recv() => 2,
                _ = term.recv() => 15,
                _ = hup.recv() => 1,
            };
            clean_up();
            std::process::exit(128 + number);
        });
    };
    std::thread::Builder::new().name("signals".into()).spawn(wait)?;
    Ok(())
}

/// Removes folders whose process is no more.
fn remove_dead(cache: &Path) -> Result<()> {
    for entry in fs::read_dir(cache)? {
        let entry = entry?;
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|pid| pid.parse().ok());
        let Some(pid) = pid.and_then(Pid::from_raw) else { continue };
        if test_kill_process(pid).is_err() {
            image::unmount(&entry.path().join(image::MOUNT));
            fs::remove_dir_all(entry.path()).with_context(|| entry.path().display().to_string())?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_of_dead_runs_go_and_others_stay() {
        let cache = std::env::temp_dir().join(format!("place-test-{}", std::process::id()));
        let alive = cache.join(format!("{PREFIX}{}", std::process::id()));
        // Above the largest pid that Linux hands out.
        let dead = cache.join(format!("{PREFIX}{}", i32::MAX));
        for folder in [&alive, &dead, &cache.join("prefill-1-known")] {
            fs::create_dir_all(folder).unwrap();
        }
        remove_dead(&cache).unwrap();
        assert!(alive.exists() && !dead.exists() && cache.join("prefill-1-known").exists());
        fs::remove_dir_all(&cache).unwrap();
    }
}
