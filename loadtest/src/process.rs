//! What `/proc` says about a process.

use anyhow::{Context, Result};
use std::time::Duration;

/// Clock ticks per second in `/proc/PID/stat`; fixed by the kernel's interface on every Linux of today.
const TICKS_PER_SECOND: u32 = 100;

/// CPU time and memory of a process at one moment.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// User and system time of all threads.
    pub cpu: Duration,
    /// Resident memory in KiB.
    pub rss_kib: u64,
    /// The most that resident memory has been, in KiB.
    pub peak_rss_kib: u64,
}

/// Reads a process's usage.
pub fn usage(pid: u32) -> Result<Usage> {
    let status = read(&format!("/proc/{pid}/status"))?;
    let kib = |key: &str| {
        let line = status.lines().find(|line| line.starts_with(key))?;
        line.split_whitespace().nth(1)?.parse().ok()
    };
    Ok(Usage {
        cpu: cpu(pid)?,
        rss_kib: kib("VmRSS:").with_context(|| format!("no VmRSS for process {pid}"))?,
        peak_rss_kib: kib("VmHWM:").unwrap_or(0),
    })
}

/// User and system time of all of a process's threads.
pub fn cpu(pid: u32) -> Result<Duration> {
    let path = format!("/proc/{pid}/stat");
    let stat = read(&path)?;
    // The command, in parentheses, may hold anything; the fields follow the last one.
    let fields = stat.rsplit_once(')').map(|(_, rest)| rest.split_whitespace()).with_context(|| path.clone())?;
    let ticks: Vec<u32> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
    let [user, system] = ticks[..] else { anyhow::bail!("{path} is not as expected") };
    Ok(Duration::from_secs(u64::from(user + system)) / TICKS_PER_SECOND)
}

/// How long the calling thread has been runnable without running.
pub fn thread_run_delay() -> Duration {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap_or_default();
    let nanos = text.split_whitespace().nth(1).and_then(|field| field.parse().ok()).unwrap_or(0);
    Duration::from_nanos(nanos)
}

/// CPU time of the calling thread.
pub fn thread_cpu() -> Duration {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
    Duration::new(now.tv_sec.unsigned_abs(), now.tv_nsec as u32)
}

/// The 1-minute load average, as text.
pub fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}

fn read(path: &str) -> Result<String> {
    std::fs::read_to_string(path).with_context(|| path.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_usage() {
        let usage = usage(std::process::id()).unwrap();
        assert!(usage.rss_kib > 100 && usage.peak_rss_kib >= usage.rss_kib);
    }
}
