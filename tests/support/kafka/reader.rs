//! What is in the topics, read by Kafka's own Java client.

use super::broker::java;
use std::io::{BufRead, BufReader, Lines, Write};
use std::path::Path;
use std::process::{Child, ChildStdout, Stdio};

/// A record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    pub topic: String,
    pub partition: i32,
    pub offset: u64,
    /// Where Kafka's own producer would have put that key; -1 without a key.
    pub javas_partition: i32,
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, String)>,
}

impl Record {
    /// The value of a header.
    #[track_caller]
    pub fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(header, _)| header == name);
        &found.unwrap_or_else(|| panic!("no header {name} in {self:?}")).1
    }

    /// The header `seq`.
    #[track_caller]
    pub fn seq(&self) -> u64 {
        self.header("seq").parse().unwrap()
    }
}

/// A running `Reader.java`.
pub(super) struct Reader {
    process: Child,
    lines: Lines<BufReader<ChildStdout>>,
}

impl Reader {
    pub(super) fn start(source: &Path, address: &str, place: &Path) -> Self {
        let mut command = java("-Xmx256m", place);
        command.arg(source).arg(address).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        Reader { process, lines }
    }

    /// The records, and the lines that say where each partition ends.
    #[track_caller]
    pub(super) fn read(&mut self, isolation: &str, topics: &[&str]) -> (Vec<Record>, Vec<String>) {
        writeln!(self.process.stdin.as_mut().unwrap(), "{isolation} {}", topics.join(" ")).unwrap();
        let (mut records, mut ends) = (Vec::new(), Vec::new());
        loop {
            let line = self.lines.next().expect("the reader ended").unwrap();
            match line.split_once('\t') {
                Some(("record", fields)) => records.push(record(fields)),
                Some(("end", _)) => ends.push(line),
                _ if line == "." => break,
                _ => panic!("the reader says {line}"),
            }
        }
        records.sort_by(|a, b| (&a.topic, a.partition, a.offset).cmp(&(&b.topic, b.partition, b.offset)));
        ends.sort();
        (records, ends)
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

fn record(line: &str) -> Record {
    let fields: Vec<_> = line.split('\t').collect();
    let [topic, partition, offset, javas_partition, key, value, headers @ ..] = &*fields else {
        panic!("the reader says {line}");
    };
    let header = |text: &&str| {
        let (name, value) = text.split_once('=').unwrap();
        (name.to_owned(), String::from_utf8(bytes(value).unwrap()).unwrap())
    };
    Record {
        topic: (*topic).to_owned(),
        partition: partition.parse().unwrap(),
        offset: offset.parse().unwrap(),
        javas_partition: javas_partition.parse().unwrap(),
        key: bytes(key),
        value: bytes(value),
        headers: headers.iter().map(header).collect(),
    }
}

/// Hex to bytes; `-` is none.
fn bytes(hex: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).unwrap() as u8;
    (hex != "-").then(|| hex.as_bytes().chunks(2).map(|pair| digit(pair[0]) << 4 | digit(pair[1])).collect())
}
