//! Living with children: messages, ends, limits and errors.

use std::time::Duration;

use bridge_transport::stdio::{Exit, LineError, ProgramError, StartError};
use rustix::process::Signal;
use tokio::time::{Instant, timeout};

use crate::support::{DEADLINE, Test, alive, kill, line, send, shell, supervisor, until, until_alive};

pub(crate) fn trials() -> Vec<Test> {
    vec![
        ("messages_go_round", || Box::pin(messages_go_round())),
        ("environment_and_directory_are_as_configured", || Box::pin(environment_and_directory())),
        ("the_end_of_a_child_is_seen_within_a_second", || Box::pin(the_end_is_seen())),
        ("closing_the_input_lets_a_child_finish", || Box::pin(closing_the_input())),
        ("a_child_that_ignores_term_is_killed", || Box::pin(ignores_term())),
        ("a_child_that_closes_its_output_is_noticed", || Box::pin(closed_output())),
        ("a_dropped_child_is_stopped", || Box::pin(dropped())),
        ("an_overlong_line_is_skipped", || Box::pin(overlong_line())),
        ("a_child_that_floods_waits_for_its_reader", || Box::pin(flood())),
        ("wrong_programs_are_explained", || Box::pin(wrong_programs())),
        ("the_limit_of_children_holds", || Box::pin(limit())),
        ("shutdown_ends_all_and_refuses_more", || Box::pin(shutdown())),
    ]
}

async fn messages_go_round() {
    let supervisor = supervisor();
    let (spec, _) = shell("cat", "exec cat");
    let mut child = supervisor.start(&spec).await.unwrap();
    for message in ["{\"id\":1}", "{\"a\":\n\t2}", "not json at all"] {
        send(&child, message).await;
        assert_eq!(line(&mut child).await, message.replace('\n', " "));
    }
}

async fn environment_and_directory() {
    let supervisor = supervisor();
    let (mut spec, _) = shell("env", "pwd; env; cat /proc/self/status");
    spec.working_dir = Some("/usr".into());
    spec.env.insert("TOKEN".to_owned(), "for the child".to_owned());
    let mut child = supervisor.start(&spec).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = child.output.recv().await {
        lines.push(String::from_utf8(line.unwrap().to_vec()).unwrap());
    }
    assert_eq!(lines.first().map(String::as_str), Some("/usr"));
    assert!(lines.contains(&"TOKEN=for the child".to_owned()), "{lines:?}");
    // cargo sets this one for the test, which plays the gateway.
    assert!(std::env::var_os("CARGO_MANIFEST_DIR").is_some());
    assert!(!lines.iter().any(|line| line.starts_with("CARGO_")), "{lines:?}");
    // A program that inherits ignored or blocked signals behaves oddly in pipes and on TERM.
    for signals in ["SigIgn:", "SigBlk:"] {
        let mask = lines.iter().find_map(|line| line.strip_prefix(signals)).unwrap().trim();
        // The classic signals are 1 to 31; the C library keeps some of the others for itself.
        let classic = u64::from_str_radix(mask, 16).unwrap() & 0x7fff_ffff;
        assert_eq!(classic, 0, "{signals} {mask}");
    }
}

