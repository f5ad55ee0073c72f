//! The certificate while the daemon runs: taken anew when its files change, and its end told in time.

use super::taken_over;
use crate::control::audit::AuditLog;
use crate::intake::Shared;
use crate::metrics::{HandshakeFailure, Metrics};
use crate::net::tls::{EXPIRY_WARNING, Tls, Validity};
use event::UnixMicros;
use serde_json::json;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// How often the files are looked at; a change is taken over at the second look that finds it.
pub(super) const LOOK_INTERVAL: Duration = Duration::from_secs(2);
/// How often it is said that a certificate ends soon.
const WARNING_INTERVAL: Duration = Duration::from_hours(24);
/// How often it is said how many handshakes failed: whoever scans the port must not fill the log.
const FAILURES_INTERVAL: Duration = Duration::from_mins(1);

/// Looks at the files once, and presents what they hold where that has changed. Takes as long as they do.
pub(super) fn look(tls: &Tls, audit: &AuditLog) {
    match tls.look() {
        Ok(false) => {}
        Ok(true) => {
            tracing::info!("TLS: the files have changed; connections from now on get the new certificate");
            let ends = UnixMicros::new(tls.ends().saturating_mul(1_000_000)).to_string();
            taken_over::record(audit, "take_over_certificate", Ok(json!({"ends": ends})));
        }
        Err(error) => {
            tracing::error!(key = error.key(), "TLS: the files have changed, but the old certificate stays: {error}");
            taken_over::record(audit, "take_over_certificate", Err(error.to_string()));
        }
    }
}

/// Tells of what TLS presents, and touches no file.
pub(super) struct Certificates {
    tls: Option<Arc<Tls>>,
    metrics: Arc<Metrics>,
    told: Instant,
    /// When it was last said that the certificate ends, and of which one.
    warned: Option<(Instant, i64)>,
    counted: Instant,
    failures: [u64; HandshakeFailure::ALL.len()],
}

impl Certificates {
    pub(super) fn new(shared: &Shared) -> Self {
        let (tls, metrics) = (shared.tls.clone(), Arc::clone(&shared.metrics));
        let now = Instant::now();
        let mut certificates =
            Certificates { tls, metrics, told: now, warned: None, counted: now, failures: Default::default() };
        certificates.tell_end();
        certificates
    }

    /// To be called often.
    pub(super) fn watch(&mut self) {
        if self.tls.is_none() {
            return;
        }
        if self.told.elapsed() >= LOOK_INTERVAL {
            self.told = Instant::now();
            self.tell_end();
        }
        if self.counted.elapsed() >= FAILURES_INTERVAL {
            self.counted = Instant::now();
            self.tell_failures();
        }
    }

    /// Says when the certificate ends, in figures always, in words when that is soon.
    fn tell_end(&mut self) {
        let Some(tls) = &self.tls else { return };
        let (ends, validity) = (tls.ends(), tls.validity());
        self.metrics.certificate_ends.store(ends, Relaxed);
        let is_told = self.warned.is_some_and(|(at, of)| of == ends && at.elapsed() < WARNING_INTERVAL);
        if is_told || matches!(validity, Validity::For(left) if left > EXPIRY_WARNING) {
            return;
        }
        self.warned = Some((Instant::now(), ends));
        match validity {
            Validity::For(_) => tracing::warn!("TLS: the certificate {validity}: renew it"),
            _ => tracing::error!("TLS: the certificate {validity}: clients refuse it; renew it"),
        }
    }

    fn tell_failures(&mut self) {
        let mut told = String::new();
        for (place, reason) in HandshakeFailure::ALL.iter().enumerate() {
            let count = self.metrics.handshakes_failed[place].load(Relaxed);
            let more = count - std::mem::replace(&mut self.failures[place], count);
            if more > 0 {
                // Writing to a String cannot fail.
                write!(told, " {}={more}", reason.as_str()).ok();
            }
        }
        if !told.is_empty() {
            tracing::info!("TLS: handshakes that failed in the last minute:{told}");
        }
    }
}
