//! What a run found, for people (Markdown) and for programs (JSON). Changes when the report's form does.

use serde_json::{Value, json};

use crate::calls::Mode;
use crate::idle::Idle;
use crate::stats::Spread;
use crate::targets::{Kind, MODES};

const MIB: f64 = 1024.0 * 1024.0;

/// One round of one row. Times are microseconds.
#[derive(Clone)]
pub(crate) struct Sample {
    pub(crate) rate: f64,
    pub(crate) p50: f64,
    pub(crate) p90: f64,
    pub(crate) p99: f64,
    pub(crate) max: f64,
    /// CPU of the measured process per request; none for direct calls.
    pub(crate) cpu: Option<f64>,
    /// The part of it outside the kernel.
    pub(crate) user_cpu: Option<f64>,
    /// CPU of the far end per request: grows when a target sends it more than the call.
    pub(crate) backend_cpu: f64,
    /// Cores kept busy by anything that is not part of the run, and by the kernel outside of processes.
    pub(crate) others: f64,
    pub(crate) resident_after: Option<u64>,
}

/// One target under one kind of traffic.
pub(crate) struct Row {
    /// Position in the list of running targets.
    pub(crate) target: usize,
    pub(crate) kind: Kind,
    pub(crate) mode: Mode,
    pub(crate) path: &'static str,
    pub(crate) threads: Option<u64>,
    pub(crate) resident_at_start: Option<u64>,
    pub(crate) samples: Vec<Sample>,
}

impl Row {
    fn spread(&self, figure: impl Fn(&Sample) -> Option<f64>) -> Option<Spread> {
        Spread::of(self.samples.iter().filter_map(figure))
    }

    /// CPU per request over that of bare hyper in the same round.
    fn ratio(&self, base: Option<&Self>) -> Option<Spread> {
        let base = base?;
        // A row that failed in some round has its samples out of step with the base.
        (base.samples.len() == self.samples.len()).then_some(())?;
        Spread::of(
            self.samples.iter().zip(&base.samples).filter_map(|(own, base)| Some(own.cpu? / base.cpu?)),
        )
    }
}

/// Everything that a run found.
pub(crate) struct Report {
    machine: String,
    notes: Vec<String>,
    /// Wrong answers and targets that did not start.
    pub(crate) failures: Vec<String>,
    pub(crate) rows: Vec<Row>,
    pub(crate) idle: Option<Idle>,
}

impl Report {
    /// An empty report about this machine.
    pub(crate) fn new(machine: String) -> Self {
        Self { machine, notes: Vec::new(), failures: Vec::new(), rows: Vec::new(), idle: None }
    }

    /// Adds what a reader must know to read the figures.
    pub(crate) fn note(&mut self, text: String) {
        self.notes.push(text);
    }

    /// Adds a failure: it is shown at once, in the report, and in the exit code.
    pub(crate) fn fail(&mut self, text: String) {
        eprintln!("FAILED: {text}");
        self.failures.push(text);
    }

    fn base(&self, mode: Mode) -> Option<&Row> {
        self.rows.iter().find(|row| row.mode == mode && row.kind == Kind::Hyper)
    }

    /// The report for people.
    pub(crate) fn markdown(&self) -> String {
        let mut lines = vec!["# Benchmark".into(), String::new(), format!("Machine: {}.", self.machine)];
        lines.extend(self.notes.iter().cloned());
        let others = Spread::of(self.rows.iter().flat_map(|row| &row.samples).map(|sample| sample.others));
        if let Some(others) = others {
            lines.push(format!("Cores busy with other work during the rounds: {others:.2}."));
        }
        lines
            .push("Cells are the median (min–max) of the rounds; ratios are taken within each round.".into());
        for mode in MODES {
            lines.push(String::new());
            lines.push(format!("## {}", heading(mode)));
            lines.push(String::new());
            self.table(mode, &mut lines);
        }
        lines.push(String::new());
        lines.push("## Memory of the gateway".into());
        lines.push(String::new());
        lines.extend(self.memory());
        if !self.failures.is_empty() {
            lines.push(String::new());
            lines.push("## Failures".into());
            lines.push(String::new());
            lines.extend(self.failures.iter().map(|failure| format!("- {failure}")));
        }
        lines.push(String::new());
        lines.join("\n")
    }

    fn table(&self, mode: Mode, lines: &mut Vec<String>) {
        lines.push(
            "| target | CPU µs/request | of it user | ÷ bare hyper | requests/s | p50 µs | p99 µs | backend CPU µs/request \
             | threads | MiB at start | MiB after |"
                .into(),
        );
        lines.push("|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|".into());
        for row in self.rows.iter().filter(|row| row.mode == mode) {
            let title = match row.kind {
                Kind::Gateway => format!("**{}** `{}`", row.kind.title(), row.path),
                kind => kind.title().into(),
            };
            let mib = |bytes: Option<u64>| cell(bytes.map(|bytes| format!("{:.1}", bytes as f64 / MIB)));
            let cells = [
                title,
                cell(row.spread(|sample| sample.cpu).map(|spread| format!("{spread:.1}"))),
                cell(row.spread(|sample| sample.user_cpu).map(|spread| format!("{:.1}", spread.median))),
                cell(row.ratio(self.base(mode)).map(|spread| format!("{spread:.2}"))),
                cell(row.spread(|sample| Some(sample.rate)).map(|spread| format!("{spread:.0}"))),
                cell(row.spread(|sample| Some(sample.p50)).map(|spread| format!("{:.0}", spread.median))),
                cell(row.spread(|sample| Some(sample.p99)).map(|spread| format!("{:.0}", spread.median))),
                cell(
                    row.spread(|sample| Some(sample.backend_cpu))
                        .map(|spread| format!("{:.1}", spread.median)),
                ),
                cell(row.threads.map(|threads| threads.to_string())),
                mib(row.resident_at_start),
                mib(row.samples.last().and_then(|sample| sample.resident_after)),
            ];
            lines.push(format!("| {} |", cells.join(" | ")));
        }
    }

