//! HTTP/2: the same answers, many at once, and what a hostile client gets.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use bytes::Bytes;
use h2::Reason;
use h2::client::SendRequest;
use hyper::http::{Request, Response};
use rustls::ClientConfig;
use serde_json::Value;
use std::collections::HashSet;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;
use support::{ApiKey, Authority, Daemon, Files, Place, event, events, eventually};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio_rustls::TlsConnector;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// Types of frames (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const PING_FRAME: u8 = 6;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const WINDOW_UPDATE: u8 = 8;
const CONTINUATION: u8 = 9;
/// Flags.
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// `:status: 200` (RFC 7541, appendix A).
const STATUS_200: u8 = 0x88;
/// Errors.
const NO_ERROR: u32 = 0;
const ENHANCE_YOUR_CALM: u32 = 11;

/// So that no other deadline ends a connection.
const PATIENT: [(&str, &str); 2] =
    [("INGESTD_SERVER_HEAD_TIMEOUT_S", "3600"), ("INGESTD_SERVER_PING_INTERVAL_S", "3600")];

/// A client that keeps to the protocol.
struct Client {
    runtime: tokio::runtime::Runtime,
    requests: SendRequest<Bytes>,
    connection: tokio::task::JoinHandle<Result<(), h2::Error>>,
}

impl Client {
    fn open(daemon: &Daemon) -> Self {
        Client::behind(daemon, b"")
    }

    /// Whose connection begins with these bytes.
    fn behind(daemon: &Daemon, header: &[u8]) -> Self {
        Client::over(async {
            let mut stream = tokio::net::TcpStream::connect(daemon.address).await.unwrap();
            stream.write_all(header).await.unwrap();
            stream
        })
    }

    /// Under TLS, by which HTTP/2 is agreed on.
    fn secure(daemon: &Daemon, trusted: &ClientConfig) -> Self {
        let mut config = trusted.clone();
        config.alpn_protocols = vec![b"h2".to_vec()];
        Client::over(async {
            let stream = tokio::net::TcpStream::connect(daemon.address).await.unwrap();
            let connector = TlsConnector::from(Arc::new(config));
            let stream = connector.connect(daemon.address.ip().into(), stream).await.unwrap();
            assert_eq!(stream.get_ref().1.alpn_protocol(), Some(b"h2".as_slice()));
            stream
        })
    }

    fn over<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(stream: impl Future<Output = S>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (requests, connection) = runtime.block_on(async {
            let (requests, connection) = h2::client::handshake(stream.await).await.unwrap();
            (requests, tokio::spawn(connection))
        });
        Client { runtime, requests, connection }
    }

    /// All answers to requests that are sent at once.
    fn exchange(&self, requests: Vec<Request<Bytes>>) -> Vec<Response<Bytes>> {
        self.runtime.block_on(async {
            let mut pending = tokio::task::JoinSet::new();
            for (number, request) in requests.into_iter().enumerate() {
                let requests = self.requests.clone();
                pending.spawn(async move { (number, one(requests, request).await) });
            }
            let mut answers = pending.join_all().await;
            answers.sort_by_key(|(number, _)| *number);
            answers.into_iter().map(|(_, answer)| answer).collect()
        })
    }

