//! A server that answers as the contract says, except where a test has told it otherwise for the next requests.

use bytes::Bytes;
use http_body_util::{BodyExt, Full, combinators::BoxBody};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::header::{CONTENT_LENGTH, HeaderMap, RETRY_AFTER};
use hyper::{Request, Response, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::collections::{HashSet, VecDeque};
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, mpsc};
use std::task::{Context, Poll};
use std::thread;
use std::time::Instant;
use tokio::net::{TcpListener, TcpSocket};
use tokio::sync::{Semaphore, oneshot};

/// What to do with a request.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    /// As the contract says.
    Obey,
    /// Answer this, and store nothing.
    Answer { status: u16, retry_after: Option<u32>, body: Value },
    /// Answer this as 202 once the events are stored.
    Claim(Value),
    /// Close the connection without an answer, and store nothing.
    Drop,
    /// Store, and close the connection in the middle of the answer.
    StoreAndDropMidAnswer,
    /// Never answer.
    Hang,
}

/// A request that came in.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    pub(crate) at: Instant,
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn events(&self) -> usize {
        self.body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).count()
    }
}

pub(crate) struct Rules {
    pub(crate) batch_events_max: usize,
    pub(crate) body_bytes_max: usize,
    /// What to do with the next requests; then `Obey`.
    pub(crate) script: VecDeque<Act>,
    /// What to do with every request whose body holds this.
    pub(crate) poison: Option<(String, Act)>,
}

pub(crate) struct State {
    pub(crate) rules: Mutex<Rules>,
    stored: Mutex<HashSet<String>>,
    seen: Mutex<Vec<Seen>>,
    connections: Mutex<usize>,
    announce: Mutex<mpsc::Sender<()>>,
    /// One permit for each request that may be answered.
    gate: Semaphore,
}

pub(crate) struct Daemon {
    address: SocketAddr,
    state: Arc<State>,
    arrivals: mpsc::Receiver<()>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<thread::JoinHandle<()>>,
}

/// An address that nobody else gets and where nobody listens yet.
pub(crate) struct Reserved(TcpSocket);

impl Reserved {
    pub(crate) fn new() -> Reserved {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        Reserved(socket)
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.0.local_addr().unwrap())
    }
}

impl Daemon {
    pub(crate) fn start() -> Daemon {
        Daemon::start_on(Reserved::new())
    }

    /// One that answers only as many requests as [`Daemon::release`] allows.
    pub(crate) fn gated() -> Daemon {
        Daemon::listen(Reserved::new(), 0)
    }

    pub(crate) fn start_on(address: Reserved) -> Daemon {
        Daemon::listen(address, Semaphore::MAX_PERMITS)
    }

    fn listen(address: Reserved, permits: usize) -> Daemon {
        let (announce, arrivals) = mpsc::channel();
        let rules = Rules { batch_events_max: 1000, body_bytes_max: 8 << 20, script: VecDeque::new(), poison: None };
        let state = Arc::new(State {
            rules: Mutex::new(rules),
            stored: Mutex::default(),
            seen: Mutex::default(),
            connections: Mutex::default(),
            announce: Mutex::new(announce),
            gate: Semaphore::new(permits),
        });
        let (stop, stopped) = oneshot::channel();
        let (bound, address_bound) = mpsc::channel();
        let thread = thread::spawn({
            let state = Arc::clone(&state);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
                runtime.block_on(async {
                    let listener = address.0.listen(64).unwrap();
                    bound.send(listener.local_addr().unwrap()).unwrap();
                    tokio::select! {
                        () = accept(listener, state) => {}
                        _ = stopped => {}
                    }
                });
            }
        });
        let address = address_bound.recv().unwrap();
        Daemon { address, state, arrivals, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn rules(&self) -> MutexGuard<'_, Rules> {
        self.state.rules.lock().unwrap()
    }

    pub(crate) fn script(&self, acts: impl IntoIterator<Item = Act>) {
        self.rules().script.extend(acts);
    }

    pub(crate) fn stored(&self) -> usize {
        self.state.stored.lock().unwrap().len()
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.state.seen.lock().unwrap().clone()
    }

    pub(crate) fn connections(&self) -> usize {
        *self.state.connections.lock().unwrap()
    }

    /// Waits for the next request to have come in whole.
    pub(crate) fn wait_for_request(&self) {
        self.arrivals.recv().unwrap();
    }

    /// Lets that many more requests be answered.
    pub(crate) fn release(&self, requests: usize) {
        self.state.gate.add_permits(requests);
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap();
        }
    }
}

async fn accept(listener: TcpListener, state: Arc<State>) {
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        *state.connections.lock().unwrap() += 1;
        let state = Arc::clone(&state);
        tokio::spawn(async move {
            let service = service_fn(move |request| handle(Arc::clone(&state), request));
            // A test that drops connections makes this fail.
            drop(http1::Builder::new().serve_connection(TokioIo::new(stream), service).await);
        });
    }
}

type Answer = Response<BoxBody<Bytes, io::Error>>;

