//! What a run found, for people (Markdown) and for programs (one line of JSON). Changes when the form does.

use std::time::Duration;

use serde_json::{Value, json};

use crate::measure::{load, percentile};
use crate::wire::Done;

/// One kind of event, measured once or many times.
pub(crate) struct Row {
    times: Vec<Duration>,
    /// Seconds of all of them together.
    cpu: f64,
    /// Bytes of all pods together.
    pub(crate) received: u64,
    sent: u64,
    messages: u64,
    retries: u64,
}

impl Row {
    pub(crate) fn new(times: Vec<Duration>, cpu: f64, figures: &[Done]) -> Self {
        let sum = |of: fn(&Done) -> u64| figures.iter().map(of).sum();
        Self {
            times,
            cpu,
            received: sum(|done| done.received),
            sent: sum(|done| done.sent),
            messages: sum(|done| done.messages),
            retries: sum(|done| done.retries),
        }
    }
}

/// Everything that a run found.
pub(crate) struct Report {
    pods: usize,
    backends: usize,
    load: String,
    rows: Vec<(String, Row)>,
    floors: Vec<(String, Duration, Duration)>,
    memory: Vec<(String, f64)>,
}

impl Report {
    pub(crate) fn new(pods: usize, backends: usize) -> Self {
        Self { pods, backends, load: load(), rows: Vec::new(), floors: Vec::new(), memory: Vec::new() }
    }

    /// Adds a row, and says so: a run takes minutes.
    pub(crate) fn row(&mut self, what: &str, row: Row) {
        eprintln!("{what}: {}", ms(percentile(&row.times, 50)));
        self.rows.push((what.to_owned(), row));
    }

    pub(crate) fn memory(&mut self, what: &str, mib: f64) {
        self.memory.push((what.to_owned(), mib));
    }

    pub(crate) fn floor(&mut self, what: &str, p50: Duration, p99: Duration) {
        self.floors.push((what.to_owned(), p50, p99));
    }

    pub(crate) fn print(&self) {
        println!("# Config push: {} pods × {} backends\n", self.pods, self.backends);
        let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
        println!("{cores} cores; load average {} before, {} after.\n", self.load, load());
        println!(
            "| event | times | p50 ms | p99 ms | max ms | operator CPU s/event | bytes to a pod | bytes to all | bytes from a pod | messages to a pod | retries |"
        );
        println!("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|");
        for (what, row) in &self.rows {
            let times = row.times.len().max(1) as f64;
            let each = |count: u64| count as f64 / times;
            let pod = |count: u64| each(count) / self.pods.max(1) as f64;
            println!(
                "| {what} | {times} | {} | {} | {} | {:.3} | {:.0} | {:.0} | {:.0} | {:.2} | {} |",
                ms(percentile(&row.times, 50)),
                ms(percentile(&row.times, 99)),
                ms(percentile(&row.times, 100)),
                row.cpu / times,
                pod(row.received),
                each(row.received),
                pod(row.sent),
                pod(row.messages),
                row.retries,
            );
        }
        println!("\n| the same bytes over plain TLS | p50 ms | p99 ms | operator ÷ plain, p50 | p99 |");
        println!("|---|--:|--:|--:|--:|");
        for (what, p50, p99) in &self.floors {
            let row = self.rows.iter().find(|(row, _)| row == what).map(|(_, row)| row);
            let ratio = |part: usize, floor: &Duration| {
                row.map_or(0.0, |row| percentile(&row.times, part).as_secs_f64() / floor.as_secs_f64())
            };
            println!(
                "| {what} | {} | {} | {:.1} | {:.1} |",
                ms(*p50),
                ms(*p99),
                ratio(50, p50),
                ratio(99, p99)
            );
        }
        println!("\n| resident memory of the operator and the API in memory | MiB |\n|---|--:|");
        for (what, mib) in &self.memory {
            println!("| {what} | {mib:.1} |");
        }
        println!("\n{}", self.json());
    }

    fn json(&self) -> Value {
        let seconds = |time: Duration| time.as_secs_f64();
        let rows = self.rows.iter().map(|(what, row)| {
            json!({
                "event": what,
                "times": row.times.len(),
                "p50_s": seconds(percentile(&row.times, 50)),
                "p99_s": seconds(percentile(&row.times, 99)),
                "max_s": seconds(percentile(&row.times, 100)),
                "operator_cpu_s": row.cpu,
                "bytes_to_pods": row.received,
                "bytes_from_pods": row.sent,
                "messages_to_pods": row.messages,
                "retries": row.retries,
            })
        });
        let floors = self
            .floors
            .iter()
            .map(|(what, p50, p99)| json!({ "event": what, "p50_s": seconds(*p50), "p99_s": seconds(*p99) }));
        let memory = self.memory.iter().map(|(what, mib)| json!({ "when": what, "mib": mib }));
        json!({
            "pods": self.pods,
            "backends": self.backends,
            "load": self.load,
            "rows": rows.collect::<Vec<_>>(),
            "plain_tls": floors.collect::<Vec<_>>(),
            "resident": memory.collect::<Vec<_>>(),
        })
    }
}

fn ms(time: Duration) -> String {
    format!("{:.1}", time.as_secs_f64() * 1000.0)
}
