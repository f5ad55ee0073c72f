//! The kept inputs of the fuzz targets, held to what the targets assert: without a fuzzer, and so in every run.

#![allow(missing_docs, clippy::unwrap_used, reason = "what fails here fails a test")]

#[path = "../fuzz/checks/batch.rs"]
mod on_batch;
#[path = "../fuzz/checks/event.rs"]
mod on_event;
#[path = "../fuzz/checks/frame.rs"]
mod on_frame;
#[path = "../fuzz/checks/record.rs"]
mod on_record;

use std::panic::{catch_unwind, resume_unwind};
use std::path::Path;

/// Runs a target's check on each of its inputs, of which there are at least so many.
fn replay(target: &str, least: usize, check: fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target);
    let inputs = std::fs::read_dir(corpus).unwrap().map(|entry| entry.unwrap().path());
    let mut seen = 0;
    for path in inputs {
        let input = std::fs::read(&path).unwrap();
        if let Err(panic) = catch_unwind(|| check(&input)) {
            eprintln!("the input is {}", path.display());
            resume_unwind(panic);
        }
        seen += 1;
    }
    assert!(seen >= least, "{seen} inputs of {target}");
}

#[test]
fn events() {
    replay("event", 200, on_event::check);
}

#[test]
fn batches() {
    replay("batch", 200, on_batch::check);
}

#[test]
fn records() {
    replay("record", 50, on_record::check);
}

#[test]
fn frames() {
    replay("frame", 40, on_frame::check);
}
