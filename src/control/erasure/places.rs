//! Where events were delivered to, and what is to be done there. Also by sinks that are switched off, as far as the log
//! knows a place of theirs: where they wrote to is what the configuration names now.

use super::subject::Subject;
use super::{statements, text};
use crate::control::Pipeline;
use crate::control::config::Config;
use crate::deliver::sinks::{ClickHouseTables, KafkaTopics, ParquetFiles};
use crate::deliver::verify::{Census, HeldFile};
use crate::deliver::{Cursor, Destination, Manifest};
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::sync::Arc;

/// What the statements are made of.
pub(super) struct Places {
    pub(super) pipeline: Pipeline,
    pub(super) config: Config,
    pub(super) subject: Subject,
    pub(super) sessions: BTreeSet<String>,
}

impl Places {
    /// What is to be done about each sink. `troubles`: why a running one has not let go of what it had read. Blocks.
    pub(super) fn tell(&self, troubles: Vec<Option<String>>) -> Result<Vec<Value>, String> {
        let (mut told, mut running, mut troubles) = (Vec::new(), Vec::new(), troubles.into_iter());
        for sink in self.pipeline.sinks() {
            let snapshot = sink.status().snapshot();
            running.push(snapshot.sink);
            let mut place = self.place(snapshot.sink, snapshot.state.as_str(), snapshot.cursor.get())?;
            place["trouble"] = troubles.next().flatten().into();
            self.put_statements(snapshot.sink, Some(sink.census()), &mut place);
            told.push(place);
        }
        for (name, cursor) in Cursor::of_others(self.pipeline.reader(), &running).map_err(text)? {
            let mut place = self.place(&name, "off", cursor.next.get())?;
            self.put_statements(&name, None, &mut place);
            told.push(place);
        }
        Ok(told)
    }

    /// Where a sink is, and what of it is on its way.
    fn place(&self, sink: &str, state: &str, next: u64) -> Result<Value, String> {
        let under_way = Manifest::load(self.pipeline.reader(), sink).map_err(text)?;
        let ranges = |dead: bool| -> Vec<Value> {
            let batches = under_way.iter().flatten().filter(|batch| batch.dead == dead);
            batches.map(|batch| json!([batch.first.get(), batch.last.get()])).collect()
        };
        Ok(json!({
            "sink": sink,
            "state": state,
            "next": next,
            "underWay": ranges(false),
            "lettersUnderWay": ranges(true),
            "trouble": null,
        }))
    }

    fn put_statements(&self, sink: &str, census: Option<&Arc<dyn Census>>, told: &mut Value) {
        match sink {
            ClickHouseTables::NAME => {
                told["statements"] = statements::clickhouse(&self.config, &self.subject).into();
            }
            KafkaTopics::NAME => {
                told["topics"] = self.config.kafka.topics().into();
                told["keys"] = self.sessions.iter().cloned().collect::<Vec<_>>().into();
            }
            ParquetFiles::NAME => {
                let found = match census {
                    Some(census) => self.files(&**census),
                    None => self.files(&*ParquetFiles::new(self.config.parquet_files()).census()),
                };
                match found {
                    Ok(files) => told["files"] = files.into(),
                    // What is erased is so; this is only not known.
                    Err(reason) => told["unknown"] = reason.into(),
                }
            }
            _ => told["unknown"] = "this release has no such sink".into(),
        }
    }

    fn files(&self, census: &dyn Census) -> Result<Vec<Value>, String> {
        let is_meant =
            |tenant: &str, event_id: &str, user_id: Option<&str>| self.subject.owns(tenant, event_id, user_id);
        Ok(census.holding(&is_meant)?.iter().map(|file| self.file(file)).collect())
    }

    fn file(&self, file: &HeldFile) -> Value {
        let path = file.path.display().to_string();
        match &file.unread {
            Some(reason) => json!({"path": path, "unread": reason}),
            None => {
                let statement = statements::duckdb(&file.path, &file.mark, &self.subject);
                json!({"path": path, "events": file.events, "statement": statement})
            }
        }
    }
}
