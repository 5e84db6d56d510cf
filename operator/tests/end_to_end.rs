//! The whole operator against an API in memory, and pods over real sockets: from a resource to what a pod serves, and back
//! to status. What a real API server does differently is for `tests/cluster`. Changes when the parts meet in another way.

#![allow(clippy::unwrap_used, clippy::panic, reason = "in a test, a step that fails is a failed test")]

#[path = "end_to_end/around.rs"]
mod around;
#[path = "end_to_end/classes.rs"]
mod classes;
mod kit;
#[path = "end_to_end/writes.rs"]
mod writes;

use std::path::PathBuf;
use std::sync::LazyLock;
use std::time::Duration;

use bridge_snapshot::Target;
use bridge_snapshot::push::{BackendReport, Identity, ListenerReport, Rejection, RejectionCode, Report};
use clap::Parser as _;
use kit::api::Api;
use kit::pod::Pod;
use mcp_operator::args::{Args, Command, Run};
use mcp_operator::run::Operator;
use serde_json::{Value, json};

const GATEWAYS: &str = "mcp.bridge/v1alpha1/mcpgateways";
const BACKENDS: &str = "mcp.bridge/v1alpha1/mcpbackends";
const DEPLOYMENTS: &str = "apps/v1/deployments";

/// The token that replicas show each other. Written once: a replica may read it at any time.
static TOKEN: LazyLock<PathBuf> = LazyLock::new(|| {
    let path = std::env::temp_dir().join(format!("mcp-operator-token-{}", std::process::id()));
    std::fs::write(&path, "operator\n").unwrap();
    path
});

fn args() -> Run {
    args_with("")
}

fn args_with(more: &str) -> Run {
    let line = "mcp-operator run --namespace system --replica r1 --listen 127.0.0.1:0 --metrics 127.0.0.1:0 --advertise localhost:9443";
    match Args::parse_from(line.split(' ').chain(more.split_whitespace())).command {
        Command::Run(run) => Run { token_file: TOKEN.clone(), ..*run },
        other => panic!("{other:?}"),
    }
}

/// A cluster with a gateway `here/main` and a backend `b`.
fn cluster() -> Api {
    let api = Api::default();
    api.put(&json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "kube-system"}}));
    api.put(&definition("mcpgateways", "McpGateway"));
    api.put(&definition("mcpbackends", "McpBackend"));
    api.put(&gateway(&json!({})));
    api.put(&backend("b", "http://b.example.com/mcp"));
    api
}

fn definition(plural: &str, kind: &str) -> Value {
    json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": format!("{plural}.mcp.bridge")},
        "spec": {"group": "mcp.bridge", "names": {"kind": kind, "plural": plural}, "scope": "Namespaced", "versions": []}})
}

fn gateway(extra: &Value) -> Value {
    let mut spec = json!({"replicas": 1, "listeners": [{"name": "http", "protocol": "StreamableHTTP", "port": 8080, "tls": {"mode": "Disabled"}}], "auth": {"anonymous": "Allow"}});
    spec.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
    json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpGateway", "metadata": {"name": "main", "namespace": "here"}, "spec": spec})
}

fn backend(name: &str, url: &str) -> Value {
    json!({"apiVersion": "mcp.bridge/v1alpha1", "kind": "McpBackend", "metadata": {"name": name, "namespace": "here"}, "spec": {"protocol": "StreamableHTTP", "endpoints": [{"url": url}]}})
}

/// Plays Deployment controller and kubelet: the pod is there, and ready.
fn run_pod(api: &Api) -> Identity {
    let uid = api.get(GATEWAYS, "here", "main").unwrap()["metadata"]["uid"].clone();
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "main-1", "namespace": "here", "labels": {"mcp.bridge/gateway-uid": uid}},
        "spec": {"containers": []}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    api.put(&pod);
    let uid = api.get("/v1/pods", "here", "main-1").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    let extra = json!({"authentication.kubernetes.io/pod-name": ["main-1"], "authentication.kubernetes.io/pod-uid": [uid]});
    api.token("good", json!({"username": "system:serviceaccount:here:main-mcpgw", "extra": extra}));
    let mut deployment = api.get(DEPLOYMENTS, "here", "main-mcpgw").unwrap();
    deployment["status"] = json!({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1});
    api.put(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "main-mcpgw", "namespace": "here"}, "status": deployment["status"]}));
    Identity {
        gateway: "here/main".into(),
        pod: "main-1".into(),
        uid,
        build: "1".into(),
        features: Vec::new(),
    }
}

