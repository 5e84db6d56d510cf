//! Nothing survives: grandchildren, daemons, the gateway's own violent death.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use rustix::process::Signal;
use tokio::time::timeout;

use crate::support::{
    self, DEADLINE, Test, alive, kill, line, new_mark, shell, supervisor, until_alive, until_at_least,
};

/// Set in the process that plays a gateway which is killed: the mark for its children.
const GATEWAY: &str = "STDIO_TEST_GATEWAY";

/// Five kinds of trouble below one program: a child, a grandchild, one that ignores TERM, a daemon in its own session
/// whose parent is gone, and a daemon that also ignores TERM.
const TROUBLE: &str = "
    sleep 1000 &
    sh -c 'sleep 1000 & wait' &
    sh -c 'trap \"\" TERM; sleep 1000 & while :; do wait; done' &
    (setsid sleep 1000 </dev/null >/dev/null 2>&1 &)
    (setsid sh -c 'trap \"\" TERM; while :; do sleep 0.1; done' </dev/null >/dev/null 2>&1 &)
    echo ready
";
/// Guard, program, and the above: 1, 2, 2, 1 and 1; each may have a short `sleep` more.
const AT_LEAST: usize = 9;

/// The end of its input is nothing to such a program, nor is TERM.
fn trouble() -> String {
    format!("trap '' TERM; {TROUBLE} while :; do sleep 0.1; done")
}

pub(crate) fn trials() -> Vec<Test> {
    vec![
        ("stop_leaves_no_descendant", || Box::pin(stop())),
        ("the_end_of_a_program_leaves_no_descendant", || Box::pin(end())),
        ("sigkill_of_the_gateway_leaves_no_descendant", || Box::pin(gateway_killed())),
        ("sigkill_of_the_guard_ends_the_program", || Box::pin(guard_killed())),
        ("a_supervisor_outlives_the_threads_that_used_it", || Box::pin(threads_come_and_go())),
        ("the_end_of_the_runtime_ends_children", || Box::pin(runtime_ends())),
    ]
}

async fn stop() {
    let supervisor = supervisor();
    let (spec, mark) = shell("trouble", &trouble());
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    until_at_least(&mark, AT_LEAST).await;
    timeout(DEADLINE, child.control.stop(Duration::from_millis(100))).await.unwrap();
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

async fn end() {
    let supervisor = supervisor();
    let (spec, mark) = shell("trouble", &format!("{TROUBLE} cat; exit 5"));
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    drop(child.input);
    let exit = timeout(DEADLINE, child.control.exited()).await.unwrap();
    assert_eq!(exit.code, Some(5));
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

pub(crate) fn is_gateway() -> bool {
    std::env::var_os(GATEWAY).is_some()
}

/// Starts children, says so, and waits to be killed.
pub(crate) fn gateway() -> ExitCode {
    let mark = std::env::var(GATEWAY).unwrap();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(async {
        let supervisor = supervisor();
        let mut children = Vec::new();
        for name in ["a", "b", "c"] {
            let (mut spec, _) = shell(name, &trouble());
            spec.env = support::marked(&mark);
            let mut child = supervisor.start(&spec).await.unwrap();
            assert_eq!(line(&mut child).await, "ready");
            children.push(child);
        }
        std::io::Write::write_all(&mut std::io::stdout(), b"started\n").unwrap();
        std::future::pending::<()>().await;
    });
    ExitCode::SUCCESS
}

async fn gateway_killed() {
    let mark = new_mark();
    let mut gateway = Command::new(std::env::current_exe().unwrap())
        .env(GATEWAY, &mark)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut started = String::new();
    BufReader::new(gateway.stdout.take().unwrap()).read_line(&mut started).unwrap();
    assert_eq!(started, "started\n");
    until_at_least(&mark, 3 * AT_LEAST).await;
    gateway.kill().unwrap();
    gateway.wait().unwrap();
    until_alive(&mark, 0).await;
}

/// The gateway sees it, the program does not run on, and what held on to the program's input sees its end. Daemons that
/// left the program's session are beyond reach then; the guard is the only one that can find them.
async fn guard_killed() {
    let supervisor = supervisor();
    let (spec, mark) = shell(
        "orphaned",
        "trap '' TERM; exec 3<&0; sleep 1000 & cat <&3 & echo ready; while :; do wait; done",
    );
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    let find_sleep = || alive(&mark).into_iter().find(|pid| name(*pid) == "sleep");
    let sleeping = support::until(find_sleep, || "sleep does not start".to_owned()).await;
    kill(child.control.pid(), Signal::KILL);
    let exit = timeout(DEADLINE, child.control.exited()).await.unwrap();
    assert_eq!(exit.signal, Some(9));
    until_alive(&mark, 1).await;
    assert_eq!(alive(&mark), [sleeping]);
    kill(sleeping, Signal::KILL);
}

fn name(pid: u32) -> String {
    std::fs::read_to_string(format!("/proc/{pid}/comm")).unwrap_or_default().trim().to_owned()
}

/// A parent-death signal is sent when the thread ends that started the process, not only when the process does.
async fn threads_come_and_go() {
    let supervisor = supervisor();
    let (spec, _) = shell("lasting", "exec cat");
    let starting = std::thread::spawn({
        let (supervisor, runtime) = (supervisor.clone(), tokio::runtime::Handle::current());
        move || runtime.block_on(supervisor.start(&spec))
    });
    let mut child = tokio::task::spawn_blocking(|| starting.join()).await.unwrap().unwrap().unwrap();
    drop(supervisor);
    for _ in 0..3 {
        support::send(&child, "still there").await;
        assert_eq!(line(&mut child).await, "still there");
    }
}

async fn runtime_ends() {
    let ended = tokio::task::spawn_blocking(|| {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (mut child, supervisor, mark) = runtime.block_on(async {
            let supervisor = supervisor();
            let (spec, mark) = shell("trouble", &trouble());
            let child = supervisor.start(&spec).await.unwrap();
            (child, supervisor, mark)
        });
        assert_eq!(runtime.block_on(line(&mut child)), "ready");
        drop(runtime);
        (child, supervisor, mark)
    });
    let (_child, _supervisor, mark) = ended.await.unwrap();
    until_alive(&mark, 0).await;
}
