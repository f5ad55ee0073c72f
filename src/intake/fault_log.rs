//! Requests that failed, as the log tells of them: by their ids, never by what they carried.

use crate::traces::TraceContext;
use hyper::StatusCode;
use std::cell::Cell;
use std::time::{Duration, Instant};

/// Failures that are told in one [`PERIOD`]: under overload there are thousands a second, all alike.
const TOLD_MAX: u32 = 10;
const PERIOD: Duration = Duration::from_secs(1);

/// One acceptor's count of what it has told.
#[derive(Debug)]
pub(super) struct FaultLog {
    since: Cell<Instant>,
    told: Cell<u32>,
    left_out: Cell<u64>,
}

impl Default for FaultLog {
    fn default() -> Self {
        FaultLog { since: Cell::new(Instant::now()), told: Cell::new(0), left_out: Cell::new(0) }
    }
}

impl FaultLog {
    /// Tells of an answer that is a failure; what is the client's doing only at level debug.
    pub(super) fn tell(&self, status: StatusCode, request_id: &[u8], trace: Option<TraceContext>) {
        if status.is_server_error() {
            self.tell_ours(status, request_id, trace);
        } else if status.is_client_error() {
            let (status, request_id, trace_id) = (status.as_u16(), shown(request_id), trace_id(trace));
            tracing::debug!(status, request_id, trace_id, "request answered as the client's mistake");
        }
    }

    fn tell_ours(&self, status: StatusCode, request_id: &[u8], trace: Option<TraceContext>) {
        let Some(left_out) = self.may_tell(Instant::now()) else { return };
        let (request_id, trace_id) = (shown(request_id), trace_id(trace));
        // Only where there is something to say of it.
        let left_out = (left_out > 0).then_some(left_out);
        let code = status.as_u16();
        if status == StatusCode::INTERNAL_SERVER_ERROR {
            tracing::error!(status = code, request_id, trace_id, left_out, "request failed");
        } else {
            tracing::warn!(status = code, request_id, trace_id, left_out, "request refused");
        }
    }

    /// Whether one more may be told, and then how many were not since the last.
    fn may_tell(&self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.since.get()) >= PERIOD {
            self.since.set(now);
            self.told.set(0);
        }
        if self.told.get() >= TOLD_MAX {
            self.left_out.update(|count| count + 1);
            return None;
        }
        self.told.update(|count| count + 1);
        Some(self.left_out.take())
    }
}

fn trace_id(trace: Option<TraceContext>) -> Option<String> {
    trace.map(|trace| format!("{:032x}", trace.trace()))
}

/// A client's id as it may stand in a line.
fn shown(request_id: &[u8]) -> String {
    request_id.escape_ascii().to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_by_its_first_and_by_how_many_were_left_out() {
        let log = FaultLog::default();
        let start = log.since.get();
        let told = (0..100).filter(|_| log.may_tell(start).is_some()).count();
        assert_eq!(told, 10);
        assert_eq!(log.may_tell(start + PERIOD), Some(90));
        assert_eq!(log.may_tell(start + PERIOD), Some(0));
    }

    #[test]
    fn a_clients_id_cannot_begin_a_line_of_its_own() {
        assert_eq!(shown(b"a\r\nb\x1b[31m\xff"), "a\\r\\nb\\x1b[31m\\xff");
    }
}
