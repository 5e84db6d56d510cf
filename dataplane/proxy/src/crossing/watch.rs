//! Watching resources of a legacy server for a listen of a modern client. Changes when such servers are watched
//! differently.
//!
//! Each listen has a conversation of its own, in which it alone is subscribed.

use std::collections::BTreeMap;
use std::sync::Arc;

use bridge_mcp::envelope::Kind;
use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::subscription::Filter;
use bridge_policy::refusal::Refusal;
use bridge_runtime::tasks;
use http::HeaderMap;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{Notify, mpsc};

use crate::cluster::Cluster;
use crate::pipeline::timed_out;
use crate::upstream::{Hello, Link, Owner, Taken, listen, own_request};

/// Follows the updates of `uris` until the conversation is lost. `confirm` gets those that the server watches, once it
/// does; when it watches none, the end is `false`.
pub(crate) async fn watch_legacy(
    cluster: &Arc<Cluster>,
    uris: &[Box<str>],
    updates: &mpsc::Sender<Frame>,
    confirm: impl AsyncFnOnce(Filter),
) -> Result<bool, Refusal> {
    let news = Arc::new(News::default());
    let owner = Arc::clone(&news) as Arc<dyn Owner>;
    let (link, _) = cluster.open_native_legacy(&Hello::gateway(), Arc::clone(&owner)).await?;
    let conversation = Closing(link);
    let link = &conversation.0;
    listen(link, owner).await;
    let mut watched = Filter::default();
    for uri in uris {
        let request = own_request("resources/subscribe", &json!({ "uri": uri }))?;
        let asked = link.ask(&request, HeaderMap::new());
        let answer = tokio::time::timeout(cluster.config.request_timeout, asked).await;
        let answer = answer.map_err(|_| timed_out(cluster.config.request_timeout, cluster))?;
        let answer = answer.map_err(|error| error.into_refusal(&cluster.name))?;
        if answer.kind() == Kind::Result {
            watched.resource_subscriptions.insert(uri.clone());
        }
    }
    let any = !watched.resource_subscriptions.is_empty();
    confirm(watched).await;
    if !any {
        return Ok(false);
    }
    let closed = link.closed();
    loop {
        tokio::select! {
            () = closed.cancelled() => return Ok(true),
            () = news.changed.notified() => {}
        }
        let due = std::mem::take(&mut *news.updated.lock());
        for (_, update) in due {
            // The listen is gone when nobody receives, and this task with it.
            drop(updates.send(update).await);
        }
    }
}

/// Updates that were not passed on yet: the latest of each resource.
#[derive(Default)]
struct News {
    updated: Mutex<BTreeMap<Box<str>, Frame>>,
    changed: Notify,
}

impl Owner for News {
    fn notice(&self, frame: Frame) {
        if frame.method() != Method::ResourcesUpdated {
            return;
        }
        let Some(uri) = frame.target().map(|uri| Box::from(&*uri)) else { return };
        self.updated.lock().insert(uri, frame);
        self.changed.notify_one();
    }

    fn request(&self, _: Frame, _: bool) -> Taken {
        Taken::No
    }
}

/// A conversation that ends with its only user.
struct Closing(Arc<Link>);

impl Drop for Closing {
    fn drop(&mut self) {
        let link = Arc::clone(&self.0);
        tasks::spawn("close-link", async move { link.close().await });
    }
}
