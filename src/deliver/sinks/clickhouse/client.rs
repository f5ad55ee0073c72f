//! The servers: connections, statements, and which of them is used.

use crate::{Config, ConfigError, Failure, Outcome};
use clickhouse::{Compression, RowOwned, RowRead};
use hyper_rustls::{ConfigBuilderExt, HttpsConnectorBuilder};
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::fmt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tokio::time::timeout;

/// Connections are left before a server closes them, which takes it 3 s or more: a batch into a dying connection would
/// be one of unknown outcome.
const IDLE_MAX: Duration = Duration::from_secs(2);
const KEEPALIVE: Duration = Duration::from_secs(60);

/// Where a batch goes: to be stored with it, before its first byte is sent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Target {
    /// Any server, as all of them hold the same `Replicated…` table and know each other's tokens.
    Any,
    /// That one, which alone knows whether it has it.
    Host(String),
}

/// Something could not be set up at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// The configuration cannot work.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The certificates that `https` urls need cannot be read.
    #[error("cannot read certificates from {from}: {why}")]
    Certificates {
        /// The file, or the system.
        from: String,
        /// What is wrong with them.
        why: String,
    },
}

/// The servers of a configuration. Makes connections when they are needed.
pub struct Client {
    config: Config,
    hosts: Vec<Host>,
    current: AtomicUsize,
}

/// One server.
pub(crate) struct Host {
    url: String,
    client: clickhouse::Client,
    answer_timeout: Duration,
    prepared: AtomicBool,
    /// Settings of this server that could tear a batch apart, and what they have to be.
    guards: OnceLock<Vec<(String, &'static str)>>,
}

/// Settings that only some releases have, and the value that keeps a batch one block with a working token.
const GUARDS: [(&str, &str); 5] = [
    ("deduplicate_insert", "enable"),
    ("input_format_connection_handling", "0"),
    ("input_format_max_block_size_bytes", "0"),
    ("input_format_max_block_wait_ms", "0"),
    ("max_insert_block_size_bytes", "0"),
];

impl Client {
    /// Checks the configuration; nothing is connected to yet.
    ///
    /// # Errors
    /// [`SetupError`].
    pub fn new(config: Config) -> Result<Self, SetupError> {
        config.check()?;
        let hosts = config.urls.iter().map(|url| Host::new(url, &config)).collect::<Result<_, _>>()?;
        Ok(Client { config, hosts, current: AtomicUsize::new(0) })
    }

    /// What it was made from.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where the next new batch should go.
    #[must_use]
    pub fn target(&self) -> Target {
        match (&self.config.cluster, self.current()) {
            (None, Some(host)) => Target::Host(host.url.clone()),
            _ => Target::Any,
        }
    }

    /// Everywhere that rows can be: each server, where each has its own.
    #[must_use]
    pub fn targets(&self) -> Vec<Target> {
        match self.config.cluster {
            Some(_) => vec![Target::Any],
            None => self.config.urls.iter().cloned().map(Target::Host).collect(),
        }
    }

    /// Asks the server that is in use whether it can answer a query.
    ///
    /// # Errors
    /// [`Failure`].
    pub async fn ping(&self) -> Result<(), Failure> {
        self.on(&self.target(), async |host| host.one::<u8>("SELECT 1", &[]).await.map(|_| ())).await
    }

    pub(crate) fn hosts(&self) -> &[Host] {
        &self.hosts
    }

    fn current(&self) -> Option<&Host> {
        self.hosts.get(self.current.load(Ordering::Relaxed))
    }

    /// Does something on the target; on any server, tries one after the other until one is able to.
    ///
    /// A server that fails is left for the next one, for this and for what comes later. What is unknown of one attempt
    /// is not known by the failure of the next.
    pub(crate) async fn on<T>(
        &self,
        target: &Target,
        action: impl AsyncFn(&Host) -> Result<T, Failure>,
    ) -> Result<T, Failure> {
        let first = match target {
            Target::Any => self.current.load(Ordering::Relaxed),
            Target::Host(url) => self.hosts.iter().position(|host| host.url == *url).ok_or_else(|| gone(url))?,
        };
        let tries = if *target == Target::Any { self.hosts.len() } else { 1 };
        let mut last: Option<Failure> = None;
        let mut outcome = Outcome::NotApplied;
        for place in (0..tries).map(|step| (first + step) % self.hosts.len()) {
            let Some(host) = self.hosts.get(place) else { break };
            let failure = match action(host).await {
                Err(failure) if outcome == Outcome::Unknown => Failure { outcome, ..failure },
                Err(failure) => failure,
                done => return done,
            };
            if !failure.is_of_host() {
                return Err(failure);
            }
            self.leave(place);
            outcome = failure.outcome;
            last = Some(failure);
        }
        Err(last.unwrap_or_else(|| gone("clickhouse")))
    }

