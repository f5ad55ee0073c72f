//! A real ClickHouse server to ship to: started in a folder of its own, killed, started again, gone when dropped.

#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each chapter uses its own part")]

mod proxy;

pub use proxy::Proxy;
use rustix::process::{Pid, Signal, kill_process};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

pub struct Server {
    folder: tempfile::TempDir,
    child: Child,
    port: u16,
    setup: Setup,
}

/// What a server is started with.
#[derive(Debug, Clone, Copy, Default)]
pub struct Setup {
    /// The content of `<users>`, beside `default`, who may do everything and has no password.
    pub users: &'static str,
    /// XML for the server's configuration.
    pub config: &'static str,
}

impl Server {
    pub fn start() -> Self {
        Server::with(Setup::default())
    }

    pub fn with(setup: Setup) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (child, port) = launch(folder.path(), 0, setup);
        Server { folder, child, port, setup }
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// As by kill -9.
    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in its tracks, or has it go on.
    pub fn freeze(&self, frozen: bool) {
        let signal = if frozen { Signal::STOP } else { Signal::CONT };
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Starts again with the same data, on the same port.
    pub fn start_again(&mut self) {
        (self.child, _) = launch(self.folder.path(), self.port, self.setup);
    }

    /// The same, with another setup.
    pub fn start_again_with(&mut self, setup: Setup) {
        self.setup = setup;
        self.start_again();
    }

    /// Runs a statement as another program would.
    #[track_caller]
    pub fn sql(&self, sql: &str) -> String {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).unwrap();
        write!(stream, "POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{sql}", sql.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        assert_eq!(head.split(' ').nth(1), Some("200"), "{sql}: {body}");
        body.trim_end().to_owned()
    }

    #[track_caller]
    pub fn number(&self, sql: &str) -> u64 {
        self.sql(sql).parse().unwrap()
    }

    /// Rows and distinct positions of a table.
    #[track_caller]
    pub fn rows(&self, table: &str) -> (u64, u64) {
        let at = if table == "events_errors" { "dead_seq" } else { "seq" };
        let rows = self.number(&format!("SELECT count() FROM {table}"));
        (rows, self.number(&format!("SELECT uniqExact({at}) FROM {table}")))
    }
}

const USERS: &str = "<clickhouse><profiles><default/><readonly><readonly>1</readonly></readonly></profiles>\
    <quotas><default/></quotas><users><default><password></password><networks><ip>127.0.0.1</ip></networks>\
    <profile>default</profile><quota>default</quota></default>OTHERS</users></clickhouse>";

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(folder: &Path, port: u16, setup: Setup) -> (Child, u16) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let script = root.join("scripts/python.sh");
    let made = Command::new(script).args(["tests/clickhouse-requirements.txt", "--no-deps"]).output().unwrap();
    assert!(made.status.success(), "{}", String::from_utf8_lossy(&made.stderr));
    let python = PathBuf::from(String::from_utf8(made.stdout).unwrap().trim()).join("bin/python");
    let log = File::options().create(true).append(true).open(folder.join("server.log")).unwrap();
    let mut command = Command::new(python);
    command.arg(root.join("tests/support/clickhouse_server.py")).arg("--folder").arg(folder);
    command.args(["--port", &port.to_string(), "--config", setup.config]);
    if !setup.users.is_empty() {
        let file = folder.join("users.xml");
        std::fs::write(&file, USERS.replace("OTHERS", setup.users)).unwrap();
        command.arg("--users").arg(file);
    }
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let line = lines.next().unwrap_or_else(|| panic!("the server does not start: see its log")).unwrap();
    // Reads on, so that the server can write.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    (child, line.strip_prefix("ready ").unwrap().parse().unwrap())
}
