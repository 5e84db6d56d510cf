//! A running cluster, as tests and people use it. Changes when they need another thing from it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use bridge_runtime::tasks::spawn;
use k8s_openapi::api::core::v1::{Namespace, Pod, ServiceAccount};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{ApiResource, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::{Scope, pinned_kind};
use kube::runtime::wait::{await_condition, conditions};
use kube::{Api, Client};
use parking_lot::Mutex;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{interval, timeout};
use tokio_util::task::AbortOnDropHandle;

use crate::audit::{self, Request};
use crate::binaries::{Binaries, root};
use crate::control_plane::{ControlPlane, PORT, client, node_name};
use crate::images::Images;
use crate::kubelet::node::{Host, Node};
use crate::namespace::{self, node_address};
use crate::partitions::Partitions;
use crate::resource_metrics;
use crate::services::{self, Directory};

/// How long any single wait may take before it fails: generous, because a loaded two-core machine starts programs slowly.
pub const PATIENCE: Duration = Duration::from_mins(2);
/// Zones of nodes, in turn.
const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// What a cluster is made of.
#[derive(Clone, Debug)]
pub struct Settings {
    /// For logs and the kubeconfig; below `target/cluster`.
    pub name: String,
    /// How many nodes, in three zones.
    pub nodes: usize,
    /// How many more, after those, for pods that tolerate the taint `bridge-cluster/spare`: nodes to lose.
    pub spare_nodes: usize,
    /// What can be run.
    pub images: Images,
    /// The delay before a failed container is started again; a real kubelet's is ten seconds.
    pub first_restart_delay: Duration,
    /// A node that was silent for so long is lost; a real control plane waits 50 seconds, which a test that loses a node
    /// does not want to, and a test that stops the API server for some seconds does.
    pub node_grace: Duration,
    /// The port of `127.0.0.1` at which the kubeconfig says that the API server is; another than the API server's own
    /// when somebody forwards it.
    pub port: u16,
}

impl Settings {
    /// Three nodes that know no image.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_owned(),
            nodes: 3,
            spare_nodes: 0,
            images: Images::default(),
            first_restart_delay: Duration::from_millis(500),
            node_grace: Duration::from_secs(10),
            port: PORT,
        }
    }

    /// Where logs and the kubeconfig are.
    pub fn dir(&self) -> PathBuf {
        root().join("target/cluster").join(&self.name)
    }
}

/// A control plane, nodes, Services and names. Everything ends with the namespace that it is in.
pub struct Cluster {
    plane: ControlPlane,
    client: Client,
    binaries: Binaries,
    dir: PathBuf,
    host: Arc<Host>,
    partitions: Partitions,
    /// Whoever watches lists again.
    anew: watch::Sender<()>,
    /// A node ends with its task.
    nodes: Mutex<BTreeMap<usize, AbortOnDropHandle<()>>>,
    /// Held for their drop.
    _tasks: JoinSet<()>,
}

impl Cluster {
    /// Starts one in the namespace that this process is in.
    ///
    /// # Errors
    /// Outside of a namespace made for it, without the programs of a control plane, or when one of them fails.
    pub async fn start(settings: Settings) -> Result<Self> {
        let binaries = Binaries::find()?;
        let count = settings.nodes + settings.spare_nodes;
        namespace::prepare(count)?;
        let dir = settings.dir();
        if dir.exists() {
            fs::remove_dir_all(&dir)?;
        }
        let logs = dir.join("log");
        fs::create_dir_all(&logs)?;
        let plane = ControlPlane::start(&binaries, &logs, count, settings.node_grace).await?;
        let kubeconfig = plane.kubeconfig("person", "person", "system:masters", settings.port)?;
        crate::pki::write(&dir.join("kubeconfig"), &kubeconfig)?;
        let client = plane.client("test", "test", "system:masters").await?;

        let mut tasks = JoinSet::new();
        let mut nodes = BTreeMap::new();
        let anew = watch::Sender::new(());
        let host = Host::new(settings.images, settings.first_restart_delay, &logs)?;
        for index in 0..count {
            let identity = plane.node(index)?;
            let node = Node {
                name: node_name(index),
                address: node_address(index)?,
                zone: ZONES[index % ZONES.len()].to_owned(),
                spare: index >= settings.nodes,
                client: plane.node_client(&identity).await?,
                host: host.clone(),
                anew: anew.subscribe(),
                identity,
                authority: plane.authority().to_owned(),
            };
            let host = host.clone();
            let running = spawn("node", async move {
                if let Err(error) = node.run().await {
                    host.note(&format!("a node ended: {error:#}"));
                }
            });
            nodes.insert(index, AbortOnDropHandle::new(running));
        }
        let directory = Directory::watch(&plane.client("proxy", "system:kube-proxy", "").await?, &anew);
        let partitions = Partitions::default();
        tasks.spawn(services::proxy(directory.clone(), partitions.clone()));
        tasks.spawn(crate::dns::serve(directory));
        let identity = plane.serving("resource-metrics")?;
        let measured = host.clone();
        tasks.spawn(async move {
            if let Err(error) = resource_metrics::serve(measured.clone(), identity).await {
                measured.note(&format!("resource metrics ended: {error:#}"));
            }
        });
        let nodes = Mutex::new(nodes);
        let cluster = Self { plane, client, binaries, dir, host, partitions, anew, nodes, _tasks: tasks };
        cluster.apply(resource_metrics::REGISTRATION).await?;
        Ok(cluster)
    }