async fn handle(state: Arc<State>, request: Request<Incoming>) -> Result<Answer, io::Error> {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.map_err(io::Error::other)?.to_bytes();
    let path = parts.uri.path().to_owned();
    let seen = Seen { at: Instant::now(), path: path.clone(), headers: parts.headers, body: body.clone() };
    state.seen.lock().unwrap().push(seen);
    let act = next_act(&state, &body);
    // The test may have stopped listening.
    state.announce.lock().unwrap().send(()).unwrap_or_default();
    state.gate.acquire().await.unwrap().forget();
    match act {
        Act::Obey => Ok(obey(&state, &path, &body)),
        Act::Answer { status, retry_after, body } => Ok(answer(status, retry_after, &body)),
        Act::Claim(value) => {
            obey(&state, &path, &body);
            Ok(answer(202, None, &value))
        }
        Act::Drop => Err(io::ErrorKind::ConnectionAborted.into()),
        Act::StoreAndDropMidAnswer => {
            obey(&state, &path, &body);
            let half = HalfBody(Some(Bytes::from_static(b"{\"batchId\":")));
            Ok(Response::builder().status(202).header(CONTENT_LENGTH, 200).body(half.boxed()).unwrap())
        }
        Act::Hang => std::future::pending().await,
    }
}

fn next_act(state: &State, body: &Bytes) -> Act {
    let mut rules = state.rules.lock().unwrap();
    if let Some((text, act)) = &rules.poison
        && String::from_utf8_lossy(body).contains(text.as_str())
    {
        return act.clone();
    }
    rules.script.pop_front().unwrap_or(Act::Obey)
}

fn answer(status: u16, retry_after: Option<u32>, body: &Value) -> Answer {
    let body = Full::from(body.to_string()).map_err(|never| match never {}).boxed();
    let mut response = Response::builder().status(status);
    if let Some(seconds) = retry_after {
        response = response.header(RETRY_AFTER, seconds);
    }
    response.body(body).unwrap()
}

/// The contract, as far as a sender sees it.
fn obey(state: &State, path: &str, body: &Bytes) -> Answer {
    let problem = |status: u16, detail: String| {
        answer(status, None, &json!({"type": "about:blank", "title": "problem", "status": status, "detail": detail}))
    };
    let rules = state.rules.lock().unwrap();
    if body.len() > rules.body_bytes_max {
        return problem(413, format!("body is larger than {} bytes", rules.body_bytes_max));
    }
    match path {
        "/events" => match store(state, body) {
            Ok(duplicate) => {
                let mut value = json!({"eventId": "e", "status": "accepted", "timestamp": "t", "seq": 1});
                if duplicate {
                    value["duplicate"] = true.into();
                }
                answer(202, None, &value)
            }
            Err((code, pointer, detail)) => {
                let errors = json!([{"pointer": pointer, "detail": detail}]);
                let value = json!({"eventId": null, "status": "rejected", "timestamp": "t", "message": detail,
                    "code": code, "errors": errors, "type": "about:blank", "title": "rejected", "detail": detail});
                answer(400, None, &value)
            }
        },
        "/events/batch" => {
            let lines: Vec<_> = body.split(|&byte| byte == b'\n').filter(|line| !line.is_empty()).collect();
            if lines.len() > rules.batch_events_max {
                return problem(400, format!("Batch size {} exceeds limit {}", lines.len(), rules.batch_events_max));
            }
            let results: Vec<_> = lines.iter().map(|line| store(state, line)).collect();
            answer(202, None, &batch_answer(&results))
        }
        _ => problem(404, format!("no {path}")),
    }
}

fn batch_answer(results: &[Result<bool, (&str, &str, &str)>]) -> Value {
    let details: Vec<_> = results
        .iter()
        .enumerate()
        .filter_map(|(index, result)| {
            let (code, pointer, message) = result.err()?;
            Some(json!({"index": index, "code": code, "pointer": pointer, "message": message}))
        })
        .collect();
    let duplicates = results.iter().filter(|result| **result == Ok(true)).count();
    json!({"batchId": "b", "totalEvents": results.len(), "successful": results.len() - details.len(),
        "failed": details.len(), "duplicates": duplicates, "details": details, "processedAt": "t"})
}

/// Whether it was there before, or code, pointer and message.
fn store(state: &State, line: &[u8]) -> Result<bool, (&'static str, &'static str, &'static str)> {
    if line.len() > 256 * 1024 {
        return Err(("event_too_large", "", "is larger than 262144 bytes"));
    }
    let value: Value = serde_json::from_slice(line).map_err(|_| ("invalid_json", "", "is not JSON"))?;
    let id = value["eventId"].as_str().ok_or(("missing_field", "/eventId", "is missing"))?;
    Ok(!state.stored.lock().unwrap().insert(id.to_owned()))
}

/// Some bytes, and then the connection breaks.
struct HalfBody(Option<Bytes>);

impl Body for HalfBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        Poll::Ready(Some(self.0.take().map(Frame::data).ok_or_else(|| io::ErrorKind::ConnectionAborted.into())))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(200)
    }
}
