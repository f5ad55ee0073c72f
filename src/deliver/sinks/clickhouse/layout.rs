//! The versions of the tables, and the way from one to the next.

use crate::client::{Client, Host};
use crate::ddl;
use crate::table::Column;
use crate::{Failure, Table};

/// A change of a table from one layout to the next.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Step {
    /// The version that a table has afterwards.
    pub(crate) to: u32,
    /// What follows `ALTER TABLE …`; each may be done again after a crash.
    pub(crate) changes: &'static [&'static str],
}

/// What a table looks like in a release.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Layout {
    pub(crate) table: Table,
    pub(crate) version: u32,
    pub(crate) columns: &'static [Column],
    /// From version 1 on, in order.
    pub(crate) steps: &'static [Step],
}

/// What was done about a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Prepared {
    /// It is made.
    Created,
    /// It was brought from an older layout to the present one.
    Migrated {
        /// The layout it had.
        from: u32,
    },
    /// It was there, as it should be.
    Found,
}

impl Layout {
    /// The layout of this release.
    pub(crate) fn current(table: Table) -> Self {
        // A new version gets a step here; its columns go into `Table::columns`, and its CREATE TABLE into the fixtures.
        Layout { table, version: 1, columns: table.columns(), steps: &[] }
    }

    /// The statements that bring a table from `version` to this layout, in order.
    fn way_from(&self, version: u32) -> impl Iterator<Item = String> {
        let steps = self.steps.iter().filter(move |step| step.to > version);
        let table = self.table;
        steps.flat_map(move |step| {
            let version = format!("MODIFY COMMENT '{}'", ddl::comment(table, step.to));
            // The comment last: a crash before it has the step done again.
            step.changes.iter().map(|change| (*change).to_owned()).chain([version])
        })
    }
}

impl Client {
    /// Makes the database and the tables on every server that can be reached, and brings tables of an older release to
    /// the present layout. May be done again, and by several daemons at once.
    ///
    /// # Errors
    /// [`Failure`] when no server can be reached, or one refuses; of kind [`crate::Kind::Schema`] when there is a table
    /// that this release does not know.
    pub async fn prepare(&self) -> Result<Vec<(Table, Prepared)>, Failure> {
        let mut done = Err(Failure::schema("clickhouse", "no server is configured"));
        for host in self.hosts() {
            match self.prepare_host(host, Layout::current).await {
                Ok(prepared) => done = done.or(Ok(prepared)),
                // It is prepared when it is needed.
                Err(failure) if failure.is_of_host() => done = done.or(Err(failure)),
                Err(failure) => return Err(failure),
            }
        }
        done
    }

    /// Makes or migrates the tables on one server.
    pub(crate) async fn prepare_host(
        &self,
        host: &Host,
        layout: impl Fn(Table) -> Layout,
    ) -> Result<Vec<(Table, Prepared)>, Failure> {
        self.ensure_server(host).await?;
        host.learn_settings().await?;
        self.make_database(host).await?;
        let mut done = Vec::with_capacity(Table::ALL.len());
        for table in Table::ALL {
            let layout = layout(table);
            done.push((table, self.prepare_table(host, &layout).await?));
            self.prepare_distributed(host, table).await?;
            // A server that was away is looked at here for the first time, right before an insert.
            self.ensure_table(host, &layout).await?;
        }
        host.set_prepared();
        Ok(done)
    }

    async fn make_database(&self, host: &Host) -> Result<(), Failure> {
        let database = self.config().database.as_str();
        // A user without the right to make one needs none where it is there.
        let found: u64 = host.one("SELECT count() FROM system.databases WHERE name = ?", &[database]).await?;
        if found > 0 {
            return Ok(());
        }
        host.run(&ddl::create_database(self.config())).await
    }

    async fn prepare_table(&self, host: &Host, layout: &Layout) -> Result<Prepared, Failure> {
        let Some(comment) = self.comment_of(host, layout.table).await? else {
            host.run(&ddl::create_table(self.config(), layout.table, layout.version, layout.columns)).await?;
            return Ok(Prepared::Created);
        };
        match ddl::version_in(layout.table, &comment) {
            Some(version) if version == layout.version => Ok(Prepared::Found),
            Some(version) if (1..layout.version).contains(&version) => {
                for change in layout.way_from(version) {
                    host.run(&ddl::alter(self.config(), layout.table, &change)).await?;
                }
                Ok(Prepared::Migrated { from: version })
            }
            Some(version) => Err(Failure::schema(host.url(), self.newer(layout, version))),
            None => Err(Failure::schema(host.url(), self.foreign(layout.table))),
        }
    }

    /// Makes the table for readers where one is wanted and missing.
    async fn prepare_distributed(&self, host: &Host, table: Table) -> Result<(), Failure> {
        let Some((name, sql)) = ddl::create_distributed(self.config(), table) else { return Ok(()) };
        match self.comment(host, &name).await? {
            Some(_) => Ok(()),
            None => host.run(&sql).await,
        }
    }

    /// The comment on a table; `None` when there is no such table.
    pub(crate) async fn comment_of(&self, host: &Host, table: Table) -> Result<Option<String>, Failure> {
        self.comment(host, self.config().name(table)).await
    }

    async fn comment(&self, host: &Host, name: &str) -> Result<Option<String>, Failure> {
        let sql = "SELECT comment FROM system.tables WHERE database = ? AND name = ?";
        let found: Vec<String> = host.all(sql, &[&self.config().database, name]).await?;
        Ok(found.into_iter().next())
    }

    pub(crate) fn newer(&self, layout: &Layout, version: u32) -> String {
        format!(
            "table {} has layout {version}, made by a newer release; this one knows layouts up to {}: install \
             the newer one",
            self.config().place(layout.table),
            layout.version
        )
    }

    pub(crate) fn foreign(&self, table: Table) -> String {
        let (place, name) = (self.config().place(table), self.config().name(table));
        let database = &self.config().database;
        format!(
            "table {place} was not made by ingestd, or has lost its comment: give the sink another table, or move it \
             away with: RENAME TABLE {place} TO `{database}`.`{name}_old`"
        )
    }
}
