//! Trying what a configuration needs of the machine and of others: disk, sockets, sinks. Leaves nothing behind.

use super::auth::AuthName;
use super::destinations::secret_files;
use super::neighbour::{Neighbour, is_default};
use super::sections::Config;
use crate::access::{Keyring, Prepared, Scope};
use crate::control::terminal::printable;
use crate::deliver::sinks::{clickhouse_client, kafka_client};
use crate::net;
use crate::net::tls::{EXPIRY_WARNING, Validity};
use rustix::fs::{statfs, statvfs};
use serde_json::{Value, json};
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

/// How a thing that was tried is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    /// Works.
    Fine,
    /// Works, with less than is promised or meant.
    Warning,
    /// Does not work.
    Error,
}

impl Level {
    /// The word for it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Level::Fine => "ok",
            Level::Warning => "warning",
            Level::Error => "error",
        }
    }
}

/// What has come of trying one thing.
#[derive(Debug)]
pub struct Finding {
    /// `disk`, `socket`, `auth`, `files`, `tls`, `clickhouse` or `kafka`.
    pub about: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found, and what mends it.
    pub text: String,
}

impl Finding {
    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({"about": self.about, "level": self.level.as_str(), "message": self.text})
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // It repeats what others have said: a sink, a neighbour, the system.
        write!(f, "{}: {}: {}", self.level.as_str(), self.about, printable(&self.text))
    }
}

/// Files written and synced to see how long that takes.
const SYNCS: usize = 5;
/// A sync that takes longer leaves nothing of the 5 ms in which an event is to be answered.
const SYNC_MAX: Duration = Duration::from_millis(5);
/// Longest path of a unix socket (`sun_path`, with its end).
const SOCKET_PATH_MAX: usize = 107;
/// How long the sinks may take to answer.
const SINK_PATIENCE: Duration = Duration::from_secs(10);
const TMPFS: i64 = 0x0102_1994;
const NFS: i64 = 0x6969;

/// Tries everything that has no mistake in its keys, which `is_sound` knows by the beginning of their names.
#[must_use]
pub fn probe(config: &Config, is_sound: impl Fn(&str) -> bool) -> Vec<Finding> {
    let mut findings = Findings(Vec::new());
    let neighbour = Neighbour::of(config);
    if is_sound("data_dir") {
        findings.disk(config);
        findings.admin_socket(config, &neighbour);
    }
    if is_sound("server.") {
        findings.listen(config, &neighbour);
    }
    findings.secrets(config);
    if is_sound("auth.") {
        findings.auth(config);
    }
    if config.tls.enabled && is_sound("tls.") {
        findings.tls(config);
    }
    if config.clickhouse.enabled && is_sound("clickhouse.") {
        findings.clickhouse(config);
    }
    if config.kafka.enabled && is_sound("kafka.") {
        findings.kafka(config);
    }
    findings.0
}

struct Findings(Vec<Finding>);

impl Findings {
    fn add(&mut self, level: Level, about: &'static str, text: impl Into<String>) {
        self.0.push(Finding { about, level, text: text.into() });
    }

    fn disk(&mut self, config: &Config) {
        let data = &config.data_dir;
        // Where there is no folder yet, it is made in the one that is there.
        let folder = data.ancestors().find(|folder| at(folder).exists()).map_or(Path::new("."), at);
        match write_and_sync(folder) {
            Err(cause) => {
                let user = rustix::process::geteuid().as_raw();
                self.add(
                    Level::Error,
                    "disk",
                    format!("cannot write and sync in {} as user {user}: {cause}", folder.display()),
                );
                return;
            }
            Ok(took) if took > SYNC_MAX => self.add(
                Level::Warning,
                "disk",
                format!("a sync in {} takes {:.1} ms: no answer is faster", folder.display(), ms(took)),
            ),
            Ok(took) => self.add(
                Level::Fine,
                "disk",
                format!("{} can be written; a sync takes {:.1} ms", folder.display(), ms(took)),
            ),
        }
        if let Err(cause) = lock_is_ours(data) {
            let lock = data.join("lock");
            self.add(Level::Error, "disk", format!("cannot write {}: {cause}; whose data is this?", lock.display()));
        }
        self.space(folder, config.log.disk_reserve_bytes);
        if let Some(text) = config.small_reserve() {
            self.add(Level::Warning, "disk", text);
        }
        match statfs(folder).map(|stat| stat.f_type) {
            Ok(TMPFS) => {
                let text = format!("{} is in memory (tmpfs): nothing there survives a restart", folder.display());
                self.add(Level::Warning, "disk", text);
            }
            Ok(NFS) => {
                let text = format!("{} is on NFS: what a sync promises there depends on the server", folder.display());
                self.add(Level::Warning, "disk", text);
            }
            _ => {}
        }
    }

