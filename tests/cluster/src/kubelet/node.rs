//! A node: its object, its lease, and the pods bound to it. Changes when a node promises something else.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result};
use futures_util::StreamExt as _;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{self as core, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher::{self, Event};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::interval;

use super::pod::{self, Shared};
use super::server;
use super::usage::{self, Sample};
use crate::images::Images;
use crate::pki::Identity;

/// What a node has, for limits that a container does not set.
pub(super) const CPU: &str = "8";
/// The same of memory.
pub(super) const MEMORY: &str = "32Gi";
/// Where kubelets serve logs, commands and metrics.
pub(super) const PORT: u16 = 10250;

/// What the nodes of a cluster share.
pub(crate) struct Host {
    pub(super) images: Images,
    /// The first delay before a container is started again.
    first_delay: Duration,
    logs: PathBuf,
    log: Mutex<File>,
    addresses: AtomicU16,
    /// By identity.
    pods: Mutex<BTreeMap<String, Arc<Shared>>>,
}

impl Host {
    pub(crate) fn new(images: Images, first_delay: Duration, logs: &Path) -> Result<Arc<Self>> {
        let log = OpenOptions::new().create(true).append(true).open(logs.join("kubelet.log"))?;
        Ok(Arc::new(Self {
            images,
            first_delay,
            logs: logs.join("pods"),
            log: Mutex::new(log),
            addresses: AtomicU16::new(0),
            pods: Mutex::default(),
        }))
    }

    /// A number that no other pod of the cluster has.
    pub(super) fn next_number(&self) -> Result<u16> {
        let next = |number: u16| number.checked_add(1).filter(|next| *next < 0xfe00);
        self.addresses
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, next)
            .ok()
            .context("no address is left")
    }

    /// The delay after so many failures in a row: doubled each time, at most 5 minutes.
    pub(super) fn back_off(&self, failures: u32) -> Duration {
        let factor = 2_u32.saturating_pow(failures.saturating_sub(1).min(16));
        self.first_delay.saturating_mul(factor).min(Duration::from_mins(5))
    }

    /// A pod runs here.
    pub(super) fn enter(&self, pod: &Arc<Shared>) {
        let uid = pod.pod.lock().metadata.uid.clone().unwrap_or_default();
        self.pods.lock().insert(uid, Arc::clone(pod));
    }

    /// It does not any more.
    pub(super) fn leave(&self, pod: &Pod) {
        self.pods.lock().remove(pod.metadata.uid.as_deref().unwrap_or_default());
    }

    /// A pod by name.
    pub(super) fn pod(&self, namespace: &str, name: &str) -> Result<Arc<Shared>> {
        let pods = self.pods.lock();
        let mut all = pods.values();
        let found = all.find(|shared| {
            let pod = shared.pod.lock();
            pod.metadata.namespace.as_deref() == Some(namespace) && pod.metadata.name.as_deref() == Some(name)
        });
        found.cloned().with_context(|| format!("no pod {namespace}/{name} runs here"))
    }

    /// The pods of the node at `address`, or all.
    pub(super) fn running(&self, address: Option<Ipv4Addr>) -> Vec<Arc<Shared>> {
        let pods = self.pods.lock();
        let of_node = |pod: &&Arc<Shared>| address.is_none_or(|address| pod.node.address == address);
        pods.values().filter(of_node).cloned().collect()
    }

    /// The process of a container.
    pub(crate) fn pid(&self, pod: &Pod, container: &str) -> Result<u32> {
        Ok(self.same(pod)?.inside(container)?.pid)
    }

    /// The link that connects a pod.
    pub(crate) fn link(&self, pod: &Pod) -> Result<String> {
        Ok(self.same(pod)?.sandbox.link.clone())
    }

    /// Gives a pod other tokens, which are good for `lifetime`, or for as long as it asks for.
    pub(crate) async fn renew_tokens(&self, pod: &Pod, lifetime: Option<Duration>) -> Result<()> {
        let shared = self.same(pod)?;
        let pod = shared.pod.lock().clone();
        shared.volumes.renew_tokens(&pod, lifetime).await
    }

    fn same(&self, pod: &Pod) -> Result<Arc<Shared>> {
        let uid = pod.metadata.uid.as_deref().unwrap_or_default();
        self.pods.lock().get(uid).cloned().context("this pod does not run")
    }

    /// What all containers of the cluster use.
    pub(crate) fn usage(&self) -> Result<Vec<Sample>> {
        usage::measure(&self.running(None))
    }

    /// Where the logs of a pod are.
    pub(crate) fn pod_logs(&self, pod: &Pod) -> PathBuf {
        let meta = &pod.metadata;
        let of = |part: &Option<String>| part.clone().unwrap_or_default();
        self.logs.join(format!("{}_{}_{}", of(&meta.namespace), of(&meta.name), of(&meta.uid)))
    }

    /// A line of the kubelet's own log.
    pub(crate) fn note(&self, what: &str) {
        // A log that cannot be written cannot be complained about, either.
        let _ = writeln!(self.log.lock(), "{} {what}", Timestamp::now());
    }
}

