//! Facts about this process from `/proc` (proc(5)), under the names that every Prometheus client library uses.
//! Changes when a process metric is added.

use std::fs;

use parking_lot::Mutex;
use prometheus::{Counter, Gauge, Registry};

/// Clock ticks per second in `/proc`; Linux fixes this unit for user space at 100 on every machine we build for.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Debug, Default, Clone, Copy, PartialEq)]
struct Facts {
    cpu_seconds: f64,
    resident_bytes: f64,
    virtual_bytes: f64,
    start_seconds: f64,
    threads: f64,
    max_fds: f64,
}

impl Facts {
    /// `stat`, `status` and `limits` are the files of that name in `/proc/self`; `system_stat` is `/proc/stat`. A
    /// field that cannot be read is zero.
    fn parse(stat: &str, status: &str, limits: &str, system_stat: &str) -> Self {
        // The program's name may hold spaces and parentheses, so fields are counted from the last closing one. The
        // first field after it is number 3 of proc_pid_stat(5).
        let after_name: Vec<&str> =
            stat.rsplit_once(')').map_or_else(Vec::new, |(_, rest)| rest.split_whitespace().collect());
        let ticks =
            |field: usize| after_name.get(field - 3).and_then(|text| text.parse().ok()).unwrap_or(0.0);
        let kilobytes = |key| first_number(status, key) * 1024.0;
        Self {
            cpu_seconds: (ticks(14) + ticks(15)) / TICKS_PER_SECOND,
            resident_bytes: kilobytes("VmRSS:"),
            virtual_bytes: kilobytes("VmSize:"),
            start_seconds: first_number(system_stat, "btime") + ticks(22) / TICKS_PER_SECOND,
            threads: ticks(20),
            max_fds: first_number(limits, "Max open files"),
        }
    }
}

/// The number that follows `key` at the beginning of a line.
fn first_number(text: &str, key: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(key))
        .and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse().ok())
        .unwrap_or(0.0)
}

#[derive(Debug)]
pub(crate) struct ProcessMetrics {
    cpu_seconds: Counter,
    /// What `cpu_seconds` was given so far: the lock makes two scrapes at once add the difference once.
    counted: Mutex<f64>,
    open_fds: Gauge,
    max_fds: Gauge,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    start_seconds: Gauge,
    threads: Gauge,
}

impl ProcessMetrics {
    pub(crate) fn register(registry: &Registry) -> prometheus::Result<Self> {
        let gauge = |name, help| {
            let gauge = Gauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok::<_, prometheus::Error>(gauge)
        };
        let cpu_seconds =
            Counter::new("process_cpu_seconds_total", "Total user and system CPU time spent in seconds.")?;
        registry.register(Box::new(cpu_seconds.clone()))?;
        Ok(Self {
            cpu_seconds,
            counted: Mutex::new(0.0),
            open_fds: gauge("process_open_fds", "Number of open file descriptors.")?,
            max_fds: gauge("process_max_fds", "Maximum number of open file descriptors.")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory size in bytes.")?,
            virtual_bytes: gauge("process_virtual_memory_bytes", "Virtual memory size in bytes.")?,
            start_seconds: gauge(
                "process_start_time_seconds",
                "Start time of the process since unix epoch in seconds.",
            )?,
            threads: gauge("process_threads", "Number of OS threads in the process.")?,
        })
    }

    /// Reads the facts now. What cannot be read keeps its last value.
    pub(crate) fn update(&self) {
        let read = |path| fs::read_to_string(path).unwrap_or_default();
        let facts = Facts::parse(
            &read("/proc/self/stat"),
            &read("/proc/self/status"),
            &read("/proc/self/limits"),
            &read("/proc/stat"),
        );
        {
            let mut counted = self.counted.lock();
            self.cpu_seconds.inc_by((facts.cpu_seconds - *counted).max(0.0));
            *counted = counted.max(facts.cpu_seconds);
        }
        for (gauge, value) in [
            (&self.max_fds, facts.max_fds),
            (&self.resident_bytes, facts.resident_bytes),
            (&self.virtual_bytes, facts.virtual_bytes),
            (&self.start_seconds, facts.start_seconds),
            (&self.threads, facts.threads),
        ] {
            if value > 0.0 {
                gauge.set(value);
            }
        }
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            let count = u32::try_from(entries.count()).unwrap_or(u32::MAX);
            // Reading the directory holds one descriptor of its own.
            self.open_fds.set(f64::from(count.saturating_sub(1)));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_from_the_right_columns() {
        let stat =
            "42 (evil) name) S 1 42 42 0 -1 4194304 97 0 0 0 1234 66 0 0 20 0 7 0 500 3133440 360 18446744";
        let facts = Facts::parse(
            stat,
            "Name:\tx\nVmSize:\t    3060 kB\nVmRSS:\t    1788 kB\n",
            "Limit                     Soft Limit           Hard Limit           Units\n\
             Max open files            1024                 524288               files\n",
            "cpu  1 2 3\nbtime 1795339800\n",
        );
        let expected = Facts {
            cpu_seconds: 13.0,
            resident_bytes: 1788.0 * 1024.0,
            virtual_bytes: 3060.0 * 1024.0,
            start_seconds: 1_795_339_805.0,
            threads: 7.0,
            max_fds: 1024.0,
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn unreadable_files_are_zero_not_a_failure() {
        assert_eq!(Facts::parse("", "", "Max open files unlimited", "x"), Facts::default());
    }
}
