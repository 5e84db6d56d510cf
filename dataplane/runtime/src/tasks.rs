//! The one place that starts tasks. Changes when tasks get more supervision.

use std::future::Future;

use tokio::task::JoinHandle;
use tracing::Instrument as _;

/// Starts a named task. Log lines of it carry the name as `task` at level debug and below; a panic in it is reported
/// by the hook that [`crate::log::init`] installs.
#[allow(clippy::disallowed_methods, reason = "this is the wrapper that the ban points to")]
pub fn spawn<F>(name: &'static str, future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    tokio::spawn(future.instrument(tracing::debug_span!("task", task = name)))
}
