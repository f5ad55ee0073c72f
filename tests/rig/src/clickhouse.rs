//! A real ClickHouse server, and what its tables hold.

use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::http::Client;
use crate::server::{Server, free_port, repository, script};
use crate::shipped::Row;

/// For starts and statements: far above what they take on a busy machine.
const WITHIN: Duration = Duration::from_secs(120);
/// Rows of one answer.
const PAGE: u64 = 50_000;

/// The server; see [`Server`] for its life.
#[derive(Debug)]
pub struct ClickHouse {
    /// The process.
    pub server: Server,
    address: SocketAddr,
}

impl ClickHouse {
    /// A server whose data is in `folder`, not started yet.
    pub fn in_folder(folder: &Path) -> io::Result<Self> {
        std::fs::create_dir_all(folder)?;
        let python = script("python.sh", &["tests/clickhouse-requirements.txt", "--no-deps"])?.join("bin/python");
        let port = free_port();
        let mut words = vec![python.into(), repository().join("tests/support/clickhouse_server.py").into()];
        words.extend(["--folder".into(), folder.into(), "--port".into(), port.to_string().into()]);
        let server = Server::new("ClickHouse", words, folder.join("server.log"));
        Ok(Self { server, address: SocketAddr::from(([127, 0, 0, 1], port)) })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Waits until it answers.
    pub fn wait_ready(&mut self) -> io::Result<()> {
        let mut http = Client::new(self.address, Duration::from_secs(2));
        self.server.wait_until(WITHIN, |_| http.get("/ping").is_ok_and(|answer| answer.status == 200))
    }

    /// Runs a statement.
    pub fn sql(&self, sql: &str) -> io::Result<String> {
        let answer = Client::new(self.address, WITHIN).post("/", "", sql.as_bytes())?;
        let text = String::from_utf8_lossy(&answer.body).trim_end().to_owned();
        if answer.status == 200 { Ok(text) } else { Err(io::Error::other(format!("{sql}: {text}"))) }
    }

    /// Every row of a table: its position, which is in the column `position`, and the event's id.
    pub fn rows(&self, table: &str, position: &str) -> io::Result<Vec<Row>> {
        let newest = number(&self.sql(&format!("SELECT max({position}) FROM {table}"))?)?;
        let mut rows = Vec::new();
        for from in (0..=newest).step_by(PAGE as usize) {
            let page = format!("{position} >= {from} AND {position} < {}", from + PAGE);
            let sql = format!("SELECT {position}, ifNull(event_id, '') FROM {table} WHERE {page} ORDER BY {position}");
            for line in self.sql(&sql)?.lines() {
                let (position, id) = line.split_once('\t').unwrap_or((line, ""));
                rows.push(Row { lane: 0, position: number(position)?, id: id.to_owned() });
            }
        }
        Ok(rows)
    }
}

fn number(text: &str) -> io::Result<u64> {
    text.parse().map_err(|_| io::Error::other(format!("ClickHouse answers {text:?} where a number was asked for")))
}
