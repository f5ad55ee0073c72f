//! Apache Kafka as a process: started on free ports in a folder of its own, killed, started again, gone when dropped.

use super::proxy::Proxy;
use super::reader::{Reader, Record};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

/// For starts and conditions: far above what they take on a busy machine.
const WITHIN: Duration = Duration::from_secs(180);
const STARTED: &str = "Kafka Server started";
/// Any will do: no two brokers of the tests ever meet.
const CLUSTER_ID: &str = "aW5nZXN0ZC10ZXN0cy0wMQ";

/// A single-node cluster.
pub struct Broker {
    place: tempfile::TempDir,
    ports: [u16; 6],
    process: Mutex<Option<Child>>,
    reader: Mutex<Option<Reader>>,
}

/// Looks at a condition until it holds.
#[track_caller]
pub fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + WITHIN;
    while !holds() {
        assert!(Instant::now() < deadline, "not within {WITHIN:?}: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Ports that are free now, and that no connection is given while a broker is down: they lie below the range for that.
fn free_ports() -> [u16; 6] {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    [(); 6].map(|()| {
        loop {
            let port = 12_000 + (std::process::id() * 97 + NEXT.fetch_add(1, Ordering::Relaxed)) % 20_000;
            let port = u16::try_from(port).unwrap();
            if TcpListener::bind(("127.0.0.1", port)).is_ok() {
                return port;
            }
        }
    })
}

/// This folder.
fn here() -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let root = root.ancestors().find(|folder| folder.join("scripts/kafka.sh").exists()).unwrap();
    root.join("tests/support/kafka")
}

/// Where the tests' certificate for 127.0.0.1 lies.
fn certificates() -> PathBuf {
    here().join("../../../src/deliver/sinks/clickhouse/tests/fixtures")
}

/// `java` with Kafka's jars. Its temporary files, unpacked native libraries among them, lie in `place`: brokers that run
/// side by side never meet there.
pub(super) fn java(heap: &str, place: &Path) -> Command {
    static JARS: Mutex<Option<String>> = Mutex::new(None);
    let mut jars = JARS.lock().unwrap_or_else(PoisonError::into_inner);
    let jars = jars.get_or_insert_with(|| {
        let output = Command::new(here().join("../../../scripts/kafka.sh")).stderr(Stdio::inherit()).output().unwrap();
        assert!(output.status.success(), "scripts/kafka.sh: {}", output.status);
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    });
    let mut command = Command::new("java");
    // The second compiler costs more time than it saves in a life this short.
    command.arg(heap).args(["-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-XX:-UsePerfData"]);
    command.arg(format!("-Djava.io.tmpdir={}", place.display())).arg("-cp").arg(format!("{jars}/*"));
    command.stdin(Stdio::null());
    command
}

impl Broker {
    /// A new cluster.
    pub fn start() -> Self {
        let place = tempfile::tempdir().unwrap();
        let broker = Broker { place, ports: free_ports(), process: Mutex::new(None), reader: Mutex::new(None) };
        broker.configure();
        let format = ["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"];
        let output = java("-Xmx128m", broker.place.path()).args(format).arg(broker.settings()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        broker.restart();
        broker
    }

    /// The cluster of all tests that leave it as it was; it ends with the last of them.
    pub fn shared() -> Arc<Self> {
        static SHARED: Mutex<Weak<Broker>> = Mutex::new(Weak::new());
        let mut shared = SHARED.lock().unwrap_or_else(PoisonError::into_inner);
        shared.upgrade().unwrap_or_else(|| {
            let broker = Arc::new(Broker::start());
            *shared = Arc::downgrade(&broker);
            broker
        })
    }

    /// Where it listens for everyone.
    pub fn address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[0])
    }

    /// Where it wants a name and a password.
    pub fn sasl_address(&self) -> String {
        format!("127.0.0.1:{}", self.ports[1])
    }

    /// Where it wants TLS; its certificate, which nobody else has signed.
    pub fn encrypted(&self) -> (String, PathBuf) {
        (format!("127.0.0.1:{}", self.ports[5]), certificates().join("certificate.pem"))
    }

    /// A way to it on which answers can be lost.
    pub fn proxy(&self) -> Proxy {
        Proxy::start(self.ports[3], self.ports[4])
    }

    /// As by `kill -9`.
    pub fn kill(&self) {
        if let Some(mut process) = self.process().take() {
            process.kill().unwrap();
            process.wait().unwrap();
        }
    }

    /// Starts it on what it has on disk, and waits until it serves.
    pub fn restart(&self) {
        let log = File::create(self.log()).unwrap();
        let errors = log.try_clone().unwrap();
        let mut command = java("-Xmx256m", self.place.path());
        command.arg("kafka.Kafka").arg(self.settings()).stdout(log).stderr(errors);
        *self.process() = Some(command.spawn().unwrap());
        eventually("the broker starts", || {
            let text = fs::read_to_string(self.log()).unwrap();
            let status = self.process().as_mut().unwrap().try_wait().unwrap();
            assert!(status.is_none(), "the broker ended: {text}");
            text.contains(STARTED)
        });
    }

    /// Makes a topic, which must not be there, with settings of its own.
    #[track_caller]
    pub fn make_topic(&self, name: &str, settings: &[&str]) {
        let settings = settings.iter().flat_map(|setting| ["--config", *setting]);
        self.topics(
            &["--create", "--topic", name, "--partitions", "3"].into_iter().chain(settings).collect::<Vec<_>>(),
        );
    }

    /// Takes a topic away.
    #[track_caller]
    pub fn delete_topic(&self, name: &str) {
        self.topics(&["--delete", "--topic", name]);
    }

    /// As `kafka-topics.sh` with these arguments.
    #[track_caller]
    fn topics(&self, arguments: &[&str]) {
        let mut command = java("-Xmx128m", self.place.path());
        command.args(["org.apache.kafka.tools.TopicCommand", "--bootstrap-server", &self.address()]).args(arguments);
        let output = command.output().unwrap();
        let said = [output.stdout, output.stderr].concat();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&said));
    }

    /// What readers of committed records see, topic by topic, partition by partition, in order.
    pub fn committed(&self, topics: &[&str]) -> Vec<Record> {
        self.read("read_committed", topics).0
    }

    /// What readers see who do not care.
    pub fn uncommitted(&self, topics: &[&str]) -> Vec<Record> {
        self.read("read_uncommitted", topics).0
    }

    /// Whether some transaction on these topics is neither committed nor aborted.
    pub fn has_open_transaction(&self, topics: &[&str]) -> bool {
        self.read("read_committed", topics).1 != self.read("read_uncommitted", topics).1
    }

    /// How many partitions a topic has.
    pub fn partitions(&self, topic: &str) -> usize {
        self.read("read_committed", &[topic]).1.len()
    }

    fn read(&self, isolation: &str, topics: &[&str]) -> (Vec<Record>, Vec<String>) {
        let mut reader = self.reader.lock().unwrap_or_else(PoisonError::into_inner);
        let reader = reader
            .get_or_insert_with(|| Reader::start(&here().join("Reader.java"), &self.address(), self.place.path()));
        reader.read(isolation, topics)
    }

    fn process(&self) -> std::sync::MutexGuard<'_, Option<Child>> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn log(&self) -> PathBuf {
        self.place.path().join("log")
    }

    fn settings(&self) -> PathBuf {
        self.place.path().join("server.properties")
    }

    fn configure(&self) {
        let [plain, sasl, controller, behind, proxy, tls] = self.ports.map(|port| format!("127.0.0.1:{port}"));
        let store = self.place.path().join("encrypted.pem");
        let parts = ["key.pem", "certificate.pem"].map(|name| fs::read(certificates().join(name)).unwrap());
        fs::write(&store, parts.concat()).unwrap();
        let mut text = fs::read_to_string(here().join("server.properties")).unwrap();
        for (name, value) in [
            (
                "listeners",
                format!(
                    "PLAINTEXT://{plain},SASL_PLAINTEXT://{sasl},CONTROLLER://{controller},PROXIED://{behind},ENCRYPTED://{tls}"
                ),
            ),
            (
                "advertised.listeners",
                format!("PLAINTEXT://{plain},SASL_PLAINTEXT://{sasl},PROXIED://{proxy},ENCRYPTED://{tls}"),
            ),
            ("controller.quorum.bootstrap.servers", controller),
            ("listener.name.encrypted.ssl.keystore.type", "PEM".to_owned()),
            ("listener.name.encrypted.ssl.keystore.location", store.display().to_string()),
            ("log.dirs", self.place.path().join("data").display().to_string()),
        ] {
            text.push_str(&format!("{name}={value}\n"));
        }
        fs::write(self.settings(), text).unwrap();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}
