//! `subscriptions/listen` of a modern client at one legacy server: list changes come from the gateway's catalogue of it,
//! resource updates from a conversation of the listen's own. Changes when there is something else to listen to.

use std::sync::Arc;

use bridge_mcp::frame::Frame;
use bridge_mcp::merge::ListKind;
use bridge_mcp::subscription::{Filter, Supported};
use bridge_mcp::version::Era;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use tokio::sync::{OwnedSemaphorePermit, broadcast};

use crate::cluster::{Cluster, Lists, Offer};
use crate::merged::{Change, Listen, ListenSource, MAX_ENTRIES};
use crate::pipeline::{Context, Reply};

/// Changes that a slow client may lag behind; it then assumes that everything changed.
const CHANGES: usize = 16;

/// Opens a listen.
pub(super) async fn open(
    context: &Context,
    cluster: &Arc<Cluster>,
    frame: &Frame,
    permit: OwnedSemaphorePermit,
) -> Result<Reply, Refusal> {
    let params = frame.envelope().params.as_ref();
    let raw = params.and_then(|params| frame.raw(params.members.notifications));
    let wanted = Filter::parse(raw, &context.plan.client_limits, MAX_ENTRIES)
        .map_err(|error| Refusal::new(Reason::UnknownTarget, error.to_string()))?;
    let catalogue = cluster.catalogue(Era::Legacy);
    context.or_end(&cluster.name, catalogue.settled()).await?;
    let lists = match catalogue.offer() {
        Offer::Ready(lists) => lists,
        Offer::Absent(refusal) => return Err(refusal),
        Offer::Loading => return Err(cluster.silent()),
    };
    let offers = |path: &[&str]| lists.handshake.offers(path);
    let filter = wanted.honoured(Supported {
        tools_list_changed: offers(&["tools", "listChanged"]),
        prompts_list_changed: offers(&["prompts", "listChanged"]),
        resources_list_changed: offers(&["resources", "listChanged"]),
        resource_subscriptions: offers(&["resources", "subscribe"]),
        tasks: false,
    });
    let uris: Vec<_> = filter.resource_subscriptions.iter().cloned().collect();
    let owners = if uris.is_empty() { Vec::new() } else { vec![(Arc::clone(cluster), uris)] };
    let source = ListenSource {
        filter,
        owners,
        changes: follow(cluster, lists),
        replaced: vec![cluster.closing()],
        permit,
    };
    Ok(Listen::start(context, frame, source))
}

/// Tells the changes of the backend's lists, until nobody listens.
fn follow(cluster: &Arc<Cluster>, mut known: Arc<Lists>) -> broadcast::Receiver<Change> {
    let (news, receiver) = broadcast::channel(CHANGES);
    let mut offers = cluster.catalogue(Era::Legacy).subscribe();
    tasks::spawn("list-changes", async move {
        loop {
            tokio::select! {
                () = news.closed() => return,
                changed = offers.changed() => if changed.is_err() { return },
            }
            let Offer::Ready(lists) = offers.borrow_and_update().clone() else { continue };
            for kind in ListKind::ALL.into_iter().filter(|kind| lists.items(*kind) != known.items(*kind)) {
                // Nobody listens, nobody to tell.
                drop(news.send(Change { era: Era::Modern, kind }));
            }
            known = lists;
        }
    });
    receiver
}
