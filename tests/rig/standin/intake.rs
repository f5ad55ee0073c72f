//! Just enough HTTP: one thread per connection, JSON and NDJSON in, the daemon's answers out.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;

use serde_json::{Value, json};

use crate::store::{Bug, Refusal, Store, Stored};

pub(crate) fn accept(listener: TcpListener, store: Arc<Store>) {
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let store = Arc::clone(&store);
            // A connection that breaks concerns nobody but its client.
            std::thread::spawn(move || drop(connection(stream, &store)));
        }
    });
}

fn connection(stream: TcpStream, store: &Store) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut reader = BufReader::new(stream.try_clone()?);
    let mut writer = stream;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(());
        }
        let path = line.split(' ').nth(1).unwrap_or("").to_owned();
        let (mut length, mut ndjson, mut key) = (0, false, None);
        loop {
            let mut header = String::new();
            reader.read_line(&mut header)?;
            let header = header.trim().to_ascii_lowercase();
            match header.split_once(": ") {
                Some(("content-length", value)) => length = value.parse().unwrap_or(0),
                Some(("idempotency-key", value)) => key = Some(value.to_owned()),
                Some(("content-type", value)) => ndjson = value == "application/x-ndjson",
                _ => {}
            }
            if header.is_empty() {
                break;
            }
        }
        if path == "/events/stream" {
            return crate::stream::serve(&mut reader, &mut writer, store);
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body)?;
        let (status, mut answer) = route(&path, ndjson, &String::from_utf8_lossy(&body), store);
        if let Some(key) = key.filter(|_| status == 202 && store.bug() != Bug::ForgetKeys) {
            // The rigs use a key with one batch of new events only: its first answer can be told from the key.
            (answer["batchId"], answer["duplicates"]) = (key.into(), 0.into());
        }
        let text = answer.to_string();
        let length = text.len();
        writer.write_all(format!("HTTP/1.1 {status} -\r\nContent-Length: {length}\r\n\r\n{text}").as_bytes())?;
    }
}

fn route(path: &str, ndjson: bool, body: &str, store: &Store) -> (u16, Value) {
    match path {
        "/health/ready" => (200, json!({})),
        "/events" => single(body, store),
        "/events/batch" => batch(ndjson, body, store),
        _ => (404, json!({})),
    }
}

pub(crate) fn id_of(event: &Value) -> Option<String> {
    event["sessionId"].as_str().and(event["eventId"].as_str()).map(str::to_owned)
}

fn single(body: &str, store: &Store) -> (u16, Value) {
    let event: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let Some(id) = id_of(&event) else {
        if store.bug() == Bug::StoreRejected {
            drop(store.append(&[event["eventId"].as_str().unwrap_or("").to_owned()], body, false));
        }
        return (400, json!({"status": "rejected"}));
    };
    match store.append(std::slice::from_ref(&id), body, false) {
        Ok(stored) => {
            let Stored { seq, duplicate } = stored[0];
            (202, json!({"eventId": id, "status": "accepted", "seq": seq, "duplicate": duplicate}))
        }
        Err(refusal) => refused(&refusal),
    }
}

fn batch(ndjson: bool, body: &str, store: &Store) -> (u16, Value) {
    let whole: Value = serde_json::from_str(body).unwrap_or(Value::Null);
    let events: Vec<Value> = if ndjson {
        body.lines().map(|line| serde_json::from_str(line).unwrap_or(Value::Null)).collect()
    } else {
        whole.as_array().or(whole["events"].as_array()).cloned().unwrap_or_default()
    };
    let good: Vec<String> = events.iter().filter_map(id_of).collect();
    let (total, failed) = (events.len(), events.len() - good.len());
    let atomic = whole["options"]["failOnError"] == true;
    if atomic && failed > 0 {
        return (400, json!({"totalEvents": total, "successful": 0, "failed": total}));
    }
    match store.append(&good, body, atomic) {
        Ok(stored) => {
            let duplicates = stored.iter().filter(|stored| stored.duplicate).count();
            let counts =
                json!({"totalEvents": total, "successful": good.len(), "failed": failed, "duplicates": duplicates});
            (202, counts)
        }
        Err(refusal) => refused(&refusal),
    }
}

fn refused(refusal: &Refusal) -> (u16, Value) {
    let code = match refusal {
        Refusal::DiskReserve => "disk_reserve",
        Refusal::Closed => "shutting_down",
    };
    (503, json!({"code": code}))
}
