//! What the pods of one replica say, told to the replica that writes. Changes when replicas tell each other more.
//!
//! `POST /v1/facts` with the operator's own token; the body says what every stream of the sender says, and replaces what it
//! said before. Whoever is not heard of for a while has no streams.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use http::{Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, ServerName};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio_rustls::TlsConnector;
use tokio_util::sync::CancellationToken;

use crate::engine::View;
use crate::lease::Leader;
use crate::status::{PodFacts, Publications, Seen};
use crate::world::ObjectName;

/// Path of what replicas tell each other.
pub(super) const PATH: &str = "/v1/facts";
/// Largest body: what ten thousand pods say.
const MOST: usize = 64 * 1024 * 1024;
/// Time for one message.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between messages when something has changed.
const PACE: Duration = Duration::from_secs(1);
/// Between messages when nothing has.
const STILL: Duration = Duration::from_secs(20);
/// A replica that is not heard of for so long is gone.
pub const GONE: Duration = Duration::from_mins(1);

/// What the streams of a replica say.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Facts {
    /// The replica.
    pub replica: String,
    /// By gateway, as `namespace/name`.
    pub gateways: BTreeMap<String, PodFacts>,
    /// What had been seen for each state that pods have, by gateway and fingerprint.
    #[serde(default)]
    pub seen: BTreeMap<String, BTreeMap<String, Seen>>,
}

impl Facts {
    /// What a replica knows through its own streams.
    pub fn of(replica: &str, view: &View) -> Self {
        let gateways = view.pods.iter().map(|(name, pods)| (name.to_string(), pods.clone()));
        let seen = view.pods.iter().filter_map(|(name, pods)| {
            let publications = view.publications.get(name)?;
            let states: BTreeSet<_> = pods.values().filter_map(|fact| fact.digest.as_ref()).collect();
            let seen =
                |digest: &String| Some((digest.clone(), publications.seen_for(digest, &view.seen)?.clone()));
            Some((name.to_string(), states.into_iter().filter_map(seen).collect()))
        });
        Self { replica: replica.to_owned(), gateways: gateways.collect(), seen: seen.collect() }
    }

    /// What the pods of one gateway say there, and how far they are by what was published here.
    pub fn pods_of(&self, gateway: &ObjectName, publications: &Publications) -> PodFacts {
        let gateway = gateway.to_string();
        let mut facts = self.gateways.get(&gateway).cloned().unwrap_or_default();
        let mut known = HashMap::new();
        for fact in facts.values_mut() {
            let Some(digest) = fact.digest.clone() else { continue };
            let seen = || self.seen.get(&gateway).and_then(|states| states.get(&digest));
            fact.change =
                *known.entry(digest.clone()).or_insert_with(|| publications.change_of(&digest, seen()));
        }
        facts
    }
}

/// Reads a message.
pub(super) async fn read(body: Incoming) -> Option<Facts> {
    let body = tokio::time::timeout(PATIENCE, Limited::new(body, MOST).collect()).await.ok()?.ok()?;
    serde_json::from_slice(&body.to_bytes()).ok()
}

/// Tells the leader.
pub struct Teller {
    replica: String,
    token: std::path::PathBuf,
    name: ServerName<'static>,
    /// Who vouches for operators, PEM.
    authorities: watch::Receiver<String>,
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("replica", &self.replica).finish_non_exhaustive()
    }
}

/// Why the leader was not told.
#[derive(Debug, thiserror::Error)]
pub enum TellError {
    /// The token cannot be read, or the connection failed.
    #[error(transparent)]
    Io(#[from] std::io::Error),
    /// The leader does not speak HTTP.
    #[error(transparent)]
    Http(#[from] hyper::Error),
    /// The message cannot be made.
    #[error(transparent)]
    Message(#[from] http::Error),
    /// What is told cannot be encoded.
    #[error(transparent)]
    Encoding(#[from] serde_json::Error),
    /// The leader refused.
    #[error("the leader answers {0}")]
    Refused(StatusCode),
    /// It took too long.
    #[error("the leader does not answer")]
    Slow,
    /// TLS cannot be set up.
    #[error("TLS: {0}")]
    Tls(String),
}

impl Teller {
    /// `name` is what the certificates of operators name; `authorities` vouch for them, PEM.
    pub fn new(
        replica: String,
        token: std::path::PathBuf,
        name: &str,
        authorities: watch::Receiver<String>,
    ) -> Result<Self, TellError> {
        let name = ServerName::try_from(name.to_owned());
        let name = name.map_err(|error| TellError::Tls(error.to_string()))?;
        Ok(Self { replica, token, name, authorities })
    }

    /// Made anew for each connection, because authorities follow one another.
    fn connector(&self) -> Result<TlsConnector, TellError> {
        let failed = |error: &dyn std::fmt::Display| TellError::Tls(error.to_string());
        let authority = self.authorities.borrow().clone();
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(authority.as_bytes()) {
            roots.add(certificate.map_err(|error| failed(&error))?).map_err(|error| failed(&error))?;
        }
        let provider = rustls::crypto::aws_lc_rs::default_provider();
        let config = ClientConfig::builder_with_provider(provider.into())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|error| failed(&error))?
            .with_root_certificates(roots)
            .with_no_client_auth();
        Ok(TlsConnector::from(Arc::new(config)))
    }

    /// Tells the leader what is new, until `stop`.
    pub async fn run(
        self,
        mut view: watch::Receiver<Arc<View>>,
        mut leader: watch::Receiver<Leader>,
        stop: CancellationToken,
    ) {
        let mut told: Option<(Facts, String, Instant)> = None;
        loop {
            let address = match &*leader.borrow_and_update() {
                Leader::Other(address) => Some(address.clone()),
                Leader::Nobody | Leader::Me => None,
            };
            if let Some(address) = address {
                let facts = Facts::of(&self.replica, &view.borrow_and_update());
                let same = told.as_ref().is_some_and(|(last, to, at)| {
                    last.gateways == facts.gateways && *to == address && at.elapsed() < STILL
                });
                if !same {
                    match self.tell(&address, &facts).await {
                        Ok(()) => told = Some((facts, address, Instant::now())),
                        Err(error) => {
                            tracing::warn!(leader = address, %error, "the leader does not know what pods say here");
                        }
                    }
                }
            }
            tokio::select! {
                () = tokio::time::sleep(PACE) => {}
                () = stop.cancelled() => return,
            }
        }
    }

    async fn tell(&self, address: &str, facts: &Facts) -> Result<(), TellError> {
        let telling = async {
            let token = tokio::fs::read_to_string(&self.token).await?;
            let socket = TcpStream::connect(address).await?;
            let socket = self.connector()?.connect(self.name.clone(), socket).await?;
            let (mut sender, connection) = http1::handshake(TokioIo::new(socket)).await?;
            let connection = bridge_runtime::tasks::spawn("leader-connection", async move {
                // An error is that of the request, too.
                let _ = connection.await;
            });
            let mut bearer =
                http::HeaderValue::try_from(format!("Bearer {}", token.trim())).map_err(http::Error::from)?;
            bearer.set_sensitive(true);
            let body = Full::new(Bytes::from(serde_json::to_vec(facts)?));
            let request =
                Request::post(PATH).header(header::HOST, address).header(header::AUTHORIZATION, bearer);
            let answer = sender.send_request(request.body(body)?).await;
            connection.abort();
            match answer?.status() {
                StatusCode::NO_CONTENT => Ok(()),
                status => Err(TellError::Refused(status)),
            }
        };
        tokio::time::timeout(PATIENCE, telling).await.unwrap_or(Err(TellError::Slow))
    }
}
