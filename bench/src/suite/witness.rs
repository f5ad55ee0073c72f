//! What the machine does meanwhile to somebody who hardly asks for anything: whether it was the disk or the host that stood
//! still, and not the server.

use anyhow::{Context, Result};
use rustix::fs::fdatasync;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Bytes of a write.
const BLOCK: usize = 4096;
/// Blocks of the file, which are written before anything is measured: from then on no write makes it grow.
const BLOCKS: u64 = 256;
/// From one write to the next.
const PAUSE: Duration = Duration::from_millis(20);

/// Writes a block and syncs it, fifty times a second, and notes the longest that took, until it is ended or dropped.
#[derive(Debug)]
pub struct Witness {
    wanted: Arc<()>,
    thread: JoinHandle<Result<Seen>>,
}

/// What the witness saw.
#[derive(Clone, Copy, Debug, Default)]
pub struct Seen {
    /// The longest write with its sync.
    pub longest: Duration,
    /// The longest that it was late to begin one.
    pub late: Duration,
}

impl Witness {
    /// Starts it on a file in `folder`, on the disk that is measured.
    pub fn start(folder: &Path) -> Result<Self> {
        let file = File::create(folder.join("witness"))?;
        file.write_all_at(&vec![1; BLOCK * BLOCKS as usize], 0)?;
        file.sync_all()?;
        let wanted = Arc::new(());
        let asked = Arc::downgrade(&wanted);
        let thread = std::thread::Builder::new().name("witness".into()).spawn(move || watch(&file, &asked))?;
        Ok(Self { wanted, thread })
    }

    /// What it saw until now.
    pub fn end(self) -> Result<Seen> {
        drop(self.wanted);
        self.thread.join().map_err(|_| anyhow::anyhow!("the witness panicked"))?
    }
}

fn watch(file: &File, asked: &Weak<()>) -> Result<Seen> {
    let mut seen = Seen::default();
    for block in (0..BLOCKS).cycle().take_while(|_| asked.strong_count() > 0) {
        let slept = Instant::now();
        std::thread::sleep(PAUSE);
        seen.late = seen.late.max(slept.elapsed().saturating_sub(PAUSE));
        let started = Instant::now();
        file.write_all_at(&[2; BLOCK], block * BLOCK as u64)?;
        fdatasync(file)?;
        seen.longest = seen.longest.max(started.elapsed());
    }
    Ok(seen)
}

/// Time that all processors had so far, and how much of it the host gave to other machines.
#[derive(Clone, Copy, Debug)]
pub struct Processors {
    all: u64,
    stolen: u64,
}

impl Processors {
    /// Until now, as `/proc/stat` has it (proc_stat(5)).
    pub fn now() -> Result<Self> {
        parse(&std::fs::read_to_string("/proc/stat")?).context("/proc/stat")
    }

    /// The part that the host has given to others since.
    pub fn stolen_since(self) -> Result<f64> {
        let now = Self::now()?;
        Ok((now.stolen - self.stolen) as f64 / (now.all - self.all).max(1) as f64)
    }
}

fn parse(stat: &str) -> Option<Processors> {
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in the first two.
    let fields: Vec<u64> = stat.lines().next()?.split_whitespace().skip(1).take(8).flat_map(str::parse).collect();
    Some(Processors { all: fields.iter().sum(), stolen: *fields.get(7)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_is_the_eighth_figure() {
        let Processors { all, stolen } = parse("cpu  1 2 3 4 5 6 7 80 9 10\ncpu0 1 1 1\n").unwrap();
        assert_eq!((all, stolen), (108, 80));
        assert!(parse("cpu 1 2\n").is_none());
    }

    #[test]
    fn a_witness_tells_of_writes() {
        let folder = tempfile::tempdir().unwrap();
        let witness = Witness::start(folder.path()).unwrap();
        std::thread::sleep(PAUSE * 3);
        assert!(witness.end().unwrap().longest > Duration::ZERO);
    }
}
