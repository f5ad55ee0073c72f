//! Bodies: what they may be packed in, what they may be, how large they may be.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[cfg(test)]
mod support;

use std::io::Write;
use support::{Answer, Daemon, event, events, events_with, eventually, ndjson, request};

const KIB: usize = 1 << 10;
const MIB: usize = 1 << 20;
const CODECS: [&str; 3] = ["gzip", "zstd", "br"];

fn pack(codec: &str, plain: &[u8]) -> Vec<u8> {
    match codec {
        "gzip" => {
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
            encoder.write_all(plain).unwrap();
            encoder.finish().unwrap()
        }
        "zstd" => zstd::encode_all(plain, 3).unwrap(),
        _ => {
            let mut packed = Vec::new();
            brotli::CompressorWriter::new(&mut packed, 4096, 5, 22).write_all(plain).unwrap();
            packed
        }
    }
}

fn post_packed(daemon: &Daemon, path: &str, kind: &str, codec: &str, body: &[u8]) -> Answer {
    daemon.request("POST", path, &[("Content-Type", kind), ("Content-Encoding", codec)], body)
}

#[test]
fn a_packed_event_is_unpacked() {
    let daemon = Daemon::start();
    for codec in CODECS {
        let body = pack(codec, event(codec).to_string().as_bytes());
        let answer = post_packed(&daemon, "/events", "application/json", codec, &body).with_status(202);
        assert_eq!(answer["eventId"], codec);
    }
    let body = pack("gzip", event("x").to_string().as_bytes());
    post_packed(&daemon, "/events", "application/json", "X-GZip", &body).with_status(202);
    let plain = event("i").to_string();
    post_packed(&daemon, "/events", "application/json", "identity", plain.as_bytes()).with_status(202);
    assert_eq!(daemon.totals()[0], 5);
}

#[test]
fn a_large_packed_batch_is_unpacked() {
    let daemon = Daemon::start();
    for codec in CODECS {
        // Random content stays large when it is packed.
        let mut batch = events(codec, 1000);
        for (number, event) in batch.iter_mut().enumerate() {
            let noise: String =
                (0..40).map(|at| format!("{:08x}", (number * 41 + at) * 2_654_435_761 % 4_294_967_291)).collect();
            event["data"]["noise"] = noise.into();
        }
        let packed = pack(codec, ndjson(&batch).as_bytes());
        assert!(packed.len() > 65 * KIB, "{codec}: {}", packed.len());
        let body = post_packed(&daemon, "/events/batch", "application/x-ndjson", codec, &packed).with_status(202);
        assert_eq!(body["successful"], 1000);
    }
    assert_eq!(daemon.totals(), [3000, 0, 0, 0]);
}

#[test]
fn a_decompression_bomb_is_cut_off() {
    let daemon = Daemon::start();
    let before = daemon.resident_bytes();
    for codec in CODECS {
        let bomb = pack(codec, &vec![b' '; 300 * MIB]);
        assert!(bomb.len() < MIB, "{codec}: {}", bomb.len());
        for path in ["/events", "/events/batch"] {
            post_packed(&daemon, path, "application/json", codec, &bomb).problem(413);
        }
    }
    let grown = daemon.resident_bytes().saturating_sub(before) / MIB as u64;
    // What the allocator keeps of bodies cut off at 8 MiB, on each thread that unpacked one, is far below one bomb.
    assert!(grown < 150, "300 MiB were announced, {grown} MiB stayed");
    daemon.post("/events", event("after").to_string()).with_status(202);
}