    fn memory(&self) -> Vec<String> {
        let Some(idle) = &self.idle else { return vec!["Not measured.".into()] };
        let sessions = idle.counts.sessions;
        vec![
            "| what | bytes resident |".into(),
            "|---|--:|".into(),
            format!("| at start, no client | {:.1} MiB |", idle.at_start as f64 / MIB),
            format!("| per idle legacy session ({sessions} open) | {:.2} KiB |", idle.per_session / 1024.0),
            format!(
                "| per idle legacy session that made one call | {:.2} KiB |",
                idle.per_used_session / 1024.0
            ),
            format!(
                "| per idle GET stream with its connection ({} open) | {:.2} KiB |",
                idle.counts.streams,
                idle.per_stream / 1024.0
            ),
        ]
    }

    /// The report for programs: every round of every row.
    pub(crate) fn json(&self) -> Value {
        let rows: Vec<Value> = self
            .rows
            .iter()
            .map(|row| {
                let samples: Vec<Value> = row.samples.iter().map(sample_json).collect();
                json!({
                    "target": row.kind.title(),
                    "traffic": heading(row.mode),
                    "path": row.path,
                    "threads": row.threads,
                    "resident_at_start_bytes": row.resident_at_start,
                    "cpu_us_per_request": row.spread(|sample| sample.cpu).map(Spread::to_json),
                    "user_cpu_us_per_request": row.spread(|sample| sample.user_cpu).map(Spread::to_json),
                    "cpu_over_bare_hyper": row.ratio(self.base(row.mode)).map(Spread::to_json),
                    "requests_per_second": row.spread(|sample| Some(sample.rate)).map(Spread::to_json),
                    "rounds": samples,
                })
            })
            .collect();
        let idle = self.idle.as_ref().map(|idle| {
            json!({
                "resident_at_start_bytes": idle.at_start,
                "sessions": idle.counts.sessions,
                "streams": idle.counts.streams,
                "bytes_per_session": idle.per_session,
                "bytes_per_used_session": idle.per_used_session,
                "bytes_per_stream": idle.per_stream,
            })
        });
        json!({"machine": self.machine, "notes": self.notes, "failures": self.failures, "rows": rows, "idle": idle})
    }
}

fn heading(mode: Mode) -> &'static str {
    match mode {
        Mode::Legacy => "Legacy sessions (2025-11-25), tools/call",
        Mode::Modern => "2026-07-28 requests, tools/call",
        Mode::Raw => "Bare JSON-RPC",
    }
}

fn cell(text: Option<String>) -> String {
    text.unwrap_or_else(|| "–".into())
}

fn sample_json(sample: &Sample) -> Value {
    json!({
        "requests_per_second": sample.rate,
        "p50_us": sample.p50,
        "p90_us": sample.p90,
        "p99_us": sample.p99,
        "max_us": sample.max,
        "cpu_us_per_request": sample.cpu,
        "user_cpu_us_per_request": sample.user_cpu,
        "backend_cpu_us_per_request": sample.backend_cpu,
        "other_cores_busy": sample.others,
        "resident_after_bytes": sample.resident_after,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(kind: Kind, cpu: &[f64]) -> Row {
        let sample = |cpu: &f64| Sample {
            rate: 1000.0,
            p50: 1.0,
            p90: 2.0,
            p99: 3.0,
            max: 4.0,
            cpu: Some(*cpu),
            user_cpu: Some(1.0),
            backend_cpu: 5.0,
            others: 0.0,
            resident_after: Some(3 << 20),
        };
        let samples = cpu.iter().map(sample).collect();
        Row {
            target: 0,
            kind,
            mode: Mode::Legacy,
            path: "/mcp",
            threads: Some(3),
            resident_at_start: Some(2 << 20),
            samples,
        }
    }

    #[test]
    fn ratios_compare_rounds_not_medians() {
        let mut report = Report::new("test".into());
        // A machine that slows down by half from round to round, with the ratio the same throughout.
        report.rows = vec![row(Kind::Hyper, &[10.0, 15.0, 22.0]), row(Kind::Gateway, &[15.0, 22.5, 33.0])];
        let markdown = report.markdown();
        assert!(
            markdown.contains("| **mcp-gateway** `/mcp` | 22.5 (15.0–33.0) | 1.0 | 1.50 (1.50–1.50) |"),
            "{markdown}"
        );
        assert_eq!(report.json()["rows"][1]["cpu_over_bare_hyper"]["median"], 1.5);
    }

    #[test]
    fn a_round_that_failed_leaves_no_ratio_of_unlike_rounds() {
        let mut report = Report::new("test".into());
        report.rows = vec![row(Kind::Hyper, &[10.0, 15.0]), row(Kind::Gateway, &[15.0])];
        report.fail("mcp-gateway: a wrong answer".into());
        let markdown = report.markdown();
        assert!(markdown.contains("| 15.0 (15.0–15.0) | 1.0 | – |"), "{markdown}");
        assert!(markdown.contains("- mcp-gateway: a wrong answer"));
    }
}
