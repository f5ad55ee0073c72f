//! Looking whether server and tables are what exactly-once delivery needs.

use crate::client::{Client, Host};
use crate::layout::Layout;
use crate::partition::PARTITION_KEY;
use crate::settings::{TableSettings, is_replicated};
use crate::{Failure, Kind, Table, ddl};
use std::fmt;

/// The oldest release that has all that is used here.
pub const VERSION_MIN: (u32, u32) = (24, 8);

/// How bad a problem is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Rows arrive, with less of a promise.
    Warning,
    /// No server can be reached, so nothing is known: to be looked at again, later.
    Away,
    /// Nothing should be sent.
    Refusal,
}

/// Something that is wrong on a server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// The server, as configured.
    pub host: String,
    /// How bad it is.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// The statement that mends it, where there is one.
    pub mend: Option<String>,
}

impl Problem {
    fn advice(&self) -> String {
        let Problem { what, mend, .. } = self;
        mend.as_ref().map_or_else(|| what.clone(), |sql| format!("{what}; mend with: {sql}"))
    }
}

/// One line: what is wrong, and the SQL that mends it.
impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.host, self.advice())
    }
}

/// A row of `system.tables`.
struct Found {
    engine: String,
    engine_full: String,
    partition_key: String,
    sorting_key: String,
    comment: String,
}

/// The problems of one server, as they are found.
struct Findings<'a> {
    client: &'a Client,
    host: &'a Host,
    problems: Vec<Problem>,
}

impl Client {
    /// Looks at every server, changing nothing; returns what is wrong, nothing if all is well.
    ///
    /// A server that cannot be reached is a warning while another can be, else [`Severity::Away`].
    pub async fn check(&self) -> Vec<Problem> {
        let mut problems = Vec::new();
        let mut unreachable = Vec::new();
        for host in self.hosts() {
            let mut findings = Findings::new(self, host);
            match findings.look().await {
                Ok(()) => {}
                Err(failure) if failure.is_of_host() => unreachable.push(failure),
                Err(failure) => findings.add_failure(&failure),
            }
            problems.append(&mut findings.problems);
        }
        let severity = if unreachable.len() < self.hosts().len() { Severity::Warning } else { Severity::Away };
        problems.extend(unreachable.into_iter().map(|failure| Problem {
            what: failure.message,
            host: failure.host,
            severity,
            mend: None,
        }));
        problems
    }

    /// Fails when nothing should be done on a server, as it is too old.
    pub(crate) async fn ensure_server(&self, host: &Host) -> Result<(), Failure> {
        let mut findings = Findings::new(self, host);
        findings.look_at_server().await?;
        findings.into_result()
    }

    /// Fails when nothing should be sent to a table.
    pub(crate) async fn ensure_table(&self, host: &Host, layout: &Layout) -> Result<(), Failure> {
        let mut findings = Findings::new(self, host);
        findings.look_at_table(layout).await?;
        findings.into_result()
    }
}

impl<'a> Findings<'a> {
    fn new(client: &'a Client, host: &'a Host) -> Self {
        Findings { client, host, problems: Vec::new() }
    }

    /// The first refusal.
    fn into_result(self) -> Result<(), Failure> {
        let refusal = self.problems.into_iter().find(|problem| problem.severity == Severity::Refusal);
        refusal.map_or(Ok(()), |problem| Err(Failure::schema(&problem.host, problem.advice())))
    }

    async fn look(&mut self) -> Result<(), Failure> {
        if !self.look_at_server().await? {
            return Ok(());
        }
        self.look_at_user().await?;
        for table in Table::ALL {
            if self.look_at_table(&Layout::current(table)).await? {
                self.look_at_grants(table).await?;
            }
        }
        Ok(())
    }

    /// Whether it is worth looking any further.
    async fn look_at_server(&mut self) -> Result<bool, Failure> {
        let version: String = self.host.one("SELECT version()", &[]).await?;
        let is_enough = is_new_enough(&version);
        if !is_enough {
            let (major, minor) = VERSION_MIN;
            self.refuse(format!("ClickHouse {version} is older than {major}.{minor}: install a newer one"), None);
        }
        Ok(is_enough)
    }

    async fn look_at_user(&mut self) -> Result<(), Failure> {
        let readonly: String = self.host.one("SELECT value FROM system.settings WHERE name = 'readonly'", &[]).await?;
        if readonly != "0" {
            let user = &self.client.config().user;
            self.refuse(
                format!("user {user} is read-only (setting readonly = {readonly})"),
                Some(format!("ALTER USER `{user}` SETTINGS readonly = 0")),
            );
        }
        Ok(())
    }

    /// Whether there is one.
    async fn look_at_table(&mut self, layout: &Layout) -> Result<bool, Failure> {
        let config = self.client.config();
        let table = layout.table;
        let Some(found) = self.find(table).await? else {
            let sql = ddl::create_table(config, table, layout.version, layout.columns);
            self.refuse(format!("table {} is missing", config.place(table)), Some(sql));
            return Ok(false);
        };
        self.look_at_version(layout, &found.comment);
        self.look_at_engine(table, &found);
        self.look_at_columns(layout).await?;
        self.look_at_settings(table, &found).await?;
        Ok(true)
    }

    async fn find(&self, table: Table) -> Result<Option<Found>, Failure> {
        let sql = "SELECT engine, engine_full, partition_key, sorting_key, comment FROM system.tables \
                   WHERE database = ? AND name = ?";
        let config = self.client.config();
        let rows: Vec<(String, String, String, String, String)> =
            self.host.all(sql, &[&config.database, config.name(table)]).await?;
        let row = rows.into_iter().next();
        Ok(row.map(|(engine, engine_full, partition_key, sorting_key, comment)| Found {
            engine,
            engine_full,
            partition_key,
            sorting_key,
            comment,
        }))
    }