    /// The next server is used from now on, if that one still was.
    fn leave(&self, place: usize) {
        let next = (place + 1) % self.hosts.len();
        // Whoever lost the race has left it, too.
        self.current.compare_exchange(place, next, Ordering::Relaxed, Ordering::Relaxed).ok();
    }
}

impl Host {
    fn new(url: &str, config: &Config) -> Result<Self, SetupError> {
        let mut http = HttpConnector::new();
        http.enforce_http(false);
        http.set_connect_timeout(Some(config.connect_timeout));
        http.set_keepalive(Some(KEEPALIVE));
        http.set_nodelay(true);
        let mut pool = hyper_util::client::legacy::Client::builder(TokioExecutor::new());
        pool.pool_idle_timeout(IDLE_MAX);
        pool.pool_timer(hyper_util::rt::TokioTimer::new());
        let client = if url.starts_with("https:") {
            let tls = HttpsConnectorBuilder::new().with_tls_config(tls_config(config.certificates.as_deref())?);
            clickhouse::Client::with_http_client(pool.build(tls.https_only().enable_http1().wrap_connector(http)))
        } else {
            clickhouse::Client::with_http_client(pool.build(http))
        };
        let client = client
            .with_url(url)
            .with_user(&config.user)
            .with_password(&config.password)
            .with_compression(if config.compress { Compression::Lz4 } else { Compression::None })
            .with_product_info("ingestd", env!("CARGO_PKG_VERSION"));
        Ok(Host {
            url: url.to_owned(),
            client,
            answer_timeout: config.answer_timeout,
            prepared: AtomicBool::new(false),
            guards: OnceLock::new(),
        })
    }

    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    pub(crate) fn client(&self) -> &clickhouse::Client {
        &self.client
    }

    pub(crate) fn is_prepared(&self) -> bool {
        self.prepared.load(Ordering::Acquire)
    }

    pub(crate) fn set_prepared(&self) {
        self.prepared.store(true, Ordering::Release);
    }

    pub(crate) fn guards(&self) -> &[(String, &'static str)] {
        self.guards.get().map(Vec::as_slice).unwrap_or_default()
    }

    /// Finds out which of the [`GUARDS`] this server has.
    pub(crate) async fn learn_settings(&self) -> Result<(), Failure> {
        if self.guards.get().is_none() {
            let names = GUARDS.map(|(name, _)| format!("'{name}'")).join(", ");
            let known: Vec<String> =
                self.all(&format!("SELECT name FROM system.settings WHERE name IN ({names})"), &[]).await?;
            let guards = GUARDS.iter().filter_map(|(name, value)| {
                known.iter().find(|known| known == name).map(|name| (name.clone(), *value))
            });
            // Whoever was first has found the same.
            self.guards.set(guards.collect()).ok();
        }
        Ok(())
    }

    /// Runs a statement that returns nothing.
    pub(crate) async fn run(&self, sql: &str) -> Result<(), Failure> {
        self.within(self.client.query_raw(sql).execute()).await
    }

    /// All rows of a query; each `?` stands for one of `texts`.
    pub(crate) async fn all<T: RowOwned + RowRead>(&self, sql: &str, texts: &[&str]) -> Result<Vec<T>, Failure> {
        let query = texts.iter().fold(self.client.query(sql), |query, text| query.bind(*text));
        self.within(query.fetch_all::<T>()).await.map_err(Failure::of_reading)
    }

    /// The only row of a query.
    pub(crate) async fn one<T: RowOwned + RowRead>(&self, sql: &str, texts: &[&str]) -> Result<T, Failure> {
        let query = texts.iter().fold(self.client.query(sql), |query, text| query.bind(*text));
        self.within(query.fetch_one::<T>()).await.map_err(Failure::of_reading)
    }

    async fn within<T>(&self, work: impl Future<Output = clickhouse::error::Result<T>>) -> Result<T, Failure> {
        match timeout(self.answer_timeout, work).await {
            Ok(result) => result.map_err(|error| Failure::of(&self.url, &error)),
            Err(_) => Err(Failure::late(&self.url)),
        }
    }
}

/// Trusts who signed the certificates in `file`, else whom the system trusts.
fn tls_config(file: Option<&Path>) -> Result<rustls::ClientConfig, SetupError> {
    let from = || file.map_or_else(|| "the system".to_owned(), |file| file.display().to_string());
    let unreadable = |why: &dyn fmt::Display| SetupError::Certificates { from: from(), why: why.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = rustls::ClientConfig::builder_with_provider(provider);
    let builder = builder.with_safe_default_protocol_versions().map_err(|error| unreadable(&error))?;
    let Some(file) = file else {
        return builder
            .with_native_roots()
            .map_err(|error| unreadable(&error))
            .map(|roots| roots.with_no_client_auth());
    };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(file).map_err(|error| unreadable(&error))? {
        let certificate = certificate.map_err(|error| unreadable(&error))?;
        roots.add(certificate).map_err(|error| unreadable(&error))?;
    }
    if roots.is_empty() {
        return Err(unreadable(&"there are none"));
    }
    Ok(builder.with_root_certificates(roots).with_no_client_auth())
}

fn gone(url: &str) -> Failure {
    Failure::schema(
        url,
        "this server, which may have an unfinished batch, is no longer configured: name it again in urls",
    )
}
