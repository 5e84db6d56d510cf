//! The operator's parts, put together. Changes when there is another part.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_runtime::admin::{AdminServer, BindError, Pages};
use bridge_runtime::drain::Drain;
use bridge_runtime::health::{BackendHealth, Health, HealthSource};
use bridge_runtime::metrics::{Metrics, MetricsError};
use bridge_runtime::readiness::{Gate, Readiness};
use bridge_runtime::tasks;
use k8s_openapi::jiff::Timestamp;
use k8s_openapi::jiff::civil::Date;
use k8s_openapi::jiff::tz::TimeZone;
use kube::Client;
use rustls::ServerConfig;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Run;
use crate::compile::Options;
use crate::deadline::bounded;
use crate::desired::Installation;
use crate::engine::{Engine, Event, View};
use crate::essential::Essential;
use crate::lease::{Claim, Election, Ending};
use crate::metrics::OperatorMetrics;
use crate::serve::peer::{TellError, Teller};
use crate::serve::token::Reviewer;
use crate::serve::{CertificateError, Server, Succession, server_config};
use crate::start::{StartError, authorities, epoch, has_service_monitors, history, newest};
use crate::watch::Scope;
use crate::watch::pulse::Pulse;
use crate::world::ObjectName;
use crate::write::Writer;
use crate::{fetch, layout, watch as watches};

/// Changes and messages that wait for the index. Whoever finds a queue full waits.
const QUEUE: usize = 1024;
/// Pods come back within so long after this replica has said goodbye.
const SPREAD: Duration = Duration::from_secs(5);
/// Time for goodbyes to be written and for the Lease to be let go of.
const PARTING: Duration = Duration::from_secs(2);
/// Time to look after the certificate.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between looks at the age of what is known.
const LOOK: Duration = Duration::from_secs(5);
/// Between looks at the authorities that are kept.
const SUCCESSION: Duration = Duration::from_mins(2);
/// The operator's certificate is replaced so often.
const RENEW: Duration = Duration::from_hours(24);

