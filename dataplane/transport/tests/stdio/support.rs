//! What the tests share: specs, deadlines, and looking at processes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use bridge_transport::stdio::{ChildSpec, Supervisor, guard};
use bytes::Bytes;
use libtest_mimic::Failed;
use tokio::time::{Instant, timeout};

/// One test as a value.
pub(crate) type Test = (&'static str, fn() -> Pin<Box<dyn Future<Output = ()>>>);

/// No step of a test takes this long unless it fails.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// Runs a test in a runtime of its own; a panic fails it.
#[expect(clippy::unnecessary_wraps, reason = "the signature that the runner wants")]
pub(crate) fn run(test: fn() -> Pin<Box<dyn Future<Output = ()>>>) -> Result<(), Failed> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(test());
    Ok(())
}

pub(crate) fn supervisor() -> Supervisor {
    Supervisor::new(guard::command()).unwrap()
}

/// Processes that inherit this variable are found by [`alive`], whatever became of their parents, groups and sessions.
const MARK: &str = "STDIO_TEST_MARK";

/// A value of [`MARK`] that nobody else uses.
pub(crate) fn new_mark() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("mark-{}-{}.", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// A shell script as a child, marked.
pub(crate) fn shell(name: &str, script: &str) -> (ChildSpec, String) {
    let mark = new_mark();
    let spec = ChildSpec {
        name: name.to_owned(),
        command: ["sh", "-c", script].map(str::to_owned).to_vec(),
        working_dir: None,
        env: marked(&mark),
        max_line: 1000,
        max_processes: 4,
    };
    (spec, mark)
}

/// Variables that make processes findable.
pub(crate) fn marked(mark: &str) -> BTreeMap<String, String> {
    BTreeMap::from([(MARK.to_owned(), mark.to_owned())])
}

/// Process ids with the mark in their environment. Zombies have none any more.
pub(crate) fn alive(mark: &str) -> Vec<u32> {
    let needle = format!("{MARK}={mark}");
    let processes = std::fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes
        .filter(|pid: &u32| {
            let environment = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.split(|byte| *byte == 0).any(|variable| variable == needle.as_bytes())
        })
        .collect()
}

/// Looks again and again until `found` gives something; fails with what `describe` says.
pub(crate) async fn until<T>(mut found: impl FnMut() -> Option<T>, describe: impl Fn() -> String) -> T {
    let deadline = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = found() {
            return found;
        }
        assert!(Instant::now() < deadline, "{}", describe());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Waits until exactly `count` processes with the mark live.
pub(crate) async fn until_alive(mark: &str, count: usize) {
    let now = || (alive(mark).len() == count).then_some(());
    until(now, || format!("{count} processes expected, alive are {}", describe(&alive(mark)))).await;
}

/// Waits until at least `count` processes with the mark live.
pub(crate) async fn until_at_least(mark: &str, count: usize) {
    let now = || (alive(mark).len() >= count).then_some(());
    until(now, || format!("at least {count} processes expected, alive are {}", describe(&alive(mark)))).await;
}

fn describe(pids: &[u32]) -> String {
    let line = |pid: &u32| {
        let command = std::fs::read_to_string(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        format!("{pid} ({})", command.replace('\0', " ").trim_end())
    };
    pids.iter().map(line).collect::<Vec<_>>().join(", ")
}

/// The next line, which must be one.
pub(crate) async fn line(child: &mut bridge_transport::stdio::Child) -> String {
    let line = timeout(DEADLINE, child.output.recv()).await.unwrap().unwrap().unwrap();
    String::from_utf8(line.to_vec()).unwrap()
}

pub(crate) async fn send(child: &bridge_transport::stdio::Child, message: &str) {
    child.input.send(Bytes::copy_from_slice(message.as_bytes())).await.unwrap();
}

pub(crate) fn kill(pid: u32, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(pid).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}
