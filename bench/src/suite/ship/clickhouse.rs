//! A ClickHouse server of one's own.

use super::root;
use anyhow::{Context, Result, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A server in a folder of its own, gone when dropped.
#[derive(Debug)]
pub struct ClickHouse {
    folder: PathBuf,
    child: Child,
    port: u16,
}

impl ClickHouse {
    /// A new one.
    pub fn start(folder: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&folder)?;
        let (child, port) = launch(&folder, 0)?;
        Ok(ClickHouse { folder, child, port })
    }

    /// Where it listens.
    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// A client of the vendor's crate.
    pub fn client(&self) -> clickhouse::Client {
        clickhouse::Client::default().with_url(self.url()).with_database("default").with_validation(false)
    }

    /// As by kill -9.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill()?;
        self.child.wait()?;
        Ok(())
    }

    /// Starts again with the same data, on the same port.
    pub fn start_again(&mut self) -> Result<()> {
        (self.child, _) = launch(&self.folder, self.port)?;
        Ok(())
    }
}

impl Drop for ClickHouse {
    fn drop(&mut self) {
        // It may have been killed.
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn launch(folder: &Path, port: u16) -> Result<(Child, u16)> {
    let made = Command::new(root().join("scripts/python.sh"))
        .args(["tests/clickhouse-requirements.txt", "--no-deps"])
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(made.status.success(), "scripts/python.sh: {}", made.status);
    let python = PathBuf::from(String::from_utf8(made.stdout)?.trim()).join("bin/python");
    let log = std::fs::File::options().create(true).append(true).open(folder.join("server.log"))?;
    let mut command = Command::new(python);
    command.arg(root().join("tests/support/clickhouse_server.py")).arg("--folder").arg(folder);
    command.args(["--port", &port.to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(log).spawn()?;
    let mut lines = BufReader::new(child.stdout.take().context("no output")?).lines();
    let line = lines.next().context("ClickHouse does not start: see its log")??;
    // Reads on, so that the server can write.
    std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
    Ok((child, line.strip_prefix("ready ").context("ClickHouse says something else")?.parse()?))
}