    fn space(&mut self, folder: &Path, reserve: u64) {
        let Ok(stat) = statvfs(folder) else { return };
        let free = stat.f_bavail * stat.f_frsize;
        let (level, end) = match free < reserve {
            true => (Level::Error, ": every event would be refused"),
            false => (Level::Fine, ""),
        };
        self.add(level, "disk", format!("{free} bytes are free, log.disk_reserve_bytes is {reserve}{end}"));
        if stat.f_files > 0 && stat.f_favail == 0 {
            self.add(Level::Error, "disk", "no inode is free: no file can be made");
        }
    }

    fn listen(&mut self, config: &Config, neighbour: &Neighbour) {
        let address = config.server.listen;
        for address in [Some(address), config.server.admin_listen.0].into_iter().flatten() {
            match net::bind(address, 1) {
                Ok(_) => self.add(Level::Fine, "socket", format!("{address} can be listened on")),
                Err(cause) if cause.kind() == io::ErrorKind::AddrInUse && matches!(neighbour, Neighbour::Own) => {
                    let text = format!("{address} is in use, and the daemon of this data folder runs");
                    self.add(Level::Fine, "socket", text);
                }
                Err(cause) => self.add(Level::Error, "socket", format!("cannot listen on {address}: {cause}")),
            }
        }
        if !address.ip().is_loopback() && config.auth.intake == AuthName::None {
            let text = format!("{address} is reachable from outside without authentication");
            self.add(Level::Warning, "socket", text);
        }
        if let Some(figures) = config.server.admin_listen.0.filter(|figures| !figures.ip().is_loopback()) {
            let text =
                format!("{figures} (server.admin_listen) is reachable from outside, and auth.read is not asked for");
            self.add(Level::Warning, "socket", text);
        }
        let (possible, wanted) = (net::connections_possible(), config.server.connections_max);
        if possible < wanted {
            let text = format!(
                "the limit of open files leaves room for {possible} connections, server.connections_max is {wanted}: \
                 raise LimitNOFILE"
            );
            self.add(Level::Warning, "socket", text);
        }
    }

    fn auth(&mut self, config: &Config) {
        let rules = config.auth.rules();
        let takes_keys = Scope::ALL.into_iter().any(|scope| rules.mode(scope).takes_keys());
        match Keyring::open(&config.data_dir) {
            Err(error) => self.add(Level::Error, "auth", error.to_string()),
            Ok(keys) if takes_keys && keys.list().is_empty() => {
                let text = "there is no API key yet: `ingestd admin tokens add` makes one while the daemon runs";
                self.add(Level::Warning, "auth", text);
            }
            Ok(_) => {}
        }
        if rules.take_jwts() {
            match Prepared::read(rules) {
                Ok(_) => self.add(Level::Fine, "auth", "the keys of JWTs can be used"),
                Err(error) => self.add(Level::Error, "auth", error.to_string()),
            }
        }
    }

    fn admin_socket(&mut self, config: &Config, neighbour: &Neighbour) {
        let socket = config.admin_socket();
        let length = socket.as_os_str().len();
        if length > SOCKET_PATH_MAX {
            let text = format!(
                "the path of the admin socket has {length} bytes, {SOCKET_PATH_MAX} are possible: set admin.socket ({})",
                socket.display()
            );
            self.add(Level::Error, "socket", text);
            return;
        }
        match neighbour {
            Neighbour::Other(what) => return self.add(Level::Error, "socket", what),
            Neighbour::Own => return,
            // In the data folder it is where that was tried.
            Neighbour::Nobody if is_default(config) => return,
            Neighbour::Nobody => {}
        }
        let folder = at(socket.parent().unwrap_or(Path::new("")));
        let trial = folder.join(format!(".check-{}.sock", std::process::id()));
        let bound = UnixListener::bind(&trial);
        // Fails where it was not made.
        std::fs::remove_file(&trial).ok();
        match bound {
            Ok(_) => self.add(Level::Fine, "socket", format!("the admin socket can be made in {}", folder.display())),
            Err(cause) => {
                let text = format!("cannot make the admin socket in {}: {cause}", folder.display());
                self.add(Level::Error, "socket", text);
            }
        }
    }

