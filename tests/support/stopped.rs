//! One thread of the daemon that does not turn, as by a fault.

use super::Daemon;
use nix::sys::ptrace;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::Pid;
use std::path::PathBuf;

/// One thread of the daemon, stopped while this lives; the others go on.
pub struct Stopped(Pid);

impl Stopped {
    #[track_caller]
    pub fn thread(daemon: &Daemon, name: &str) -> Self {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", daemon.pid())).unwrap().map(|task| task.unwrap().path());
        let is_it = |task: &PathBuf| std::fs::read_to_string(task.join("comm")).is_ok_and(|comm| comm.trim() == name);
        let task = tasks.into_iter().find(is_it).unwrap_or_else(|| panic!("there is no thread {name}"));
        let thread = Pid::from_raw(task.file_name().unwrap().to_str().unwrap().parse().unwrap());
        ptrace::seize(thread, ptrace::Options::empty()).unwrap();
        ptrace::interrupt(thread).unwrap();
        waitpid(thread, Some(WaitPidFlag::__WALL)).unwrap();
        Stopped(thread)
    }
}

impl Drop for Stopped {
    fn drop(&mut self) {
        // Fails only when it is gone.
        ptrace::detach(self.0, None).ok();
    }
}
