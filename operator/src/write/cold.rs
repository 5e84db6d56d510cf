//! The cold-start Secrets. Changes when they are written more or less often.
//!
//! What they hold is read from the Secrets themselves. What is kept here spares the encoding of a configuration that was
//! compared with them already, and is worth nothing to anybody else.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bridge_api::condition::Accepted;
use bridge_api::v1alpha1::McpGateway;
use bridge_snapshot::push::{Entry, Saved};
use kube::{Resource as _, ResourceExt as _};

use super::Writer;
use super::owned::of_owner;
use crate::apply::ApplyError;
use crate::compile::Finding;
use crate::desired::{OwnedKind, read_snapshots, snapshots};
use crate::engine::View;
use crate::watch::revision;
use crate::world::{ObjectName, World};

/// A changed configuration is saved at most so often.
const SAVE: Duration = Duration::from_secs(30);
/// Secrets that are not as they were written are put right at most so often.
const REPAIR: Duration = Duration::from_secs(2);

/// A configuration, and the Secrets that hold it.
#[derive(Debug)]
pub(super) struct Saving {
    uid: String,
    epoch: String,
    entries: Arc<Vec<Entry>>,
    /// When it was compared with the Secrets.
    at: Instant,
    /// The Secrets, each with the version at which it was found right; `None` for a configuration that is too large.
    parts: Option<BTreeMap<ObjectName, Option<u64>>>,
    /// Why it is not saved.
    obstacle: Option<Finding<Accepted>>,
}

impl Saving {
    fn is_of(&self, (uid, epoch): (&str, &str), entries: &Arc<Vec<Entry>>) -> bool {
        self.uid == uid && self.epoch == epoch && Arc::ptr_eq(&self.entries, entries)
    }

    /// Whether there is nothing to write: every Secret is as it was found right, and there are no others.
    fn holds(&self, world: &World, namespace: &str) -> bool {
        let Some(parts) = &self.parts else { return true };
        let mut live = 0;
        let right = of_owner(world, OwnedKind::Secret, namespace, &self.uid).all(|(name, secret)| {
            live += 1;
            parts.get(name).copied().flatten() == Some(revision(&**secret))
        });
        right && live == parts.len()
    }

    fn due(&self, same: bool) -> Instant {
        self.at + if same && self.obstacle.is_none() { REPAIR } else { SAVE }
    }
}

/// The Secrets with their versions, if they hold exactly this configuration.
fn found(
    world: &World,
    name: &ObjectName,
    gateway: &McpGateway,
    saved: &Saved,
) -> Option<BTreeMap<ObjectName, Option<u64>>> {
    let uid = gateway.uid().unwrap_or_default();
    let live = || of_owner(world, OwnedKind::Secret, &name.namespace, &uid);
    let held = read_snapshots(name, live().map(|(_, secret)| &secret.data["data"]))?;
    // A later revision of the same content is no reason to write.
    let same = (&held.epoch, &held.digest) == (&saved.epoch, &saved.digest);
    same.then(|| live().map(|(part, secret)| (part.clone(), Some(revision(&**secret)))).collect())
}

impl Writer {
    /// Saves the configuration of a gateway, unless it is saved; gives what is in the way.
    pub(super) async fn save(
        &mut self,
        view: &View,
        name: &ObjectName,
        gateway: &McpGateway,
    ) -> Result<Option<Finding<Accepted>>, ApplyError> {
        let Some((epoch, revision, entries)) =
            view.saved.get(name).filter(|(.., entries)| !entries.is_empty())
        else {
            return Ok(None);
        };
        let (now, uid) = (Instant::now(), gateway.uid().unwrap_or_default());
        let before = self.saved.get(name);
        if let Some(saving) = before {
            let (same, obstacle) = (saving.is_of((&uid, epoch), entries), saving.obstacle.clone());
            if same && saving.holds(&view.world, &name.namespace) {
                return Ok(obstacle);
            }
            let due = saving.due(same);
            if now < due {
                self.wake_at(due);
                return Ok(obstacle);
            }
        }
        let known = before.is_some_and(|saving| saving.parts.is_none());
        let saved = Saved::new(name.to_string(), &**epoch, *revision, entries.to_vec());
        let mut saving = Saving {
            uid,
            epoch: epoch.clone(),
            entries: Arc::clone(entries),
            at: now,
            parts: found(&view.world, name, gateway, &saved),
            obstacle: None,
        };
        if saving.parts.is_none() {
            match snapshots(gateway, &self.installation, &saved) {
                Ok(parts) => {
                    let of = gateway.object_ref(&());
                    saving.obstacle = self.apply_all(&view.world, &parts, &of).await?.obstacle;
                    // What was written is compared once more when the watch shows it.
                    let parts: BTreeMap<_, _> = parts.into_iter().map(|part| (part.name, None)).collect();
                    let keep = |kind, part: &_| kind != OwnedKind::Secret || parts.contains_key(part);
                    self.remove_others(&view.world, &gateway.metadata, &of, keep).await?;
                    saving.parts = Some(parts);
                }
                Err(error) if !known => tracing::error!(gateway = %name, %error, "no cold start"),
                Err(_) => {}
            }
        }
        if !saving.holds(&view.world, &name.namespace) {
            self.wake_at(saving.due(true));
        }
        let obstacle = saving.obstacle.clone();
        self.saved.insert(name.clone(), saving);
        Ok(obstacle)
    }
}