    fn post(&self, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Response<Bytes> {
        self.exchange(vec![request("POST", path, headers, body)]).remove(0)
    }
}

fn request(method: &str, path: &str, headers: &[(&str, &str)], body: impl Into<Bytes>) -> Request<Bytes> {
    let mut request = Request::builder().method(method).uri(format!("http://test{path}"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(body.into()).unwrap()
}

/// One exchange; a refused stream was not looked at, and is sent again (RFC 9113, 8.7).
async fn one(requests: SendRequest<Bytes>, request: Request<Bytes>) -> Response<Bytes> {
    loop {
        match attempt(requests.clone(), request.clone()).await {
            Err(error) if error.reason() == Some(Reason::REFUSED_STREAM) => {}
            answer => return answer.unwrap(),
        }
    }
}

async fn attempt(requests: SendRequest<Bytes>, request: Request<Bytes>) -> Result<Response<Bytes>, h2::Error> {
    let mut requests = requests.ready().await?;
    let (head, body) = request.into_parts();
    let (answer, mut sending) = requests.send_request(Request::from_parts(head, ()), body.is_empty())?;
    if !body.is_empty() {
        // The daemon may not want all of it.
        sending.send_data(body, true).ok();
    }
    let (head, mut body) = answer.await?.into_parts();
    let mut whole = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        whole.extend_from_slice(&data);
    }
    Ok(Response::from_parts(head, whole.into()))
}

fn json(answer: &Response<Bytes>) -> Value {
    serde_json::from_slice(answer.body()).unwrap_or_else(|error| panic!("{error}: {answer:?}"))
}

#[track_caller]
fn assert_problem(answer: &Response<Bytes>, status: u16) {
    assert_eq!(answer.status(), status, "{answer:?}");
    assert_eq!(answer.headers()["content-type"], "application/problem+json", "{answer:?}");
    assert!(answer.headers().contains_key("x-request-id") && json(answer)["detail"].is_string(), "{answer:?}");
}

#[test]
fn the_answers_are_those_of_http_1() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    let accepted = client.post("/events", &[("x-request-id", "r-1")], event("e").to_string());
    assert_eq!((accepted.status().as_u16(), &accepted.headers()["x-request-id"]), (202, &"r-1".parse().unwrap()));
    assert_eq!((&json(&accepted)["seq"], &json(&accepted)["eventId"]), (&1.into(), &"e".into()));
    let again = client.post("/v1/events", &[], event("e").to_string());
    assert_eq!(json(&again)["duplicate"], true);
    let batch = client.post("/events/batch", &[], Value::Array(events("b", 500)).to_string());
    assert_eq!(json(&batch)["successful"], 500);
    assert_problem(&client.post("/nowhere", &[], ""), 404);
    assert_problem(&client.post("/events", &[("content-type", "text/html")], "{}"), 415);
    assert_problem(&client.post("/events", &[], vec![b' '; 9 << 20]), 413);
    assert_problem(&client.exchange(vec![request("DELETE", "/events", &[], "")])[0], 405);
    assert_eq!(client.exchange(vec![request("GET", "/health/live", &[], "")])[0].status(), 200);
    let stream = client.exchange(vec![request("GET", "/events/stream", &[], "")]).remove(0);
    assert_problem(&stream, 426);
    assert_eq!(daemon.totals(), [501, 1, 0, 0]);
    assert_eq!(daemon.metric("ingestd_http2_connections_total"), 1.0);
}

#[test]
fn dead_letters_are_shown_at_this_machines_own_names_only() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    let to = |authority: &str| Request::get(format!("http://{authority}/dead-letters")).body(Bytes::new()).unwrap();
    assert_eq!(client.exchange(vec![to("localhost:3001")])[0].status(), 200);
    assert_problem(&client.exchange(vec![to("shop.example:3001")])[0], 403);
}