    pub(crate) fn host(&self) -> &Host {
        &self.host
    }

    pub(crate) fn plane(&self) -> &ControlPlane {
        &self.plane
    }

    pub(crate) fn partitions(&self) -> &Partitions {
        &self.partitions
    }

    /// Lets whoever watches for the cluster list again.
    pub(crate) fn begin_anew(&self) {
        self.anew.send_replace(());
    }

    pub(crate) fn nodes(&self) -> &Mutex<BTreeMap<usize, AbortOnDropHandle<()>>> {
        &self.nodes
    }

    /// A client that may do everything.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// A client with the token of a service account, which may do what its roles say.
    pub async fn client_of(&self, namespace: &str, account: &str) -> Result<Client> {
        let api: Api<ServiceAccount> = Api::namespaced(self.client(), namespace);
        let request = json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {} });
        let issued: Value =
            api.create_subresource("token", account, &PostParams::default(), &request).await?;
        let token = issued["status"]["token"].as_str().context("a token without a token")?;
        client(&self.plane.token_kubeconfig(token)).await
    }

    /// The kubeconfig of an administrator, for programs.
    pub fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    /// What a container has written so far, over all its starts.
    pub fn log(&self, pod: &Pod, container: &str) -> Result<String> {
        let path = self.host.pod_logs(pod).join(format!("{container}.log"));
        fs::read_to_string(&path).with_context(|| path.display().to_string())
    }

    /// Waits until a container has written `text`.
    pub async fn until_logged(&self, pod: &Pod, container: &str, text: &str) -> Result<()> {
        // Files tell nobody when they grow.
        let mut tick = interval(Duration::from_millis(50));
        let written = async {
            while !self.log(pod, container).is_ok_and(|log| log.contains(text)) {
                tick.tick().await;
            }
        };
        timeout(PATIENCE, written).await.with_context(|| format!("{container} does not write \"{text}\""))
    }

    /// Its `kubectl`.
    pub fn kubectl_path(&self) -> PathBuf {
        self.binaries.path("kubectl")
    }

    /// The logs of everything that runs.
    pub fn logs(&self) -> PathBuf {
        self.dir.join("log")
    }

    /// What this cluster's `kubectl` prints.
    ///
    /// # Errors
    /// What it complains of.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = Command::new(self.kubectl_path());
        command
            .args(arguments)
            .env("KUBECONFIG", self.kubeconfig())
            .env("HOME", &self.dir)
            .kill_on_drop(true);
        let output = timeout(PATIENCE, command.output()).await.context("kubectl takes too long")??;
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
        Ok(String::from_utf8(output.stdout)?)
    }

    /// A namespace in which pods can be made.
    pub async fn namespace(&self, name: &str) -> Result<()> {
        self.apply(&format!("{{apiVersion: v1, kind: Namespace, metadata: {{name: {name}}}}}")).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(self.client(), name);
        self.until(accounts, "default", "exists", |found| found.is_some()).await?;
        Ok(())
    }

    /// Deletes a namespace with everything in it, and waits until it is gone.
    pub async fn delete_namespace(&self, name: &str) -> Result<()> {
        let api: Api<Namespace> = Api::all(self.client());
        api.delete(name, &kube::api::DeleteParams::default()).await?;
        self.until(api, name, "is gone", |found| found.is_none()).await?;
        Ok(())
    }

    /// Applies YAML documents on the server's side, in order; definitions of resources are served before it goes on.
    pub async fn apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.apply_as(self.client(), yaml, &PatchParams::apply("test").force()).await
    }

    /// Asks what [`Cluster::apply`] would do.
    pub async fn try_apply(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.apply_as(self.client(), yaml, &PatchParams::apply("test").force().dry_run()).await
    }

    /// Applies YAML documents as another manager, which owns only the fields that they have.
    pub async fn apply_partly(&self, yaml: &str) -> Result<Vec<DynamicObject>> {
        self.apply_as(self.client(), yaml, &PatchParams::apply("test-part").force()).await
    }

    /// Applies a file of the working tree.
    pub async fn apply_file(&self, path: impl AsRef<Path>) -> Result<Vec<DynamicObject>> {
        let path = root().join(path);
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        self.apply(&text).await
    }

    async fn apply_as(&self, client: Client, yaml: &str, params: &PatchParams) -> Result<Vec<DynamicObject>> {
        let mut applied = Vec::new();
        for document in serde_saphyr::from_multiple::<Value>(yaml)? {
            if document.is_null() {
                continue;
            }
            let name = document["metadata"]["name"].as_str().context("an object needs a name")?.to_owned();
            let kind = document["kind"].as_str().unwrap_or_default().to_owned();
            let api = api(&client, &document).await?;
            let object = api.patch(&name, params, &Patch::Apply(&document)).await;
            applied.push(object.with_context(|| format!("applying {kind} {name}"))?);
            if kind == "CustomResourceDefinition" && !params.dry_run {
                let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
                let established = await_condition(definitions, &name, conditions::is_crd_established());
                timeout(PATIENCE, established).await.context("a definition is not served")??;
            }
        }
        Ok(applied)
    }

    /// Watches an object until `holds`, and returns it. `what` is for the message.
    ///
    /// # Errors
    /// With the object as it was last, when that takes longer than [`PATIENCE`].
    pub async fn until<K>(
        &self,
        api: Api<K>,
        name: &str,
        what: &str,
        holds: impl Fn(Option<&K>) -> bool + Send,
    ) -> Result<Option<K>>
    where
        K: kube::Resource + Clone + Debug + DeserializeOwned + serde::Serialize + Send + 'static,
    {
        let _ = self;
        let condition = |found: Option<&K>| holds(found);
        match timeout(PATIENCE, await_condition(api.clone(), name, condition)).await {
            Ok(found) => Ok(found?),
            Err(_) => {
                let last = api.get_opt(name).await.map(|found| serde_json::to_string_pretty(&found));
                bail!("{name}: not \"{what}\" after {PATIENCE:?}; it is {}", last??)
            }
        }
    }

    /// Waits until a Deployment has rolled out: all replicas are of its latest template, and available.
    pub async fn until_available(&self, namespace: &str, name: &str) -> Result<()> {
        let api: Api<k8s_openapi::api::apps::v1::Deployment> = Api::namespaced(self.client(), namespace);
        let outcome = self
            .until(api, name, "is rolled out", |found| {
                let Some(found) = found else { return false };
                let wanted = found.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1);
                found.status.as_ref().is_some_and(|status| {
                    status.observed_generation >= found.metadata.generation
                        && status.updated_replicas.unwrap_or(0) == wanted
                        && status.available_replicas.unwrap_or(0) == wanted
                        && status.replicas.unwrap_or(0) == wanted
                })
            })
            .await;
        match outcome {
            Ok(_) => Ok(()),
            Err(error) => {
                let pods = self.kubectl(&["describe", "pods", "-n", namespace]).await.unwrap_or_default();
                Err(anyhow!("{error:#}\n{pods}"))
            }
        }
    }

    /// What the programs of a pod occupy of memory, in bytes.
    pub fn memory(&self, pod: &Pod) -> Result<u64> {
        let (namespace, name) = (pod.metadata.namespace.as_deref(), pod.metadata.name.as_deref());
        let samples = self.host.usage()?;
        let own = samples.iter().filter(|it| Some(&*it.namespace) == namespace && Some(&*it.pod) == name);
        Ok(own.map(|it| it.usage.memory).sum())
    }

    /// The requests of service accounts and nodes so far.
    pub fn audit(&self) -> Result<Vec<Request>> {
        audit::read(&self.logs().join("audit.log"))
    }
}

/// The API of an object's kind.
async fn api(client: &Client, object: &Value) -> Result<Api<DynamicObject>> {
    let kind = object["kind"].as_str().context("an object needs a kind")?;
    let api_version = object["apiVersion"].as_str().context("an object needs an apiVersion")?;
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let kind = GroupVersionKind::gvk(group, version, kind);
    let (resource, capabilities): (ApiResource, _) =
        pinned_kind(client, &kind).await.with_context(|| format!("looking for {kind:?}"))?;
    Ok(match capabilities.scope {
        Scope::Cluster => Api::all_with(client.clone(), &resource),
        Scope::Namespaced => {
            let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
            Api::namespaced_with(client.clone(), namespace, &resource)
        }
    })
}
