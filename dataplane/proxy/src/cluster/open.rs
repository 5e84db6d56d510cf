//! Opening conversations with a backend. Changes when a transport or a probe changes.
//!
//! Source for the probes: protocol compatibility notes of 2026-07-28 ("Versioning: backward compatibility"). A verdict
//! about one generation never comes from a process that was spoken to in the other: some servers pin themselves to the
//! generation of their first message.

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::frame::Frame;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_snapshot::{StdioBackend, Target};
use bridge_transport::stdio::{ChildSpec, StartError};
use http::HeaderValue;
use tokio_util::sync::CancellationToken;

use super::Cluster;
use crate::upstream::{
    Answer, Channel, Event, Handshake, Hello, HttpLink, Link, Opening, Owner, UpstreamError, Wire, discover,
    initialize, initialized, mirror, verdict,
};

/// How long a child may take to end after its input was closed, and again after each stronger signal.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

impl Cluster {
    /// Opens a legacy conversation on behalf of a client.
    pub(crate) async fn open_legacy(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Handshake), Refusal> {
        if !self.may_speak(Era::Legacy, Instant::now()) {
            return Err(self.era_mismatch(Era::Legacy));
        }
        let timeout = self.config.connect_timeout;
        let opening = tokio::time::timeout(timeout, self.try_legacy(hello, owner)).await;
        match opening.map_err(|_| self.silent())? {
            Ok((link, Opening::Open(handshake))) => {
                self.set_verdict(Era::Legacy, true, Instant::now());
                Ok((link, handshake))
            }
            Ok((link, Opening::OtherEra)) => {
                link.close().await;
                self.set_verdict(Era::Legacy, false, Instant::now());
                Err(self.era_mismatch(Era::Legacy))
            }
            Ok((link, Opening::Failed(refusal))) => {
                link.close().await;
                Err(self.named(refusal))
            }
            Err(refusal) => Err(self.named(refusal)),
        }
    }

    async fn try_legacy(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Opening), Refusal> {
        let frame = initialize(hello)?;
        let (link, opening) = if let Some(target) = &self.http {
            let link = HttpLink::new(Arc::clone(target), Era::Legacy);
            let (answer, session) = self.first_answer(&link, &frame).await;
            let opening = verdict(answer);
            let link = match &opening {
                Opening::Open(handshake) => link.opened(handshake.version, session),
                _ => link,
            };
            (Arc::new(Link::Http(link)), opening)
        } else {
            let link = self.start_child(Era::Legacy, owner).await?;
            let opening = verdict(link.ask(&frame, http::HeaderMap::new()).await);
            (link, opening)
        };
        if matches!(opening, Opening::Open(_)) {
            link.tell(initialized()).await.map_err(|error| error.into_refusal(&self.name))?;
        }
        Ok((link, opening))
    }

    async fn first_answer(
        &self,
        link: &HttpLink,
        frame: &Frame,
    ) -> (Result<Frame, UpstreamError>, Option<HeaderValue>) {
        let (answer, session) = match link.exchange(frame, http::HeaderMap::new()).await {
            Ok(exchanged) => exchanged,
            Err(error) => return (Err(error), None),
        };
        let bytes = match answer {
            Answer::Whole { bytes, .. } => Ok(bytes),
            Answer::Forward(body) => crate::upstream::collect(body, self.limits.max_bytes)
                .await
                .map_err(|error| Refusal::backend(Reason::BackendLost, &self.name, error)),
            Answer::Stream(mut messages) => loop {
                match messages.next().await {
                    Ok(Event::Answer(bytes)) => break Ok(bytes),
                    Ok(_) => {}
                    Err(refusal) => break Err(refusal),
                }
            },
        };
        let frame = bytes.and_then(|bytes| {
            Frame::parse(bytes, &self.limits)
                .map_err(|error| Refusal::backend(Reason::BackendProtocol, &self.name, error))
        });
        (frame.map_err(UpstreamError::Failed), session)
    }

    /// The conversation that modern clients share, with what the backend said of itself when it was just opened.
    pub(crate) async fn modern_link(&self) -> Result<(Arc<Link>, Option<Handshake>), Refusal> {
        if let Some(link) = self.modern.get() {
            return Ok((link, None));
        }
        if !self.may_speak(Era::Modern, Instant::now()) {
            return Err(self.era_mismatch(Era::Modern));
        }
        let mut handshake = None;
        let (link, _) = self
            .modern
            .open(|| async {
                let (link, opened) = self.open_modern(self.owner(Era::Modern)).await?;
                handshake = Some(opened);
                Ok(link)
            })
            .await?;
        Ok((link, handshake))
    }