#[test]
fn curl_speaks_it_with_prior_knowledge() {
    let daemon = Daemon::start();
    let mut command = Command::new("curl");
    command.args([
        "-sS",
        "--http2-prior-knowledge",
        "-w",
        "\n%{http_code} %{http_version}",
        "-d",
        &event("e").to_string(),
    ]);
    command.args(["-H", "content-type: application/json", &format!("http://{}/events", daemon.address)]);
    let output = command.stdin(Stdio::null()).output().expect("curl is installed");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.ends_with("\n202 2"), "{text}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn requests_of_one_connection_run_side_by_side() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    // More than may be at once: the rest waits.
    let requests = (0..500).map(|number| request("POST", "/events", &[], event(&format!("e-{number}")).to_string()));
    let answers = client.exchange(requests.collect());
    let seqs: HashSet<u64> = answers.iter().map(|answer| json(answer)["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs.len(), 500);
    assert!(daemon.metric("ingestd_commits_total") < 500.0, "they shared commits");
}

#[test]
fn a_body_counts_against_the_budget_of_all() {
    let env = [
        ("INGESTD_LIMITS_EVENT_BYTES_MAX", "1000"),
        ("INGESTD_LIMITS_BODY_BYTES_MAX", "100000"),
        ("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "200000"),
        ("INGESTD_SERVER_BODY_TIMEOUT_S", "2"),
    ];
    let daemon = Daemon::with(&env);
    let client = Client::open(&daemon);
    // Bodies of which all but the end has come.
    let (answers, _held) = client.runtime.block_on(async {
        let (mut answers, mut held) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let mut requests = client.requests.clone().ready().await.unwrap();
            let head = Request::post("http://test/events").body(()).unwrap();
            let (answer, mut sending) = requests.send_request(head, false).unwrap();
            sending.send_data(vec![b' '; 90_000].into(), false).unwrap();
            answers.push(tokio::spawn(answer));
            held.push(sending);
        }
        let mut statuses = Vec::new();
        for answer in answers {
            statuses.push(answer.await.unwrap().unwrap().status().as_u16());
        }
        (statuses, held)
    });
    assert_eq!(answers.iter().filter(|status| **status == 503).count(), 1, "{answers:?}");
    assert_eq!(answers.iter().filter(|status| **status == 408).count(), 2, "{answers:?}");
}

/// A client that writes what it wants.
struct Raw(TcpStream);

impl Raw {
    /// Behind the first exchange of settings.
    fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
        stream.set_write_timeout(Some(Duration::from_secs(60))).unwrap();
        let mut raw = Raw(stream);
        raw.0.write_all(PREFACE).unwrap();
        raw.send(SETTINGS, 0, 0, b"").unwrap();
        raw
    }

    fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> std::io::Result<()> {
        let mut frame = (payload.len() as u32).to_be_bytes()[1..].to_vec();
        frame.extend_from_slice(&[kind, flags]);
        frame.extend_from_slice(&stream.to_be_bytes());
        frame.extend_from_slice(payload);
        self.0.write_all(&frame)
    }

    /// Type, flags, stream and payload of the next frame.
    fn frame(&mut self) -> std::io::Result<(u8, u8, u32, Vec<u8>)> {
        let mut head = [0; 9];
        self.0.read_exact(&mut head)?;
        let mut payload = vec![0; u32::from_be_bytes([0, head[0], head[1], head[2]]) as usize];
        self.0.read_exact(&mut payload)?;
        Ok((head[3], head[4], u32::from_be_bytes([head[5], head[6], head[7], head[8]]), payload))
    }

    /// Lets so much of each answer through.
    fn window(&mut self, bytes: u32) {
        let initial_window_size = [&4_u16.to_be_bytes()[..], &bytes.to_be_bytes()].concat();
        self.send(SETTINGS, 0, 0, &initial_window_size).unwrap();
    }

    /// Whether the daemon ends the connection; waits for it.
    fn is_cut_off(&mut self) -> bool {
        loop {
            match self.frame() {
                Ok(_) => {}
                Err(error) => return matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset),
            }
        }
    }

    /// The error of the GOAWAY that ends the connection; `None` where it ends without one.
    fn goaway(&mut self) -> Option<u32> {
        let mut error = None;
        while let Ok((kind, _, _, payload)) = self.frame() {
            if kind == GOAWAY {
                error = Some(u32::from_be_bytes(*payload[4..].first_chunk().unwrap()));
            }
        }
        error
    }
}

/// Header fields that are not compressed (RFC 7541, 6.2.2).
fn fields(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (name, value) in fields {
        out.push(0);
        for text in [name, value] {
            assert!(text.len() < 127);
            out.push(text.len() as u8);
            out.extend_from_slice(text.as_bytes());
        }
    }
    out
}

fn get(path: &str) -> Vec<u8> {
    fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "test"), (":path", path)])
}

#[test]
fn the_preface_may_come_byte_by_byte() {
    let daemon = Daemon::start();
    let mut stream = TcpStream::connect(daemon.address).unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in PREFACE {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut raw = Raw(stream);
    raw.send(SETTINGS, 0, 0, b"").unwrap();
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &get("/health/live")).unwrap();
    let data = loop {
        let (kind, _, stream, payload) = raw.frame().unwrap();
        if kind == DATA && stream == 1 {
            break payload;
        }
    };
    assert_eq!(serde_json::from_slice::<Value>(&data).unwrap()["status"], "live");
}

#[test]
fn a_flood_of_resets_ends_the_connection_and_nothing_else() {
    let daemon = Daemon::start();
    let mut raw = Raw::open(daemon.address);
    let mut flood = Vec::new();
    for number in 0..10_000_u32 {
        let stream = 2 * number + 1;
        for (kind, flags, payload) in
            [(HEADERS, END_STREAM | END_HEADERS, get("/health/live")), (RST_STREAM, 0, 8_u32.to_be_bytes().to_vec())]
        {
            flood.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
            flood.extend_from_slice(&[kind, flags]);
            flood.extend_from_slice(&stream.to_be_bytes());
            flood.extend_from_slice(&payload);
        }
    }
    // It may have ended before all of it is written.
    raw.0.write_all(&flood).ok();
    assert_eq!(raw.goaway(), Some(ENHANCE_YOUR_CALM));
    assert!(daemon.metric("ingestd_http_requests_total") < 5000.0, "most were never looked at");
    daemon.post("/events", event("e").to_string()).with_status(202);
}

