//! Opening conversations with a backend. Changes when a transport or a probe changes.
//!
//! Source for the probes: protocol compatibility notes of 2026-07-28 ("Versioning: backward compatibility"). A verdict
//! about one generation never comes from a process that was spoken to in the other: some servers pin themselves to the
//! generation of their first message.

use std::sync::Arc;
use std::time::Instant;

use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use bridge_snapshot::{StdioBackend, Target, TcpBackend};
use bridge_transport::stdio::{ChildSpec, StartError};

use super::Cluster;
use crate::crossing::open_to_modern;
use crate::upstream::{
    Channel, Handshake, Hello, HttpLink, Link, Opening, Owner, Wire, discover, initialize, initialized,
    mirror, tcp, verdict,
};

/// How long a child may take to end after its input was closed, and again after each stronger signal.
const GRACE: std::time::Duration = std::time::Duration::from_secs(2);

impl Cluster {
    /// Opens a legacy conversation on behalf of a client, over a modern one when the backend speaks nothing else.
    pub(crate) async fn open_legacy(
        self: &Arc<Self>,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Handshake), Refusal> {
        match self.open_native_legacy(hello, Arc::clone(&owner)).await {
            Err(refusal) if refusal.reason == Reason::EraMismatch => {
                Box::pin(open_to_modern(self, hello, owner)).await
            }
            opened => opened,
        }
    }

    /// Opens a conversation in the legacy generation. What comes of it says nothing about the backend's generation:
    /// the client's own words may be what it refuses.
    pub(crate) async fn open_native_legacy(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Handshake), Refusal> {
        if !self.may_speak(Era::Legacy, Instant::now()) {
            return Err(self.era_mismatch(Era::Legacy));
        }
        match self.open_as(hello, owner).await? {
            Some(opened) => Ok(opened),
            None => {
                // Nobody but the gateway's own probe knows, and at a start it may be under way.
                drop(
                    tokio::time::timeout(self.config.connect_timeout, self.legacy_catalogue.settled()).await,
                );
                if self.may_speak(Era::Legacy, Instant::now()) {
                    let detail = "it refuses this client's `initialize`";
                    return Err(Refusal::backend(Reason::BackendProtocol, &self.name, detail));
                }
                Err(self.era_mismatch(Era::Legacy))
            }
        }
    }

    /// Opens a legacy conversation of the gateway's own, and learns whether the backend speaks that generation.
    pub(super) async fn probe_legacy(&self) -> Result<(Arc<Link>, Handshake), Refusal> {
        if !self.is_allowed(Era::Legacy) {
            return Err(self.era_mismatch(Era::Legacy));
        }
        let opened = self.open_as(&Hello::gateway(), self.owner(Era::Legacy)).await?;
        self.set_verdict(Era::Legacy, opened.is_some(), Instant::now());
        opened.ok_or_else(|| self.era_mismatch(Era::Legacy))
    }

