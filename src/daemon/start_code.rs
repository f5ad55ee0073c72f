use super::boot::StartError;
use wal::OpenError;

/// Why the daemon did not start, in a word that its last line has. The names are documented: never change one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartCode {
    /// The configuration does not fit together.
    Config,
    /// A file or folder of the log cannot be made, read or written.
    LogIo,
    /// Another process has the data folder open.
    LogInUse,
    /// A newer release wrote the folder.
    LogNewer,
    /// Acknowledged events are missing.
    LogMissing,
    /// What is stored contradicts itself.
    LogDamaged,
    /// The store refuses to open the log.
    LogStore,
    /// The log was opened and cannot be read.
    LogRead,
    /// The data folder is a copy, and is to be used otherwise than it was said.
    Copy,
    /// The duplicate filter cannot be built.
    Dedup,
    /// The keys of those who may come in cannot be read.
    Access,
    /// The certificate or its key cannot be used.
    Tls,
    /// The address cannot be listened on.
    Bind,
    /// The socket that was handed in cannot be used.
    Inherit,
    /// A sink cannot be made as it is configured.
    Sink,
    /// Signals cannot be caught.
    Signals,
    /// A thread cannot be started.
    Thread,
}

impl StartCode {
    /// Every code.
    pub const ALL: [StartCode; 17] = [
        StartCode::Config,
        StartCode::LogIo,
        StartCode::LogInUse,
        StartCode::LogNewer,
        StartCode::LogMissing,
        StartCode::LogDamaged,
        StartCode::LogStore,
        StartCode::LogRead,
        StartCode::Copy,
        StartCode::Dedup,
        StartCode::Access,
        StartCode::Tls,
        StartCode::Bind,
        StartCode::Inherit,
        StartCode::Sink,
        StartCode::Signals,
        StartCode::Thread,
    ];

    /// The code as operators see it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            StartCode::Config => "start_config",
            StartCode::LogIo => "start_log_io",
            StartCode::LogInUse => "start_log_in_use",
            StartCode::LogNewer => "start_log_newer",
            StartCode::LogMissing => "start_log_missing",
            StartCode::LogDamaged => "start_log_damaged",
            StartCode::LogStore => "start_log_store",
            StartCode::LogRead => "start_log_read",
            StartCode::Copy => "start_copy",
            StartCode::Dedup => "start_dedup",
            StartCode::Access => "start_access",
            StartCode::Tls => "start_tls",
            StartCode::Bind => "start_bind",
            StartCode::Inherit => "start_inherit",
            StartCode::Sink => "start_sink",
            StartCode::Signals => "start_signals",
            StartCode::Thread => "start_thread",
        }
    }
}

impl StartError {
    /// What kind of thing it is.
    #[must_use]
    pub fn code(&self) -> StartCode {
        match self {
            StartError::Config(_) => StartCode::Config,
            StartError::Log(error) => log_code(error),
            StartError::Read(_) => StartCode::LogRead,
            StartError::Settle(_) => StartCode::Copy,
            StartError::Dedup(_) => StartCode::Dedup,
            StartError::Access(_) => StartCode::Access,
            StartError::Tls(_) => StartCode::Tls,
            StartError::Bind { .. } => StartCode::Bind,
            StartError::Inherit(_) => StartCode::Inherit,
            StartError::Sink { .. } => StartCode::Sink,
            StartError::Signals(_) => StartCode::Signals,
            StartError::Thread(_) => StartCode::Thread,
        }
    }
}

fn log_code(error: &OpenError) -> StartCode {
    match error {
        OpenError::Io { .. } => StartCode::LogIo,
        OpenError::InUse(_) => StartCode::LogInUse,
        OpenError::Newer { .. } => StartCode::LogNewer,
        OpenError::Missing { .. } => StartCode::LogMissing,
        OpenError::Damaged { .. } => StartCode::LogDamaged,
        OpenError::Copy { .. } | OpenError::NoCopy { .. } | OpenError::UsedOtherwise { .. } => StartCode::Copy,
        // What a later release of the log may add is about the log, too.
        _ => StartCode::LogStore,
    }
}
