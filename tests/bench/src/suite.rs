//! `all`: every target, every kind of traffic, several rounds in turn, then idle memory; one report.
//! Changes when the course of a run does.

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::calls::{self, Mode};
use crate::idle::{self, Counts};
use crate::load::{self, Plan};
use crate::process::Process;
use crate::procfs::{self, Cpu, Family};
use crate::report::{Report, Row, Sample};
use crate::targets::{self, Kind, MODES, Setting, Target};
use crate::wire::Endpoint;

/// Options of `all`. Times and counts not given depend on `--quick`.
#[derive(clap::Args, Clone)]
pub(crate) struct Options {
    /// A short run that shows that everything works; its figures are rough.
    #[arg(long)]
    quick: bool,
    /// Rounds; each measures every target once, in the same order. [default: 15, quick: 3]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: Option<u32>,
    /// Seconds measured per target and round. [default: 1, quick: 0.4]
    #[arg(long, value_parser = positive_seconds)]
    duration: Option<f64>,
    /// Keep-alive connections, each with one call in flight.
    #[arg(long, default_value_t = 32, value_parser = clap::value_parser!(u32).range(1..=400))]
    connections: u32,
    /// Size of the serialised `arguments` object of each call.
    #[arg(long, default_value_t = 256, value_parser = calls::arguments_size)]
    args_bytes: usize,
    /// Targets, comma-separated. [default: all]
    #[arg(long, value_enum, value_delimiter = ',')]
    targets: Vec<Kind>,
    /// Tokio worker threads of bare hyper and the gateway. [default: tokio's own, one per core]
    #[arg(long, value_parser = clap::value_parser!(u16).range(1..=256))]
    workers: Option<u16>,
    /// Idle sessions whose memory is measured. [default: 2000, quick: 200]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    sessions: Option<u32>,
    /// Idle GET streams whose memory is measured, at most one per session. [default: 500, quick: 50]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    streams: Option<u32>,
    /// The gateway's binary. [default: beside this one]
    #[arg(long)]
    gateway: Option<PathBuf>,
    /// Where report.md, report.json, logs and configurations go. [default: target/bench]
    #[arg(long)]
    out: Option<PathBuf>,
}

/// Reads a number of seconds.
pub(crate) fn positive_seconds(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(seconds) if seconds > 0.0 && seconds <= 3600.0 => Ok(seconds),
        _ => Err("must be a number of seconds above 0 and up to 3600".into()),
    }
}