#[test]
fn a_head_without_an_end_ends_the_connection() {
    let daemon = Daemon::start();
    let filler = "x".repeat(100);
    // Pieces that hold much, and pieces that hold nothing.
    for (piece, count) in [(fields(&[("x-filler", filler.as_str()); 100]), 1000), (Vec::new(), 100_000)] {
        let mut raw = Raw::open(daemon.address);
        raw.send(HEADERS, END_STREAM, 1, &get("/health/live")).unwrap();
        // It may have ended before all of it is written.
        (0..count).take_while(|_| raw.send(CONTINUATION, 0, 1, &piece).is_ok()).for_each(drop);
        assert_eq!(raw.goaway(), Some(ENHANCE_YOUR_CALM), "pieces of {} bytes", piece.len());
    }
    assert_eq!(daemon.totals(), [0; 4]);
    daemon.post("/events", event("e").to_string()).with_status(202);
}

/// A client that lets nothing through but heads.
fn shut(daemon: &Daemon) -> Raw {
    let mut raw = Raw::open(daemon.address);
    raw.window(0);
    raw
}

#[test]
fn who_does_not_read_gets_no_more_answers_until_it_does() {
    const ASKED: u32 = 120;
    let daemon = Daemon::start();
    let mut raw = shut(&daemon);
    for stream in 0..ASKED {
        raw.send(HEADERS, END_STREAM | END_HEADERS, 2 * stream + 1, &get("/metrics")).unwrap();
    }
    let length = daemon.get("/metrics").text().len();
    let room = (2 << 20) / length;
    assert!(room < ASKED as usize - 10, "{length}");
    let (mut given, mut pongs) = (0, 0);
    while given < room || pongs < 5 {
        match raw.frame().unwrap() {
            (HEADERS, _, _, payload) => {
                assert_eq!(payload[0], STATUS_200);
                given += 1;
                if given == room {
                    raw.send(PING_FRAME, 0, 0, &[0; 8]).unwrap();
                }
            }
            // Whatever else was answered would be on its way by now.
            (PING_FRAME, ..) if given >= room => {
                pongs += 1;
                raw.send(PING_FRAME, 0, 0, &[0; 8]).unwrap();
            }
            _ => {}
        }
    }
    assert!(given <= room + 10, "{given} of {length} bytes");
    // All of it arrives, and then there is more.
    raw.window(1 << 20);
    raw.send(WINDOW_UPDATE, 0, 0, &(8_u32 << 20).to_be_bytes()).unwrap();
    let mut ended = 0;
    while ended < ASKED {
        let (kind, flags, _, _) = raw.frame().unwrap();
        ended += u32::from(kind == DATA && flags & END_STREAM != 0);
    }
    raw.send(HEADERS, END_STREAM | END_HEADERS, 2 * ASKED + 1, &get("/metrics")).unwrap();
    let head = std::iter::repeat_with(|| raw.frame().unwrap()).find(|(kind, ..)| *kind == HEADERS).unwrap();
    assert_eq!((head.2, head.3[0]), (2 * ASKED + 1, STATUS_200));
}

