//! One watch, from its first list until the operator stops. Changes when an event of a watch is treated differently.

use std::collections::BTreeSet;
use std::fmt::Debug;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{Stream, StreamExt as _};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::runtime::watcher::{self, Event};
use kube::runtime::{WatchStreamExt as _, watcher as watch};
use kube::{Api, Resource, ResourceExt};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::pulse::Pulse;
use super::relist::{Belief, Known};
use super::{Change, revision};
use crate::world::{ObjectName, World};

/// Annotation of `kubectl apply` that repeats the whole object.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";
/// What is deleted so soon after something else was deleted with it.
const TOGETHER: Duration = Duration::from_millis(50);
/// Longest time that a deletion waits for others.
const MOST: Duration = Duration::from_millis(500);
/// Between attempts to find out whether a kind is defined.
const RETRY: Duration = Duration::from_secs(1);
/// The same, when it takes long.
const SLOW: Duration = Duration::from_secs(30);

/// The definition of a kind of ours.
#[derive(Debug, Clone)]
pub(super) struct Definition {
    pub(super) api: Api<CustomResourceDefinition>,
    pub(super) name: &'static str,
}

/// A watch that is about to begin.
pub(super) struct Feed<K> {
    pub(super) name: Arc<str>,
    pub(super) api: Api<K>,
    pub(super) config: watcher::Config,
    pub(super) definition: Option<Definition>,
    /// Managed fields say who owns the number of pods; of anything else they are only weight.
    pub(super) keep_managers: bool,
    pub(super) changes: mpsc::Sender<Change>,
    pub(super) pulse: Pulse,
    pub(super) stop: CancellationToken,
}

type Apply = Box<dyn FnOnce(&mut World) -> bool + Send>;

impl<K> Feed<K>
where
    K: Resource + Clone + DeserializeOwned + Debug + Send + Sync + 'static,
{
    /// Runs until the operator stops. `put` makes the world know an object, or forget one that was deleted, and says whether
    /// that may change what pods get; `forget` takes away what a list lacks.
    pub(super) async fn run(
        self,
        put: impl Fn(&mut World, K, bool) -> bool + Clone + Send + Sync + 'static,
        forget: impl Fn(&mut World, &BTreeSet<ObjectName>) + Clone + Send + Sync + 'static,
    ) {
        let (mut known, mut pause) = (Known::default(), RETRY);
        loop {
            let keep_managers = self.keep_managers;
            let stream = watch(self.api.clone(), self.config.clone()).default_backoff();
            let mut stream = std::pin::pin!(stream.modify(move |object| slim(object, keep_managers)));
            let (mut listed, mut newest, mut whole) = (Vec::new(), 0, false);
            let mut ahead = None;
            loop {
                let confirm = known.confirm_at().filter(|_| whole);
                let event = match ahead.take() {
                    Some(event) => event,
                    None => tokio::select! {
                        event = stream.next() => event,
                        () = sleep_until(confirm) => break,
                        () = self.stop.cancelled() => return,
                    },
                };
                let Some(event) = event else { return };
                let (put, forget) = (put.clone(), forget.clone());
                let apply: Apply = match event {
                    Ok(Event::Init) => {
                        listed.clear();
                        continue;
                    }
                    Ok(Event::InitApply(object)) => {
                        newest = newest.max(revision(&object));
                        listed.push(object);
                        continue;
                    }
                    Ok(Event::InitDone) => {
                        let names = listed.iter().map(ObjectName::of).collect();
                        if known.lacks(&names) && self.is_undefined().await {
                            self.undefined();
                            let wait = pause;
                            pause = (pause * 2).min(SLOW);
                            tokio::select! {
                                () = tokio::time::sleep(wait) => break,
                                () = self.stop.cancelled() => return,
                            }
                        }
                        pause = RETRY;
                        whole = true;
                        let anew = self.pulse.defined(&self.name, true);
                        let all = std::mem::take(&mut listed);
                        let gone = self.believe(&mut known, &all, anew);
                        Box::new(move |world| {
                            forget(world, &gone);
                            let mut matters = !gone.is_empty();
                            for object in all {
                                matters |= put(world, object, false);
                            }
                            matters
                        })
                    }
                    Ok(Event::Apply(object)) => {
                        newest = newest.max(revision(&object));
                        known.saw(ObjectName::of(&object));
                        Box::new(move |world| put(world, object, false))
                    }
                    Ok(Event::Delete(object)) => {
                        let mut gone = vec![object];
                        if self.definition.is_some() {
                            ahead = gather(&mut gone, &mut stream).await;
                        }
                        if self.is_undefined().await {
                            self.undefined();
                            break;
                        }
                        for object in &gone {
                            newest = newest.max(revision(object));
                            known.lost(&ObjectName::of(object));
                        }
                        Box::new(move |world| {
                            let mut matters = false;
                            for object in gone {
                                matters |= put(world, object, true);
                            }
                            matters
                        })
                    }
                    Err(error) => {
                        tracing::warn!(watch = &*self.name, %error, "watch interrupted; what is known stays");
                        continue;
                    }
                };
                let change = Change { watch: Arc::clone(&self.name), revision: newest, apply };
                if self.changes.send(change).await.is_err() {
                    return;
                }
            }
        }
    }

    /// What is gone, according to a list; the first one of a definition that is back is `anew`.
    fn believe(&self, known: &mut Known, all: &[K], anew: bool) -> BTreeSet<ObjectName> {
        let (names, now) = (all.iter().map(ObjectName::of).collect(), Instant::now());
        let belief = if anew { known.listed_anew(&names, now) } else { known.listed(&names, now) };
        match belief {
            Belief::Gone(gone) => gone,
            Belief::Doubt(missing) => {
                tracing::warn!(
                    watch = &*self.name,
                    missing,
                    "a new list lacks what was there; it is asked for again before anything is removed"
                );
                BTreeSet::new()
            }
        }
    }

    fn undefined(&self) {
        tracing::error!(
            watch = &*self.name,
            "the definition is being deleted, and every object with it; what is known stays until it is back"
        );
        self.pulse.defined(&self.name, false);
    }

    /// Whether the kind itself goes: then its objects were not deleted by anybody who meant them.
    async fn is_undefined(&self) -> bool {
        let Some(Definition { api, name }) = &self.definition else { return false };
        loop {
            match api.get_metadata_opt(name).await {
                Ok(found) => {
                    return found.is_none_or(|definition| definition.metadata.deletion_timestamp.is_some());
                }
                // Who may not look at definitions has no way to know.
                Err(kube::Error::Api(status)) if status.code == 403 => return false,
                Err(error) => {
                    tracing::warn!(watch = &*self.name, %error, "cannot look at the definition; a deletion waits");
                }
            }
            tokio::select! {
                () = tokio::time::sleep(RETRY) => {}
                () = self.stop.cancelled() => return true,
            }
        }
    }
}

