//! Apache Kafka's own broker, and what its topics hold for readers of committed records.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{self, BufRead, BufReader, Lines, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::time::Duration;

use crate::daemon::last_lines;
use crate::server::{Server, free_port, repository, script};
use crate::shipped::Row;

/// For starts: far above what they take on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
const STARTED: &str = "Kafka Server started";
/// Any will do: it never meets another cluster.
const CLUSTER_ID: &str = "aW5nZXN0ZC10ZXN0cy0wMQ";
/// What an engineer wants to see of it, with the time, and nothing of the pages that it says at each start.
const LOGGING: [&str; 5] = [
    "showDateTime=true",
    "dateTimeFormat=HH:mm:ss.SSS",
    "defaultLogLevel=warn",
    "log.kafka.server=info",
    "log.kafka.coordinator=info",
];
/// The reader's source travels inside the rig.
const READER: &str = include_str!("../kafka/Topics.java");

/// A single-node cluster; see [`Server`] for its life.
#[derive(Debug)]
pub struct Kafka {
    /// The process.
    pub server: Server,
    address: String,
    folder: PathBuf,
    jars: PathBuf,
}

impl Kafka {
    /// A new cluster whose data is in `folder`, not started yet.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let jars = script("kafka.sh", &[])?;
        let address = format!("127.0.0.1:{}", free_port());
        let settings = folder.join("server.properties");
        std::fs::write(&settings, configure(&address, folder)?)?;
        let mut format = java(&jars, "-Xmx256m");
        format.extend(["kafka.tools.StorageTool", "format", "--standalone", "-t", CLUSTER_ID, "-c"].map(Into::into));
        format.push(settings.clone().into());
        let output = Command::new(&format[0]).args(&format[1..]).stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            return Err(io::Error::other(format!("formatting Kafka's folder: {}", last_lines(&said, 5))));
        }
        let mut words = java(&jars, "-Xmx512m");
        words.extend(LOGGING.map(|setting| format!("-Dorg.slf4j.simpleLogger.{setting}").into()));
        words.extend(["kafka.Kafka".into(), settings.into()]);
        let server = Server::new("Kafka", words, folder.join("server.log"));
        Ok(Self { server, address, folder: folder.to_owned(), jars })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Waits until it serves.
    pub fn wait_ready(&mut self) -> io::Result<()> {
        self.server.wait_until(WITHIN, |server| server.said().contains(STARTED))
    }

    /// A reader of these topics from their beginning on.
    pub fn reader(&self, topics: &[&str]) -> io::Result<Reader> {
        let source = self.folder.join("Topics.java");
        std::fs::write(&source, READER)?;
        let words = java(&self.jars, "-Xmx256m");
        let errors = std::fs::File::create(self.folder.join("reader.log"))?;
        let mut process = Command::new(&words[0])
            .args(&words[1..])
            .arg(source)
            .arg(&self.address)
            .args(topics)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(errors)
            .spawn()?;
        let stdout = process.stdout.take().ok_or_else(|| io::Error::other("no stdout"))?;
        let rows = topics.iter().map(|topic| ((*topic).to_owned(), Vec::new())).collect();
        Ok(Reader { process, lines: BufReader::new(stdout).lines(), rows })
    }
}

/// `java` with Kafka's jars.
fn java(jars: &Path, heap: &str) -> Vec<OsString> {
    // The second compiler costs more time than it saves in a life this short.
    let mut words: Vec<OsString> =
        ["java", heap, "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-cp"].map(Into::into).into();
    words.push(jars.join("*").into());
    words
}

/// The settings of the daemon's own tests, with one way in.
fn configure(address: &str, folder: &Path) -> io::Result<String> {
    let mut text = std::fs::read_to_string(repository().join("tests/support/kafka/server.properties"))?;
    let controller = format!("127.0.0.1:{}", free_port());
    for (name, value) in [
        ("listeners", format!("PLAINTEXT://{address},CONTROLLER://{controller}")),
        ("advertised.listeners", format!("PLAINTEXT://{address}")),
        ("controller.quorum.bootstrap.servers", controller),
        ("log.dirs", folder.join("data").display().to_string()),
        // A broker that was killed is taken back when its last life is believed to be over.
        ("broker.session.timeout.ms", "5000".to_owned()),
        ("broker.heartbeat.interval.ms", "1000".to_owned()),
    ] {
        text += &format!("{name}={value}\n");
    }
    Ok(text)
}

/// A running `Topics.java`; killed when dropped.
#[derive(Debug)]
pub struct Reader {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
    rows: BTreeMap<String, Vec<Row>>,
}

impl Reader {
    /// Reads what is new, and returns all that was read so far, by topic.
    pub fn read(&mut self) -> io::Result<&BTreeMap<String, Vec<Row>>> {
        let ended = || io::Error::other("the reader of the topics ended: see its log beside the broker's");
        self.process.stdin.as_mut().ok_or_else(ended)?.write_all(b"\n")?;
        loop {
            let line = self.lines.next().ok_or_else(ended)??;
            if line == "." {
                return Ok(&self.rows);
            }
            let strange = || io::Error::other(format!("the reader of the topics says {line:?}"));
            let mut fields = line.split('\t');
            let mut next = || fields.next().ok_or_else(strange);
            let (topic, lane, position, id) = (next()?, next()?, next()?, next()?);
            let lane = lane.parse().map_err(|_| strange())?;
            let position = position.parse().map_err(|_| strange())?;
            let rows = self.rows.get_mut(topic).ok_or_else(strange)?;
            rows.push(Row { lane, position, id: id.to_owned() });
        }
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        // Both fail only when it is gone already.
        drop(self.process.kill());
        drop(self.process.wait());
    }
}
