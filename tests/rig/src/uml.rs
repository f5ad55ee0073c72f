//! A Linux kernel as an ordinary process (user-mode-linux): the host's files as its root, one disk image of its own.
//!
//! Killing its process group loses everything that the guest's kernel had not yet handed to the disk: a power cut, as
//! the guest's programs see it. What the guest did write to its disk stays in the host's page cache, so that a drive
//! which lies about its own cache is not simulated.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process_group};

/// The kernel's program name, from Debian's package `user-mode-linux`.
const KERNEL: &str = "linux.uml";

/// Makes an ext4 image of `bytes`; the file is sparse.
pub fn make_image(image: &Path, bytes: u64) -> io::Result<()> {
    File::create(image)?.set_len(bytes)?;
    let status = Command::new("mkfs.ext4").args(["-q", "-F"]).arg(image).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("mkfs.ext4: {status}"))) }
}

/// True if the kernel is installed.
pub fn installed() -> bool {
    let quiet = Command::new(KERNEL).arg("--version").stdin(Stdio::null()).output();
    quiet.is_ok()
}

/// A running guest; cut when dropped.
#[derive(Debug)]
pub struct Guest {
    child: Child,
}

impl Guest {
    /// Boots with `init` as process 1, which finds `plan` in its environment as `rig_guest`; the image is `/dev/ubda`.
    pub fn boot(init: &Path, plan: &Path, image: &Path, memory_mb: u32, dir: &Path) -> io::Result<Self> {
        let console = File::options().create(true).append(true).open(dir.join("console.log"))?;
        let word = |name: &str, path: &Path| format!("{name}={}", path.display());
        let child = Command::new(KERNEL)
            .args(["rootfstype=hostfs", "rootflags=/", "rw", "quiet", "con=null", "con0=null,fd:1", "con1=null"])
            // A guest that panics must end, not wait for an operator.
            .arg("panic=-1")
            .arg(format!("mem={memory_mb}M"))
            .arg(word("ubd0", image))
            .arg(word("init", init))
            .arg(word("rig_guest", plan))
            .arg(word("uml_dir", &dir.join("uml/")))
            .stdin(Stdio::null())
            .stdout(console.try_clone()?)
            .stderr(console)
            .process_group(0)
            .spawn()?;
        Ok(Self { child })
    }

    /// True once the guest has ended by itself.
    pub fn ended(&mut self) -> bool {
        self.child.try_wait().is_ok_and(|status| status.is_some())
    }

    /// Cuts the power.
    pub fn cut(mut self) -> io::Result<()> {
        self.cut_now()
    }

    fn cut_now(&mut self) -> io::Result<()> {
        // Its own group holds the kernel and its helper threads; one already gone is no error.
        match kill_process_group(Pid::from_child(&self.child), Signal::KILL) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => {}
            Err(error) => return Err(error.into()),
        }
        self.child.wait().map(drop)
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        if let Err(error) = self.cut_now() {
            eprintln!("rig: cannot end the guest: {error}");
        }
    }
}
