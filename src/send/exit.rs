use std::process;

/// How a run of `ingestd send` ended, as its exit code. The numbers are part of the command's interface: never change
/// one. When several hold, the one further down this list wins, except that [`Exit::Usage`] is decided before a line
/// is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Exit {
    /// 0: every line was accepted, now or before.
    Complete = 0,
    /// 1: every line was answered, some were rejected: sending them again as they are cannot help.
    Rejected = 1,
    /// 2: the command could not start: unknown option, file not found, unreadable token file, bad URL.
    Usage = 2,
    /// 3: some lines were not sent or not answered: the server was unreachable or refused for too long, it does not
    /// take this sender at all (401, 403, 404 …), or an input could not be read to its end. Run it again.
    Unsent = 3,
    /// 130: stopped by SIGINT; what was in flight was finished first. Run it again.
    Interrupted = 130,
}

impl Exit {
    /// The number for the shell.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

impl From<Exit> for process::ExitCode {
    fn from(exit: Exit) -> Self {
        process::ExitCode::from(exit.code())
    }
}