    fn look_at_version(&mut self, layout: &Layout, comment: &str) {
        match ddl::version_in(layout.table, comment) {
            Some(version) if version > layout.version => self.refuse(self.client.newer(layout, version), None),
            Some(_) => {}
            None => self.refuse(self.client.foreign(layout.table), None),
        }
    }

    fn look_at_engine(&mut self, table: Table, found: &Found) {
        let config = self.client.config();
        let place = config.place(table);
        let engine = &found.engine;
        if !engine.ends_with("MergeTree") {
            self.refuse(format!("table {place} has engine {engine}, which cannot deduplicate"), self.move_away(table));
            return;
        }
        if is_replicated(engine) != config.cluster.is_some() {
            let state = if config.cluster.is_some() { "names a cluster" } else { "names no cluster" };
            self.refuse(format!("table {place} has engine {engine}, but the configuration {state}"), None);
        }
        if found.partition_key != PARTITION_KEY {
            let key = &found.partition_key;
            let what = format!("table {place} is partitioned by ({key}), not by {PARTITION_KEY}");
            self.refuse(what, self.move_away(table));
        }
        if found.sorting_key != table.sorting_key() {
            let (key, ours) = (&found.sorting_key, table.sorting_key());
            self.warn(format!("table {place} is sorted by ({key}), not by ({ours}): queries may be slow"), None);
        }
    }

    /// Columns that others have added do no harm: each has a default.
    async fn look_at_columns(&mut self, layout: &Layout) -> Result<(), Failure> {
        let config = self.client.config();
        let sql = "SELECT name, type, default_kind FROM system.columns WHERE database = ? AND table = ?";
        let found: Vec<(String, String, String)> =
            self.host.all(sql, &[&config.database, config.name(layout.table)]).await?;
        let place = config.place(layout.table);
        for column in layout.columns {
            let name = column.name;
            let alter = |change| ddl::alter(config, layout.table, change);
            match found.iter().find(|found| found.0 == name) {
                None => {
                    let sql = alter(&format!("ADD COLUMN {}", ddl::definition(column)));
                    self.refuse(format!("table {place} has no column {name}"), Some(sql));
                }
                Some((_, kind, _)) if kind != column.kind => {
                    let sql = alter(&format!("MODIFY COLUMN {name} {}", column.kind));
                    let what = format!("column {name} of table {place} is {kind}, not {}", column.kind);
                    self.refuse(what, Some(sql));
                }
                Some((_, _, default)) if matches!(default.as_str(), "MATERIALIZED" | "ALIAS") => {
                    let sql = alter(&format!("MODIFY COLUMN {name} {}", column.kind));
                    let what = format!("column {name} of table {place} is computed ({default}) and takes no value");
                    self.refuse(what, Some(sql));
                }
                Some(_) => {}
            }
        }
        Ok(())
    }

    async fn look_at_settings(&mut self, table: Table, found: &Found) -> Result<(), Failure> {
        let settings = TableSettings::of(self.host, &found.engine_full).await?;
        let config = self.client.config();
        let place = config.place(table);
        for (name, wanted, is_needed) in ddl::SETTINGS {
            let of_other_engine =
                name.contains("deduplication") && name.starts_with("replicated") != is_replicated(&found.engine);
            let value = settings.get(name);
            if of_other_engine || value >= wanted {
                continue;
            }
            let sql = Some(ddl::alter(config, table, &format!("MODIFY SETTING {name} = {wanted}")));
            let what = format!("table {place} has {name} = {value}, not {wanted}");
            if is_needed && value == 0 {
                self.refuse(format!("{what}: a repeated batch would be there twice"), sql);
            } else {
                self.warn(what, sql);
            }
        }
        Ok(())
    }

    async fn look_at_grants(&mut self, table: Table) -> Result<(), Failure> {
        let config = self.client.config();
        let place = config.place(table);
        for right in ["INSERT", "SELECT"] {
            let granted = match self.host.one::<u8>(&format!("CHECK GRANT {right} ON {place}"), &[]).await {
                // Releases that cannot tell are believed to allow it: an insert will say otherwise.
                Err(failure) if failure.kind == Kind::Schema => 1,
                other => other?,
            };
            if granted == 0 {
                let user = &config.user;
                let sql = format!("GRANT {right} ON {place} TO `{user}`");
                self.refuse(format!("user {user} may not {right} on table {place}"), Some(sql));
            }
        }
        Ok(())
    }

    fn move_away(&self, table: Table) -> Option<String> {
        let config = self.client.config();
        let place = config.place(table);
        Some(format!("RENAME TABLE {place} TO `{}`.`{}_old`", config.database, config.name(table)))
    }

    fn add_failure(&mut self, failure: &Failure) {
        self.refuse(failure.message.clone(), None);
    }

    fn refuse(&mut self, what: String, mend: Option<String>) {
        self.add(Severity::Refusal, what, mend);
    }

    fn warn(&mut self, what: String, mend: Option<String>) {
        self.add(Severity::Warning, what, mend);
    }

    fn add(&mut self, severity: Severity, what: String, mend: Option<String>) {
        // A problem is one line, whatever a server put into its text.
        let what = what.replace(['\r', '\n'], " ");
        self.problems.push(Problem { host: self.host.url().to_owned(), severity, what, mend });
    }
}

pub(crate) fn is_new_enough(version: &str) -> bool {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= VERSION_MIN
}