/// Why the operator ended.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Something that has to be known is not.
    #[error(transparent)]
    Start(#[from] StartError),
    /// No certificate.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// A port is taken.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The port for pods is taken.
    #[error("cannot listen on {0} for pods: {1}")]
    Listen(SocketAddr, std::io::Error),
    /// Replicas cannot tell each other.
    #[error(transparent)]
    Tell(#[from] TellError),
    /// Metrics cannot be made.
    #[error(transparent)]
    Metrics(#[from] MetricsError),
}

/// A running operator.
pub struct Operator {
    pods: SocketAddr,
    pages: SocketAddr,
    client: Client,
    namespace: String,
    succession: Succession,
    /// The authority that signed last, and when.
    signed: Option<(String, Instant)>,
    authorities: watch::Sender<String>,
    names: Vec<String>,
    certificate: watch::Sender<Arc<ServerConfig>>,
    view: watch::Receiver<Arc<View>>,
    readiness: Readiness,
    gate: Option<Gate>,
    pulse: Pulse,
    essential: Essential,
    ending: watch::Receiver<Option<Ending>>,
    /// Another installation, as the gateways have it.
    rivals: watch::Receiver<Option<String>>,
    metrics: OperatorMetrics,
    events: mpsc::Sender<Event>,
    drain: Drain,
    leaving: CancellationToken,
    stop: CancellationToken,
    writing: (JoinHandle<()>, JoinHandle<()>),
    serving: (JoinHandle<()>, JoinHandle<()>),
}

impl std::fmt::Debug for Operator {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Operator")
            .field("pods", &self.pods)
            .field("pages", &self.pages)
            .finish_non_exhaustive()
    }
}

impl Operator {
    /// Binds its ports, asks what it has to know, and starts everything.
    pub async fn start(args: &Run, client: Client) -> Result<Self, RunError> {
        let client = bounded(&client);
        let (drain, stop) = (Drain::new(), CancellationToken::new());
        let essential = Essential::default();
        let readiness = Readiness::new(drain.clone());
        let gate = readiness.gate("watches");
        let metrics = Metrics::new()?;
        let measured = OperatorMetrics::register(&metrics)?;
        measured.is_of(args.version);
        let admin = AdminServer::bind("metrics", args.metrics).await?;
        let pages = admin.local_addr();
        let health = Health::new(readiness.clone(), Arc::new(NoBackends), args.version);
        let admin = admin.spawn(Pages::Metrics(health, metrics), stop.clone());

        let listen = |error| RunError::Listen(args.listen, error);
        let listener = TcpListener::bind(args.listen).await.map_err(listen)?;
        let pods = listener.local_addr().map_err(listen)?;
        tracing::info!(listener = "pods", address = %pods, version = args.version, "listening");
        let today = today();
        let kept = authorities(&client, &args.namespace, today).await?;
        let own = (!args.namespaces.is_empty()).then_some(&*args.namespace);
        let lease = ObjectName::new(&*args.namespace, layout::lease(&args.class));
        let history = history(&client, &lease).await?;
        let (names, epoch) = (args.names(pods.port()), epoch(&client, own, history.as_deref()).await?);
        let installed = format!("{}/{}", args.namespace, args.service);
        let installation = Installation {
            name: installed.clone(),
            image: args.gateway_image(),
            version: args.version.to_owned(),
            operators: args.operators(pods.port()),
            authorities: kept.bundle(),
            port: pods.port(),
            namespace: args.namespace.clone(),
            service_monitors: own.is_none() && has_service_monitors(&client).await?,
            confined: own.is_some(),
        };
        let (certificate, tls) = watch::channel(server_config(&kept.current, &names, today)?);
        let (authorities, trusted) = watch::channel(kept.bundle());

        let (seen, changes) = mpsc::channel(QUEUE);
        let (events, told) = mpsc::channel(QUEUE);
        let pulse = Pulse::default();
        let scope = Scope { namespaces: args.namespaces.clone(), all_secrets: args.watch_all_secrets };
        let start = newest(&client, args.namespaces.first().map(String::as_str)).await?;
        let started = watches::start(&client, &scope, &seen, &pulse, &stop);
        let options = Options {
            class: args.class.clone(),
            allow_local_endpoints: args.allow_local_endpoints,
            allow_insecure_backends: args.allow_insecure_backends,
        };
        let (engine, view) = Engine::new(
            options,
            (epoch, start),
            (&started, pulse.clone(), !args.watch_all_secrets),
            measured.clone(),
            random,
        );
        let index = essential.spawn("index", engine.run(changes, told, stop.clone()));

        let account = ObjectName::new(&*args.namespace, &*args.account);
        let reviewer = Box::new(Reviewer::new(client.clone(), view.clone(), &account));
        let leaving = CancellationToken::new();
        let ends = (leaving.clone(), stop.clone());
        let server = Server::new(listener, tls, reviewer, (events.clone(), measured.clone()), random, ends);
        drop(essential.spawn("pods", server.run()));
        let fetching =
            fetch::run(client.clone(), args.watch_all_secrets, view.clone(), events.clone(), stop.clone());
        tasks::spawn("fetch", fetching);

        let (claimed, claim) = watch::channel(Claim::default());
        let replica = args.replica.clone().unwrap_or_else(|| format!("mcp-operator-{:016x}", random()));
        // A name that even a restart of this replica does not share.
        let me = format!("{replica}_{:016x}", random());
        let address = SocketAddr::new(args.address, pods.port()).to_string();
        let us = (me, address, installed);
        let election = Election::new(client.clone(), (&lease, history), us, pulse.clone());
        let ending = election.ending();
        let host = names.first().map(String::as_str).unwrap_or_default();
        let teller = Teller::new(replica.clone(), args.token_file.clone(), host, trusted.clone())?;
        tasks::spawn("teller", teller.run(view.clone(), election.leader(), stop.clone()));
        let election = essential.spawn("election", election.run(claimed, leaving.clone()));
        let writer = Writer::new(
            &client,
            (installation, trusted),
            &replica,
            measured.clone(),
            view.clone(),
            (claim, pulse.clone()),
        );
        let rivals = writer.rivals();
        let writer = essential.spawn("writer", writer.run(leaving.clone()));
        Ok(Self {
            pods,
            pages,
            client,
            namespace: args.namespace.clone(),
            succession: Succession::new(kept),
            signed: None,
            authorities,
            names,
            certificate,
            view,
            readiness,
            gate: Some(gate),
            pulse,
            essential,
            ending,
            rivals,
            metrics: measured,
            events,
            drain,
            leaving,
            stop,
            writing: (writer, election),
            serving: (index, admin),
        })
    }

    /// Where pods connect.
    pub fn pods(&self) -> SocketAddr {
        self.pods
    }

    /// Where health and metrics are.
    pub fn pages(&self) -> SocketAddr {
        self.pages
    }

    /// Who vouches for it, PEM.
    pub fn authority(&self) -> String {
        self.authorities.borrow().clone()
    }

    /// Does what comes with time, until there is a reason to end. May be dropped and called again.
    pub async fn tend(&mut self) -> Ending {
        let (mut renew, mut look) = (tokio::time::interval(SUCCESSION), tokio::time::interval(LOOK));
        loop {
            tokio::select! {
                name = self.essential.ended() => return Ending::Ended(name),
                _ = renew.tick() => match tokio::time::timeout(PATIENCE, self.renew(today())).await {
                    Ok(Ok(())) => {}
                    Ok(Err(error)) => tracing::error!(%error, "the certificate is not renewed; the one before stays"),
                    Err(_) => tracing::error!("the certificate is not renewed in time; the one before stays"),
                },
                // The election and the writer end only when the operator stops.
                Ok(()) = self.ending.changed() => {}
                Ok(()) = self.rivals.changed() => {}
                _ = look.tick() => self.look(Instant::now()),
                Ok(()) = self.view.changed(), if self.gate.is_some() => self.look(Instant::now()),
            }
            let rival = self.rivals.borrow_and_update().clone().map(Ending::Rival);
            let ending = self.ending.borrow_and_update().clone();
            if let Some(ending) = ending.or(rival) {
                return ending;
            }
        }
    }

    /// Looks which authority signs `today`; a new certificate by it once a day, and whenever it is another.
    async fn renew(&mut self, today: Date) -> Result<(), StartError> {
        let (kept, now) = (authorities(&self.client, &self.namespace, today).await?, Instant::now());
        self.succession.saw(kept, now);
        let signs = self.succession.signs();
        let fresh = |(by, at): &(String, Instant)| *by == signs.certificate && now < *at + RENEW;
        if !self.signed.as_ref().is_some_and(fresh) {
            self.certificate.send_replace(server_config(signs, &self.names, today)?);
            self.signed = Some((signs.certificate.clone(), now));
        }
        let bundle = self.succession.bundle();
        self.authorities.send_if_modified(|before| {
            let different = *before != bundle;
            before.clone_from(&bundle);
            different
        });
        Ok(())
    }

    /// Ready is whoever has seen the whole cluster, and sees it still.
    fn look(&mut self, now: Instant) {
        self.metrics.ages(self.pulse.ages(now));
        let complete = self.view.borrow_and_update().compilation.is_some();
        let blind = self.pulse.sight(now).is_blind();
        if let Some(gate) = self.gate.take_if(|_| complete && !blind) {
            gate.release();
            tracing::info!("ready");
        } else if blind && self.gate.is_none() {
            self.gate = Some(self.readiness.gate("watches"));
            tracing::error!("not ready: the API server does not answer");
        }
    }

    /// Lets go of the Lease, says goodbye to pods and ends. `hurry` cuts the goodbyes short.
    pub async fn stop(self, hurry: impl Future<Output = ()>) {
        self.drain.start();
        self.leaving.cancel();
        let (writer, election) = self.writing;
        // The writer ends with the Lease: whoever holds it next must not meet a write of this one.
        drop(tokio::time::timeout(PARTING, async { (writer.await, election.await) }).await);
        // The index may have ended already, or be behind; neither keeps the process.
        drop(tokio::time::timeout(PARTING, self.events.send(Event::Leave(SPREAD))).await);
        drop(tokio::time::timeout(PARTING, hurry).await);
        self.stop.cancel();
        let (index, admin) = self.serving;
        drop(tokio::time::timeout(PARTING, async { (index.await, admin.await) }).await);
    }
}

/// The operator has no backends of its own.
struct NoBackends;

impl HealthSource for NoBackends {
    fn backends(&self) -> Vec<BackendHealth> {
        Vec::new()
    }
}

fn today() -> Date {
    Timestamp::now().to_zoned(TimeZone::UTC).date()
}

fn random() -> u64 {
    // Without randomness every pod comes back at once, which is slow and not wrong.
    getrandom::u64().unwrap_or_default()
}
