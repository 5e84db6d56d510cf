//! What pods and operators know each other by runs out. Changes when they prove themselves otherwise.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, PATIENCE, Signal};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec};
use k8s_openapi::api::core::v1::{Pod, Secret};
use k8s_openapi::jiff::tz::TimeZone;
use k8s_openapi::jiff::{Span, Timestamp};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, ResourceExt as _};
use tokio::time::{MissedTickBehavior, interval, timeout};

use crate::installed::SYSTEM;
use crate::standing::{
    BACKEND, CONNECTED, NAMESPACE, User, backend, metric, operators, pods, remove, stand, until_led,
    until_metric, until_served,
};

const AUDIENCE: &str = "mcp-bridge-operator";
/// The kubelet renews a token when a fifth of this is left, and looks every five seconds.
const LIFETIME: Duration = Duration::from_secs(40);

/// What a pod has in a file.
async fn file(cluster: &Cluster, pod: &Pod, path: &str) -> Result<String> {
    cluster.kubectl(&["exec", "-n", NAMESPACE, &pod.name_any(), "--", "cat", path]).await
}

/// Whether the API server vouches for a token that is shown to an operator.
async fn is_good(cluster: &Cluster, token: &str) -> Result<bool> {
    let spec = TokenReviewSpec { token: Some(token.to_owned()), audiences: Some(vec![AUDIENCE.to_owned()]) };
    let review = TokenReview { spec, ..TokenReview::default() };
    let reviewed = Api::all(cluster.client()).create(&PostParams::default(), &review).await?;
    Ok(reviewed.status.is_some_and(|status| status.authenticated == Some(true)))
}

pub(crate) async fn a_pod_shows_its_next_token_when_the_first_has_expired(
    cluster: &'static Cluster,
) -> Result<()> {
    const TOKEN: &str = "/var/run/secrets/mcp.bridge/token";
    let pods = stand(cluster).await?;
    let user = User::of(&pods, BACKEND);
    for pod in &pods {
        cluster.renew_tokens(pod, Some(LIFETIME)).await?;
    }
    let first = file(cluster, &pods[0], TOKEN).await?;
    ensure!(is_good(cluster, &first).await?, "nobody takes a token of a short life");
    // Streams that began with it outlive it.
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let expired = async {
        while is_good(cluster, &first).await? {
            tick.tick().await;
        }
        anyhow::Ok(())
    };
    timeout(PATIENCE, expired).await.context("the first token does not expire")??;
    for pod in &pods {
        ensure!(metric(pod, CONNECTED).await? == 1, "a stream ended with the token that began it");
    }
    for operator in operators(cluster).await? {
        cluster.signal(&operator, "operator", Signal::KILL)?;
    }
    cluster.apply(&backend(NAMESPACE, "after-token", "")).await?;
    until_served(&pods, "after-token").await?;
    until_led(cluster).await?;
    for operator in operators(cluster).await? {
        ensure!(metric(&operator, "operator_streams_refused_total").await? == 0, "a pod showed an old token");
    }
    user.end().await?;
    for pod in &pods {
        cluster.renew_tokens(pod, None).await?;
    }
    remove(cluster, &pods, "after-token").await
}

const AUTHORITY: &str = "mcp-bridge-operator-ca";

/// The day so many days ago.
fn ago(days: i64) -> String {
    let today = Timestamp::now().to_zoned(TimeZone::UTC).date();
    today.saturating_sub(Span::new().days(days)).to_string()
}

/// Says when authorities were made, and starts the operators again, as docs/operations.md tells it.
async fn age(cluster: &Cluster, made: &[(&str, i64)]) -> Result<()> {
    let made: Vec<_> = made.iter().map(|(name, days)| format!("mcp.bridge/{name}={}", ago(*days))).collect();
    let mut annotate = vec!["annotate", "--overwrite", "-n", SYSTEM, "secret", AUTHORITY];
    annotate.extend(made.iter().map(String::as_str));
    cluster.kubectl(&annotate).await?;
    restart(cluster).await
}

