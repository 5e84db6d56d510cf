//! Who connects: a token of a pod's `ServiceAccount`, reviewed by the API server. Changes when pods prove themselves
//! differently.

mod bounds;

use std::collections::HashMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bridge_api::meta::GATEWAY_UID_LABEL;
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, TokenReviewStatus};
use k8s_openapi::jiff::Timestamp;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt as _};
use parking_lot::Mutex;
use serde::Deserialize;
use sha2::{Digest as _, Sha256};
use tokio::sync::{Semaphore, watch};

use bounds::Bounds;

use crate::engine::View;
use crate::layout;
use crate::world::{ObjectName, World};

/// For so long a reviewed token is not reviewed again, unless it expires before.
const CACHED: Duration = Duration::from_mins(5);
/// For so long one that is not good is refused without another review.
const REFUSED: Duration = Duration::from_secs(10);
/// Tokens that are remembered.
const MOST: usize = 10_000;
/// Reviews at once.
const REVIEWS: usize = 20;

/// A pod that has proved who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Peer {
    /// Its gateway.
    pub gateway: ObjectName,
    /// Its name.
    pub pod: String,
    /// Its uid.
    pub uid: String,
}

/// Why a stream is refused. For the log; the peer does not learn it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// The token proves nothing.
    NotGood(String),
    /// Nobody can say.
    Unavailable(String),
}

/// Checks tokens.
pub trait Authenticator: Send + Sync {
    /// Who shows it, at this address.
    fn authenticate(
        &self,
        from: IpAddr,
        token: String,
    ) -> Pin<Box<dyn Future<Output = Result<Peer, Refusal>> + Send + '_>>;

    /// Whether another replica of the operator shows it, at this address.
    fn replica(
        &self,
        from: IpAddr,
        token: String,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>>;
}

/// SHA-256 of a token.
type Hash = [u8; 32];

/// Reviews by the API server, remembered for a while.
pub struct Reviewer {
    api: Api<TokenReview>,
    view: watch::Receiver<Arc<View>>,
    cache: Mutex<HashMap<Hash, (Instant, Peer)>>,
    /// Tokens that proved nothing, as that of a pod and as that of a replica.
    refused: Mutex<HashMap<(Hash, bool), (Instant, String)>>,
    bounds: Bounds,
    slots: Semaphore,
    /// The account of operators, as the API server spells it.
    account: String,
    replicas: Mutex<HashMap<Hash, Instant>>,
}

impl std::fmt::Debug for Reviewer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Reviewer")
    }
}

impl Reviewer {
    /// Pods have to be in `view`, so that the token of a pod that is gone is worth nothing.
    pub fn new(client: Client, view: watch::Receiver<Arc<View>>, account: &ObjectName) -> Self {
        let account = format!("system:serviceaccount:{}:{}", account.namespace, account.name);
        Self {
            api: Api::all(client),
            view,
            cache: Mutex::default(),
            refused: Mutex::default(),
            bounds: Bounds::default(),
            slots: Semaphore::new(REVIEWS),
            account,
            replicas: Mutex::default(),
        }
    }

    async fn review_replica(&self, from: IpAddr, token: String) -> Result<(), Refusal> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        if self.replicas.lock().get(&hash).is_some_and(|until| Instant::now() < *until) {
            return Ok(());
        }
        let cached = good_for(&token, Timestamp::now());
        let is_replica = |status: &TokenReviewStatus| {
            let name = status.user.as_ref().and_then(|user| user.username.as_deref());
            let good = is_for_us(status) && name == Some(&*self.account);
            if good { Ok(()) } else { Err("the token is not that of an operator".to_owned()) }
        };
        self.ask(from, token, (hash, true), is_replica).await?;
        let now = Instant::now();
        let mut replicas = self.replicas.lock();
        replicas.retain(|_, until| now < *until);
        replicas.insert(hash, now + cached);
        Ok(())
    }

    /// What `read` finds in the review of a token.
    async fn ask<T>(
        &self,
        from: IpAddr,
        token: String,
        key: (Hash, bool),
        read: impl FnOnce(&TokenReviewStatus) -> Result<T, String>,
    ) -> Result<T, Refusal> {
        let bounded = || Refusal::Unavailable(format!("{from} has shown too many tokens that are not good"));
        let slots = self.bounds.slots(from, Instant::now()).ok_or_else(bounded)?;
        // Neither is ever closed.
        let _own = slots.acquire().await;
        let _slot = self.slots.acquire().await;
        // Others of the same address may have been refused meanwhile, or this token.
        self.bounds.slots(from, Instant::now()).ok_or_else(bounded)?;
        if let Some((until, why)) = self.refused.lock().get(&key)
            && Instant::now() < *until
        {
            return Err(Refusal::NotGood(why.clone()));
        }
        let spec = TokenReviewSpec { token: Some(token), audiences: Some(vec![layout::AUDIENCE.to_owned()]) };
        let review = TokenReview { spec, ..TokenReview::default() };
        let reviewed = self.api.create(&PostParams::default(), &review).await;
        let status = reviewed.map_err(|error| Refusal::Unavailable(error.to_string()))?.status;
        read(&status.unwrap_or_default()).map_err(|why| {
            let now = Instant::now();
            self.bounds.bad(from, now);
            let mut refused = self.refused.lock();
            if refused.len() >= MOST {
                refused.retain(|_, (until, _)| now < *until);
            }
            if refused.len() < MOST {
                refused.insert(key, (now + REFUSED, why.clone()));
            }
            Refusal::NotGood(why)
        })
    }

    async fn review(&self, from: IpAddr, token: String) -> Result<Peer, Refusal> {
        let hash: Hash = Sha256::digest(token.as_bytes()).into();
        let known = self.cache.lock().get(&hash).filter(|(until, _)| Instant::now() < *until).cloned();
        let peer = match known {
            Some((_, peer)) => peer,
            None => {
                let cached = good_for(&token, Timestamp::now());
                let peer = self.ask(from, token, (hash, false), peer).await?;
                self.remember(hash, cached, &peer);
                peer
            }
        };
        check(&self.view.borrow().world, &peer).map_err(Refusal::NotGood)?;
        Ok(peer)
    }

    fn remember(&self, hash: Hash, cached: Duration, peer: &Peer) {
        let now = Instant::now();
        let mut cache = self.cache.lock();
        if cache.len() >= MOST {
            cache.retain(|_, (until, _)| now < *until);
        }
        if cache.len() < MOST {
            cache.insert(hash, (now + cached, peer.clone()));
        }
    }
}