async fn the_end_is_seen() {
    let supervisor = supervisor();
    let (spec, _) = shell("ends", "echo last words; exit 7");
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(
        timeout(DEADLINE, child.control.exited()).await.unwrap(),
        Exit { code: Some(7), signal: None }
    );
    assert_eq!(line(&mut child).await, "last words");
    assert!(child.output.recv().await.is_none());
    assert_eq!(supervisor.count("ends"), 0);

    // Killed from outside while one of its own children holds the pipes open.
    let (spec, mark) = shell("killed", "sleep 1000 & echo $$; wait");
    let mut child = supervisor.start(&spec).await.unwrap();
    let program = line(&mut child).await.parse().unwrap();
    let killed = Instant::now();
    kill(program, Signal::KILL);
    assert_eq!(
        timeout(DEADLINE, child.control.exited()).await.unwrap(),
        Exit { code: None, signal: Some(9) }
    );
    assert!(child.output.recv().await.is_none());
    assert!(killed.elapsed() < Duration::from_secs(1), "{:?}", killed.elapsed());
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

async fn closing_the_input() {
    let supervisor = supervisor();
    let (spec, mark) = shell("polite", "cat; echo bye; exit 3");
    let mut child = supervisor.start(&spec).await.unwrap();
    send(&child, "hello").await;
    assert_eq!(line(&mut child).await, "hello");
    // TERM would come after an hour, so this end was the child's own.
    let exit = timeout(DEADLINE, child.control.stop(Duration::from_hours(1))).await.unwrap();
    assert_eq!(exit, Exit { code: Some(3), signal: None });
    assert_eq!(line(&mut child).await, "bye");
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

async fn closed_output() {
    let supervisor = supervisor();
    let (spec, _) = shell("silent", "exec >&-; while :; do sleep 0.1; done");
    let mut child = supervisor.start(&spec).await.unwrap();
    assert!(timeout(DEADLINE, child.output.recv()).await.unwrap().is_none());
    assert_eq!(child.control.exit(), None);
}

async fn ignores_term() {
    let supervisor = supervisor();
    let (spec, mark) = shell("stubborn", "trap 'echo got it' TERM; echo ready; while :; do sleep 0.1; done");
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(line(&mut child).await, "ready");
    let exit = timeout(DEADLINE, child.control.stop(Duration::ZERO)).await.unwrap();
    assert_eq!(line(&mut child).await, "got it");
    assert!(child.output.recv().await.is_none(), "TERM comes once");
    assert_eq!(exit, Exit { code: None, signal: Some(9) });
    assert_eq!(alive(&mark), Vec::<u32>::new());
}

async fn dropped() {
    let supervisor = supervisor();
    let (spec, mark) = shell("dropped", "echo ready; while :; do sleep 0.1; done");
    let mut child = supervisor.start(&spec).await.unwrap();
    line(&mut child).await;
    assert!(!alive(&mark).is_empty());
    drop(child);
    until_alive(&mark, 0).await;
}

async fn overlong_line() {
    let supervisor = supervisor();
    let (spec, _) = shell("long", "echo one; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo two");
    let mut child = supervisor.start(&spec).await.unwrap();
    assert_eq!(line(&mut child).await, "one");
    let error = timeout(DEADLINE, child.output.recv()).await.unwrap().unwrap().unwrap_err();
    assert_eq!(error, LineError::TooLong { limit: 1000 });
    assert_eq!(line(&mut child).await, "two");
}

async fn flood() {
    let supervisor = supervisor();
    let (spec, _) = shell("flood", "exec yes 0123456789012345678901234567890123456789");
    let mut child = supervisor.start(&spec).await.unwrap();
    line(&mut child).await;
    // Once queue and pipe are full, the writer sleeps and uses no more processor time.
    let guard = child.control.pid();
    let full = || {
        let program = std::fs::read_dir("/proc").unwrap().find_map(|entry| {
            let stat = std::fs::read_to_string(entry.ok()?.path().join("stat")).ok()?;
            let mut fields = stat.rsplit_once(')')?.1.split_whitespace().map(str::to_owned);
            let (state, parent) = (fields.next()?, fields.next()?);
            (parent == guard.to_string()).then_some(state)
        });
        let waits = program.is_some_and(|state| state == "S");
        (waits && child.output.len() == child.output.max_capacity()).then_some(())
    };
    until(full, || "the writer never waits".to_owned()).await;
    timeout(DEADLINE, child.control.stop(Duration::ZERO)).await.unwrap();
}

async fn wrong_programs() {
    let supervisor = supervisor();
    let (mut spec, _) = shell("wrong", "");
    "no-such-program-anywhere".clone_into(&mut spec.command[0]);
    let error = supervisor.start(&spec).await.unwrap_err();
    assert!(matches!(&error, StartError::Program { source: ProgramError::NotInPath { .. }, .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("backend `wrong`") && text.contains("`no-such-program-anywhere`"), "{text}");
    assert!(text.contains("PATH"), "{text}");

    spec.working_dir = Some("/no/such/directory".into());
    let error = supervisor.start(&spec).await.unwrap_err();
    assert!(error.to_string().contains("`/no/such/directory`"), "{error}");

    // Found and executable, but its interpreter is missing: only the system can tell, when it runs.
    let script = std::env::temp_dir().join(format!("stdio-test-{}", std::process::id()));
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    let mode: std::fs::Permissions = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&script, mode).unwrap();
    let (mut spec, _) = shell("script", "");
    spec.command = vec![script.display().to_string()];
    let child = supervisor.start(&spec).await.unwrap();
    let exit = timeout(DEADLINE, child.control.exited()).await.unwrap();
    std::fs::remove_file(&script).unwrap();
    assert_eq!(exit.to_string(), "exited with code 127 (command not found)");
    assert_eq!(supervisor.count("wrong") + supervisor.count("script"), 0, "failed starts hold no place");
}

async fn limit() {
    let supervisor = supervisor();
    let (mut spec, _) = shell("limited", "exec cat");
    spec.max_processes = 2;
    let first = supervisor.start(&spec).await.unwrap();
    let _second = supervisor.start(&spec).await.unwrap();
    let error = supervisor.start(&spec).await.unwrap_err();
    assert!(matches!(error, StartError::TooMany { limit: 2, .. }), "{error}");
    let (other, _) = shell("another", "exec cat");
    supervisor.start(&other).await.unwrap();
    timeout(DEADLINE, first.control.stop(Duration::from_secs(5))).await.unwrap();
    supervisor.start(&spec).await.unwrap();
}

async fn shutdown() {
    let supervisor = supervisor();
    let (polite, first_mark) = shell("a", "exec cat");
    let (stubborn, second_mark) = shell("b", "trap '' TERM; sleep 1000 & while :; do wait; done");
    let _polite = supervisor.start(&polite).await.unwrap();
    let _stubborn = supervisor.start(&stubborn).await.unwrap();
    timeout(DEADLINE, supervisor.shutdown(Duration::from_millis(100))).await.unwrap();
    assert_eq!((alive(&first_mark), alive(&second_mark)), (vec![], vec![]));
    let error = supervisor.start(&polite).await.unwrap_err();
    assert!(matches!(error, StartError::Stopping { .. }), "{error}");
}