/// Waits until it holds.
async fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    for _ in 0..1500 {
        if let Some(found) = look() {
            return found;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what} did not happen")
}

fn condition(api: &Api, collection: &str, name: &str, kind: &str) -> Option<(String, String)> {
    let object = api.get(collection, "here", name)?;
    let all = object["status"]["conditions"].as_array()?.clone();
    let found = all.into_iter().find(|condition| condition["type"] == kind)?;
    Some((found["reason"].as_str()?.to_owned(), found["message"].as_str()?.to_owned()))
}

async fn wait_condition(api: &Api, collection: &str, name: &str, kind: &str, reason: &str) -> String {
    let look =
        || condition(api, collection, name, kind).filter(|found| found.0 == reason).map(|found| found.1);
    let mut last = None;
    eventually(&format!("{kind}={reason} of {name}"), || {
        last = condition(api, collection, name, kind);
        look()
    })
    .await
}

/// The operator with its housekeeping, until it is told to stop.
struct Running {
    port: u16,
    pages: std::net::SocketAddr,
    authority: String,
    stop: tokio::sync::oneshot::Sender<()>,
    task: tokio::task::JoinHandle<()>,
}

impl Running {
    async fn start(api: &Api) -> Self {
        let mut operator = Operator::start(&args(), api.client()).await.unwrap();
        let (port, pages, authority) = (operator.pods().port(), operator.pages(), operator.authority());
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let task = bridge_runtime::tasks::spawn("operator", async move {
            tokio::select! {
                _ = operator.tend() => {}
                _ = stopped => {}
            }
            operator.stop(std::future::pending()).await;
        });
        Self { port, pages, authority, stop, task }
    }