#[test]
fn a_window_larger_than_any_body_is_not_allocated() {
    let daemon = Daemon::start();
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    encoder.window_log(27).unwrap();
    encoder.include_contentsize(false).unwrap();
    encoder.write_all(event("e").to_string().as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    let answer = post_packed(&daemon, "/events", "application/json", "zstd", &packed);
    assert!(matches!(answer.status, 400 | 413), "{answer:?}");
}

#[test]
fn a_damaged_packed_body_is_400() {
    let daemon = Daemon::start();
    for codec in CODECS {
        let whole = pack(codec, ndjson(&events("e", 50)).as_bytes());
        for damaged in [&whole[..whole.len() / 2], b"{\"eventId\":\"plain\"}", b""] {
            post_packed(&daemon, "/events/batch", "application/x-ndjson", codec, damaged).problem(400);
        }
    }
    assert_eq!(daemon.totals()[0], 0);
}

#[test]
fn what_follows_a_packed_body_is_400() {
    let daemon = Daemon::start();
    for codec in CODECS {
        let whole = pack(codec, event(codec).to_string().as_bytes());
        for behind in [1, 3, 10_000] {
            let body = [whole.clone(), vec![b'x'; behind]].concat();
            post_packed(&daemon, "/events", "application/json", codec, &body).problem(400);
        }
        post_packed(&daemon, "/events", "application/json", codec, &whole).with_status(202);
    }
    assert_eq!(daemon.totals(), [3, 0, 0, 0]);
}

#[test]
fn two_content_types_are_400() {
    let daemon = Daemon::start();
    let twice = [("Content-Type", "application/json"), ("Content-Type", "application/x-ndjson")];
    for path in ["/events", "/events/batch"] {
        daemon.request("POST", path, &twice, event("e").to_string().as_bytes()).problem(400);
    }
    assert_eq!(daemon.totals(), [0; 4]);
}

#[test]
fn a_transfer_coding_that_is_not_undone_is_501() {
    let daemon = Daemon::start();
    let packed = pack("gzip", event("e").to_string().as_bytes());
    let chunks = [format!("{:x}\r\n", packed.len()).as_bytes(), &packed[..], &b"\r\n0\r\n\r\n"[..]].concat();
    for coding in ["gzip, chunked", "gzip,Chunked", "chunked, chunked"] {
        let headers = [("Content-Type", "application/json"), ("Transfer-Encoding", coding)];
        daemon.request("POST", "/events", &headers, &chunks).problem(501);
    }
    assert_eq!(daemon.totals(), [0; 4], "nothing of it is kept");
}

#[test]
fn chunks_that_cannot_be_read_are_told_and_end_the_connection() {
    let daemon = Daemon::start();
    for (chunk, says) in [("zz\r\n", "the body's chunks"), ("5\r\nabcdefgh", "the body's chunks")] {
        let mut connection = daemon.connect();
        connection.send("POST /events HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
        connection.send(chunk);
        let answer = connection.answer();
        assert!(answer.problem(400)["detail"].as_str().unwrap().starts_with(says), "{answer:?}");
        assert_eq!(answer.header("connection"), Some("close"));
        connection.finish();
        assert!(connection.is_closed());
    }
    // One whose client says that there is no more.
    let mut connection = daemon.connect();
    connection.send("POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: 9\r\n\r\n{");
    connection.finish();
    let answer = connection.answer();
    assert_eq!(answer.problem(400)["detail"], "the body ended before it was complete");
    assert_eq!(answer.header("connection"), Some("close"));
}

#[test]
fn an_unknown_content_encoding_is_415() {
    let daemon = Daemon::start();
    let json = ("Content-Type", "application/json");
    let body = event("e").to_string();
    for codec in ["deflate", "compress", "gzip, br", "gzip;q=1", "snappy"] {
        daemon.request("POST", "/events", &[json, ("Content-Encoding", codec)], body.as_bytes()).problem(415);
    }
    let twice = [json, ("Content-Encoding", "gzip"), ("Content-Encoding", "br")];
    daemon.request("POST", "/events", &twice, &pack("gzip", body.as_bytes())).problem(415);
    assert_eq!(daemon.totals(), [0; 4]);
}

#[test]
fn a_body_that_is_not_json_by_its_type_is_415() {
    let daemon = Daemon::start();
    let body = event("e").to_string();
    for kind in ["text/plain", "application/xml", "application/x-www-form-urlencoded", "application/jso", ""] {
        for path in ["/events", "/events/batch"] {
            daemon.request("POST", path, &[("Content-Type", kind)], body.as_bytes()).problem(415);
        }
    }
    let lines = [("Content-Type", "application/x-ndjson")];
    daemon.request("POST", "/events", &lines, body.as_bytes()).problem(415);
    assert_eq!(daemon.totals(), [0; 4], "a wrong media type is no event");
}

#[test]
fn json_may_come_under_any_of_its_types_or_none() {
    let daemon = Daemon::start();
    for kind in ["application/json", "APPLICATION/JSON; charset=utf-8", "application/cart+json", "text/json"] {
        let body = event(kind).to_string();
        daemon.request("POST", "/events", &[("Content-Type", kind)], body.as_bytes()).with_status(202);
    }
    daemon.request("POST", "/events", &[], event("none").to_string().as_bytes()).with_status(202);
    daemon.request("POST", "/events/batch", &[], format!("[{}]", event("none")).as_bytes()).with_status(202);
}

#[test]
fn a_body_over_the_limit_is_413_by_what_its_head_announces() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    // Not one byte of the body is sent: the head is enough.
    connection.send(format!("POST /events HTTP/1.1\r\nHost: test\r\nContent-Length: {}\r\n\r\n", 8 * MIB + 1));
    let answer = connection.answer();
    answer.problem(413);
    assert_eq!(answer.header("connection"), Some("close"), "what follows would be taken for a request");
    assert!(connection.is_closed());
}

#[test]
fn a_client_that_sends_all_of_a_body_over_the_limit_still_reads_the_answer() {
    let daemon = Daemon::start();
    let body = vec![b' '; 9 * MIB];
    for path in ["/events", "/events/batch"] {
        let mut connection = daemon.connect();
        // A reset before the last byte would take the answer away from most clients.
        connection.send(request("POST", path, &[], &body));
        connection.answer().problem(413);
    }
    daemon.post("/events", event("e").to_string()).with_status(202);
}

#[test]
fn a_chunked_body_over_the_limit_is_cut_off_where_it_passes_it() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    connection.send("POST /events/batch HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    let chunk = [format!("{:x}\r\n", 64 * KIB).into_bytes(), vec![b' '; 64 * KIB], b"\r\n".to_vec()].concat();
    // It never ends: only the limit does.
    for _ in 0..(8 * MIB / (64 * KIB)) {
        connection.send(&chunk);
    }
    connection.send(b"1\r\n \r\n");
    connection.answer().problem(413);
}

#[test]
fn a_chunked_body_is_put_together() {
    let daemon = Daemon::start();
    let body = event("chunks").to_string();
    let mut connection = daemon.connect();
    connection.send("POST /events HTTP/1.1\r\nHost: test\r\nTransfer-Encoding: chunked\r\n\r\n");
    for byte in body.as_bytes() {
        connection.send([b"1\r\n", &[*byte][..], b"\r\n"].concat());
    }
    connection.send("0\r\n\r\n");
    assert_eq!(connection.answer().with_status(202)["eventId"], "chunks");
    assert_eq!(connection.post("/events", &[], body.as_bytes()).with_status(202)["duplicate"], true);
}

#[test]
fn an_event_of_256_kib_is_taken_and_a_larger_one_rejected() {
    let daemon = Daemon::start();
    let sized = |bytes: usize| {
        let mut event = event("sized");
        event["data"]["fill"] = "".into();
        let fill = bytes - event.to_string().len();
        event["data"]["fill"] = "x".repeat(fill).into();
        event.to_string()
    };
    let body = daemon.post("/events", sized(256 * KIB + 1)).with_status(400);
    assert_eq!((&body["code"], &body["errors"][0]["pointer"]), (&"event_too_large".into(), &"".into()));
    assert_eq!(body["eventId"], "sized");
    // White space around an event is not part of it.
    daemon.post("/events", format!("  {}\n\n", sized(256 * KIB))).with_status(202);
    let batch = daemon.post("/events/batch", format!("[{}]", sized(256 * KIB + 1))).with_status(202);
    assert_eq!(batch["details"][0]["code"], "event_too_large");
}

#[test]
fn a_body_of_exactly_the_limit_is_taken() {
    let limits = [("INGESTD_LIMITS_BODY_BYTES_MAX", "4096"), ("INGESTD_LIMITS_EVENT_BYTES_MAX", "4096")];
    let daemon = Daemon::with(&limits);
    let event = event("e").to_string();
    let padded = |length: usize| event.clone() + &" ".repeat(length - event.len());
    daemon.post("/events", padded(4096)).with_status(202);
    daemon.post("/events", padded(4097)).problem(413);
    for codec in CODECS {
        let packed = pack(codec, padded(4096).as_bytes());
        post_packed(&daemon, "/events", "application/json", codec, &packed).with_status(202);
        let packed = pack(codec, padded(4097).as_bytes());
        post_packed(&daemon, "/events", "application/json", codec, &packed).problem(413);
    }
}

#[test]
fn a_refused_body_that_is_small_does_not_end_the_connection() {
    let daemon = Daemon::start();
    let mut connection = daemon.connect();
    let body = event("e").to_string();
    let large = vec![b'x'; 40 * KIB];
    for (headers, body) in
        [(&[("Content-Type", "text/plain")], body.as_bytes()), (&[("Content-Type", "image/png")], &large)]
    {
        connection.post("/events", headers, body).problem(415);
    }
    connection.send(request("GET", "/health/live", &[], b"a body where none belongs"));
    connection.answer().with_status(200);
    connection.post("/events", &[], body.as_bytes()).with_status(202);
}

/// So many ones in each event that it has some 8 KiB: a value in two bytes.
fn ones() -> String {
    format!("[{}1]", "1,".repeat(3900))
}

#[test]
fn a_body_of_very_many_values_takes_their_memory_from_the_budget_of_all() {
    let daemon =
        Daemon::with(&[("INGESTD_LIMITS_INFLIGHT_BYTES_MAX", "41943040"), ("INGESTD_SERVER_BODY_TIMEOUT_S", "3600")]);
    let dense_events = events_with("dense", 1000, &ones());
    let dense = format!("[{}]", dense_events.join(","));
    let item = r#"{"sku":"85123A","name":"WHITE HANGING HEART T-LIGHT HOLDER","quantity":6,"unitPrice":2.55}"#;
    let usual = events_with("usual", 1000, &format!("[{}]", [item; 80].join(",")));
    let usual = format!("[{}]", usual.join(","));
    assert!(dense.len() > 7 * MIB && usual.len() > 7 * MIB, "{} {}", dense.len(), usual.len());
    // Alone it fits, whatever it needs.
    assert_eq!(daemon.post("/events/batch", &dense).with_status(202)["successful"], 1000);
    // Not beside a body that is on its way.
    let mut stalled = daemon.connect();
    stalled.send(request("POST", "/events", &[("Content-Length", "4000000")], b""));
    stalled.send(vec![b' '; 3_000_000]);
    let mut refused = None;
    eventually("it is refused", || {
        refused = Some(daemon.post("/events/batch", &dense)).filter(|answer| answer.status != 202);
        refused.is_some()
    });
    let refused = refused.unwrap();
    assert_eq!(refused.problem(503)["reason"], "overloaded");
    assert!(refused.header("retry-after").is_some());
    daemon.post("/events", &dense).problem(503);
    // Events of the same size with what events have: always.
    for _ in 0..3 {
        assert_eq!(daemon.post("/events/batch", &usual).with_status(202)["successful"], 1000);
    }
    // Lines are read one by one, and each of them is short.
    let headers = [("Content-Type", "application/x-ndjson")];
    let lines = dense_events.join("\n");
    let answer = daemon.request("POST", "/events/batch", &headers, lines.as_bytes()).with_status(202);
    assert_eq!(answer["successful"], 1000, "{answer}");
    drop(stalled);
    eventually("it is taken again", || daemon.post("/events/batch", &dense).status == 202);
}
