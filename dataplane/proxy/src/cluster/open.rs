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
use tokio_util::sync::CancellationToken;

use super::attempts::FailureKind;
use super::endpoint::{Endpoint, Reach};
use super::{Cluster, Verdict};
use crate::crossing::open_to_modern;
use crate::upstream::{
    Channel, Handshake, Hello, HttpLink, HttpTarget, Link, Opening, Owner, SseTarget, Wire, discover,
    initialize, initialized, mirror, verdict,
};

/// How a conversation begins.
#[derive(Clone, Copy)]
pub(super) enum Greeting<'a> {
    /// With this `initialize`.
    Initialize(&'a Frame),
    /// With `server/discover`.
    Discover,
}

impl Greeting<'_> {
    pub(super) fn era(self) -> Era {
        match self {
            Self::Initialize(_) => Era::Legacy,
            Self::Discover => Era::Modern,
        }
    }
}

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
        let verdict = opened.is_none().then(|| Verdict::firm(Instant::now()));
        self.set_verdict(Era::Legacy, verdict);
        opened.ok_or_else(|| self.era_mismatch(Era::Legacy))
    }

    /// `None` when the backend answers, but not in this generation.
    async fn open_as(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Refusal> {
        if self.shares_process() {
            return self.take_seat(owner).await;
        }
        self.open_own(hello, owner).await
    }

    /// The same for a conversation with nobody else in it.
    pub(super) async fn open_own(
        &self,
        hello: &Hello,
        owner: Arc<dyn Owner>,
    ) -> Result<Option<(Arc<Link>, Handshake)>, Refusal> {
        let frame = initialize(hello)?;
        self.open_somewhere(Greeting::Initialize(&frame), owner).await.map_err(|failure| failure.refusal)
    }

    pub(super) async fn greet(
        &self,
        endpoint: &Endpoint,
        greeting: Greeting<'_>,
        owner: Arc<dyn Owner>,
    ) -> Result<(Arc<Link>, Opening), Refusal> {
        let Endpoint { place, reach } = endpoint;
        let stop = place.token();
        let (link, opening) = match (reach, greeting) {
            (Reach::Http(target), Greeting::Initialize(frame)) => self.greet_http(target, frame, stop).await,
            (Reach::Http(target), Greeting::Discover) => self.discover_http(target, stop).await,
            (Reach::Detect(detect), Greeting::Initialize(frame)) => {
                self.detect_legacy(detect, place, frame, owner).await?
            }
            (Reach::Detect(detect), Greeting::Discover) => self.detect_modern(detect, place).await,
            (Reach::Stdio(stdio), greeting) => {
                greet_channel(self.start_child(stdio, greeting.era(), owner, stop).await?, greeting).await
            }
            (Reach::Sse(target), greeting) => {
                greet_channel(self.start_sse(greeting.era(), target, owner, stop).await?, greeting).await
            }
            (Reach::Tcp(target), greeting) => {
                let wire = target.open(stop.clone()).await?;
                greet_channel(self.start_channel(greeting.era(), wire, owner, stop)?, greeting).await
            }
            (Reach::WebSocket(target), greeting) => {
                let wire = target.open(stop.clone()).await?;
                greet_channel(self.start_channel(greeting.era(), wire, owner, stop)?, greeting).await
            }
        };
        if let (Opening::Open(_), Greeting::Initialize(_)) = (&opening, greeting) {
            link.tell(initialized()).await.map_err(|error| error.into_refusal(&self.name))?;
        }
        Ok((link, opening))
    }

    pub(super) async fn greet_http(
        &self,
        target: &Arc<HttpTarget>,
        frame: &Frame,
        stop: CancellationToken,
    ) -> (Arc<Link>, Opening) {
        let mut link = HttpLink::new(Arc::clone(target), Era::Legacy, stop);
        let (answer, session) = match link.exchange(frame, http::HeaderMap::new()).await {
            Ok((answer, session)) => (link.own_answer(answer).await, session),
            Err(error) => (Err(error), None),
        };
        let opening = verdict(answer);
        if let Opening::Open(handshake) = &opening {
            link.open_session(handshake.version, session);
        }
        (Arc::new(Link::Http(link)), opening)
    }

    pub(super) async fn discover_http(
        &self,
        target: &Arc<HttpTarget>,
        stop: CancellationToken,
    ) -> (Arc<Link>, Opening) {
        let link = HttpLink::new(Arc::clone(target), Era::Modern, stop);
        let link = Arc::new(Link::Http(link));
        let opening = discover(&link).await;
        (link, opening)
    }

    /// The conversation that modern clients share, with what the backend said of itself when it was just opened.
    pub(crate) async fn modern_link(&self) -> Result<(Arc<Link>, Option<Handshake>), Refusal> {
        if let Some(link) = self.modern.get() {
            return Ok((link, None));
        }
        if !self.may_speak(Era::Modern, Instant::now()) {
            return Err(self.era_mismatch(Era::Modern));
        }
        self.probe_modern().await
    }

    /// The same on the gateway's own behalf: also when it was found not to speak this generation.
    pub(super) async fn probe_modern(&self) -> Result<(Arc<Link>, Option<Handshake>), Refusal> {
        if !self.is_allowed(Era::Modern) {
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
        match self.open_somewhere(Greeting::Discover, owner).await {
            Ok(Some((link, handshake))) => {
                self.set_verdict(Era::Modern, None);
                Ok((link, handshake))
            }
            Ok(None) => {
                self.set_verdict(Era::Modern, Some(Verdict::firm(Instant::now())));
                Err(self.era_mismatch(Era::Modern))
            }
            // Old servers may stay silent to a request that they do not know; one that is only slow to start is silent in
            // both generations, and says nothing of either.
            Err(failure)
                if failure.kind == FailureKind::Silent && self.legacy_catalogue.lists().is_some() =>
            {
                self.set_verdict(Era::Modern, Some(Verdict::firm(Instant::now())));
                Err(self.era_mismatch(Era::Modern))
            }
            // Some fail at it; so does any server in trouble, but not at the other greeting just then.
            Err(failure) if failure.kind == FailureKind::InDoubt && self.answers_initialize().await => {
                self.set_verdict(Era::Modern, Some(Verdict::in_doubt(Instant::now())));
                Err(self.era_mismatch(Era::Modern))
            }
            Err(failure) => Err(failure.refusal),
        }
    }

    /// Whether it opens a legacy conversation. The keeper of the catalogue tries that anyway, at a start at the same time.
    async fn answers_initialize(&self) -> bool {
        // Late is as good as not at all.
        drop(tokio::time::timeout(self.config.connect_timeout, self.legacy_catalogue.settled()).await);
        if self.legacy_catalogue.lists().is_some() {
            return true;
        }
        match Box::pin(self.probe_legacy()).await {
            Ok((link, _)) => {
                link.close().await;
                true
            }
            Err(_) => false,
        }
    }

    /// Asks an open modern conversation again what the backend is.
    pub(crate) async fn rediscover(&self, link: &Link) -> Result<Handshake, Refusal> {
        match tokio::time::timeout(self.config.connect_timeout, discover(link)).await {
            Ok(Opening::Open(handshake)) => Ok(handshake),
            Ok(Opening::OtherEra) => Err(self.era_mismatch(Era::Modern)),
            Ok(Opening::InDoubt(refusal) | Opening::Failed(refusal)) => Err(self.named(refusal)),
            Err(_) => Err(self.silent()),
        }
    }

    pub(super) async fn start_sse(
        &self,
        era: Era,
        target: &Arc<SseTarget>,
        owner: Arc<dyn Owner>,
        stop: CancellationToken,
    ) -> Result<Arc<Link>, Refusal> {
        let wire = target.open(stop.clone()).await?;
        self.start_channel(era, wire, owner, stop)
    }

    pub(super) fn start_channel(
        &self,
        era: Era,
        wire: Wire,
        owner: Arc<dyn Owner>,
        stop: CancellationToken,
    ) -> Result<Arc<Link>, Refusal> {
        let name = Arc::clone(&self.name);
        Ok(Arc::new(Link::Channel(Channel::start(name, era, self.limits.clone(), wire, owner, stop)?)))
    }

    pub(crate) fn silent(&self) -> Refusal {
        Refusal::backend(
            Reason::BackendUnavailable,
            &self.name,
            format_args!("it did not open a conversation within {:?}", self.config.connect_timeout),
        )
    }

    /// Gives a refusal the backend's name where the source did not know it.
    pub(super) fn named(&self, refusal: Refusal) -> Refusal {
        if refusal.backend.is_some() {
            refusal
        } else {
            Refusal::backend(refusal.reason, &self.name, refusal.detail)
        }
    }
}

pub(super) async fn greet_channel(link: Arc<Link>, greeting: Greeting<'_>) -> (Arc<Link>, Opening) {
    let opening = match greeting {
        Greeting::Initialize(frame) => verdict(link.ask(frame, http::HeaderMap::new()).await),
        Greeting::Discover => discover(&link).await,
    };
    (link, opening)
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
