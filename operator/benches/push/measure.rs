//! What a process costs, and how figures are summed up. Changes when another figure is reported.

use std::time::{Duration, Instant};

/// User and system time of this process, all threads, seconds. The clock tick of `/proc` is 10 ms.
fn cpu() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The name of the program may hold spaces; utime and stime are fields 14 and 15 (proc_pid_stat(5)).
    let fields: Vec<_> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    let ticks: u32 = [11, 12].iter().map(|&at: &usize| fields[at].parse::<u32>().unwrap()).sum();
    f64::from(ticks) / 100.0
}

/// Resident memory of this process, MiB: now (`VmRSS`) or the most there was (`VmHWM`).
pub(crate) fn resident(what: &str) -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(what)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// Load average of the last minute.
pub(crate) fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap();
    text.split(' ').next().unwrap_or_default().to_owned()
}

/// Time and CPU since it was made.
pub(crate) struct Watch(Instant, f64);

impl Watch {
    pub(crate) fn start() -> Self {
        Self(Instant::now(), cpu())
    }

    /// Elapsed time and seconds of CPU.
    pub(crate) fn read(&self) -> (Duration, f64) {
        (self.0.elapsed(), cpu() - self.1)
    }
}

/// The value that `part` of 100 values are not above, by nearest rank; of nothing, zero.
pub(crate) fn percentile(values: &[Duration], part: usize) -> Duration {
    let mut values = values.to_vec();
    values.sort();
    let rank = (values.len() * part).div_ceil(100).max(1);
    values.get(rank - 1).copied().unwrap_or_default()
}
