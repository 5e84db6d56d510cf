//! One pod, from its binding to its removal. Changes when its life has another stage.

use std::collections::BTreeMap;
use std::fs;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use bridge_runtime::tasks::spawn;
use futures_util::future::join_all;
use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use k8s_openapi::jiff::Timestamp;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams, Preconditions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::block_in_place;
use tokio::time::{interval, sleep};
use tokio_util::task::AbortOnDropHandle;

use super::container::{Restart, Stop, Task, grace};
use super::exec::Inside;
use super::node::Node;
use super::sandbox::Sandbox;
use super::status::{Board, Slot};
use super::volumes::Volumes;

/// How often the sources of volumes are read again.
const RESYNC: Duration = Duration::from_secs(5);

/// Before the API server is asked again that did not answer.
const RETRY: Duration = Duration::from_secs(1);

/// What the containers of a pod share.
pub(super) struct Shared {
    pub(super) node: Arc<Node>,
    /// As last seen.
    pub(super) pod: Mutex<Arc<Pod>>,
    pub(super) sandbox: Sandbox,
    pub(super) volumes: Volumes,
    board: Mutex<Board>,
    changed: watch::Sender<()>,
    running: Mutex<BTreeMap<String, Inside>>,
}

impl Shared {
    /// Changes the board; the status follows.
    pub(super) fn change(&self, change: impl FnOnce(&mut Board)) {
        change(&mut self.board.lock());
        self.changed.send_replace(());
    }

    /// A container runs.
    pub(super) fn enter(&self, container: &str, inside: Inside) {
        self.running.lock().insert(container.to_owned(), inside);
    }

    /// It does not any more.
    pub(super) fn leave(&self, container: &str) {
        self.running.lock().remove(container);
    }

    /// Waits until a container has started.
    async fn started(&self, slot: Slot) {
        let mut changes = self.changed.subscribe();
        while !self.board.lock().is_started(slot) {
            if changes.changed().await.is_err() {
                return;
            }
        }
    }

    /// A running container.
    pub(super) fn inside(&self, container: &str) -> Result<Inside> {
        let running = self.running.lock();
        running.get(container).cloned().with_context(|| format!("container {container} is not running"))
    }

    /// All running containers by name.
    pub(super) fn containers(&self) -> Vec<(String, u32)> {
        self.running.lock().iter().map(|(name, inside)| (name.clone(), inside.pid)).collect()
    }

    /// The file that a container writes to.
    pub(super) fn log(&self, container: &str) -> Result<PathBuf> {
        let pod = self.pod.lock().clone();
        let dir = self.node.host.pod_logs(&pod);
        fs::create_dir_all(&dir).with_context(|| dir.display().to_string())?;
        Ok(dir.join(format!("{container}.log")))
    }
}

/// Runs a pod until it is deleted and its programs have ended. `pods` closes when it was deleted by force.
pub(super) async fn run(node: Arc<Node>, mut pods: watch::Receiver<Arc<Pod>>) -> Result<()> {
    let pod = pods.borrow_and_update().clone();
    // The kernel takes its time with networks while it removes others.
    let sandbox = block_in_place(|| Sandbox::new(&pod, node.host.next_number()?, node.address))?;
    let mut board = Board::new(&pod, Timestamp::now());
    board.address = Some(sandbox.address);
    let shared = Arc::new(Shared {
        volumes: Volumes::new(node.client.clone(), &sandbox),
        sandbox,
        node,
        pod: Mutex::new(Arc::clone(&pod)),
        board: Mutex::new(board),
        changed: watch::Sender::new(()),
        running: Mutex::default(),
    });
    let host = Arc::clone(&shared.node.host);
    host.enter(&shared);
    let stop = Arc::new(Stop::default());
    let mut reporter = Reporter { shared: Arc::clone(&shared), last: PodStatus::default() };
    let mut life = AbortOnDropHandle::new(spawn("pod", live(Arc::clone(&shared), Arc::clone(&stop))));
    let mut ended = false;
    let mut forced = false;
    let mut board = shared.changed.subscribe();
    board.mark_changed();
    let mut told = true;
    loop {
        let current = pods.borrow_and_update().clone();
        let deleted = current.metadata.deletion_timestamp.is_some() || forced;
        if deleted {
            stop.order(if forced { Duration::ZERO } else { grace(&current) });
        }
        *shared.pod.lock() = current;
        if ended && deleted {
            break;
        }
        tokio::select! {
            changed = pods.changed(), if !forced => forced = changed.is_err(),
            well = &mut life, if !ended => {
                ended = true;
                shared.change(|board| board.ended = Some(*well.as_ref().unwrap_or(&false)));
            }
            _ = board.changed() => {}
            // The API server was away.
            () = sleep(RETRY), if !told => {}
        }
        *shared.pod.lock() = pods.borrow().clone();
        if !forced {
            told = reporter.report().await;
        }
    }
    host.leave(&pod);
    if !forced {
        while let Err(error) = remove(&shared).await {
            host.note(&format!("{error:#}"));
            sleep(RETRY).await;
        }
    }
    block_in_place(|| shared.sandbox.remove())
}

