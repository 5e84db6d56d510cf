//! Another configuration for a gateway that serves: all of it, or nothing with the reason. Changes when something else
//! can be replaced without a restart.

use std::sync::Arc;

use bridge_runtime::tasks;
use bridge_snapshot::{ContentHash, Limits, Listener, Snapshot};
use bridge_transport::tls;
use tokio::sync::Semaphore;

use super::{Server, StartError};
use crate::access::Gate;
use crate::cluster::Move;
use crate::config::Loaded;
use crate::gateway::Plan;
use crate::listener::{Bound, acceptor};
use crate::merged;

/// A running listener that stays, with what it takes over.
struct Kept {
    position: usize,
    config: Listener,
    tls: Option<Arc<tls::Server>>,
}

impl Server {
    /// Takes over another configuration: all of it, or nothing with the reason.
    pub async fn reload(&mut self, loaded: Loaded) -> Result<(), StartError> {
        self.replace(loaded.snapshot).await.map(drop)
    }

    /// The same, of the part of a configuration that can change. Gives its hash.
    pub(crate) async fn replace(&mut self, snapshot: Snapshot) -> Result<ContentHash, StartError> {
        let current = self.gateway.plan.load_full();
        let gate = Gate::load(&snapshot.access)?;
        let hash = snapshot.content_hash();
        if *current.snapshot == snapshot {
            self.reload_certificates()?;
            self.gateway.plan.store(Arc::new(current.with_gate(gate)));
            tracing::info!("configuration unchanged");
            return Ok(hash);
        }
        let plan = Plan::build(snapshot, gate, &self.gateway.shared, Some(&current))?;
        let moves = plan.moves()?;
        let (mut kept, fresh) = self.plan_listeners(&plan.snapshot.listeners).await?;
        let opened = self.locals.open(&plan.snapshot.local).await?;
        // Nothing fails from here on.
        moves.into_iter().for_each(Move::carry_out);
        let plan = Arc::new(plan);
        for cluster in &plan.clusters {
            if !current.runs(cluster) {
                cluster.start();
            }
        }
        resize(&self.gateway.listens, &current.snapshot.limits, &plan.snapshot.limits);
        self.gateway.plan.store(Arc::clone(&plan));
        self.gateway.views.rebuild(&self.gateway.plan);
        let mut listeners = Vec::new();
        for (position, mut running) in std::mem::take(&mut self.listeners).into_iter().enumerate() {
            match kept.iter().position(|kept| kept.position == position) {
                Some(at) => {
                    let Kept { config, tls, .. } = kept.swap_remove(at);
                    running.update(config, tls);
                    listeners.push(running);
                }
                None => running.stop(),
            }
        }
        listeners.extend(fresh.into_iter().map(|bound| bound.serve(Arc::clone(&self.gateway))));
        self.listeners = listeners;
        self.locals.take_over(&plan.snapshot.local, opened, &self.gateway);
        for cluster in &current.clusters {
            if !plan.runs(cluster) {
                cluster.close();
                self.gateway.sessions.for_each(|session| session.part_from(&cluster.name));
                if let Some(successor) = plan.cluster(&cluster.config.namespace) {
                    merged::announce_exposure(&self.gateway, &cluster.config, &successor.config);
                }
            }
        }
        tracing::info!(hash = hash.short(), backends = plan.clusters.len(), "configuration loaded");
        Ok(hash)
    }

    /// The process serves what it is to serve, and says so where it is asked: it may be ready.
    pub(crate) fn configured(&mut self) {
        if let Some(gate) = self.unconfigured.take() {
            gate.release();
        }
    }

    /// Which running listeners stay, with certificates read anew, and new ones, bound so that a port in use refuses the whole configuration.
    async fn plan_listeners(&self, wanted: &[Listener]) -> Result<(Vec<Kept>, Vec<Bound>), StartError> {
        let mut kept: Vec<Kept> = Vec::new();
        let mut fresh = Vec::new();
        for config in wanted {
            let (config, tls) = (config.clone(), acceptor(config)?);
            let is_taken = |position: usize| kept.iter().any(|kept| kept.position == position);
            let same =
                self.listeners.iter().enumerate().find(|(position, running)| {
                    running.config.address == config.address && !is_taken(*position)
                });
            match same {
                Some((position, _)) => kept.push(Kept { position, config, tls }),
                None => fresh.push(Bound::bind(config, tls).await?),
            }
        }
        Ok((kept, fresh))
    }

    fn reload_certificates(&self) -> Result<(), StartError> {
        for running in &self.listeners {
            if let Some(tls) = running.tls() {
                tls.reload()?;
            }
        }
        Ok(())
    }
}

/// Gives room to more or fewer listens. Those that are open stay; room that they have is taken away when they end.
fn resize(listens: &Arc<Semaphore>, before: &Limits, after: &Limits) {
    let [before, after] = [before, after].map(|limits| limits.max_listens.min(Semaphore::MAX_PERMITS));
    if let Some(more) = after.checked_sub(before) {
        listens.add_permits(more);
        return;
    }
    let fewer = before.saturating_sub(after);
    let taken = fewer.saturating_sub(listens.forget_permits(fewer));
    if let Some(taken) = u32::try_from(taken).ok().filter(|taken| *taken > 0) {
        let listens = Arc::clone(listens);
        tasks::spawn("shrink-listens", async move {
            if let Ok(permits) = listens.acquire_many_owned(taken).await {
                permits.forget();
            }
        });
    }
}