async fn restart(cluster: &Cluster) -> Result<()> {
    cluster.kubectl(&["rollout", "restart", "-n", SYSTEM, "deployment/mcp-bridge-operator"]).await?;
    until_led(cluster).await.map(drop)
}

/// A value of the Secret of the authorities.
async fn kept(cluster: &Cluster, key: &str) -> Result<String> {
    let secret = Api::<Secret>::namespaced(cluster.client(), SYSTEM).get(AUTHORITY).await?;
    let value = secret.data.and_then(|mut data| data.remove(key)).context("no such key")?;
    Ok(String::from_utf8(value.0)?)
}

/// Waits until every pod has a bundle of so many authorities.
async fn until_trusted(cluster: &Cluster, pods: &[Pod], authorities: usize) -> Result<()> {
    let mut tick = interval(Duration::from_secs(1));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    for pod in pods {
        let learning = async {
            let path = "/etc/mcp-bridge/bootstrap/ca.crt";
            while file(cluster, pod, path).await?.matches("BEGIN CERTIFICATE").count() != authorities {
                tick.tick().await;
            }
            anyhow::Ok(())
        };
        timeout(PATIENCE, learning).await.with_context(|| format!("{authorities} authorities"))??;
    }
    Ok(())
}

/// A change reaches every pod, on a stream to an operator that has just started.
async fn expect_change(cluster: &Cluster, pods: &[Pod], name: &str) -> Result<()> {
    cluster.apply(&backend(NAMESPACE, name, "")).await?;
    until_served(pods, name).await?;
    until_metric(pods, CONNECTED, |value| value == 1).await?;
    remove(cluster, pods, name).await
}

/// Pods with the number of their restarts.
async fn lives(cluster: &Cluster) -> Result<BTreeMap<String, i32>> {
    let restarts = |pod: &Pod| {
        let containers = pod.status.iter().flat_map(|status| status.container_statuses.iter().flatten());
        containers.map(|container| container.restart_count).sum()
    };
    Ok(pods(cluster, NAMESPACE).await?.iter().map(|pod| (pod.name_any(), restarts(pod))).collect())
}

/// How often pods met an operator that they do not trust.
fn refusals(cluster: &Cluster, pods: &[Pod]) -> Result<usize> {
    pods.iter().map(|pod| Ok(cluster.log(pod, "gateway")?.matches("must be vouched for").count())).sum()
}

pub(crate) async fn one_authority_follows_another_and_no_pod_restarts(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let (user, before, distrust) =
        (User::of(&pods, BACKEND), lives(cluster).await?, refusals(cluster, &pods)?);
    let first = kept(cluster, "tls.crt").await?;

    age(cluster, &[("made", 340)]).await?;
    let next = kept(cluster, "next.crt").await?;
    until_trusted(cluster, &pods, 2).await?;
    expect_change(cluster, &pods, "two-authorities").await?;

    age(cluster, &[("made", 359), ("next-made", 20)]).await?;
    ensure!(kept(cluster, "tls.crt").await? == next, "the next authority does not sign");
    ensure!(kept(cluster, "previous.crt").await? == first);
    expect_change(cluster, &pods, "next-authority").await?;

    age(cluster, &[("previous-made", 366)]).await?;
    until_trusted(cluster, &pods, 1).await?;
    restart(cluster).await?;
    expect_change(cluster, &pods, "one-authority").await?;
    ensure!(refusals(cluster, &pods)? == distrust, "a pod met an operator that it did not trust");

    // Somebody loses it: pods hear nothing new until they have been told whom to trust, and serve.
    Api::<Secret>::namespaced(cluster.client(), SYSTEM).delete(AUTHORITY, &DeleteParams::default()).await?;
    restart(cluster).await?;
    expect_change(cluster, &pods, "new-authority").await?;
    user.end().await?;
    ensure!(lives(cluster).await? == before, "a pod was restarted");
    Ok(())
}
