//! What the process costs, under the names that every Prometheus client uses for it.

use crate::metrics::put_metric;
use rustix::time::{ClockId, clock_gettime};
use std::fs;
use std::sync::OnceLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// When the process began, seconds since 1970. Kept, for a figure that trembles would look like a restart.
static START_SECONDS: OnceLock<f64> = OnceLock::new();

/// Appends what `/proc` says of this process; nothing where there is no `/proc`.
pub(super) fn put_process(out: &mut String) {
    let Some(process) = Process::read() else { return };
    put_metric(out, "process_cpu_seconds_total", "counter", "Processor time, user and system.", process.cpu_seconds);
    let resident = process.resident_bytes;
    put_metric(out, "process_resident_memory_bytes", "gauge", "Memory that is in use.", resident);
    let help = "Start of the process, as seconds since 1970.";
    put_metric(out, "process_start_time_seconds", "gauge", help, process.start_seconds);
}

struct Process {
    cpu_seconds: f64,
    resident_bytes: u64,
    start_seconds: f64,
}

impl Process {
    fn read() -> Option<Self> {
        let ticks_per_second = rustix::param::clock_ticks_per_second() as f64;
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        // Behind the name, which may hold anything; proc(5) counts from the pid, and the next one is its third field.
        let fields: Vec<&str> = stat.rsplit_once(") ")?.1.split(' ').collect();
        let field = |number: usize| fields.get(number - 3)?.parse::<u64>().ok();
        let ticks = |number| Some(field(number)? as f64 / ticks_per_second);
        let since_boot = ticks(22)?;
        Some(Process {
            cpu_seconds: ticks(14)? + ticks(15)?,
            resident_bytes: field(24)? * rustix::param::page_size() as u64,
            start_seconds: *START_SECONDS.get_or_init(|| start_seconds(since_boot)),
        })
    }
}

/// From seconds since boot. Not by the boot time in `/proc/stat`, which a sandboxed service does not see.
fn start_seconds(since_boot: f64) -> f64 {
    let up = clock_gettime(ClockId::Boottime);
    let age = up.tv_sec as f64 + up.tv_nsec as f64 / 1e9 - since_boot;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs_f64();
    ((now - age) * 100.0).round() / 100.0
}