/// One node.
pub(crate) struct Node {
    pub(crate) name: String,
    pub(crate) address: Ipv4Addr,
    pub(crate) zone: String,
    /// Only for pods that say so.
    pub(crate) spare: bool,
    /// With the node's own identity, which sees only what its pods refer to.
    pub(crate) client: Client,
    pub(crate) host: Arc<Host>,
    /// When it changes, pods are listed again.
    pub(crate) anew: watch::Receiver<()>,
    /// For its server.
    pub(crate) identity: Identity,
    /// Of the cluster, PEM.
    pub(crate) authority: String,
}

impl Node {
    /// Registers the node and runs its pods until the task is aborted.
    pub(crate) async fn run(self) -> Result<()> {
        let node = Arc::new(self);
        node.register().await.context("registering a node")?;
        let host = Arc::clone(&node.host);
        let serving = server::serve(host, node.address, &node.identity, &node.authority);
        tokio::try_join!(node.renew(), node.pods(), serving)?;
        Ok(())
    }

    async fn register(&self) -> Result<()> {
        let api: Api<core::Node> = Api::all(self.client.clone());
        let resources = json!({ "cpu": CPU, "memory": MEMORY, "pods": "500", "ephemeral-storage": "100Gi" });
        let spare = json!({ "key": "bridge-cluster/spare", "effect": "NoSchedule" });
        let taints = if self.spare { vec![spare] } else { Vec::new() };
        let node = json!({
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": { "name": self.name, "labels": {
                "kubernetes.io/hostname": self.name,
                "kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "topology.kubernetes.io/zone": self.zone,
            } },
            "spec": { "taints": taints },
            "status": {
                "capacity": resources,
                "allocatable": resources,
                "addresses": [
                    { "type": "InternalIP", "address": self.address },
                    { "type": "Hostname", "address": self.name },
                ],
                "conditions": [ready()],
                "daemonEndpoints": { "kubeletEndpoint": { "Port": PORT } },
                "nodeInfo": {
                    "architecture": "amd64", "operatingSystem": "linux", "osImage": "process",
                    "kernelVersion": "process", "kubeletVersion": "v1.36.3", "kubeProxyVersion": "",
                    "containerRuntimeVersion": "process://1", "machineID": "", "systemUUID": "", "bootID": "",
                },
            },
        });
        let node: core::Node = serde_json::from_value(node)?;
        api.create(&PostParams::default(), &node).await?;
        // Newer than the types that we are built with: commands over WebSockets come straight to us.
        let declared = json!({ "status": { "declaredFeatures": ["ExtendWebSocketsToKubelet"] } });
        api.patch_status(&self.name, &PatchParams::default(), &Patch::Merge(declared)).await?;
        Ok(())
    }

    /// The heartbeat.
    async fn renew(&self) -> Result<()> {
        let api: Api<Lease> = Api::namespaced(self.client.clone(), "kube-node-lease");
        let mut tick = interval(Duration::from_secs(2));
        let mut exists = false;
        loop {
            tick.tick().await;
            let spec = json!({
                "holderIdentity": self.name,
                "leaseDurationSeconds": 10,
                "renewTime": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S.%6fZ").to_string(),
            });
            let outcome = if exists {
                api.patch(&self.name, &PatchParams::default(), &Patch::Merge(json!({ "spec": spec }))).await
            } else {
                let lease =
                    serde_json::from_value(json!({ "metadata": { "name": self.name }, "spec": spec }))?;
                api.create(&PostParams::default(), &lease).await
            };
            let outcome = match outcome {
                Ok(_) => {
                    exists = true;
                    self.correct().await
                }
                Err(error) => Err(error),
            };
            // The next one may get through; when none does, the control plane notices.
            if let Err(error) = outcome {
                self.host.note(&format!("lease of {}: {error}", self.name));
            }
        }
    }

    /// Says that the node is ready where the control plane has written otherwise: it had not heard of it for a while.
    async fn correct(&self) -> kube::Result<()> {
        let api: Api<core::Node> = Api::all(self.client.clone());
        let seen = api.get(&self.name).await?.status.and_then(|status| status.conditions);
        if seen.into_iter().flatten().any(|one| one.type_ == "Ready" && one.status == "True") {
            return Ok(());
        }
        let status = json!({ "status": { "conditions": [ready()] } });
        api.patch_status(&self.name, &PatchParams::default(), &Patch::Strategic(status)).await.map(drop)
    }

    /// One worker for each pod, until it is gone.
    async fn pods(self: &Arc<Self>) -> Result<()> {
        let api: Api<Pod> = Api::all(self.client.clone());
        let config = watcher::Config::default().fields(&format!("spec.nodeName={}", self.name));
        let watch = || watcher::watcher(api.clone(), config.clone()).default_backoff().boxed();
        let (mut events, mut anew) = (watch(), self.anew.clone());
        let mut workers: BTreeMap<String, watch::Sender<Arc<Pod>>> = BTreeMap::new();
        let (mut tasks, mut listed) = (JoinSet::new(), BTreeSet::new());
        loop {
            let event = tokio::select! {
                event = events.next() => event.context("a watch ends only with its task")?,
                Ok(()) = anew.changed() => {
                    events = watch();
                    continue;
                }
                Some(ended) = tasks.join_next() => {
                    if let Ok((uid, Err(error))) = ended {
                        let uid: String = uid;
                        let error: anyhow::Error = error;
                        self.host.note(&format!("pod {uid}: {error:#}"));
                    }
                    continue;
                }
            };
            match event {
                Ok(Event::Apply(pod) | Event::InitApply(pod)) => {
                    let uid = pod.metadata.uid.clone().unwrap_or_default();
                    listed.insert(uid.clone());
                    let pod = Arc::new(pod);
                    if let Some(worker) = workers.get(&uid) {
                        worker.send_replace(pod);
                        continue;
                    }
                    let (sender, receiver) = watch::channel(pod);
                    workers.insert(uid.clone(), sender);
                    let work = pod::run(Arc::clone(self), receiver);
                    tasks.spawn(async move { (uid, work.await) });
                }
                // A worker whose sender is gone ends its pod.
                Ok(Event::Delete(pod)) => _ = workers.remove(&pod.metadata.uid.unwrap_or_default()),
                Ok(Event::Init) => listed.clear(),
                Ok(Event::InitDone) => workers.retain(|uid, _| listed.contains(uid)),
                Err(error) => self.host.note(&format!("pods of {}: {error}", self.name)),
            }
        }
    }
}

/// The condition of a node that works.
fn ready() -> serde_json::Value {
    let now = Timestamp::now();
    json!({
        "type": "Ready", "status": "True", "reason": "KubeletReady",
        "message": "pods run as processes", "lastHeartbeatTime": now, "lastTransitionTime": now,
    })
}
