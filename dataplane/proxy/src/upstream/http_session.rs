//! The end of a session at an HTTP backend, which is told once, whoever drops the conversation and why. Changes when
//! sessions end otherwise.
//!
//! Source: MCP 2025-03-26 to 2025-11-25 "Streamable HTTP: session management".

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bridge_runtime::tasks;
use bytes::Bytes;
use http::Method;
use tokio::runtime::Handle;

use super::http::{HttpLink, TELL};

impl HttpLink {
    /// Marks the conversation as lost, because its server does not know the session.
    pub(super) fn forgotten(&self) {
        self.parted.store(true, Ordering::Relaxed);
        self.lose();
    }

    /// Ends a legacy session.
    pub(crate) async fn close(&self) {
        self.lose();
        if let Some(farewell) = self.farewell() {
            farewell.await;
        }
    }

    /// Tells the server that nobody needs the session any more; nothing when there is none, or it was told. Best effort:
    /// a backend may not know DELETE (405).
    fn farewell(&self) -> Option<impl Future<Output = ()> + Send + use<>> {
        if self.session().is_none() || self.parted.swap(true, Ordering::Relaxed) {
            return None;
        }
        let (target, headers) = (Arc::clone(&self.target), self.post_headers());
        Some(async move {
            let deleted = target.client.send(Method::DELETE, &target.uri, headers, Bytes::new());
            if !matches!(tokio::time::timeout(TELL, deleted).await, Ok(Ok(_))) {
                tracing::debug!(backend = %target.backend, "session not deleted");
            }
        })
    }
}

/// Nobody can send on it any more, so its notification stream and its session may end.
impl Drop for HttpLink {
    fn drop(&mut self) {
        self.stop.cancel();
        // Without a runtime the process ends, too.
        if let (Some(farewell), Ok(_)) = (self.farewell(), Handle::try_current()) {
            tasks::spawn("end-session", self.target.farewells.track_future(farewell));
        }
    }
}
