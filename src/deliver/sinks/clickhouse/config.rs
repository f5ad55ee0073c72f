use crate::Table;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Where the rows go, under which names, and how patiently.
#[derive(Clone, PartialEq, Eq)]
pub struct Config {
    /// Servers, `http://HOST:PORT` or `https://HOST:PORT`; the first that works is used, the others are for failover.
    pub urls: Vec<String>,
    /// Database of the tables; made when missing.
    pub database: String,
    /// Name of the user.
    pub user: String,
    /// Its password.
    pub password: String,
    /// PEM file of the authorities that `https` urls are held to; `None` for those that the system trusts.
    pub certificates: Option<PathBuf>,
    /// Names of the tables.
    pub names: Names,
    /// Months that `events_raw` keeps its rows after they were committed; 0 for ever.
    pub raw_months: u32,
    /// For servers that are one cluster; `None` makes plain `MergeTree` tables, on each server for itself.
    pub cluster: Option<Cluster>,
    /// Whether batches are packed with LZ4.
    pub compress: bool,
    /// How long a connection may take.
    pub connect_timeout: Duration,
    /// How long the server may take to accept the next piece of a batch.
    pub send_timeout: Duration,
    /// How long a whole batch, once sent, or any other statement may take.
    pub answer_timeout: Duration,
    /// A batch is full at so many rows.
    pub batch_rows_max: usize,
    /// A batch is full at so many bytes.
    pub batch_bytes_max: usize,
    /// More refused rows than this in one batch are taken for a mistake in the table, not in the rows.
    pub refused_rows_max: usize,
}

/// Names of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Names {
    /// Every accepted event as received.
    pub raw: String,
    /// The processed form.
    pub processed: String,
    /// Dead letters.
    pub errors: String,
}

/// How tables are made on a cluster.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cluster {
    /// Name in the servers' `remote_servers`, or a macro such as `{cluster}`.
    pub name: String,
    /// Path of a table in Keeper.
    pub path: String,
    /// Name of a replica.
    pub replica: String,
    /// When set, a `Distributed` table for readers is made beside each table, its name with this behind it.
    pub distributed_suffix: Option<String>,
}

/// A configuration that cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// `urls` is empty.
    #[error("urls: name at least one server")]
    NoUrl,
    /// Not `http://HOST:PORT` or `https://HOST:PORT`.
    #[error("urls: {0:?} is not http://HOST:PORT or https://HOST:PORT (user and password have keys of their own)")]
    Url(String),
    /// The same server twice.
    #[error("urls: {0:?} is named twice")]
    UrlTwice(String),
    /// A name that is empty, or has characters that would need care in every tool.
    #[error("{key}: {name:?} is not a name of letters, digits and _ that begins with none of the digits")]
    Name {
        /// What it names.
        key: &'static str,
        /// The name.
        name: String,
    },
    /// Two tables of one name.
    #[error("tables: {0:?} is named twice")]
    NameTwice(String),
    /// A text that would end its quotes.
    #[error("{key}: {text:?} holds a quote or backslash")]
    Quote {
        /// What it is.
        key: &'static str,
        /// The text.
        text: String,
    },
    /// A limit of zero.
    #[error("{0}: 0 leaves no room")]
    Zero(&'static str),
}

impl Names {
    /// `events_raw`, `events_processed` and `events_errors`, all with `prefix` before them.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        Names {
            raw: format!("{prefix}events_raw"),
            processed: format!("{prefix}events_processed"),
            errors: format!("{prefix}events_errors"),
        }
    }
}

impl Cluster {
    /// The usual paths: one per shard and table, `{replica}` for the replica.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Cluster {
            name: name.into(),
            path: "/clickhouse/tables/{shard}/{database}/{table}".into(),
            replica: "{replica}".into(),
            distributed_suffix: None,
        }
    }
}