    /// `None` when the backend answers, but not in this generation.
    async fn open_as(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Refusal> {
        let opening = tokio::time::timeout(self.config.connect_timeout, self.try_legacy(hello, owner)).await;
        match opening.map_err(|_| self.silent())?.map_err(|refusal| self.named(refusal))? {
            (link, Opening::Open(handshake)) => Ok(Some((link, handshake))),
            (_, Opening::OtherEra) => Ok(None),
            (_, Opening::Failed(refusal)) => Err(self.named(refusal)),
        }
    }

    async fn try_legacy(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Opening), Refusal> {
        let frame = initialize(hello)?;
        let (link, opening) = if let Some(target) = &self.http {
            let mut link = HttpLink::new(Arc::clone(target), Era::Legacy, self.closed.child_token());
            let (answer, session) = match link.exchange(&frame, http::HeaderMap::new()).await {
                Ok((answer, session)) => (link.own_answer(answer).await, session),
                Err(error) => (Err(error), None),
            };
            let opening = verdict(answer);
            if let Opening::Open(handshake) = &opening {
                link.open_session(handshake.version, session);
            }
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

    /// The conversation that modern clients share, with what the backend said of itself when it was just opened.
    pub(crate) async fn modern_link(&self) -> Result<(Arc<Link>, Option<Handshake>), Refusal> {
        if let Some(link) = self.modern.get() {
            return Ok((link, None));
        }
        if !self.may_speak(Era::Modern, Instant::now()) {
            return Err(self.era_mismatch(Era::Modern));
        }
        let mut handshake = None;
        let opening = self.modern.open(|| async {
            let (link, opened) = self.open_modern(self.owner(Era::Modern)).await?;
            handshake = Some(opened);
            Ok(link)
        });
        let (link, _) = Box::pin(opening).await?;
        Ok((link, handshake))
    }

    async fn open_modern(&self, owner: Arc<dyn Owner>) -> Result<(Arc<Link>, Handshake), Refusal> {
        let link = if let Some(target) = &self.http {
            Arc::new(Link::Http(HttpLink::new(Arc::clone(target), Era::Modern, self.closed.child_token())))
        } else {
            self.start_child(Era::Modern, owner).await?
        };
        let opening = tokio::time::timeout(self.config.connect_timeout, discover(&link)).await;
        match opening {
            Ok(Opening::Open(handshake)) => {
                self.set_verdict(Era::Modern, true, Instant::now());
                Ok((link, handshake))
            }
            Ok(Opening::OtherEra) => {
                self.set_verdict(Era::Modern, false, Instant::now());
                Err(self.era_mismatch(Era::Modern))
            }
            // Old servers may stay silent to a request that they do not know; one that is only slow to start is silent in
            // both generations, and says nothing of either.
            Err(_) if self.legacy_catalogue.lists().is_some() => {
                self.set_verdict(Era::Modern, false, Instant::now());
                Err(self.era_mismatch(Era::Modern))
            }
            Err(_) => Err(self.silent()),
            Ok(Opening::Failed(refusal)) => Err(self.named(refusal)),
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
        let stdio = match &self.config.target {
            Target::Stdio(stdio) => stdio,
            Target::Tcp(tcp) => return self.connect_tcp(tcp, era, owner).await,
            Target::Http(_) => {
                let text = "it has no way to be reached";
                return Err(Refusal::backend(Reason::BackendUnavailable, &self.name, text));
            }
        };
        let spec = self.child_spec(stdio);
        let child = self.shared.supervisor.start(&spec).await.map_err(|error| self.not_started(&error))?;
        let stop = self.closed.child_token();
        let control = child.control;
        let wire = Wire { outbound: child.input, inbound: child.output };
        let channel =
            Channel::start(Arc::clone(&self.name), era, self.limits.clone(), wire, owner, stop.clone());
        let (name, freed) = (Arc::clone(&self.name), Arc::clone(&self.pool.freed));
        tasks::spawn("child", async move {
            let exit = tokio::select! {
                exit = control.exited() => exit,
                () = stop.cancelled() => control.stop(GRACE).await,
            };
            stop.cancel();
            tracing::info!(backend = %name, pid = control.pid(), %exit, "child ended");
            freed.notify_one();
        });
        Ok(Arc::new(Link::Channel(channel)))
    }

    async fn connect_tcp(
        &self,
        target: &TcpBackend,
        era: Era,
        owner: Arc<dyn Owner>,
    ) -> Result<Arc<Link>, Refusal> {
        let stop = self.closed.child_token();
        let name = Arc::clone(&self.name);
        let connecting = tcp::connect(name, target, &self.shared.tcp, &self.limits, stop.clone());
        let wire = connecting.await.map_err(|error| {
            tracing::warn!(backend = %self.name, %error, "not connected");
            Refusal::backend(Reason::BackendUnavailable, &self.name, error)
        })?;
        let channel = Channel::start(Arc::clone(&self.name), era, self.limits.clone(), wire, owner, stop);
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
        if let StartError::TooMany { limit, .. } = error {
            let text = format_args!("{limit} of its processes run, its limit; try again");
            return Refusal::backend(Reason::BackendBusy, &self.name, text);
        }
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.name,
            "it could not be started; the gateway's log says why",
        )
    }

    pub(crate) fn silent(&self) -> Refusal {
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

/// The headers of a client's request to a modern backend, with those that repeat annotated arguments. They come from the
/// tool's schema as it was last listed.
pub(crate) fn with_params(cluster: &Cluster, link: &Link, frame: &Frame) -> http::HeaderMap {
    let mut headers = mirrored(link, frame);
    let Link::Http(_) = link else { return headers };
    if frame.method() != Method::ToolsCall {
        return headers;
    }
    let lists = cluster.modern_catalogue.lists();
    let known = lists.as_ref().zip(frame.target()).and_then(|(lists, tool)| lists.params.get(tool.as_ref()));
    let arguments = frame.envelope().params.as_ref().and_then(|params| frame.raw(params.members.arguments));
    let written = known.and_then(|known| known.write(arguments, &cluster.limits).ok());
    for (name, value) in written.into_iter().flatten() {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
        {
            headers.insert(name, value);
        }
    }
    headers
}