/// Volumes, init containers, containers. Says whether all ended well.
async fn live(shared: Arc<Shared>, stop: Arc<Stop>) -> bool {
    let pod = shared.pod.lock().clone();
    while let Err(error) = shared.volumes.sync(&pod).await {
        shared.change(|board| board.all_waiting("ContainerCreating", &format!("{error:#}")));
        tokio::select! {
            () = sleep(RESYNC) => {}
            _ = stop.wait() => return false,
        }
    }
    let _resync = AbortOnDropHandle::new(spawn("volumes", resync(Arc::clone(&shared))));
    let Some(spec) = &pod.spec else { return false };
    let policy = match spec.restart_policy.as_deref() {
        Some("Never") => Restart::Never,
        Some("OnFailure") => Restart::OnFailure,
        _ => Restart::Always,
    };
    let task = |spec: &Container, slot, restart, stop: &Arc<Stop>| Task {
        shared: Arc::clone(&shared),
        spec: spec.clone(),
        slot,
        restart,
        stop: Arc::clone(stop),
    };
    // Sidecars end after the others.
    let after = Arc::new(Stop::default());
    let mut sidecars = Vec::new();
    let mut well = true;
    for (index, init) in spec.init_containers.iter().flatten().enumerate() {
        if init.restart_policy.as_deref() == Some("Always") {
            let sidecar = task(init, Slot::Init(index), Restart::Always, &after);
            sidecars.push(AbortOnDropHandle::new(spawn("sidecar", sidecar.run())));
            tokio::select! {
                () = shared.started(Slot::Init(index)) => continue,
                _ = stop.wait() => break,
            }
        }
        let restart = if policy == Restart::Never { policy } else { Restart::OnFailure };
        well = task(init, Slot::Init(index), restart, &stop).run().await;
        if !well || stop.is_ordered() {
            break;
        }
    }
    if well && !stop.is_ordered() {
        shared.change(|board| board.initialized = true);
        let containers = spec.containers.iter().enumerate();
        let all = containers.map(|(index, spec)| task(spec, Slot::Main(index), policy, &stop).run());
        well = join_all(all).await.into_iter().all(|well| well);
    }
    after.order(grace(&pod));
    join_all(sidecars).await;
    well
}

async fn resync(shared: Arc<Shared>) {
    let mut tick = interval(RESYNC);
    loop {
        tick.tick().await;
        let pod = shared.pod.lock().clone();
        // A source that went away leaves the files as they are.
        let _ = shared.volumes.sync(&pod).await;
    }
}

/// Tells the API server what it does not know yet.
struct Reporter {
    shared: Arc<Shared>,
    last: PodStatus,
}

impl Reporter {
    /// Says whether it knows now.
    async fn report(&mut self) -> bool {
        let pod = self.shared.pod.lock().clone();
        let host: Ipv4Addr = self.shared.node.address;
        let status = self.shared.board.lock().status(&pod, host, &self.last, Timestamp::now());
        if status == self.last && !is_overruled(&pod, &status) {
            return true;
        }
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let (namespace, name) = (namespace.unwrap_or_default(), name.unwrap_or_default());
        let api: Api<Pod> = Api::namespaced(self.shared.node.client.clone(), namespace);
        // The identity keeps it from a new pod of the same name.
        let mut patch = json!({ "metadata": { "uid": pod.metadata.uid }, "status": status });
        // Conditions are merged: what a condition does not have any more has to be taken away.
        for condition in patch["status"]["conditions"].as_array_mut().into_iter().flatten() {
            if let Some(condition) = condition.as_object_mut() {
                condition.entry("reason").or_insert(Value::Null);
            }
        }
        match api.patch_status(name, &PatchParams::default(), &Patch::Strategic(patch)).await {
            Ok(_) => {
                self.last = status;
                true
            }
            // Deleted in the meantime; the watch says so.
            Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => true,
            Err(error) => {
                self.shared.node.host.note(&format!("status of pod {namespace}/{name}: {error}"));
                false
            }
        }
    }
}

/// Whether somebody else has written that the pod is not ready: the control plane does when it has not heard of the node.
fn is_overruled(pod: &Pod, status: &PodStatus) -> bool {
    let ready = |status: &PodStatus| {
        let mut conditions = status.conditions.iter().flatten();
        conditions.find(|condition| condition.type_ == "Ready").map(|condition| condition.status.clone())
    };
    pod.status.as_ref().is_some_and(|seen| ready(seen) != ready(status))
}

async fn remove(shared: &Shared) -> Result<()> {
    let pod = shared.pod.lock().clone();
    let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
    let api: Api<Pod> = Api::namespaced(shared.node.client.clone(), namespace);
    let uid = pod.metadata.uid.clone();
    let params =
        DeleteParams::default().grace_period(0).preconditions(Preconditions { uid, resource_version: None });
    match api.delete(pod.metadata.name.as_deref().unwrap_or_default(), &params).await {
        Err(kube::Error::Api(status)) if matches!(status.code, 404 | 409) => Ok(()),
        outcome => outcome.map(|_| ()).context("removing a pod"),
    }
}