/// Adds what is deleted together with it, so that it becomes one change, of which pods see how much it takes away; gives the
/// event that came after.
async fn gather<K, E>(
    gone: &mut Vec<K>,
    stream: &mut (impl Stream<Item = Result<Event<K>, E>> + Unpin),
) -> Option<Option<Result<Event<K>, E>>> {
    let most = Instant::now() + MOST;
    loop {
        let quiet = (Instant::now() + TOGETHER).min(most);
        match tokio::time::timeout_at(quiet.into(), stream.next()).await {
            Ok(Some(Ok(Event::Delete(object)))) => gone.push(object),
            Ok(other) => return Some(other),
            Err(_elapsed) => return None,
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at.into()).await,
        None => std::future::pending().await,
    }
}

/// Leaves out what nobody here reads.
fn slim(object: &mut impl ResourceExt, keep_managers: bool) {
    if !keep_managers {
        object.managed_fields_mut().clear();
    }
    object.annotations_mut().remove(LAST_APPLIED);
}

#[cfg(test)]
mod tests {
    use futures_util::stream;
    use k8s_openapi::api::core::v1::Pod;

    use super::*;

    type Seen = Result<Event<Pod>, ()>;

    #[tokio::test(start_paused = true)]
    async fn what_is_deleted_together_is_one_change() {
        let deleted = || Ok(Event::Delete(Pod::default()));
        let events: [Seen; 4] = [deleted(), deleted(), Ok(Event::Apply(Pod::default())), deleted()];
        let (mut gone, mut events) = (vec![Pod::default()], stream::iter(events));
        let ahead = gather(&mut gone, &mut events).await;
        assert!(matches!(ahead, Some(Some(Ok(Event::Apply(_))))), "what comes after is not lost");
        assert_eq!(gone.len(), 3);

        let mut quiet = stream::pending::<Seen>();
        assert!(gather(&mut gone, &mut quiet).await.is_none(), "nobody waits for more than comes");
    }
}
