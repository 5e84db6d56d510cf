//! The control plane restarts, busy as it is, or has no time for operators. Changes when they ask it for more.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE, Request};
use bridge_runtime::tasks::spawn;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::ListParams;
use kube::{Api, Client};
use tokio::task::JoinSet;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until, timeout};
use tokio_util::sync::CancellationToken;

use crate::installed::{SYSTEM, until_backend};
use crate::standing::{BACKEND, NAMESPACE, User, backend, remove, stand, until_led, until_served};

/// Of one kind by one replica: after each restart once, and once more when the answer is lost on the way.
const LISTS: usize = 5;
/// The same while most of what is asked is refused, and what is answered of it.
const LISTS_REFUSED: usize = 12;
const LISTS_ANSWERED: usize = 2;
/// How long the API server has no time for operators.
const CROWDED_FOR: Duration = Duration::from_secs(45);
/// How often one replica is refused in a minute, so that this is pressure at all.
const PRESSED: f64 = 10.0;
/// What one replica may ask for in vain in a minute: the Lease every two seconds, and each of its watches less and less often.
const REFUSALS: f64 = 300.0;
/// Requests of somebody else.
const PRESSURE: usize = 3000;

/// Another client that asks for everything, as fast as it can.
async fn press(cluster: &'static Cluster, enough: CancellationToken) -> usize {
    let mut clients = JoinSet::new();
    for _ in 0..20 {
        let (api, enough) = (Api::<Pod>::all(cluster.client()), enough.clone());
        clients.spawn(async move {
            let mut answered = 0;
            for _ in 0..PRESSURE / 20 {
                if enough.is_cancelled() {
                    break;
                }
                // An API server that is away does not answer.
                answered += usize::from(api.list(&ListParams::default()).await.is_ok());
            }
            answered
        });
    }
    clients.join_all().await.into_iter().sum()
}

pub(crate) async fn operators_ask_for_little_when_a_busy_control_plane_restarts(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let before = cluster.audit()?.len();
    let (user, enough) = (User::of(&pods, BACKEND), CancellationToken::new());
    let pressure = spawn("pressure", press(cluster, enough.clone()));
    for program in ["etcd", "kube-apiserver", "etcd"] {
        cluster.restart(program).await?;
        cluster.apply(&backend(NAMESPACE, "after-restart", "")).await?;
        until_served(&pods, "after-restart").await?;
        remove(cluster, &pods, "after-restart").await?;
    }
    enough.cancel();
    let answered = pressure.await?;
    ensure!(answered > 100, "there was no pressure: {answered} requests");
    user.end().await?;

    few_lists(&cluster.audit()?.split_off(before), LISTS)
}

/// Checks that no replica has listed anything more often than that, refused or not.
fn few_lists(asked: &[Request], most: usize) -> Result<()> {
    let mut lists: BTreeMap<(String, String), usize> = BTreeMap::new();
    for list in asked.iter().filter(|request| is_of_operator(request) && request.verb == "list") {
        let pod = list.pod().context("a list for no pod")?.to_owned();
        *lists.entry((pod, list.request_uri.clone())).or_default() += 1;
    }
    let many: Vec<_> = lists.iter().filter(|(_, times)| **times > most).collect();
    ensure!(many.is_empty(), "{many:?}");
    Ok(())
}

fn is_of_operator(request: &Request) -> bool {
    request.is_of(SYSTEM, "mcp-bridge-operator")
}

/// A priority level with a single seat, which operators share with somebody who is always there: the API server answers 429 to
/// whoever comes while the seat is taken.
const CROWDED: &str = "
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: PriorityLevelConfiguration
metadata: {name: crowded}
spec:
  type: Limited
  limited: {nominalConcurrencyShares: 0, lendablePercent: 0, borrowingLimitPercent: 0, limitResponse: {type: Reject}}
