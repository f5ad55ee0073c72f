//! A question whose answer takes long: it is asked in a thread of its own, and shown meanwhile how far that has got.

use indicatif::ProgressBar;
use ingestd::control::admin::{AskError, ask};
use serde_json::Value;
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

/// How often it is looked how far it has got.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Asks, and has `show` bring the bar up to date until the answer is there.
pub(super) fn ask_and_show(
    socket: &Path,
    request: Value,
    bar: &ProgressBar,
    show: impl Fn(&ProgressBar),
) -> Result<Value, AskError> {
    let (done, is_done) = channel();
    let at = socket.to_path_buf();
    // Nobody waits for it any more when this program has ended, and the daemon goes on.
    std::thread::spawn(move || done.send(ask(&at, &request)).unwrap_or_default());
    let answer = loop {
        match is_done.recv_timeout(LOOK_EVERY) {
            Ok(answer) => break answer,
            Err(RecvTimeoutError::Timeout) => show(bar),
            Err(RecvTimeoutError::Disconnected) => {
                break Err(AskError::Refused { code: "refused".into(), text: "the question was broken off".into() });
            }
        }
    };
    bar.finish_and_clear();
    answer
}
