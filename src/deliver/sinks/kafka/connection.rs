//! What all our clients of the cluster have in common: settings, deadlines and what they heard last.

use crate::config::{Options, without_value};
use crate::{Config, Fault};
use rdkafka::client::ClientContext;
use rdkafka::config::{ClientConfig, RDKafkaLogLevel};
use rdkafka::consumer::ConsumerContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How many complaints of a client are listened to before one of them is passed on.
pub(crate) const EARFUL: u32 = 100;

/// The settings that each client begins with; the configured options come last.
pub(crate) fn settings(config: &Config, own: &[(&str, &str)]) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", &config.bootstrap_servers).set("client.id", &config.transactional_id);
    // A broker that is back is to be found soon.
    settings.set("reconnect.backoff.max.ms", "1000");
    for (name, value) in own.iter().copied().chain(config.options.iter()) {
        settings.set(name, value);
    }
    settings.set_log_level(RDKafkaLogLevel::Error);
    settings
}

/// When a call is to have come to its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Deadline(Instant);

impl Deadline {
    pub(crate) fn after(patience: Duration) -> Self {
        Deadline(Instant::now() + patience)
    }

    pub(crate) fn remaining(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    pub(crate) fn is_over(self) -> bool {
        self.remaining().is_zero()
    }

    /// Lets somebody else go first: for up to 50 ms, and twice as much each time.
    pub(crate) fn step_aside(self, times: u32) {
        // A hasher's random keys are as good a die as is needed here.
        let die = RandomState::new().build_hasher().finish() as f64 / u64::MAX as f64;
        let span = Duration::from_millis(50) * (1 << times.min(8));
        std::thread::sleep(self.remaining().min(span.mul_f64(die)));
    }

    /// Rests a little before something is tried again; not past the deadline.
    pub(crate) fn pause(self) {
        std::thread::sleep(self.remaining().min(Duration::from_millis(20)));
    }
}

/// The wait for reports of messages: it goes on as long as some arrive in time, and not past its end.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Vigil {
    patience: Duration,
    next: Deadline,
    end: Deadline,
}

impl Vigil {
    pub(crate) fn new(patience: Duration, longest: Duration) -> Self {
        Vigil { patience, next: Deadline::after(patience), end: Deadline::after(longest) }
    }

    /// A report has come.
    pub(crate) fn heard(&mut self) {
        self.next = Deadline::after(self.patience);
    }

    pub(crate) fn is_over(self) -> bool {
        self.next.is_over() || self.end.is_over()
    }
}

/// Keeps what a client complained of: calls that fail say only that they timed out.
#[derive(Debug, Default)]
pub(crate) struct Ears {
    /// Options of which nothing is passed on.
    secrets: Options,
    last: Mutex<Option<(RDKafkaErrorCode, String)>>,
}

impl Ears {
    /// The ears of a client with these settings.
    pub(crate) fn of(config: &Config) -> Self {
        Ears { secrets: config.options.secrets(), last: Mutex::default() }
    }

    pub(crate) fn hear(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        // That no broker is left follows from what was said before.
        if code != RDKafkaErrorCode::AllBrokersDown || last.is_none() {
            *last = Some((code, self.secrets.unrepeated(reason)));
        }
    }

    /// All is well again.
    pub(crate) fn forget(&self) {
        *self.last.lock().unwrap_or_else(PoisonError::into_inner) = None;
    }

    /// The fault that a failed call comes to.
    pub(crate) fn fault(&self, what: &str, text: &str) -> Fault {
        let last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        match &*last {
            Some((code, reason)) if crate::decide::is_denial(*code) => Fault::Denied(format!("{what}: {reason}")),
            Some((_, reason)) => Fault::Unavailable(format!("{what}: {text}: {reason}")),
            None => Fault::Unavailable(format!("{what}: {text}")),
        }
    }
}

impl ClientContext for Ears {
    fn log(&self, _: RDKafkaLogLevel, _: &str, _: &str) {
        // What matters arrives as an error too, and is told by whoever handles the fault.
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.hear(&error, reason);
    }
}

impl ConsumerContext for Ears {}

/// A client that cannot even be made.
pub(crate) fn not_made(config: &Config, error: &KafkaError) -> Fault {
    let text = match error {
        KafkaError::ClientConfig(_, _, name, _) => format!("option {name}: {}", without_value(error)),
        error => config.options.secrets().unrepeated(&error.to_string()),
    };
    if is_settled(error) { Fault::Misconfigured(text) } else { Fault::Denied(text) }
}

/// Whether no later attempt can go better. A file that a setting names may be there by then, and the system may have room
/// for a thread.
fn is_settled(error: &KafkaError) -> bool {
    match error {
        KafkaError::ClientConfig(..) => true,
        KafkaError::ClientCreation(text) => !(text.contains(".location") || text.contains("Failed to create")),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_no_later_attempt_mends_is_a_misconfiguration() {
        let of = |text: &str| is_settled(&KafkaError::ClientCreation(text.into()));
        assert!(of("ssl.key.pem failed: not in PEM format?"));
        assert!(!of("ssl.ca.location failed: error:80000002:system library::No such file or directory"));
        assert!(!of("Failed to create thread: Resource temporarily unavailable"));
    }
}