    fn secrets(&mut self, config: &Config) {
        for (key, file) in secret_files(config) {
            match File::open(file).and_then(|file| file.metadata()) {
                Err(cause) => {
                    self.add(Level::Error, "files", format!("{key}: cannot read {}: {cause}", file.display()));
                }
                Ok(found) if found.permissions().mode() & 0o007 != 0 => {
                    let text = format!("{key}: everybody may read {}: chmod o= it", file.display());
                    self.add(Level::Warning, "files", text);
                }
                Ok(_) => {}
            }
        }
    }

    fn tls(&mut self, config: &Config) {
        let about = "tls";
        let identity = match config.tls.settings().load() {
            Ok(identity) => identity,
            Err(error) => return self.add(Level::Error, about, format!("{}: {error}", error.key())),
        };
        let validity = identity.validity(SystemTime::now());
        let level = match validity {
            Validity::For(left) if left > EXPIRY_WARNING => Level::Fine,
            Validity::For(_) => Level::Warning,
            _ => Level::Error,
        };
        self.add(level, about, format!("the certificate in {} {validity}", config.tls.cert_file.display()));
        let key = &config.tls.key_file;
        if std::fs::metadata(key).is_ok_and(|found| found.permissions().mode() & 0o007 != 0) {
            let text = format!("tls.key_file: everybody may read {}: chmod o= it", key.display());
            self.add(Level::Warning, about, text);
        }
    }

    fn clickhouse(&mut self, config: &Config) {
        let about = "clickhouse";
        let client = config.clickhouse.client().and_then(|mut client| {
            client.connect_timeout = client.connect_timeout.min(SINK_PATIENCE);
            client.answer_timeout = SINK_PATIENCE;
            clickhouse_client::Client::new(client).map_err(|error| error.to_string())
        });
        let client = match client {
            Ok(client) => client,
            Err(what) => return self.add(Level::Error, about, what),
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let problems = match runtime {
            Ok(runtime) => runtime.block_on(client.check()),
            Err(cause) => return self.add(Level::Error, about, cause.to_string()),
        };
        if problems.is_empty() {
            self.add(Level::Fine, about, format!("{} answers, the tables are as they have to be", urls(config)));
        }
        for problem in problems {
            // The daemon makes what is missing.
            let is_made = problem.mend.as_ref().is_some_and(|sql| sql.starts_with("CREATE TABLE"));
            match (problem.severity, is_made) {
                (_, true) => {
                    self.add(Level::Fine, about, format!("{}: {} and will be made", problem.host, problem.what));
                }
                (clickhouse_client::Severity::Warning, _) => self.add(Level::Warning, about, problem.to_string()),
                _ => self.add(Level::Error, about, problem.to_string()),
            }
        }
    }

    fn kafka(&mut self, config: &Config) {
        let about = "kafka";
        let client = match config.kafka.client(0) {
            Ok(client) => kafka_client::Config { patience: SINK_PATIENCE, ..client },
            Err(what) => return self.add(Level::Error, about, what),
        };
        let servers = &config.kafka.bootstrap_servers;
        match kafka_client::check(&client) {
            Ok(missing) if missing.is_empty() => {
                self.add(Level::Fine, about, format!("{servers} answers, the topics are there"));
            }
            Ok(missing) => {
                let text = format!("{servers} answers; topics that will be made: {}", missing.join(", "));
                self.add(Level::Fine, about, text);
            }
            Err(fault) => self.add(Level::Error, about, format!("{servers}: {fault}")),
        }
    }
}

fn urls(config: &Config) -> String {
    config.clickhouse.urls.join(", ")
}

/// The folder that a path without one means.
fn at(folder: &Path) -> &Path {
    if folder.as_os_str().is_empty() { Path::new(".") } else { folder }
}

/// Whether the file that the daemon locks may be written, if it is there.
fn lock_is_ours(data: &Path) -> io::Result<()> {
    match File::options().write(true).open(data.join("lock")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// A file that is removed again.
struct Trial(PathBuf);

impl Drop for Trial {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Makes a file in the folder, writes and syncs it; how long a sync takes, the median of some.
fn write_and_sync(folder: &Path) -> io::Result<Duration> {
    let trial = Trial(folder.join(format!(".check-{}", std::process::id())));
    let mut file = File::options().create_new(true).write(true).open(&trial.0)?;
    let mut took = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        let started = Instant::now();
        file.write_all(&[0; 4096])?;
        file.sync_data()?;
        took.push(started.elapsed());
    }
    File::open(folder)?.sync_all()?;
    took.sort_unstable();
    Ok(took[SYNCS / 2])
}

fn ms(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}
