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
/// What could not be read is asked for again after so long, twice as long each time, up to [`AGAIN`].
const FAILED: Duration = Duration::from_secs(1);
/// Requests at once.
const AT_ONCE: usize = 8;

/// What was read, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    at: Instant,
    version: Found,
    /// Times that it could not be read since then.
    failures: u32,
}

/// What was read the last time.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Found {
    /// Nothing was read yet.
    Unread,
    /// There is no such object.
    Nothing,
    /// It has this resource version.
    Version(String),
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
    seen.retain(|reference, _| compilation.references.contains(reference) && !is_watched(view, reference));
    if all_watched {
        return Vec::new();
    }
    let is_due = |reference: &&Reference| {
        !is_watched(view, reference) && seen.get(reference).is_none_or(|seen| now >= again(seen))
    };
    compilation.references.iter().filter(is_due).cloned().collect()
}

fn again(seen: &Seen) -> Instant {
    let pause = match (seen.failures, &seen.version) {
        (0, Found::Version(_)) => AGAIN,
        (0, Found::Nothing | Found::Unread) => MISSING,
        (failures, _) => FAILED.saturating_mul(2_u32.saturating_pow(failures - 1)).min(AGAIN),
    };
    seen.at + pause
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

async fn read(client: &Client, reference: Reference) -> Result<Fetched, Reference> {
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
    read.map_err(|error| {
        tracing::warn!(?reference, %error, "cannot be read");
        reference
    })
}

/// What is different from the last time.
fn news(
    read: Vec<Result<Fetched, Reference>>,
    seen: &mut BTreeMap<Reference, Seen>,
    at: Instant,
) -> Vec<Fetched> {
    let mut fresh = Vec::new();
    for fetched in read {
        let fetched = match fetched {
            Ok(fetched) => fetched,
            // What is known stays: not being able to look is no proof that it is gone.
            Err(reference) => {
                let failed =
                    seen.entry(reference).or_insert(Seen { at, version: Found::Unread, failures: 0 });
                (failed.at, failed.failures) = (at, failed.failures.saturating_add(1));
                continue;
            }
        };
        let version = match &fetched {
            Fetched::Secret(_, found) => {
                found.as_ref().map(|object| object.resource_version().unwrap_or_default())
            }
            Fetched::ConfigMap(_, found) => {
                found.as_ref().map(|object| object.resource_version().unwrap_or_default())
            }
        };
        let version = version.map_or(Found::Nothing, Found::Version);
        let before = seen.insert(fetched.reference(), Seen { at, version: version.clone(), failures: 0 });
        if before.is_none_or(|before| before.version != version) {
            fresh.push(fetched);
        }
    }
    fresh
}

#[cfg(test)]
mod tests {
    use crate::world::ObjectName;

    use super::*;

    #[test]
    fn what_cannot_be_read_is_asked_for_less_and_less_often_and_what_is_known_stays() {
        let (mut seen, start) = (BTreeMap::new(), Instant::now());
        let name = ObjectName::new("here", "s");
        let reference = Reference::Secret(name.clone());
        let mut secret = Secret::default();
        secret.metadata.resource_version = Some("7".to_owned());
        let found = || Ok(Fetched::Secret(name.clone(), Some(Arc::new(secret.clone()))));
        assert_eq!(news(vec![found()], &mut seen, start).len(), 1);
        assert_eq!(next(&seen), Some(start + AGAIN));
        let waits: Vec<_> = (0..8)
            .map(|_| {
                assert!(news(vec![Err(reference.clone())], &mut seen, start).is_empty());
                (next(&seen).unwrap() - start).as_secs()
            })
            .collect();
        assert_eq!(waits, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(news(vec![found()], &mut seen, start).is_empty(), "it is what was known");
        assert_eq!(next(&seen), Some(start + AGAIN));
        // The value that a watch has delivered before is in force until somebody says that there is none.
        let gone = || Ok(Fetched::Secret(name.clone(), None));
        assert_eq!(news(vec![gone()], &mut BTreeMap::new(), start).len(), 1);
        assert_eq!(news(vec![gone()], &mut seen, start).len(), 1);
        assert!(news(vec![gone()], &mut seen, start).is_empty());
        assert_eq!(next(&seen), Some(start + MISSING));
        let mut never = BTreeMap::new();
        news(vec![Err(reference)], &mut never, start);
        assert_eq!(news(vec![found()], &mut never, start).len(), 1);
    }
}
