//! What a child writes to standard error is in the gateway's log.

use std::io;
use std::sync::Mutex;

use tokio::time::timeout;

use crate::support::{DEADLINE, Test, shell, supervisor, until};

/// Everything that was logged in this process.
static LOG: Mutex<String> = Mutex::new(String::new());

struct Capture;

impl io::Write for Capture {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LOG.lock().unwrap().push_str(&String::from_utf8_lossy(bytes));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

pub(crate) fn capture() {
    tracing_subscriber::fmt().with_writer(|| Capture).with_ansi(false).init();
}

pub(crate) fn trials() -> Vec<Test> {
    vec![("standard_error_is_logged_with_the_backends_name", || Box::pin(standard_error()))]
}

async fn standard_error() {
    let supervisor = supervisor();
    let (mut spec, _) =
        shell("noisy-one", "echo \"failed with $TOKEN\" >&2; yes flood | head -n 100000 >&2; exit 1");
    spec.env.insert("TOKEN".to_owned(), "very-secret-value".to_owned());
    let child = supervisor.start(&spec).await.unwrap();
    timeout(DEADLINE, child.control.exited()).await.unwrap();
    // The last lines are logged when their pipe has been read to its end, shortly after the child's.
    let ours = || -> Vec<String> {
        LOG.lock().unwrap().lines().filter(|line| line.contains("noisy-one")).map(str::to_owned).collect()
    };
    let complete = || {
        let lines = ours();
        let has = |text| lines.iter().any(|line| line.contains(text));
        (has("dropped=") && has("code 1")).then_some(lines)
    };
    let lines = until(complete, || format!("{:?}", ours())).await;
    let all = lines.join("\n");
    assert!(all.contains("failed with [redacted]"), "{all}");
    assert!(!all.contains("very-secret-value"), "{all}");
    let flood = lines.iter().filter(|line| line.contains("flood")).count();
    assert!((150..2_000).contains(&flood), "{flood} of 100000 lines were logged");
}
