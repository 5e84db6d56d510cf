//! Configuration push at scale: the real operator over an API in memory, and as many pods as asked for in a second process.
//! Changes when another figure is wanted. No figure fails it.
//!
//! CPU and memory are those of the process with the operator. The API in memory is in it, too, so both are upper bounds.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::cast_precision_loss,
    reason = "a step that fails ends the run, figures go to standard output, and counters are far below 2^52"
)]

#[allow(dead_code, reason = "tests use more of it")]
#[path = "../../tests/kit/api.rs"]
mod api;
mod cluster;
mod floor;
mod measure;
mod pods;
mod report;
mod wire;

use std::process::Stdio;
use std::time::Duration;

use api::Api;
use clap::Parser;
use cluster::{NAMESPACE, backend, cluster};
use mcp_operator::args::{Args, Command, Run};
use mcp_operator::run::Operator;
use measure::{Watch, percentile, resident};
use report::{Report, Row};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout};
use wire::{Done, Order, Setup};

/// Config push at scale.
#[derive(Parser)]
struct Options {
    /// Pods that connect.
    #[arg(long, default_value_t = 1000)]
    pods: usize,
    /// Backends of the gateway.
    #[arg(long, default_value_t = 10_000)]
    backends: usize,
    /// Changes of one backend each, one after another.
    #[arg(long, default_value_t = 100)]
    changes: usize,
    /// Backends that change at once.
    #[arg(long, default_value_t = 500)]
    churn: usize,
    /// Be the pods.
    #[arg(long, hide = true)]
    be_pods: bool,
    /// Cargo says so.
    #[arg(long, hide = true)]
    bench: bool,
}

/// The process with the pods.
struct Pods {
    _process: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

impl Pods {
    async fn start(setup: &Setup) -> Self {
        let mut process = tokio::process::Command::new(std::env::current_exe().unwrap())
            .arg("--be-pods")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap();
        let orders = process.stdin.take().unwrap();
        let answers = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut pods = Self { _process: process, orders, answers };
        pods.line(&serde_json::to_string(setup).unwrap()).await;
        pods
    }

    async fn line(&mut self, line: &str) {
        self.orders.write_all(format!("{line}\n").as_bytes()).await.unwrap();
    }

    async fn tell(&mut self, order: &Order) {
        self.line(&serde_json::to_string(order).unwrap()).await;
    }

    async fn done(&mut self) -> Done {
        let line = self.answers.next_line().await.unwrap().unwrap();
        serde_json::from_str(&line).unwrap()
    }

    /// Tells and waits; what it cost.
    async fn measure(&mut self, order: &Order) -> Row {
        let watch = Watch::start();
        self.tell(order).await;
        let done = self.done().await;
        Row::new(vec![watch.read().0], watch.read().1, &[done])
    }
}

fn main() {
    let options = Options::parse();
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if options.be_pods {
        return runtime.block_on(pods::run());
    }
    runtime.block_on(run(&options));
}

async fn run(options: &Options) {
    let mut report = Report::new(options.pods, options.backends);
    let (api, whos) = cluster(options.pods, options.backends);
    report.memory("objects in the API in memory", resident("VmRSS:"));
    let token_file = std::env::temp_dir().join(format!("bench-push-token-{}", std::process::id()));
    std::fs::write(&token_file, "operator\n").unwrap();
    let line = "mcp-operator run --namespace system --replica r1 --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --advertise localhost:9443";
    let Command::Run(args) = Args::parse_from(line.split(' ')).command else { panic!("it runs") };
    let watch = Watch::start();
    let mut operator =
        Operator::start(&Run { token_file: token_file.clone(), ..*args }, api.client()).await.unwrap();
    let setup = Setup { port: operator.pods().port(), authority: operator.authority(), pods: whos };
    tokio::select! {
        rival = operator.tend() => panic!("{rival}"),
        () = settled(&api) => {}
    }
    let (elapsed, cpu) = watch.read();
    report.row("operator: start until all status is written", Row::new(vec![elapsed], cpu, &[]));
    report.memory("operator started", resident("VmRSS:"));
    tokio::select! {
        rival = operator.tend() => panic!("{rival}"),
        () = measured(options, &api, &setup, &mut report) => {}
    }
    let _ = std::fs::remove_file(token_file);
    report.print();
}

/// Waits until nothing is written for a while but the Lease.
async fn settled(api: &Api) {
    let count = || api.writes().iter().filter(|line| !line.contains("/leases")).count();
    let mut last = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = count();
        last = if now == last.0 { (now, last.1 + 1) } else { (now, 0) };
        if last.0 > 0 && last.1 >= 3 {
            return;
        }
    }
}

async fn measured(options: &Options, api: &Api, setup: &Setup, report: &mut Report) {
    let mut pods = Pods::start(setup).await;
    let everything = 2 * options.backends + 1;
    let cold = pods.measure(&Order::Connect(everything)).await;
    let per_pod = usize::try_from(cold.received).unwrap() / options.pods;
    report.row("all pods connect and get everything", cold);
    report.memory("all pods in sync", resident("VmRSS:"));

    let mut singles = Vec::new();
    let (mut figures, mut cpu) = (Vec::new(), 0.0);
    for change in 0..options.changes {
        let (figure, elapsed, used) = change_of(api, &mut pods, change, 1).await;
        singles.push(elapsed);
        figures.push(figure);
        cpu += used;
    }
    let single = Row::new(singles, cpu, &figures);
    let change_bytes =
        usize::try_from(single.received).unwrap() / options.pods.max(1) / options.changes.max(1);
    report.row("one backend changes", single);

    report.row("all pods reconnect", pods.measure(&Order::Reconnect).await);
    let (figure, elapsed, used) = change_of(api, &mut pods, options.changes, options.churn).await;
    report
        .row(&format!("{} backends change at once", options.churn), Row::new(vec![elapsed], used, &[figure]));
    report.memory("at the end", resident("VmRSS:"));
    report.memory("the most there was", resident("VmHWM:"));

    let floor = floor::measure(options.pods, &mut pods, change_bytes.max(1), options.changes).await;
    report.floor("one backend changes", percentile(&floor, 50), percentile(&floor, 99));
    let floor = floor::measure(options.pods, &mut pods, per_pod.max(1), 1).await;
    report.floor("all pods connect and get everything", floor[0], floor[0]);
}

/// Changes so many backends at once; waits for the last acknowledgement.
async fn change_of(api: &Api, pods: &mut Pods, change: usize, count: usize) -> (Done, Duration, f64) {
    let mark = format!("c{change}x{count}");
    pods.tell(&Order::Expect(format!("//{mark}."), count)).await;
    pods.done().await;
    let watch = Watch::start();
    for number in 0..count {
        api.put(&backend(change + number, &mark));
    }
    let done = pods.done().await;
    let (elapsed, cpu) = watch.read();
    assert!(api.get("mcp.bridge/v1alpha1/mcpbackends", NAMESPACE, &format!("b-{change}")).is_some());
    (done, elapsed, cpu)
}