---
apiVersion: flowcontrol.apiserver.k8s.io/v1
kind: FlowSchema
metadata: {name: crowded}
spec:
  matchingPrecedence: 50
  priorityLevelConfiguration: {name: crowded}
  rules:
    - subjects:
        - {kind: ServiceAccount, serviceAccount: {namespace: mcp-system, name: mcp-bridge-operator}}
        - {kind: ServiceAccount, serviceAccount: {namespace: crowd, name: default}}
      resourceRules: [{verbs: ['*'], apiGroups: ['*'], resources: ['*'], namespaces: ['*'], clusterScope: true}]
---
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: crowd}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: cluster-admin}
subjects: [{kind: ServiceAccount, namespace: crowd, name: default}]
";

/// Clients of the crowd, and the time between two requests of one.
const CROWD: usize = 16;
const STEP: Duration = Duration::from_millis(20);

/// Takes the seat again and again, until dropped.
fn crowd(client: &Client) -> JoinSet<()> {
    let mut crowd = JoinSet::new();
    for _ in 0..CROWD {
        let api: Api<CustomResourceDefinition> = Api::all(client.clone());
        crowd.spawn(async move {
            let mut tick = interval(STEP);
            tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                tick.tick().await;
                // It is refused most of the time, too.
                drop(api.list(&ListParams::default()).await);
            }
        });
    }
    crowd
}

/// What operators ask for while they are refused, by pod: how often, and how often it was refused.
fn refused(asked: &[Request]) -> BTreeMap<String, usize> {
    let mut refused = BTreeMap::new();
    for request in asked.iter().filter(|request| is_of_operator(request)) {
        if request.response_status.as_ref().is_some_and(|status| status.code == 429) {
            *refused.entry(request.pod().unwrap_or_default().to_owned()).or_default() += 1;
        }
    }
    refused
}

/// Waits until every operator was refused something, by the log of an API server that tells nobody when it grows.
async fn until_refused(cluster: &Cluster, since: usize) -> Result<()> {
    let mut tick = interval(Duration::from_millis(200));
    let refusing = async {
        while refused(&cluster.audit()?.split_off(since)).len() < 2 {
            tick.tick().await;
        }
        Ok(())
    };
    timeout(PATIENCE, refusing).await.context("operators are not refused")?
}

pub(crate) async fn operators_that_the_api_server_has_no_time_for_ask_no_more_than_before(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    cluster.namespace("crowd").await?;
    let (before, user) = (cluster.audit()?.len(), User::of(&pods, BACKEND));
    cluster.apply(CROWDED).await?;
    let crowd = crowd(&cluster.client_of("crowd", "default").await?);
    until_refused(cluster, before).await?;
    let began = Instant::now();
    // Everything that is watched has to be asked for anew, which is refused as well; and there is something to be seen.
    cluster.restart("kube-apiserver").await?;
    cluster.apply(&backend(NAMESPACE, "waited-for", "")).await?;
    sleep_until(began + CROWDED_FOR).await;
    let minutes = began.elapsed().as_secs_f64() / 60.0;
    let refused = refused(&cluster.audit()?.split_off(before));
    for (pod, times) in &refused {
        let a_minute = f64::from(u32::try_from(*times)?) / minutes;
        ensure!((PRESSED..=REFUSALS).contains(&a_minute), "{pod} was refused {a_minute:.0} times a minute");
    }
    ensure!(refused.len() == 2, "{refused:?}");

    drop(crowd);
    for kind in ["flowschema", "prioritylevelconfiguration"] {
        cluster.kubectl(&["delete", kind, "crowded"]).await?;
    }
    until_served(&pods, "waited-for").await?;
    until_backend(cluster, (NAMESPACE, "waited-for"), ("Programmed", "True")).await?;
    until_led(cluster).await?;
    remove(cluster, &pods, "waited-for").await?;
    user.end().await?;
    // Once after the restart; a list that is refused is asked for again, later and later.
    let asked = cluster.audit()?.split_off(before);
    few_lists(&asked, LISTS_REFUSED)?;
    let answered: Vec<_> = asked.into_iter().filter(Request::succeeded).collect();
    few_lists(&answered, LISTS_ANSWERED)
}