impl Authenticator for Reviewer {
    fn authenticate(
        &self,
        from: IpAddr,
        token: String,
    ) -> Pin<Box<dyn Future<Output = Result<Peer, Refusal>> + Send + '_>> {
        Box::pin(self.review(from, token))
    }

    fn replica(
        &self,
        from: IpAddr,
        token: String,
    ) -> Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send + '_>> {
        Box::pin(self.review_replica(from, token))
    }
}

/// For how long a token need not be reviewed again once the API server has called it good. What it says of its end is read
/// without another check, because a review has just been one.
fn good_for(token: &str, now: Timestamp) -> Duration {
    #[derive(Deserialize)]
    struct Claims {
        exp: i64,
    }
    let claims = token.split('.').nth(1).and_then(|claims| URL_SAFE_NO_PAD.decode(claims).ok());
    let claims = claims.and_then(|claims| serde_json::from_slice::<Claims>(&claims).ok());
    let end = claims.and_then(|claims| Timestamp::from_second(claims.exp).ok());
    // Tokens without an end are good until they are revoked.
    end.map_or(CACHED, |end| CACHED.min(Duration::try_from(end.duration_since(now)).unwrap_or_default()))
}

/// Who a review says it is.
fn peer(status: &TokenReviewStatus) -> Result<Peer, String> {
    if status.authenticated != Some(true) {
        // What the API server says may quote the token.
        return Err("the API server does not know the token".to_owned());
    }
    if !is_for_us(status) {
        return Err(format!("the token is not for {}", layout::AUDIENCE));
    }
    let user = status.user.as_ref();
    let name = user.and_then(|user| user.username.as_deref()).unwrap_or_default();
    let account = name.strip_prefix("system:serviceaccount:").and_then(|rest| rest.split_once(':'));
    let of_gateway = account.and_then(|(namespace, name)| Some((namespace, layout::gateway(name)?)));
    let (namespace, gateway) = of_gateway.ok_or_else(|| format!("{name} is no account of a gateway"))?;
    let extra = |key: &str| {
        let values = user.and_then(|user| user.extra.as_ref()?.get(key));
        values.and_then(|values| values.first()).cloned()
    };
    let pod = extra("authentication.kubernetes.io/pod-name");
    let uid = extra("authentication.kubernetes.io/pod-uid");
    let (pod, uid) = pod.zip(uid).ok_or("the token is bound to no pod")?;
    Ok(Peer { gateway: ObjectName::new(namespace, gateway), pod, uid })
}

/// Whether it is good, and was made for operators.
fn is_for_us(status: &TokenReviewStatus) -> bool {
    let ours = status.audiences.iter().flatten().any(|audience| audience == layout::AUDIENCE);
    status.authenticated == Some(true) && ours
}

/// Whether the pod is one of the gateway's, and has not gone. One that leaves still serves, and may be told how.
fn check(world: &World, peer: &Peer) -> Result<(), String> {
    let name = ObjectName::new(&*peer.gateway.namespace, &*peer.pod);
    let gateway = world.gateways.get(&peer.gateway).ok_or_else(|| format!("no gateway {}", peer.gateway))?;
    let pod = world.pods.get(&name).filter(|pod| pod.metadata.uid.as_ref() == Some(&peer.uid));
    let of = pod.and_then(|pod| pod.labels().get(GATEWAY_UID_LABEL));
    if of.is_some() && of == gateway.metadata.uid.as_ref() {
        Ok(())
    } else {
        Err(format!("{name} is no pod of gateway {}", peer.gateway))
    }
}

#[cfg(test)]
mod tests;
