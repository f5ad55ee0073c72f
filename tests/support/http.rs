//! HTTP/1.1 by hand: exactly these bytes go out, and every byte that comes back is seen.

use rustls::pki_types::ServerName;
use rustls::{ClientConfig, ClientConnection, StreamOwned};
use serde_json::Value;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

/// No single read or write waits longer: a hanging daemon fails the test.
const PATIENCE: Duration = Duration::from_secs(60);

/// A request's bytes. `Host` and `Content-Length` are added unless they are given.
pub fn request(method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let has = |wanted: &str| headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(wanted));
    let mut head = format!("{method} {path} HTTP/1.1\r\n");
    if !has("host") {
        head += "Host: localhost\r\n";
    }
    let bodiless = body.is_empty() && method != "POST";
    if !(bodiless || has("content-length") || has("transfer-encoding")) {
        head += &format!("Content-Length: {}\r\n", body.len());
    }
    for (name, value) in headers {
        head += &format!("{name}: {value}\r\n");
    }
    head += "\r\n";
    let mut bytes = head.into_bytes();
    bytes.extend_from_slice(body);
    bytes
}

/// A complete answer.
#[derive(Clone)]
pub struct Answer {
    pub version: String,
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, wanted: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(name, _)| name.eq_ignore_ascii_case(wanted));
        found.map(|(_, value)| value.as_str())
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Whatever the daemon says can be found again in its log.
    #[track_caller]
    fn assert_has_an_id(&self) {
        assert!(self.header("x-request-id").is_some_and(|id| !id.is_empty()), "no X-Request-Id: {self:?}");
    }

    /// The body of an error (RFC 9457), which must look like one.
    #[track_caller]
    pub fn problem(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.assert_has_an_id();
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let problem = self.json();
        assert_eq!(problem["status"], status, "{problem}");
        for member in ["type", "title", "detail"] {
            assert!(problem[member].is_string(), "{member} in {problem}");
        }
        problem
    }

    /// The JSON of an answer with this status.
    #[track_caller]
    pub fn with_status(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{self:?}");
        self.assert_has_an_id();
        self.json()
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let body = String::from_utf8_lossy(&self.body);
        write!(f, "{} {} {:?} {body}", self.version, self.status, self.headers)
    }
}

/// What a connection goes over.
pub enum Wire {
    Plain(TcpStream),
    Tls(Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Read for Wire {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.read(out),
            Wire::Tls(stream) => stream.read(out),
        }
    }
}

impl Write for Wire {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Wire::Plain(stream) => stream.write(bytes),
            Wire::Tls(stream) => stream.write(bytes),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Wire::Plain(stream) => stream.flush(),
            Wire::Tls(stream) => stream.flush(),
        }
    }
}

/// One connection.
pub struct Connection {
    stream: BufReader<Wire>,
}

impl Connection {
    #[track_caller]
    pub fn open(address: SocketAddr) -> Self {
        Connection::try_open(address).unwrap()
    }

    pub fn try_open(address: SocketAddr) -> io::Result<Self> {
        Connection::over(TcpStream::connect_timeout(&address, PATIENCE)?)
    }

    /// A connection under TLS, its handshake done.
    pub fn try_secure(address: SocketAddr, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let name = ServerName::from(address.ip());
        let mut session = ClientConnection::new(Arc::clone(config), name).map_err(io::Error::other)?;
        while session.is_handshaking() {
            session.complete_io(&mut stream)?;
        }
        Ok(Connection { stream: BufReader::new(Wire::Tls(Box::new(StreamOwned::new(session, stream)))) })
    }

    /// The certificate of the other side.
    #[track_caller]
    pub fn certificate(&self) -> Vec<u8> {
        match self.stream.get_ref() {
            Wire::Plain(_) => panic!("there is none"),
            Wire::Tls(stream) => stream.conn.peer_certificates().unwrap()[0].to_vec(),
        }
    }

    /// A connection that comes from another address of this machine, such as 127.0.0.2.
    #[track_caller]
    pub fn from(client: IpAddr, address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.bind(&SocketAddr::new(client, 0).into()).unwrap();
        socket.connect(&address.into()).unwrap();
        Connection::over(socket.into()).unwrap()
    }

    /// What was received and not yet looked at.
    pub fn reader(&mut self) -> &mut BufReader<Wire> {
        &mut self.stream
    }

    /// A connection that takes little at once, so that a test need not send much until the daemon can send no more.
    #[track_caller]
    pub fn narrow(address: SocketAddr) -> Self {
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(16 << 10).unwrap();
        socket.set_send_buffer_size(64 << 10).unwrap();
        socket.connect(&address.into()).unwrap();
        Connection::over(socket.into()).unwrap()
    }

    fn over(stream: TcpStream) -> io::Result<Self> {
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream: BufReader::new(Wire::Plain(stream)) })
    }

    pub fn stream(&self) -> &TcpStream {
        match self.stream.get_ref() {
            Wire::Plain(stream) => stream,
            Wire::Tls(stream) => &stream.sock,
        }
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_send(bytes).unwrap();
    }

    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> io::Result<()> {
        let wire = self.stream.get_mut();
        wire.write_all(bytes.as_ref())?;
        wire.flush()
    }

    /// Says that nothing more will be sent.
    pub fn finish(&self) {
        // Fails only when the daemon has gone already.
        self.stream().shutdown(Shutdown::Write).ok();
    }

    /// Posts JSON and waits for the answer.
    #[track_caller]
    pub fn post(&mut self, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        self.send(request("POST", path, headers, body));
        self.answer()
    }

    /// The next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        self.try_answer(false).unwrap()
    }

    /// The next answer, to a HEAD.
    #[track_caller]
    pub fn head(&mut self) -> Answer {
        self.try_answer(true).unwrap()
    }

    pub fn try_answer(&mut self, to_head: bool) -> io::Result<Answer> {
        let line = self.line()?;
        let (version, rest) = line.split_once(' ').ok_or_else(|| broken(&line))?;
        let status = rest.split(' ').next().and_then(|code| code.parse().ok()).ok_or_else(|| broken(&line))?;
        let mut answer = Answer { version: version.to_owned(), status, headers: Vec::new(), body: Vec::new() };
        loop {
            let line = self.line()?;
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':').ok_or_else(|| broken(&line))?;
            answer.headers.push((name.to_owned(), value.trim().to_owned()));
        }
        if to_head || status < 200 || matches!(status, 204 | 304) {
            return Ok(answer);
        }
        let length = answer.header("content-length").and_then(|text| text.parse().ok());
        answer.body = vec![0; length.ok_or_else(|| broken("an answer without a length"))?];
        self.stream.read_exact(&mut answer.body)?;
        Ok(answer)
    }

    /// Whether the daemon closes without another byte; waits for it.
    pub fn is_closed(&mut self) -> bool {
        matches!(self.stream.fill_buf().map(<[u8]>::is_empty), Ok(true))
    }

    /// Whether something has arrived; does not wait.
    pub fn is_answered(&self) -> bool {
        self.stream().set_nonblocking(true).unwrap();
        let peeked = self.stream().peek(&mut [0]);
        self.stream().set_nonblocking(false).unwrap();
        peeked.is_ok()
    }

    /// Whether an answer's first byte is there or comes.
    pub fn has_more(&mut self) -> bool {
        matches!(self.stream.fill_buf().map(<[u8]>::is_empty), Ok(false))
    }

    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.stream.by_ref().take(64 << 10).read_line(&mut line)?;
        match line.strip_suffix("\r\n") {
            Some(text) => Ok(text.to_owned()),
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }
}

fn broken(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("broken HTTP: {what}"))
}
