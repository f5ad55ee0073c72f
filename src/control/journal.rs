//! Lines for the journal, over its own protocol (systemd's JOURNAL_NATIVE_PROTOCOL): the message as `journalctl` shows it,
//! with everything in it, and each field once more as one to search by. The crate `tracing-journald` has only the latter,
//! so that `sink met an error` would not say which.

use super::outlet::Outlet;
use std::fmt::{Debug, Write as _};
use std::io;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

/// Where the journal listens.
const SOCKET: &str = "/run/systemd/journal/socket";

/// Longest text of one field, bytes: a datagram must hold all of them.
const TEXT_BYTES_MAX: usize = 16 << 10;

/// The name of the field that comes first in each entry.
const MESSAGE: &str = "MESSAGE";

/// The way to the journal.
///
/// # Errors
/// When nobody listens there.
pub(super) fn connect() -> io::Result<impl Fn(&[u8]) -> bool + Send + Sync + 'static> {
    let socket = UnixDatagram::unbound()?;
    socket.connect(SOCKET)?;
    Ok(to(socket))
}

/// Sends entries. What the journal does not take goes to where all else would.
fn to(socket: UnixDatagram) -> impl Fn(&[u8]) -> bool + Send + Sync + 'static {
    move |entry: &[u8]| {
        if socket.send(entry).is_err() {
            super::complain(message(entry));
        }
        true
    }
}

/// The layer that writes lines to the journal.
pub(super) struct Journal {
    outlet: Arc<Outlet>,
}

impl Journal {
    /// A layer that puts out entries.
    pub(super) fn to(outlet: Arc<Outlet>) -> Self {
        Journal { outlet }
    }
}

impl<S: Subscriber> Layer<S> for Journal {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut line = Line::default();
        event.record(&mut line);
        self.outlet.put(&line.entry(*event.metadata().level(), event.metadata().target()));
    }
}

/// One line, as it is put together.
#[derive(Default)]
struct Line {
    /// The message, and all fields behind it.
    text: String,
    fields: Vec<(String, String)>,
}

impl Line {
    fn entry(&self, level: Level, target: &str) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.text.len());
        put(&mut out, MESSAGE, &self.text);
        put(&mut out, "PRIORITY", priority(level));
        put(&mut out, "SYSLOG_IDENTIFIER", "ingestd");
        put(&mut out, "TARGET", target);
        for (name, value) in &self.fields {
            put(&mut out, name, value);
        }
        out
    }

    fn add(&mut self, field: &Field, value: String) {
        if field.name() == "message" {
            // Whatever comes first in the macro, the message stands first in the line.
            self.text.insert_str(0, &value);
        } else {
            // Writing into memory never fails.
            write!(self.text, " {}={value}", field.name()).ok();
            self.fields.push((field.name().to_ascii_uppercase(), value));
        }
    }
}

impl Visit for Line {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        self.add(field, format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.add(field, value.to_owned());
    }
}

/// syslog's number.
fn priority(level: Level) -> &'static str {
    match level {
        Level::ERROR => "3",
        Level::WARN => "4",
        Level::INFO => "6",
        _ => "7",
    }
}

/// Appends a field: with its length before it, for a text of several lines would be several fields otherwise.
fn put(out: &mut Vec<u8>, name: &str, text: &str) {
    let text = &text.as_bytes()[..text.floor_char_boundary(TEXT_BYTES_MAX)];
    out.extend_from_slice(name.as_bytes());
    out.push(b'\n');
    out.extend_from_slice(&(text.len() as u64).to_le_bytes());
    out.extend_from_slice(text);
    out.push(b'\n');
}

/// The message of an entry.
fn message(entry: &[u8]) -> String {
    let field = entry.strip_prefix(MESSAGE.as_bytes()).and_then(|rest| rest.strip_prefix(b"\n"));
    let Some((len, rest)) = field.and_then(<[u8]>::split_first_chunk) else { return String::new() };
    let len = usize::try_from(u64::from_le_bytes(*len)).unwrap_or(usize::MAX);
    String::from_utf8_lossy(&rest[..len.min(rest.len())]).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracing_subscriber::layer::SubscriberExt;

    /// Takes an entry apart.
    fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
        let mut out = Vec::new();
        while let Some(end) = entry.iter().position(|byte| *byte == b'\n') {
            let (name, rest) = entry.split_at(end);
            let (len, rest) = rest[1..].split_first_chunk::<8>().unwrap();
            let (value, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
            let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
            out.push((text(name), text(value)));
            entry = rest.strip_prefix(b"\n").unwrap();
        }
        out
    }

    #[test]
    fn a_line_is_whole_to_readers_and_in_parts_to_searches() {
        let (socket, other) = UnixDatagram::pair().unwrap();
        let subscriber = tracing_subscriber::registry().with(Journal::to(Outlet::start(to(socket))));
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!(
                sink = "kafka",
                error = "first\nsecond",
                left_out = None::<u64>,
                count = 7,
                "sink met an error"
            );
            tracing::error!("{}", "ä".repeat(TEXT_BYTES_MAX));
        });
        let mut buffer = vec![0; 64 << 10];
        let len = other.recv(&mut buffer).unwrap();
        let expected = [
            ("MESSAGE", "sink met an error sink=kafka error=first\nsecond count=7"),
            ("PRIORITY", "4"),
            ("SYSLOG_IDENTIFIER", "ingestd"),
            ("TARGET", "ingestd::control::journal::tests"),
            ("SINK", "kafka"),
            ("ERROR", "first\nsecond"),
            ("COUNT", "7"),
        ];
        assert_eq!(message(&buffer[..len]), expected[0].1);
        assert_eq!(fields(&buffer[..len]), expected.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let len = other.recv(&mut buffer).unwrap();
        assert_eq!(fields(&buffer[..len])[0].1.len(), TEXT_BYTES_MAX);
    }
}
