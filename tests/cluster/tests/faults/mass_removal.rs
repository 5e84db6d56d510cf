//! Many backends that vanish at once. Changes when it is believed otherwise.

use std::fmt::Write as _;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bridge_cluster::{Cluster, Signal};
use bridge_tests::http::{self, Url};
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::task::spawn_blocking;

use crate::standing::{
    BACKEND, HELD, NAMESPACE, User, all_of, backend, expect_served, operators, remove, stand, until_gone,
    until_more, until_served,
};

/// More than half of all that there are, those of other tests included.
const MANY: usize = 30;

/// The JSON interface of etcd.
async fn etcd(what: &'static str, body: Value) -> Result<Value> {
    let asked = spawn_blocking(move || {
        let url = Url::parse(&format!("http://127.0.0.1:2379/v3/kv/{what}"))?;
        http::request("POST", &url, &[("Content-Type", "application/json")], body.to_string().as_bytes())?
            .json()
    });
    asked.await?
}

/// Takes all backends of the namespace whose names begin with `many-` away, in one step; gives what they were.
async fn take_away() -> Result<Vec<Value>> {
    let prefix = format!("/registry/mcp.bridge/mcpbackends/{NAMESPACE}/many-");
    let end = format!("{}.", &prefix[..prefix.len() - 1]);
    let range = json!({ "key": STANDARD.encode(prefix), "range_end": STANDARD.encode(end), "prev_kv": true });
    let mut deleted = etcd("deleterange", range).await?;
    let taken: Vec<_> = deleted["prev_kvs"].as_array_mut().context("backends in etcd")?.drain(..).collect();
    ensure!(taken.len() == MANY, "{} backends", taken.len());
    Ok(taken)
}

/// Puts them back.
async fn put_back(taken: &[Value]) -> Result<()> {
    for pair in taken {
        etcd("put", json!({ "key": pair["key"], "value": pair["value"] })).await?;
    }
    Ok(())
}

fn name(number: usize) -> String {
    format!("many-{number}")
}

/// Waits until every pod has held more changes than before.
async fn until_held(pods: &[Pod], before: &[i64]) -> Result<()> {
    for (pod, before) in pods.iter().zip(before) {
        until_more(pod, HELD, *before).await?;
    }
    Ok(())
}

pub(crate) async fn many_backends_are_let_go_of_only_when_they_stay_away(
    cluster: &'static Cluster,
) -> Result<()> {
    let pods = stand(cluster).await?;
    let mut many = String::new();
    for number in 0..MANY {
        let _ = write!(many, "{}---", backend(NAMESPACE, &name(number), ""));
    }
    cluster.apply(many.trim_end_matches('-')).await?;
    for number in 0..MANY {
        until_served(&pods, &name(number)).await?;
    }
    let user = User::of(&pods, "many-3");

    // An API server that comes up and lists none of them: operators ask again before they believe it.
    cluster.signal_control_plane("kube-apiserver", Signal::STOP)?;
    let taken = take_away().await;
    cluster.restart("kube-apiserver").await?;
    let taken = taken?;
    for operator in operators(cluster).await? {
        cluster.until_logged(&operator, "operator", "a new list lacks what was there").await?;
    }
    put_back(&taken).await?;
    cluster.apply(&backend(NAMESPACE, "after-gap", "")).await?;
    until_served(&pods, "after-gap").await?;
    for number in 0..MANY {
        expect_served(&pods, &name(number)).await?;
    }

    // They really go, all in one moment: pods wait whether somebody means it.
    let before = all_of(&pods, HELD).await?;
    take_away().await?;
    until_held(&pods, &before).await?;
    user.end().await?;
    for number in 0..MANY {
        until_gone(&pods, &name(number)).await?;
    }
    expect_served(&pods, BACKEND).await?;
    remove(cluster, &pods, "after-gap").await
}