#[test]
fn large_answers_that_nobody_reads_are_bounded_over_all_connections() {
    // Of which a quarter is for answers, whosever they are.
    let limits = [("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "67108864"), ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "100")];
    let daemon = Daemon::with(&[&PATIENT[..], &limits].concat());
    let path = daemon.large_letter();
    let room = (16_usize << 20).div_ceil(daemon.get(&path).body.len());
    let ask = fields(&[(":method", "GET"), (":scheme", "http"), (":authority", "localhost"), (":path", &path)]);
    let mut asking: Vec<Raw> = (0..2 * room).map(|_| shut(&daemon)).collect();
    for raw in &mut asking {
        raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &ask).unwrap();
    }
    let is_given = |raw: &mut Raw| {
        let head = std::iter::repeat_with(|| raw.frame().unwrap()).find(|(kind, ..)| *kind == HEADERS).unwrap();
        head.3[0] == STATUS_200
    };
    let given: Vec<bool> = asking.iter_mut().map(is_given).collect();
    assert_eq!(given.iter().filter(|given| **given).count(), room, "{given:?}");
    drop(asking);
    eventually("there is room again", || daemon.get(&path).status == 200);
}

#[test]
fn large_answers_at_once_all_arrive() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    // Each of them is told of a thousand times what is wrong with it.
    let batch = Bytes::from(format!("[{}]", vec!["{}"; 1000].join(",")));
    let ask = || Request::post("http://localhost/events/batch").body(batch.clone()).unwrap();
    let answers = client.exchange((0..40).map(|_| ask()).collect());
    let bytes: usize = answers.iter().map(|answer| answer.body().len()).sum();
    assert!(bytes > 4 << 20, "{bytes}");
    for answer in answers {
        assert_eq!(answer.status(), 202);
        let body: serde_json::Value = serde_json::from_slice(answer.body()).unwrap();
        assert_eq!(body["details"].as_array().unwrap().len(), 1000);
    }
}

#[test]
fn who_takes_none_of_its_answers_is_given_up() {
    let daemon = Daemon::with(&[&PATIENT[..], &[("INGESTD_SERVER_WRITE_TIMEOUT_S", "1")]].concat());
    let mut raw = shut(&daemon);
    raw.send(HEADERS, END_STREAM | END_HEADERS, 1, &get("/metrics")).unwrap();
    assert!(raw.is_cut_off());
}

#[test]
fn a_head_that_is_too_large_is_431() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    let long = "x".repeat(12 << 10);
    let answer = client.post("/events", &[("x-a", &long), ("x-b", &long)], "{}");
    assert_problem(&answer, 431);
    // What is larger still is refused by the protocol's own layer.
    let answer = client.post("/events", &[("x-a", &"x".repeat(100 << 10))], "{}");
    assert_eq!(answer.status(), 431);
    assert_eq!(client.post("/events", &[], event("e").to_string()).status(), 202, "only that one");
}

#[test]
fn who_asks_for_nothing_is_sent_away() {
    let daemon = Daemon::with(&[("INGESTD_SERVER_HEAD_TIMEOUT_S", "1")]);
    let mut idle = Raw::open(daemon.address);
    assert_eq!(idle.goaway(), Some(NO_ERROR));
    // A head that never ends asks for nothing, too; nor does half a preface.
    let mut half = Raw::open(daemon.address);
    half.send(HEADERS, 0, 1, &get("/health/live")).unwrap();
    half.goaway();
    let mut preface = TcpStream::connect(daemon.address).unwrap();
    preface.write_all(&PREFACE[..10]).unwrap();
    preface.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let mut rest = Vec::new();
    preface.read_to_end(&mut rest).unwrap();
    eventually("they are gone", || daemon.metric("ingestd_http_connections") <= 1.0);
}

#[test]
fn a_connection_that_could_not_begin_so_any_more_ends_behind_what_is_under_way() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("config.toml");
    std::fs::write(&file, "[server]\nproxy_protocol = true\ntrusted_proxies = [\"127.0.0.1\"]\n").unwrap();
    let daemon = Daemon::with(&[&PATIENT[..], &[("INGESTD_CONFIG", file.to_str().unwrap())]].concat());
    let client = Client::behind(&daemon, b"PROXY TCP4 198.51.100.7 10.0.0.1 56324 443\r\n");
    let (answer, mut sending) = client.runtime.block_on(async {
        let mut requests = client.requests.clone().ready().await.unwrap();
        requests.send_request(Request::post("http://test/events").body(()).unwrap(), false).unwrap()
    });
    // What was sent before it is looked at by then.
    assert_eq!(client.post("/events", &[], event("first").to_string()).status(), 202);
    daemon.reconfigure(&file, "[server]\nproxy_protocol = false\n");
    assert_problem(&client.post("/events", &[], event("never").to_string()), 503);
    sending.send_data(event("last").to_string().into(), true).unwrap();
    let Client { runtime, requests, connection } = client;
    assert_eq!(runtime.block_on(answer).unwrap().status(), 202);
    drop((sending, requests));
    runtime.block_on(connection).unwrap().unwrap();
    assert_eq!(daemon.totals(), [2, 0, 0, 0]);
}

