//! What the system allows the process: file descriptors.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Descriptors that are not for connections: the log's tables (256) and WAL files, files of sinks, peers that are being
/// turned away (128).
const RESERVED: u64 = 1024;

/// Raises the soft limit of file descriptors to the hard one, which needs no privilege, and says how many connections
/// that leaves room for.
///
/// A connection for which there is no descriptor would wait unseen in the kernel's backlog; one beyond the gate is told.
#[must_use]
pub fn connections_possible() -> usize {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => limit.maximum,
        Err(_) => limit.current,
    };
    let descriptors = current.unwrap_or(u64::MAX);
    usize::try_from(descriptors - RESERVED.min(descriptors / 2)).unwrap_or(usize::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_is_raised_and_some_descriptors_are_kept_back() {
        let possible = connections_possible() as u64;
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert!(possible >= 1 && limit.current.is_none_or(|limit| possible < limit));
    }
}