    async fn connect(&self, token: &str, identity: &Identity) -> Result<Pod, String> {
        let mut last = String::new();
        // The index may not have seen the pod yet; pods come back, too.
        for _ in 0..100 {
            match Pod::connect(self.port, &self.authority, token, identity.clone()).await {
                Ok(pod) => return Ok(pod),
                Err(error) => last = error,
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Err(last)
    }

    async fn stop(self) {
        drop(self.stop);
        self.task.await.unwrap();
    }
}

fn urls(pod: &Pod) -> Vec<String> {
    let backends = pod.snapshot.iter().flat_map(|snapshot| &snapshot.backends);
    let url = |target: &Target| match target {
        Target::Http(http) => http.url.clone(),
        other => panic!("{other:?}"),
    };
    backends.flat_map(|backend| backend.targets().map(url).collect::<Vec<_>>()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resource_reaches_a_pod_and_the_pod_reaches_its_status() {
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    wait_condition(&api, BACKENDS, "b", "Accepted", "Accepted").await;
    wait_condition(&api, GATEWAYS, "main", "Programmed", "Pending").await;

    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    pod.until("the first configuration", |pod| urls(pod) == ["http://b.example.com:80/mcp"]).await;
    let listeners = vec![ListenerReport { name: "http".into(), error: None }];
    let report = BackendReport {
        name: "b".into(),
        endpoints: 1,
        healthy: 1,
        ejected: 0,
        problem: None,
        tools: 3,
        exposed: 2,
        filtered: 1,
        conflicts: 0,
        protocol: None,
        server: None,
    };
    pod.report(Report { listeners, backends: vec![report], ..Report::default() }).await;
    assert_eq!(wait_condition(&api, GATEWAYS, "main", "Programmed", "Programmed").await, "1/1 ready pods");
    wait_condition(&api, GATEWAYS, "main", "Ready", "Ready").await;
    wait_condition(&api, GATEWAYS, "main", "SessionStorage", "NotNeeded").await;
    wait_condition(&api, BACKENDS, "b", "Programmed", "Programmed").await;
    wait_condition(&api, BACKENDS, "b", "Available", "Available").await;
    let status = eventually("counted tools", || {
        let status = api.get(GATEWAYS, "here", "main")?["status"].clone();
        (status["tools"]["exposed"] == 2 && status["config"]["summary"] == "1/1").then_some(status)
    })
    .await;
    assert_eq!((&status["backends"]["programmed"], &status["readyReplicas"]), (&json!(1), &json!(1)));
    assert_eq!(
        status["selector"],
        format!(
            "mcp.bridge/gateway-uid={}",
            api.get(GATEWAYS, "here", "main").unwrap()["metadata"]["uid"].as_str().unwrap()
        )
    );

    api.put(&backend("b", "http://moved.example.com/mcp"));
    pod.until("the change", |pod| urls(pod) == ["http://moved.example.com:80/mcp"]).await;
    api.remove(BACKENDS, "here", "b");
    pod.until("the removal", |pod| urls(pod).is_empty()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_written_while_nothing_changes() {
    let api = cluster();
    let operator = Running::start(&api).await;
    wait_condition(&api, GATEWAYS, "main", "Accepted", "Accepted").await;
    wait_condition(&api, BACKENDS, "b", "Accepted", "Accepted").await;
    let settled = |api: &Api| api.get(GATEWAYS, "here", "main")?["status"]["addresses"].as_array().cloned();
    eventually("everything that follows from it", || settled(&api)).await;
    // The Lease is renewed every two seconds; whatever else is written between two renewals has no reason.
    let leases = |api: &Api| api.writes().iter().filter(|line| line.contains("/leases")).count();
    let quiet = |api: &Api| api.writes().iter().filter(|line| !line.contains("/leases")).count();
    let seen = leases(&api);
    eventually("a renewal", || (leases(&api) > seen).then_some(())).await;
    let (before, seen) = (quiet(&api), leases(&api));
    eventually("two renewals", || (leases(&api) > seen + 1).then_some(())).await;
    assert_eq!(quiet(&api), before, "{:#?}", api.writes());
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_resource_is_named_in_the_status() {
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    pod.until("the first configuration", |pod| pod.snapshot.is_some()).await;
    wait_condition(&api, BACKENDS, "b", "Programmed", "Programmed").await;
    let plan = mcp_operator::compile::compile(
        &kit::world(
            &[gateway(&json!({})).to_string(), backend("b", "http://new.example.com/mcp").to_string()]
                .join("\n---\n"),
        ),
        &kit::options(),
        &mut mcp_operator::compile::Memo::default(),
    )
    .unwrap();
    let plan = plan.gateways.values().next().unwrap();
    let entry = plan.entries.values().find(|entry| entry.key.to_string() == "endpoints `b`").unwrap();
    pod.rejecting = vec![Rejection::of(entry, RejectionCode::Invalid, "targets[0].url: not here")];
    api.put(&backend("b", "http://new.example.com/mcp"));
    let refused =
        |api: &Api| condition(api, BACKENDS, "b", "Programmed").filter(|found| found.0 == "Rejected");
    let _ = tokio::time::timeout(Duration::from_secs(30), async {
        let waiting = eventually("the refusal", || refused(&api));
        tokio::select! {
            _ = waiting => {}
            () = pod.until("never", |_| false) => {}
        }
    })
    .await;
    let (_, message) = refused(&api).unwrap();
    assert!(message.contains("targets[0].url: not here"), "{message}");
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pod_gets_in_with_its_own_token_only() {
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    let refused = Pod::connect(operator.port, &operator.authority, "bad", identity.clone()).await;
    assert!(refused.err().unwrap().contains(" 401 "));
    api.token("other", json!({"username": "system:serviceaccount:here:default", "extra": {}}));
    let refused = Pod::connect(operator.port, &operator.authority, "other", identity.clone()).await;
    assert!(refused.err().unwrap().contains(" 401 "));
    let stranger = Identity { gateway: "there/main".into(), ..identity.clone() };
    let mut lying = operator.connect("good", &stranger).await.unwrap();
    tokio::time::timeout(Duration::from_secs(30), lying.ended()).await.unwrap();
    assert!(lying.snapshot.is_none(), "nothing was sent to whoever says that it is another one");
    // What was refused is not asked about again and again.
    let reviews = || api.requests().iter().filter(|line| line.contains("/tokenreviews")).count();
    let before = reviews();
    for _ in 0..10 {
        let refused = Pod::connect(operator.port, &operator.authority, "bad", identity.clone()).await;
        assert!(refused.err().unwrap().contains(" 401 "));
    }
    assert!(reviews() <= before + 1, "{} reviews", reviews() - before);
    // The API server away: whoever it vouched for is known for a while, everybody else waits.
    api.fail("POST /apis/authentication.k8s.io", 500);
    operator.connect("good", &identity).await.unwrap();
    let unknown = Pod::connect(operator.port, &operator.authority, "new", identity).await;
    assert!(unknown.err().unwrap().contains(" 503 "));
    pod.until("the configuration", |pod| pod.snapshot.is_some()).await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_shows_many_bad_tokens_takes_no_reviews_from_others() {
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    operator.connect("good", &identity).await.unwrap();
    let mut answers = Vec::new();
    for number in 0..60 {
        let token = format!("bad{number}");
        let refused = Pod::connect(operator.port, &operator.authority, &token, identity.clone()).await;
        answers.push(refused.err().unwrap());
    }
    let reviews = api.requests().iter().filter(|line| line.contains("/tokenreviews")).count();
    assert!(reviews <= 25, "{reviews}");
    assert!(answers.last().unwrap().contains(" 503 "), "{answers:?}");
    operator.connect("good", &identity).await.unwrap();
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_stops_lets_go_and_says_goodbye() {
    let api = cluster();
    let operator = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let mut pod = operator.connect("good", &identity).await.unwrap();
    pod.until("the configuration", |pod| pod.snapshot.is_some()).await;
    let stopping = bridge_runtime::tasks::spawn("stop", operator.stop());
    pod.until("the goodbye", |pod| pod.sent_away).await;
    stopping.await.unwrap();
    let lease = api.get("coordination.k8s.io/v1/leases", "system", "mcp-bridge-operator.mcp-bridge").unwrap();
    assert_eq!(lease["spec"]["holderIdentity"], "");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_follower_serves_and_writes_nothing() {
    let api = cluster();
    let first = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    let second = Running::start(&api).await;
    let mut pod = second.connect("good", &identity).await.unwrap();
    pod.until("the configuration", |pod| urls(pod) == ["http://b.example.com:80/mcp"]).await;
    let page = eventually_page(second.pages, "operator_leader 0").await;
    assert!(page.contains("operator_config_streams 1"), "{page}");
    first.stop().await;
    eventually_page(second.pages, "operator_leader 1").await;
    second.stop().await;
}

async fn eventually_page(address: std::net::SocketAddr, wanted: &str) -> String {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    for _ in 0..500 {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        if answer.contains(wanted) {
            return answer;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{wanted} is never shown")
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_of_somebody_elses_is_left_alone_and_named() {
    let api = cluster();
    api.put(&json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": "main", "namespace": "here"}, "spec": {"ports": [{"port": 1}]}}));
    let operator = Running::start(&api).await;
    let message = wait_condition(&api, GATEWAYS, "main", "Accepted", "NameConflict").await;
    assert_eq!(message, "Service here/main exists and belongs to somebody else");
    let service = api.get("/v1/services", "here", "main").unwrap();
    assert_eq!(service["spec"], json!({"ports": [{"port": 1}]}));
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_somebody_changes_is_put_right_and_what_fails_is_tried_again() {
    let api = cluster();
    api.fail("PATCH /apis/apps", 500);
    let operator = Running::start(&api).await;
    wait_condition(&api, GATEWAYS, "main", "Accepted", "Accepted").await;
    assert!(api.get(DEPLOYMENTS, "here", "main-mcpgw").is_none());
    api.heal();
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    api.put(&json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "main-mcpgw", "namespace": "here"}, "spec": {"minReadySeconds": 99}}));
    let patches = api.writes().iter().filter(|line| line.starts_with("PATCH /apis/apps")).count();
    eventually("the correction", || {
        (api.writes().iter().filter(|line| line.starts_with("PATCH /apis/apps")).count() > patches)
            .then_some(())
    })
    .await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_secret_without_the_label_is_read_when_it_is_referred_to() {
    let api = cluster();
    let mut document = backend("b", "http://b.example.com/mcp");
    document["spec"]["auth"] =
        json!({"type": "Bearer", "bearer": {"secretRef": {"name": "s", "key": "token"}}});
    api.put(&document);
    let operator = Running::start(&api).await;
    wait_condition(&api, BACKENDS, "b", "ResolvedRefs", "SecretNotFound").await;
    api.put(&json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s", "namespace": "here"}, "data": {"token": "dDBrZW4="}}));
    wait_condition(&api, BACKENDS, "b", "ResolvedRefs", "ResolvedRefs").await;
    operator.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_knows_what_pods_of_other_replicas_say() {
    let api = cluster();
    let first = Running::start(&api).await;
    eventually("the Deployment", || api.get(DEPLOYMENTS, "here", "main-mcpgw")).await;
    let identity = run_pod(&api);
    api.token("operator", json!({"username": "system:serviceaccount:system:mcp-bridge-operator"}));
    let second = Running::start(&api).await;
    let mut pod = second.connect("good", &identity).await.unwrap();
    pod.until("the configuration", |pod| urls(pod) == ["http://b.example.com:80/mcp"]).await;
    eventually_page(second.pages, "operator_leader 0").await;
    assert_eq!(wait_condition(&api, GATEWAYS, "main", "Programmed", "Programmed").await, "1/1 ready pods");
    second.stop().await;
    first.stop().await;
}