#[test]
fn a_stop_answers_what_is_under_way_and_says_goodbye() {
    let daemon = Daemon::start();
    let client = Client::open(&daemon);
    assert_eq!(client.post("/events", &[], event("first").to_string()).status(), 202);
    // A request of which the body's end comes after the stop.
    let (answer, mut sending) = client.runtime.block_on(async {
        let mut requests = client.requests.clone().ready().await.unwrap();
        let head = Request::post("http://test/events").header("x-whatever", "1").body(()).unwrap();
        let (answer, mut sending) = requests.send_request(head, false).unwrap();
        sending.send_data(Bytes::from_static(b" "), false).unwrap();
        (answer, sending)
    });
    let mut probe = daemon.connect();
    eventually("it is under way", || daemon.metric_over(&mut probe, "ingestd_http2_connections_total") == 1.0);
    drop(probe);
    daemon.term();
    eventually("new ones are not accepted", || TcpStream::connect(daemon.address).is_err());
    sending.send_data(event("last").to_string().into(), true).unwrap();
    let answer = client.runtime.block_on(answer).unwrap();
    assert!(matches!(answer.status().as_u16(), 202 | 503), "{answer:?}");
    let accepted = answer.status() == 202;
    drop(sending);
    let Client { runtime, requests, connection } = client;
    drop(requests);
    runtime.block_on(connection).unwrap().unwrap();
    let stored: Vec<_> = daemon.drained().stored().into_iter().map(|event| event.id).collect();
    assert_eq!(stored.contains(&"last".to_owned()), accepted);
    assert!(stored.contains(&"first".to_owned()));
}

/// How many were taken; all others were refused because this limit is used up.
#[track_caller]
fn taken(answers: &[Response<Bytes>], limit: &str) -> usize {
    for answer in answers.iter().filter(|answer| answer.status() != 202) {
        assert_problem(answer, 429);
        assert_eq!((&json(answer)["reason"], &json(answer)["limit"]), (&"rate_limited".into(), &limit.into()));
        let wait: u64 = answer.headers()["retry-after"].to_str().unwrap().parse().unwrap();
        assert_eq!(answer.headers()["ratelimit"], format!("\"{limit}\";r=0;t={wait}"));
    }
    answers.iter().filter(|answer| answer.status() == 202).count()
}

#[test]
fn limits_of_an_address_hold_for_all_that_it_asks_on_all_its_connections() {
    // So slow that next to nothing comes anew while this runs.
    let slow = ("INGESTD_RATE_LIMITS_BURST_S", "50");
    for (limit, name) in [
        ("INGESTD_RATE_LIMITS_ADDRESS_REQUESTS_PER_S", "address-requests"),
        ("INGESTD_RATE_LIMITS_ADDRESS_EVENTS_PER_S", "address-events"),
    ] {
        let daemon = Daemon::with(&[(limit, "1"), slow]);
        let client = Client::open(&daemon);
        let ask = |prefix: &str| {
            let one = |number| request("POST", "/events", &[], event(&format!("{prefix}-{number}")).to_string());
            (0..200).map(one).collect()
        };
        let first = taken(&client.exchange(ask("a")), name);
        assert!((50..150).contains(&first), "{name}: {first}");
        let second = taken(&Client::open(&daemon).exchange(ask("b")), name);
        assert!(second < 50, "{name}: {second}");
        // Whoever watches the daemon is never refused, and the connection goes on.
        assert_eq!(client.exchange(vec![request("GET", "/health", &[], "")])[0].status(), 200);
        assert_eq!(daemon.totals()[0], (first + second) as u64, "{name}");
    }
}