impl Config {
    /// The defaults: database `default`, user `default` without password, plain tables, batches of 50,000 rows.
    #[must_use]
    pub fn new(urls: impl IntoIterator<Item = impl Into<String>>) -> Self {
        Config {
            urls: urls.into_iter().map(Into::into).collect(),
            database: "default".into(),
            user: "default".into(),
            password: String::new(),
            certificates: None,
            names: Names::with_prefix(""),
            raw_months: 18,
            cluster: None,
            compress: true,
            connect_timeout: Duration::from_secs(5),
            send_timeout: Duration::from_secs(30),
            answer_timeout: Duration::from_secs(60),
            batch_rows_max: 50_000,
            batch_bytes_max: 64 << 20,
            refused_rows_max: 1_000,
        }
    }

    /// Name of a table, without the database.
    #[must_use]
    pub fn name(&self, table: Table) -> &str {
        match table {
            Table::Raw => &self.names.raw,
            Table::Processed => &self.names.processed,
            Table::Errors => &self.names.errors,
        }
    }

    /// Database and name of a table, quoted for SQL.
    #[must_use]
    pub fn place(&self, table: Table) -> String {
        format!("`{}`.`{}`", self.database, self.name(table))
    }

    /// Whether this can work at all; looks at nothing outside.
    ///
    /// # Errors
    /// The first [`ConfigError`] found.
    pub fn check(&self) -> Result<(), ConfigError> {
        self.check_urls()?;
        self.check_names()?;
        if let Some(cluster) = &self.cluster {
            let texts = [("cluster", &cluster.name), ("path", &cluster.path), ("replica", &cluster.replica)];
            if let Some((key, text)) = texts.into_iter().find(|(_, text)| text.contains(['\'', '`', '\\'])) {
                return Err(ConfigError::Quote { key, text: text.clone() });
            }
        }
        let limits = [("batch_rows_max", self.batch_rows_max), ("batch_bytes_max", self.batch_bytes_max)];
        limits.iter().find(|limit| limit.1 == 0).map_or(Ok(()), |limit| Err(ConfigError::Zero(limit.0)))
    }

    fn check_urls(&self) -> Result<(), ConfigError> {
        if self.urls.is_empty() {
            return Err(ConfigError::NoUrl);
        }
        for (place, url) in self.urls.iter().enumerate() {
            let rest = url.strip_prefix("http://").or_else(|| url.strip_prefix("https://"));
            if !rest.is_some_and(|rest| !rest.is_empty() && !rest.contains(['/', '@', '?', '#', ' '])) {
                return Err(ConfigError::Url(url.clone()));
            }
            if self.urls.iter().take(place).any(|other| other == url) {
                return Err(ConfigError::UrlTwice(url.clone()));
            }
        }
        Ok(())
    }

    fn check_names(&self) -> Result<(), ConfigError> {
        let Names { raw, processed, errors } = &self.names;
        let keys = [("database", &self.database), ("raw", raw), ("processed", processed), ("errors", errors)];
        if let Some((key, name)) = keys.into_iter().find(|(_, name)| !is_name(name)) {
            return Err(ConfigError::Name { key, name: name.clone() });
        }
        let suffix = self.cluster.as_ref().and_then(|cluster| cluster.distributed_suffix.as_ref());
        if let Some(name) = suffix.filter(|suffix| !is_name(&format!("t{suffix}")) || suffix.is_empty()) {
            return Err(ConfigError::Name { key: "distributed_suffix", name: name.clone() });
        }
        let twice = if raw == processed || raw == errors { Some(raw) } else { None };
        match twice.or((processed == errors).then_some(errors)) {
            Some(name) => Err(ConfigError::NameTwice(name.clone())),
            None => Ok(()),
        }
    }
}

/// The password stays out of logs.
impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config")
            .field("urls", &self.urls)
            .field("database", &self.database)
            .field("user", &self.user)
            .field("names", &self.names)
            .field("cluster", &self.cluster)
            .finish_non_exhaustive()
    }
}

fn is_name(name: &str) -> bool {
    !name.is_empty()
        && !name.starts_with(|first: char| first.is_ascii_digit())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric() || letter == '_')
}
