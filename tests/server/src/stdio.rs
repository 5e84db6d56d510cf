//! Serving on standard input and output. Changes when that does.

use std::sync::Arc;
use std::time::Duration;

use rmcp::transport::stdio_pipes;
use tokio_util::sync::CancellationToken;

use crate::StopSignal;
use crate::conversation;
use crate::state::Shared;

/// How long calls may take to notice that their client is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves until the client closes standard input or the process is asked to stop.
pub(crate) async fn run(shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut signal = StopSignal::watch()?;
    let (input, output) = stdio_pipes();
    let stop = CancellationToken::new();
    let (stopping, calls) = (shared.stopping.clone(), shared.calls.clone());
    let serving = conversation::serve(shared, input, output, stop.clone());
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = signal.received() => {
            stopping.cancel();
            stop.cancel();
            serving.await
        }
    };
    calls.close();
    if tokio::time::timeout(LAST_WORDS, calls.wait()).await.is_err() {
        tracing::warn!("calls were still under way at exit");
    }
    outcome
}