    async fn open_modern(&self, owner: Arc<dyn Owner>) -> Result<(Arc<Link>, Handshake), Refusal> {
        let link = if let Some(target) = &self.http {
            Arc::new(Link::Http(HttpLink::new(Arc::clone(target), Era::Modern)))
        } else {
            self.start_child(Era::Modern, owner).await?
        };
        let opening = tokio::time::timeout(self.config.connect_timeout, discover(&link)).await;
        match opening {
            Ok(Opening::Open(handshake)) => {
                self.set_verdict(Era::Modern, true, Instant::now());
                Ok((link, handshake))
            }
            // Old servers may stay silent to a request that they do not know.
            Ok(Opening::OtherEra) | Err(_) => {
                link.close().await;
                self.set_verdict(Era::Modern, false, Instant::now());
                Err(self.era_mismatch(Era::Modern))
            }
            Ok(Opening::Failed(refusal)) => {
                link.close().await;
                Err(self.named(refusal))
            }
        }
    }

    /// Asks an open modern conversation again what the backend is.
    pub(crate) async fn rediscover(&self, link: &Link) -> Result<Handshake, Refusal> {
        match tokio::time::timeout(self.config.connect_timeout, discover(link)).await {
            Ok(Opening::Open(handshake)) => Ok(handshake),
            Ok(Opening::OtherEra) => Err(self.era_mismatch(Era::Modern)),
            Ok(Opening::Failed(refusal)) => Err(self.named(refusal)),
            Err(_) => Err(self.silent()),
        }
    }

    async fn start_child(&self, era: Era, owner: Arc<dyn Owner>) -> Result<Arc<Link>, Refusal> {
        let Target::Stdio(stdio) = &self.config.target else {
            return Err(Refusal::backend(
                Reason::BackendUnavailable,
                &self.name,
                "it has no way to be reached",
            ));
        };
        let spec = self.child_spec(stdio);
        let child = self.shared.supervisor.start(&spec).await.map_err(|error| self.not_started(&error))?;
        let stop = CancellationToken::new();
        let control = child.control;
        let wire = Wire { outbound: child.input, inbound: child.output };
        let channel =
            Channel::start(Arc::clone(&self.name), era, self.limits.clone(), wire, owner, stop.clone());
        let name = Arc::clone(&self.name);
        tasks::spawn("child", async move {
            let exit = tokio::select! {
                exit = control.exited() => exit,
                () = stop.cancelled() => control.stop(GRACE).await,
            };
            stop.cancel();
            tracing::info!(backend = %name, pid = control.pid(), %exit, "child ended");
        });
        Ok(Arc::new(Link::Channel(channel)))
    }

    fn child_spec(&self, stdio: &StdioBackend) -> ChildSpec {
        ChildSpec {
            name: self.name.to_string(),
            command: stdio.command.clone(),
            working_dir: stdio.working_dir.clone(),
            env: stdio.env.iter().map(|(key, value)| (key.clone(), value.expose().to_owned())).collect(),
            max_line: self.limits.max_bytes,
            max_processes: stdio.max_processes,
        }
    }

    fn not_started(&self, error: &StartError) -> Refusal {
        tracing::warn!(backend = %self.name, %error, "child not started");
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.name,
            "it could not be started; the gateway's log says why",
        )
    }

    fn silent(&self) -> Refusal {
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.name,
            format_args!("it did not open a conversation within {:?}", self.config.connect_timeout),
        )
    }

    /// Gives a refusal the backend's name where the source did not know it.
    fn named(&self, refusal: Refusal) -> Refusal {
        if refusal.backend.is_some() {
            refusal
        } else {
            Refusal::backend(refusal.reason, &self.name, refusal.detail)
        }
    }
}

/// The headers of a request to a modern backend; only HTTP has them.
pub(crate) fn mirrored(link: &Link, frame: &Frame) -> http::HeaderMap {
    match link {
        Link::Http(_) if link.era() == Era::Modern => mirror(frame),
        _ => http::HeaderMap::new(),
    }
}