#[test]
fn bodies_that_stall_on_one_connection_have_one_addresss_share() {
    let daemon = Daemon::with(&[
        ("INGESTD_LIMITS_INFLIGHT_REQUESTS_MAX", "120"),
        ("INGESTD_LIMITS_ADDRESS_SHARE_PERCENT", "10"),
        ("INGESTD_SERVER_BODY_TIMEOUT_S", "3600"),
    ]);
    let client = Client::open(&daemon);
    client.runtime.block_on(async {
        let (mut answers, mut bodies) = (tokio::task::JoinSet::new(), Vec::new());
        for number in 0..100 {
            let mut requests = client.requests.clone().ready().await.unwrap();
            let head = Request::post("http://test/events").body(()).unwrap();
            let (answer, mut sending) = requests.send_request(head, false).unwrap();
            sending.send_data(Bytes::from_static(b" "), false).unwrap();
            bodies.push((number, sending));
            answers.spawn(answer);
        }
        // An address may always begin 64.
        for _ in 0..100 - 64 {
            assert_eq!(answers.join_next().await.unwrap().unwrap().unwrap().status(), 429);
        }
        let other = tokio::net::TcpSocket::new_v4().unwrap();
        other.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let (requests, connection) = h2::client::handshake(other.connect(daemon.address).await.unwrap()).await.unwrap();
        tokio::spawn(connection);
        assert_eq!(one(requests, request("POST", "/events", &[], event("other").to_string())).await.status(), 202);
        for (number, mut sending) in bodies {
            // Nobody reads those of the refused any more.
            sending.send_data(event(&format!("e-{number}")).to_string().into(), true).ok();
        }
        while let Some(answer) = answers.join_next().await {
            assert_eq!(answer.unwrap().unwrap().status(), 202);
        }
    });
    assert_eq!(daemon.totals()[0], 65);
}

#[test]
fn keys_hold_for_each_request_of_a_connection_under_tls() {
    let authority = Authority::new("test authority");
    let (files, trusted) = (Files::new(&authority.server(90)), authority.trusted(None));
    let asking = [("INGESTD_AUTH_INTAKE", "key"), ("INGESTD_AUTH_READ", "key")];
    let daemon = Place::with(&asking).and_all(files.env()).trusted(Arc::clone(&trusted)).start();
    let [shop, other, looking] = [("shop", "intake,read"), ("other", "intake,read"), ("shop", "read")]
        .map(|(tenant, scopes)| ApiKey::add(&daemon, tenant, scopes));
    let client = Client::secure(&daemon, &trusted);
    let post = |headers: &[(&str, &str)], id: &str| request("POST", "/events", headers, event(id).to_string());
    // Side by side, and none for another.
    let [first, second, third] = [&shop, &other, &looking].map(ApiKey::bearer);
    let both = [("authorization", first.as_str()), ("x-api-key", &other.text)];
    let cases: [(&[(&str, &str)], u16); 7] = [
        (&[("authorization", &first)], 202),
        (&[("authorization", &second)], 202),
        (&[("authorization", &third)], 403),
        (&[], 401),
        (&[("authorization", "Bearer guess")], 401),
        (&both, 400),
        (&[("x-api-key", &looking.text)], 403),
    ];
    let asked = cases.iter().map(|(headers, _)| post(headers, "e")).collect();
    for (answer, (_, wanted)) in client.exchange(asked).iter().zip(&cases) {
        assert_eq!(answer.status(), *wanted, "{answer:?}");
        assert_eq!(answer.headers().contains_key("www-authenticate"), *wanted != 202, "{answer:?}");
        if *wanted == 202 {
            assert_eq!(json(answer)["duplicate"], Value::Null, "the same id of another tenant");
        }
    }
    // Letters of one are not there for another.
    let id =
        json(&client.post("/events", &[("authorization", &second)], "{}"))["deadLetterId"].as_str().unwrap().to_owned();
    let look =
        |path: &str, key: &str| client.exchange(vec![request("GET", path, &[("authorization", key)], "")]).remove(0);
    let path = format!("/dead-letters/{id}");
    assert_eq!((look(&path, &second).status().as_u16(), look(&path, &third).status().as_u16()), (200, 404));
    assert_problem(&client.exchange(vec![request("GET", &path, &[], "")])[0], 401);
    // A key that is revoked is of no use on the open connection either, also for a body that is on its way.
    let (answer, mut sending) = client.runtime.block_on(async {
        let mut requests = client.requests.clone().ready().await.unwrap();
        let head = Request::post("https://test/events").header("authorization", &first).body(()).unwrap();
        requests.send_request(head, false).unwrap()
    });
    assert_eq!(client.exchange(vec![post(&[("x-api-key", &shop.text)], "e")])[0].status(), 202);
    shop.revoke(&daemon);
    assert_problem(&client.exchange(vec![post(&[("authorization", &first)], "late")])[0], 401);
    sending.send_data(event("late").to_string().into(), true).unwrap();
    assert_eq!(client.runtime.block_on(answer).unwrap().status(), 401);
    assert_eq!(client.exchange(vec![post(&[("authorization", &second)], "more")])[0].status(), 202);
    assert_eq!(daemon.stop().stored().len(), 3);
}
