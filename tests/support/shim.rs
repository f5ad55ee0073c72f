//! Faults of the system under an unmodified daemon: the preloaded library of the rig.

use std::path::{Path, PathBuf};
use std::process::Command;

/// The compiled library, and a file whose presence arms it.
pub struct Shim {
    dir: tempfile::TempDir,
}

impl Shim {
    #[track_caller]
    pub fn compiled() -> Self {
        let shim = Shim { dir: tempfile::tempdir().unwrap() };
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/rig/shim/fault.c");
        let mut compiler = Command::new("cc");
        compiler.args(["-O1", "-shared", "-fPIC", "-o"]).arg(shim.library()).arg(source).arg("-ldl");
        assert!(compiler.status().unwrap().success());
        shim
    }

    pub fn library(&self) -> PathBuf {
        self.dir.path().join("fault.so")
    }

    /// The file that arms it.
    pub fn trigger(&self) -> PathBuf {
        self.dir.path().join("now")
    }

    /// Another file of its folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    #[track_caller]
    pub fn arm(&self) {
        std::fs::write(self.trigger(), "").unwrap();
    }

    #[track_caller]
    pub fn disarm(&self) {
        std::fs::remove_file(self.trigger()).unwrap();
    }

    /// The environment of a daemon under it: `calls` on files like `path` are struck while it is armed.
    pub fn strikes(&self, calls: &str, path: &str) -> Vec<(String, String)> {
        let text = |path: &Path| path.to_str().unwrap().to_owned();
        [
            ("LD_PRELOAD", text(&self.library())),
            ("FAULT_CALL", calls.to_owned()),
            ("FAULT_PATH", path.to_owned()),
            ("FAULT_STICKY", "1".to_owned()),
            ("FAULT_TRIGGER_FILE", text(&self.trigger())),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}
