//! Turns numbers into the bytes of a request: one event per POST, a batch per POST, or one WebSocket message.

use crate::ids::Ids;
use crate::options::{BatchFormat, Mode, Options};
use crate::plan::{Plan, Planned};
use crate::template::{Message, Pool};

/// Any mask will do against a server; a fixed one lets messages be masked in advance.
const WS_MASK: [u8; 4] = [0x37, 0xfa, 0x21, 0x3d];

/// What an engine sends: its share of the run's numbers, as bytes.
pub struct Encoder {
    ids: Ids,
    plan: Plan,
    good: Pool,
    bad: Pool,
    batch: Option<BatchShape>,
    /// Number of the share's k-th event is `first + k * stride`.
    first: u64,
    stride: u64,
    scratch: Vec<u8>,
}

struct BatchShape {
    size: u64,
    head: Vec<u8>,
    open: &'static [u8],
    separator: &'static [u8],
    close: &'static [u8],
}

impl Encoder {
    /// The encoder of engine `thread` among `options.threads`.
    pub fn new(options: &Options, thread: usize) -> Self {
        let wrap: Box<dyn Fn(&str) -> Message> = match (options.mode, options.batch) {
            (Mode::Ws | Mode::WsIdle, _) => Box::new(ws_message),
            (_, 1) => {
                let head = http_head(options);
                Box::new(move |event| http_message(&head, event))
            }
            _ => Box::new(|event| Message::plain(event.as_bytes().to_vec())),
        };
        let batched = options.batch > 1;
        Self {
            ids: Ids::new(options.seed),
            plan: options.plan(),
            good: Pool::good(options.seed, options.templates, &wrap),
            bad: Pool::bad(options.seed, batched, &wrap),
            batch: batched.then(|| BatchShape::new(options)),
            first: options.first + thread as u64,
            stride: options.threads as u64,
            scratch: Vec::new(),
        }
    }

    /// Number in the run of this share's k-th event.
    #[inline]
    pub fn number(&self, k: u64) -> u64 {
        self.first + k * self.stride
    }

    /// What this share's k-th event is.
    #[inline]
    pub fn planned(&self, k: u64) -> Planned {
        self.plan.of(self.number(k))
    }

    /// The ids in use.
    #[inline]
    pub fn ids(&self) -> &Ids {
        &self.ids
    }

    /// Mean bytes of a message (of an event, when batching).
    pub fn mean_len(&self) -> usize {
        self.good.mean_len()
    }

    /// The request that starts with this share's k-th event (and holds `batch` of them).
    #[inline]
    pub fn request(&mut self, k: u64) -> &[u8] {
        if self.batch.is_some() {
            return self.batch_request(k);
        }
        match self.planned(k) {
            Planned::Bad(counter) => self.bad.message(&self.ids, counter),
            planned => self.good.message(&self.ids, planned.counter()),
        }
    }

    fn batch_request(&mut self, k: u64) -> &[u8] {
        let Self { ids, plan, good, bad, batch, first, stride, scratch } = self;
        let Some(shape) = batch else { return &[] };
        let planned = |i: u64| plan.of(*first + (k + i) * *stride);
        let events: usize = (0..shape.size)
            .map(|i| match planned(i) {
                Planned::Bad(counter) => bad.message_len(counter),
                other => good.message_len(other.counter()),
            })
            .sum();
        let separators = (shape.size as usize - 1) * shape.separator.len();
        let length = shape.open.len() + events + separators + shape.close.len();
        scratch.clear();
        scratch.extend_from_slice(&shape.head);
        scratch.extend_from_slice(itoa::Buffer::new().format(length).as_bytes());
        scratch.extend_from_slice(b"\r\n\r\n");
        scratch.extend_from_slice(shape.open);
        for i in 0..shape.size {
            if i > 0 {
                scratch.extend_from_slice(shape.separator);
            }
            scratch.extend_from_slice(match planned(i) {
                Planned::Bad(counter) => bad.message(ids, counter),
                other => good.message(ids, other.counter()),
            });
        }
        scratch.extend_from_slice(shape.close);
        scratch
    }
}

impl BatchShape {
    fn new(options: &Options) -> Self {
        let (open, separator, close): (&[u8], &[u8], &[u8]) = match options.batch_format {
            BatchFormat::Object => (b"{\"events\":[", b",", b"]}"),
            BatchFormat::Array => (b"[", b",", b"]"),
            BatchFormat::Ndjson => (b"", b"\n", b"\n"),
        };
        Self { size: options.batch as u64, head: http_head(options), open, separator, close }
    }
}

/// Request line and headers up to and including `Content-Length: `.
fn http_head(options: &Options) -> Vec<u8> {
    let media = match options.batch_format {
        BatchFormat::Ndjson if options.batch > 1 => "application/x-ndjson",
        _ => "application/json",
    };
    let mut head = format!("POST {} HTTP/1.1\r\nHost: {}\r\nContent-Type: {media}\r\n", options.path, options.address);
    for header in &options.headers {
        head.push_str(header);
        head.push_str("\r\n");
    }
    head.push_str("Content-Length: ");
    head.into_bytes()
}

