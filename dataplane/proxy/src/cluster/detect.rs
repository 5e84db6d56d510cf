//! Finding out what an HTTP server speaks: Streamable HTTP of either generation, else HTTP+SSE. Changes when another
//! protocol is looked for.
//!
//! Source: MCP 2025-03-26 "Transports: backwards compatibility". Both generations are asked for all the time (see
//! `open.rs`), so what is left to find out is the transport of the older one. A server that cannot be reached, or refuses
//! credentials, has said nothing.

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::frame::Frame;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};

use super::Cluster;
use super::endpoint::{Detect, Protocol};
use super::open::{Greeting, greet_channel};
use crate::upstream::{Link, Opening, Owner, Place};

/// How long a server may take to name its endpoint: some answer every GET with a stream on which nothing comes.
const NAMING: Duration = Duration::from_secs(5);

impl Cluster {
    pub(super) async fn detect_modern(&self, detect: &Detect, place: &Place) -> (Arc<Link>, Opening) {
        let (link, opening) = self.discover_http(&detect.http, place.token()).await;
        if matches!(opening, Opening::Open(_)) {
            detect.found(Protocol::StreamableHttp);
        }
        (link, opening)
    }

    pub(super) async fn detect_legacy(
        &self,
        detect: &Detect,
        place: &Place,
        frame: &Frame,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Opening), Refusal> {
        let known = *detect.found.lock();
        if known == Some(Protocol::Sse) {
            match self.detect_sse(detect, place, frame, Arc::clone(&owner)).await {
                // It may have become another server.
                Err(refusal) if refusal.reason == Reason::BackendProtocol => {}
                outcome => return outcome,
            }
        }
        let (link, opening) = self.greet_http(&detect.http, frame, place.token()).await;
        let may_be_sse = match &opening {
            Opening::Open(_) => {
                detect.found(Protocol::StreamableHttp);
                false
            }
            Opening::OtherEra => true,
            Opening::InDoubt(refusal) | Opening::Failed(refusal) => refusal.reason == Reason::BackendProtocol,
        };
        if !may_be_sse {
            return Ok((link, opening));
        }
        match self.detect_sse(detect, place, frame, owner).await {
            Ok(opened) => Ok(opened),
            // What it said first describes it better.
            Err(_) => Ok((link, opening)),
        }
    }

    async fn detect_sse(
        &self,
        detect: &Detect,
        place: &Place,
        frame: &Frame,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Opening), Refusal> {
        let opening =
            tokio::time::timeout(NAMING, self.start_sse(Era::Legacy, &detect.sse, owner, place.token()));
        let link = opening.await.map_err(|_| {
            Refusal::backend(Reason::BackendProtocol, &self.name, "its event stream names no endpoint")
        })??;
        let (link, opening) = greet_channel(link, Greeting::Initialize(frame)).await;
        if matches!(opening, Opening::Open(_)) {
            detect.found(Protocol::Sse);
        }
        Ok((link, opening))
    }
}
