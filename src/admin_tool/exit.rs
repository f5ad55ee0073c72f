//! How `ingestd admin` ends, as its exit code: a part of its interface.

use ingestd::control::admin::AskError;
use std::process::ExitCode;

/// Refused, failed, or found that something is not as it should be.
pub(crate) const FAILED: u8 = 1;
/// The command line, or what it asks for, makes no sense (EX_USAGE).
pub(crate) const USAGE: u8 = 64;
/// No daemon answers (EX_UNAVAILABLE).
pub(crate) const UNREACHABLE: u8 = 69;

/// The code for an answer that did not come, or was no.
pub(crate) fn code_of(error: &AskError) -> ExitCode {
    ExitCode::from(match error {
        AskError::Reach { .. } => UNREACHABLE,
        AskError::Refused { code, .. } if code == "bad_request" => USAGE,
        _ => FAILED,
    })
}
