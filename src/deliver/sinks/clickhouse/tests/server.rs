//! A real server on a port and folder of its own, gone when dropped.

use crate::{Client, Config};
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{OnceLock, mpsc};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// A busy machine may take long; nothing waits longer than it has to.
pub(super) const DEADLINE: Duration = Duration::from_secs(60);

/// What a server is started with.
#[derive(Default)]
pub(super) struct Setup {
    /// The content of `<users>`, beside `default`, who may do everything.
    pub(super) users: &'static str,
    /// The content of `<profiles>`.
    pub(super) profiles: &'static str,
    /// XML for the server's configuration.
    pub(super) config: &'static str,
}

pub(super) struct Server {
    setup: Setup,
    /// `None` for the one that all share.
    folder: Option<TempDir>,
    child: Child,
    port: u16,
}

impl Server {
    pub(super) fn start(setup: Setup) -> Self {
        let folder = TempDir::new().unwrap();
        let (child, port) = launch(folder.path(), 0, &setup, &[]);
        Server { setup, folder: Some(folder), child, port }
    }

    pub(super) fn plain() -> Self {
        Self::start(Setup::default())
    }

    /// The server for tests that leave it as it is, each in a database of its own. It ends with the tests' process, by
    /// the end of its standard input.
    pub(super) fn shared() -> &'static Server {
        static SHARED: OnceLock<Server> = OnceLock::new();
        SHARED.get_or_init(|| {
            let folder = TempDir::new().unwrap().keep();
            let (child, port) = launch(&folder, 0, &Setup::default(), &["--remove"]);
            Server { setup: Setup::default(), folder: None, child, port }
        })
    }

    pub(super) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// A configuration for a database that no other test has.
    pub(super) fn config(&self) -> Config {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        Config { database: format!("test_{number}"), ..Config::new([self.url()]) }
    }

    /// A client whose tables are made.
    pub(super) async fn client(&self) -> Client {
        let client = Client::new(self.config()).unwrap();
        client.prepare().await.unwrap();
        client
    }

    /// Kill -9.
    pub(super) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Sends it a signal: STOP makes it hang.
    pub(super) fn signal(&self, name: &str) {
        let kill = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(kill.unwrap().success());
    }

    /// Starts again with the same data, on the same port.
    pub(super) fn start_again(&mut self) {
        let folder = self.folder.as_ref().unwrap().path();
        (self.child, _) = launch(folder, self.port, &self.setup, &[]);
    }

    /// Runs a statement as another program would; panics with the server's answer if that is an error.
    pub(super) fn sql(&self, sql: &str) -> String {
        let answer = self.try_sql(sql);
        answer.unwrap_or_else(|error| panic!("{sql}: {error}"))
    }

    pub(super) fn try_sql(&self, sql: &str) -> Result<String, String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).map_err(|error| error.to_string())?;
        write!(stream, "POST / HTTP/1.0\r\nContent-Length: {}\r\n\r\n{sql}", sql.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).map_err(|error| error.to_string())?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let body = body.trim_end().to_owned();
        if head.split(' ').nth(1) == Some("200") { Ok(body) } else { Err(body) }
    }

    pub(super) fn number(&self, sql: &str) -> u64 {
        self.sql(sql).parse().unwrap()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have been killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

/// Waits for something that is sure to come.
pub(super) async fn until(what: &str, mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "in vain: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

pub(super) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../..")
}

/// A file of the project.
pub(super) fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap()
}

fn python() -> &'static Path {
    static PYTHON: OnceLock<PathBuf> = OnceLock::new();
    PYTHON.get_or_init(|| {
        let script = root().join("scripts/python.sh");
        let arguments = ["tests/clickhouse-requirements.txt", "--no-deps"];
        let made = Command::new(script).args(arguments).stderr(Stdio::inherit()).output().unwrap();
        assert!(made.status.success(), "no Python environment with the server in it");
        Path::new(String::from_utf8(made.stdout).unwrap().trim()).join("bin/python")
    })
}

fn launch(folder: &Path, port: u16, setup: &Setup, more: &[&str]) -> (Child, u16) {
    let mut command = Command::new(python());
    command.arg(root().join("tests/support/clickhouse_server.py")).arg("--folder").arg(folder);
    command.args(["--port", &port.to_string(), "--config", setup.config]).args(more);
    if !setup.users.is_empty() {
        let file = folder.join("users.xml");
        std::fs::write(&file, users_file(setup)).unwrap();
        command.arg("--users").arg(file);
    }
    // What a server says of the errors that it is made to give would hide what the tests say.
    let log = folder.join("server.log");
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(append(&log)).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        // Reads on, so that the server can write; nobody may be left to hear.
        lines.by_ref().map_while(Result::ok).for_each(|line| drop(tell.send(line)));
    });
    let Ok(line) = told.recv_timeout(DEADLINE) else {
        panic!("the server does not start: {}", std::fs::read_to_string(log).unwrap());
    };
    (child, line.strip_prefix("ready ").unwrap().parse().unwrap())
}

fn append(path: &Path) -> File {
    File::options().create(true).append(true).open(path).unwrap()
}

fn users_file(setup: &Setup) -> String {
    format!(
        "<clickhouse><profiles><default/>{}</profiles><quotas><default/></quotas><users><default><password></password>\
         <networks><ip>127.0.0.1</ip></networks><profile>default</profile><quota>default</quota>\
         <access_management>1</access_management></default>{}</users></clickhouse>",
        setup.profiles, setup.users
    )
}