fn http_message(head: &[u8], event: &str) -> Message {
    let mut bytes = head.to_vec();
    bytes.extend_from_slice(event.len().to_string().as_bytes());
    bytes.extend_from_slice(b"\r\n\r\n");
    bytes.extend_from_slice(event.as_bytes());
    Message::plain(bytes)
}

/// A masked text frame with the event in its envelope.
fn ws_message(event: &str) -> Message {
    let payload = format!("{{\"type\":\"cart_event\",\"payload\":{event}}}");
    let id_in_payload = Message::plain(payload.clone().into_bytes()).id_at;
    let mut bytes = frame_head(0x81, payload.len());
    let start = bytes.len();
    bytes.extend(payload.bytes().enumerate().map(|(at, byte)| byte ^ WS_MASK[at & 3]));
    let mut mask = WS_MASK;
    if let Some(at) = id_in_payload {
        mask.rotate_left(at & 3);
    }
    Message { bytes, id_at: id_in_payload.map(|at| start + at), mask }
}

/// A client frame's first bytes, mask included.
fn frame_head(first: u8, len: usize) -> Vec<u8> {
    let mut head = vec![first];
    match len {
        0..=125 => head.push(0x80 | len as u8),
        126..=0xFFFF => {
            head.push(0x80 | 126);
            head.extend_from_slice(&(len as u16).to_be_bytes());
        }
        _ => {
            head.push(0x80 | 127);
            head.extend_from_slice(&(len as u64).to_be_bytes());
        }
    }
    head.extend_from_slice(&WS_MASK);
    head
}

/// A masked control frame (pong, close).
pub fn control_frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let payload = &payload[..payload.len().min(125)];
    let mut bytes = frame_head(0x80 | opcode, payload.len());
    bytes.extend(payload.iter().enumerate().map(|(at, byte)| byte ^ WS_MASK[at & 3]));
    bytes
}

/// The opening handshake of a WebSocket.
pub fn ws_handshake(options: &Options) -> Vec<u8> {
    let mut text = format!(
        "GET {} HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n",
        options.path, options.address
    );
    for header in &options.headers {
        text.push_str(header);
        text.push_str("\r\n");
    }
    text.push_str("\r\n");
    text.into_bytes()
}

/// The `Sec-WebSocket-Accept` that answers the handshake above.
pub const WS_ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

#[cfg(test)]
mod tests {
    use super::*;

    fn options(args: &[&str]) -> Options {
        Options::parse(args.iter().map(|arg| (*arg).to_owned())).unwrap().unwrap()
    }

    fn split(request: &[u8]) -> (String, Vec<u8>) {
        let at = memchr::memmem::find(request, b"\r\n\r\n").unwrap() + 4;
        (String::from_utf8(request[..at].to_vec()).unwrap(), request[at..].to_vec())
    }

    #[test]
    fn a_single_post_carries_its_length_and_the_id_of_its_number() {
        let mut encoder = Encoder::new(&options(&["http", "--seed", "9", "--first", "50"]), 0);
        for k in 0..5 {
            let (head, body) = split(encoder.request(k));
            assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
            let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
            assert_eq!(value["eventId"].as_str().unwrap().as_bytes(), Ids::new(9).text(50 + k));
        }
    }

    #[test]
    fn a_batch_holds_consecutive_numbers_of_its_share() {
        let args = ["http", "--batch", "7", "--threads", "2", "--duplicates", "0.3", "--bad", "0.1"];
        let mut encoder = Encoder::new(&options(&args), 1);
        let (head, body) = split(encoder.request(70));
        assert!(head.contains(&format!("Content-Length: {}\r\n", body.len())), "{head}");
        let value: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let events = value["events"].as_array().unwrap();
        assert_eq!(events.len(), 7);
        for (i, event) in events.iter().enumerate() {
            let planned = encoder.planned(70 + i as u64);
            if let Some(id) = event["eventId"].as_str() {
                assert_eq!(encoder.ids().counter(id.as_bytes()), Some(planned.counter()));
            }
        }
    }

    #[test]
    fn a_websocket_message_unmasks_to_the_envelope() {
        let mut encoder = Encoder::new(&options(&["ws"]), 0);
        let frame = encoder.request(3).to_vec();
        assert_eq!(frame[..2], [0x81, 0xFE]);
        let len = usize::from(u16::from_be_bytes([frame[2], frame[3]]));
        let payload: Vec<u8> = frame[8..].iter().enumerate().map(|(at, byte)| byte ^ frame[4 + (at & 3)]).collect();
        assert_eq!(payload.len(), len);
        let value: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(value["type"], "cart_event");
        assert_eq!(encoder.ids().counter(value["payload"]["eventId"].as_str().unwrap().as_bytes()), Some(3));
    }
}
