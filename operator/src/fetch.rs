//! Secrets and `ConfigMap`s that no watch delivers, because they lack the label: they are read when something refers to
//! them, and again from time to time. Changes when another kind of value is referred to.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::meta::WATCH_LABEL;
use futures_util::{StreamExt as _, stream};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::{Api, Client, ResourceExt as _};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::compile::Reference;
use crate::engine::{Event, Fetched, View};

/// A value is read again after so long.
const AGAIN: Duration = Duration::from_mins(1);
/// Something that was not there is looked for again after so long.
const MISSING: Duration = Duration::from_secs(5);
/// Requests at once.
const AT_ONCE: usize = 8;

/// What was read, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    at: Instant,
    /// The resource version; absent when there was nothing.
    version: Option<String>,
}

/// Reads what is referred to until `stop`.
pub async fn run(
    client: Client,
    all_watched: bool,
    mut view: watch::Receiver<Arc<View>>,
    events: mpsc::Sender<Event>,
    stop: CancellationToken,
) {
    let mut seen = BTreeMap::new();
    loop {
        let due = {
            let view = Arc::clone(&view.borrow_and_update());
            let now = Instant::now();
            let wanted = due(&view, all_watched, &mut seen, now);
            let read: Vec<_> = stream::iter(wanted)
                .map(|reference| read(&client, reference))
                .buffer_unordered(AT_ONCE)
                .collect()
                .await;
            let fresh = news(read, &mut seen, Instant::now());
            if !fresh.is_empty() && events.send(Event::Fetched(fresh)).await.is_err() {
                return;
            }
            next(&seen).unwrap_or_else(|| Instant::now() + AGAIN)
        };
        tokio::select! {
            changed = view.changed() => if changed.is_err() { return },
            () = tokio::time::sleep_until(due.into()) => {}
            () = stop.cancelled() => return,
        }
    }
}

/// What has to be read now. What is not referred to any more is forgotten.
fn due(view: &View, all_watched: bool, seen: &mut BTreeMap<Reference, Seen>, now: Instant) -> Vec<Reference> {
    let Some(compilation) = &view.compilation else { return Vec::new() };
    seen.retain(|reference, _| compilation.references.contains(reference));
    if all_watched {
        return Vec::new();
    }
    let is_due = |reference: &&Reference| {
        !is_watched(view, reference) && seen.get(reference).is_none_or(|seen| now >= again(seen))
    };
    compilation.references.iter().filter(is_due).cloned().collect()
}

fn again(seen: &Seen) -> Instant {
    seen.at + if seen.version.is_some() { AGAIN } else { MISSING }
}

fn next(seen: &BTreeMap<Reference, Seen>) -> Option<Instant> {
    seen.values().map(again).min()
}

fn is_watched(view: &View, reference: &Reference) -> bool {
    let labels = match reference {
        Reference::Secret(name) => view.world.secrets.get(name).map(|object| object.labels()),
        Reference::ConfigMap(name) => view.world.config_maps.get(name).map(|object| object.labels()),
    };
    labels.is_some_and(|labels| labels.get(WATCH_LABEL).is_some_and(|value| value == "true"))
}

async fn read(client: &Client, reference: Reference) -> Option<Fetched> {
    let read = match &reference {
        Reference::Secret(name) => {
            let api: Api<Secret> = Api::namespaced(client.clone(), &name.namespace);
            api.get_opt(&name.name).await.map(|found| Fetched::Secret(name.clone(), found.map(Arc::new)))
        }
        Reference::ConfigMap(name) => {
            let api: Api<ConfigMap> = Api::namespaced(client.clone(), &name.namespace);
            api.get_opt(&name.name).await.map(|found| Fetched::ConfigMap(name.clone(), found.map(Arc::new)))
        }
    };
    match read {
        Ok(fetched) => Some(fetched),
        // What is known stays: not being able to look is no proof that it is gone.
        Err(error) => {
            tracing::warn!(?reference, %error, "cannot be read");
            None
        }
    }
}

/// What is different from the last time.
fn news(read: Vec<Option<Fetched>>, seen: &mut BTreeMap<Reference, Seen>, at: Instant) -> Vec<Fetched> {
    let mut fresh = Vec::new();
    for fetched in read.into_iter().flatten() {
        let version = match &fetched {
            Fetched::Secret(_, found) => {
                found.as_ref().map(|object| object.resource_version().unwrap_or_default())
            }
            Fetched::ConfigMap(_, found) => {
                found.as_ref().map(|object| object.resource_version().unwrap_or_default())
            }
        };
        let before = seen.insert(fetched.reference(), Seen { at, version: version.clone() });
        if before.and_then(|before| before.version) != version {
            fresh.push(fetched);
        }
    }
    fresh
}
