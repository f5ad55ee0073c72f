//! Faults in system calls, injected into an unmodified program by a preloaded library (`shim/fault.c`).

use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::daemon::{Target, last_lines};

/// The library's source travels inside the rig, so that the rig needs nothing but a C compiler where it runs.
const SOURCE: &str = include_str!("../shim/fault.c");

/// Compiles the library into `dir` with the machine's `cc`.
pub fn compile(dir: &Path) -> io::Result<PathBuf> {
    let (source, library) = (dir.join("fault.c"), dir.join("fault.so"));
    std::fs::write(&source, SOURCE)?;
    let output = Command::new("cc")
        .args(["-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()?;
    if output.status.success() {
        return Ok(library);
    }
    Err(io::Error::other(format!("cc: {}", last_lines(&String::from_utf8_lossy(&output.stderr), 5))))
}

/// One planned fault; see the head of `shim/fault.c` for the meaning of each part.
#[derive(Clone, Debug)]
pub struct Fault {
    /// System calls, by comma.
    pub calls: String,
    /// Path prefix or glob.
    pub path: String,
    /// Which matching call fails, from 1.
    pub nth: u64,
    /// All later ones fail too.
    pub sticky: bool,
    /// `EIO`, `ENOSPC`, `EROFS` or `EDQUOT`.
    pub errno: &'static str,
    /// Writes do half of their work instead of failing.
    pub short: bool,
    /// Armed only while this file exists.
    pub trigger: Option<PathBuf>,
    /// Each injected failure appends a line here.
    pub log: PathBuf,
}

impl Fault {
    /// `target` with the library preloaded and this fault planned.
    pub fn on(&self, target: &Target, library: &Path) -> Target {
        let flag = |on: bool| if on { "1" } else { "0" };
        let mut target = target
            .with_env("LD_PRELOAD", library.to_string_lossy())
            .with_env("FAULT_CALL", self.calls.as_str())
            .with_env("FAULT_PATH", self.path.as_str())
            .with_env("FAULT_NTH", self.nth.to_string())
            .with_env("FAULT_STICKY", flag(self.sticky))
            .with_env("FAULT_ERRNO", self.errno)
            .with_env("FAULT_SHORT", flag(self.short))
            .with_env("FAULT_LOG", self.log.to_string_lossy());
        if let Some(trigger) = &self.trigger {
            target = target.with_env("FAULT_TRIGGER_FILE", trigger.to_string_lossy());
        }
        target
    }

    /// The faults that have struck so far, one line each.
    pub fn struck(&self) -> Vec<String> {
        std::fs::read_to_string(&self.log).unwrap_or_default().lines().map(str::to_owned).collect()
    }
}