/// Runs everything; fails on wrong answers and on targets that do not start, never on figures.
pub(crate) async fn run(options: Options) -> Result<ExitCode> {
    let quick = options.quick;
    let program = std::env::current_exe().context("cannot find this program")?;
    let folder = program.parent().context("this program is in no folder")?;
    let directory = options.out.clone().unwrap_or_else(|| folder.with_file_name("bench"));
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    // nginx reads paths relative to its own prefix.
    let directory = directory.canonicalize()?;
    let gateway = options.gateway.clone().unwrap_or_else(|| folder.join("mcp-gateway"));
    let setting = Setting { directory, gateway, workers: options.workers.map(usize::from) };
    let chosen = |kind: &Kind| options.targets.is_empty() || options.targets.contains(kind);
    let kinds: Vec<Kind> = Kind::ALL.into_iter().filter(chosen).collect();
    let rounds = options.rounds.unwrap_or(if quick { 3 } else { 15 });
    let window = Duration::from_secs_f64(options.duration.unwrap_or(if quick { 0.4 } else { 1.0 }));
    let sessions = options.sessions.unwrap_or(if quick { 200 } else { 2000 });
    let streams = options.streams.unwrap_or(if quick { 50 } else { 500 }).min(sessions);

    let mut report = Report::new(procfs::machine());
    report.note(format!(
        "{rounds} rounds of {:.1} s per target, {} connections with one call in flight each, {} bytes of arguments.",
        window.as_secs_f64(),
        options.connections,
        options.args_bytes
    ));
    let workers =
        setting.workers.map_or("tokio's default, one per core".into(), |workers| workers.to_string());
    report
        .note(format!("Bare hyper and the gateway run on tokio's multi-thread runtime; workers: {workers}."));
    let (backend, far_end) = targets::backend(&setting.directory).await?;
    let targets = start(&kinds, &far_end, &setting, &mut report).await;

    let backend_family = backend.family()?;
    let mut rows = rows(&targets);
    for round in 1..=rounds {
        for row in &mut rows {
            let Some(target) = targets.get(row.target) else { continue };
            let plan = Plan {
                endpoint: target.endpoint.with_path(row.path),
                mode: row.mode,
                connections: options.connections,
                warm_up: window.mul_f64(0.25).min(Duration::from_millis(500)),
                window,
                arguments_size: options.args_bytes,
            };
            eprintln!("round {round}/{rounds}: {} {} {:?}", row.kind.title(), row.path, row.mode);
            match sample(&plan, target, &backend_family).await {
                Ok((sample, None)) => row.samples.push(sample),
                Ok((_, Some(failure))) => report.fail(format!("{}: {failure}", row.name())),
                Err(error) => report.fail(format!("{}: {error:#}", row.name())),
            }
        }
    }
    report.rows = rows;
    for target in targets {
        stop(target, &mut report).await;
    }
    if kinds.contains(&Kind::Gateway) {
        idle_memory(&far_end, &setting, Counts { sessions, streams }, &mut report).await;
    }
    stop_backend(backend, &mut report).await;

    let markdown = report.markdown();
    println!("{markdown}");
    for (name, text) in [("report.md", markdown), ("report.json", format!("{:#}\n", report.json()))] {
        let path = setting.directory.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn start(kinds: &[Kind], far_end: &Endpoint, setting: &Setting, report: &mut Report) -> Vec<Target> {
    let mut running = Vec::new();
    for kind in kinds {
        match Target::start(*kind, far_end, setting).await {
            Ok(Some(target)) => running.push(target),
            Ok(None) => {
                report.note("nginx is not installed (`apt-get install nginx-light`): no row for it.".into());
            }
            Err(error) => report.fail(format!("{} did not start: {error:#}", kind.title())),
        }
    }
    if running.iter().any(|target| target.kind == Kind::Nginx)
        && let Some(version) = targets::nginx_version()
    {
        report.note(format!("nginx is {version}, one worker process, access log off, upstream keep-alive."));
    }
    running
}

fn rows(targets: &[Target]) -> Vec<Row> {
    let mut rows = Vec::new();
    for mode in MODES {
        for (position, target) in targets.iter().enumerate() {
            for path in target.kind.paths() {
                rows.push(Row {
                    target: position,
                    kind: target.kind,
                    mode,
                    path,
                    threads: target.threads,
                    resident_at_start: target.resident_at_start,
                    samples: Vec::new(),
                });
            }
        }
    }
    rows
}

struct Reading {
    target: Option<Cpu>,
    backend: Cpu,
    own: Cpu,
    machine: Duration,
}

async fn sample(plan: &Plan, target: &Target, backend: &Family) -> Result<(Sample, Option<String>)> {
    let family = target.family()?;
    let own = Family::of_this_process();
    let read = || -> Result<Reading> {
        Ok(Reading {
            target: family.as_ref().map(Family::cpu).transpose()?,
            backend: backend.cpu()?,
            own: own.cpu()?,
            machine: procfs::machine_busy()?,
        })
    };
    let (outcome, before, after) = load::run(plan, read).await?;
    let (before, after) = (before?, after?);
    let requests = outcome.requests.max(1) as f64;
    let per_request = |used: Duration| used.as_secs_f64() * 1e6 / requests;
    let target_cpu = after.target.zip(before.target).map(|(after, before)| after.since(before));
    let backend_cpu = after.backend.since(before.backend).total();
    let ours = target_cpu.unwrap_or_default().total() + backend_cpu + after.own.since(before.own).total();
    let others = after.machine.saturating_sub(before.machine).saturating_sub(ours);
    let resident_after = family.as_ref().map(Family::resident).transpose()?;
    let sample = Sample {
        rate: outcome.rate(),
        p50: outcome.micros(500),
        p90: outcome.micros(900),
        p99: outcome.micros(990),
        max: outcome.latency.max().as_secs_f64() * 1e6,
        cpu: target_cpu.map(|cpu| per_request(cpu.total())),
        user_cpu: target_cpu.map(|cpu| per_request(cpu.user)),
        backend_cpu: per_request(backend_cpu),
        others: others.as_secs_f64() / outcome.elapsed.as_secs_f64(),
        resident_after,
    };
    Ok((sample, outcome.first_failure))
}

async fn idle_memory(far_end: &Endpoint, setting: &Setting, counts: Counts, report: &mut Report) {
    eprintln!("idle memory: {} sessions, {} streams", counts.sessions, counts.streams);
    match Target::start(Kind::Gateway, far_end, setting).await {
        Ok(Some(target)) => {
            match idle::measure(&target, "/mcp/bench", counts).await {
                Ok(idle) => report.idle = Some(idle),
                Err(error) => report.fail(format!("idle memory: {error:#}")),
            }
            stop(target, report).await;
        }
        Ok(None) => {}
        Err(error) => report.fail(format!("the gateway did not start for idle memory: {error:#}")),
    }
}

async fn stop(target: Target, report: &mut Report) {
    let title = target.kind.title();
    if let Err(error) = target.stop().await {
        report.note(format!("{title}: {error:#}."));
    }
}

async fn stop_backend(backend: Process, report: &mut Report) {
    if let Err(error) = backend.stop().await {
        report.note(format!("backend: {error:#}."));
    }
}

impl Row {
    /// What failed, for messages.
    fn name(&self) -> String {
        let traffic = match self.mode {
            Mode::Legacy => "legacy session",
            Mode::Modern => "2026-07-28",
            Mode::Raw => "raw",
        };
        format!("{} {} ({traffic})", self.kind.title(), self.path)
    }
}
