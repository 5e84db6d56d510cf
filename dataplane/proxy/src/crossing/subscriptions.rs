//! What a legacy session hears of a modern server outside its calls: list changes and resource updates, from one listen
//! that follows what the session watches. Changes when sessions can watch something else.
//!
//! ```text
//! idle ──something is wanted──▶ listening ──other things are wanted──▶ listening (the new stream opens before the old ends)
//!                                  └──lost──▶ waiting ──▶ listening (anything may have changed meanwhile)
//! ```

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::frame::Frame;
use bridge_mcp::limits::Limits;
use bridge_mcp::method::Method;
use bridge_mcp::subscription::Filter;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_runtime::tasks;
use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::legacy_client::Shared;
use crate::upstream::{Answer, Event, Handshake, Messages, OnLeave, Owner, UpstreamError, modern_request};

/// Waits before a listen that was lost is opened again.
const MIN_WAIT: Duration = Duration::from_millis(250);
const MAX_WAIT: Duration = Duration::from_secs(30);
/// How long a subscription waits until the server acknowledges it.
const ACKNOWLEDGED: Duration = Duration::from_secs(10);

/// Resources that were watched before and are remembered. Beyond that, an update may come after the end of its watch.
const MAX_DROPPED: usize = 1000;

/// Kinds of list changes: capability, member of the filter, notification.
const LISTS: [(&str, &str, &str); 3] = [
    ("tools", "toolsListChanged", "notifications/tools/list_changed"),
    ("prompts", "promptsListChanged", "notifications/prompts/list_changed"),
    ("resources", "resourcesListChanged", "notifications/resources/list_changed"),
];

/// The wishes of a session, and the task that follows them.
pub(super) struct Subscriptions {
    wanted: watch::Sender<Wanted>,
    honoured: watch::Receiver<Honoured>,
    /// What the task needs, until it is started.
    task: Mutex<Option<Task>>,
}

#[derive(Debug, Clone, Default)]
struct Wanted {
    /// Grows with each change.
    number: u64,
    lists: bool,
    uris: BTreeSet<Box<str>>,
    /// Not wanted any more, though the listen may still bring them.
    dropped: BTreeSet<Box<str>>,
}

/// What the server has acknowledged.
#[derive(Debug, Clone, Default)]
struct Honoured {
    number: u64,
    uris: BTreeSet<Box<str>>,
}

struct Task {
    shared: Arc<Shared>,
    owner: Arc<dyn Owner>,
    /// List changes that the server announces.
    lists: Vec<(&'static str, &'static str)>,
    wanted: watch::Receiver<Wanted>,
    honoured: watch::Sender<Honoured>,
    stop: CancellationToken,
}

impl Subscriptions {
    pub(super) fn new(
        shared: &Arc<Shared>,
        owner: Arc<dyn Owner>,
        handshake: &Handshake,
        stop: CancellationToken,
    ) -> Self {
        let (wanted, wanted_out) = watch::channel(Wanted::default());
        let (honoured_in, honoured) = watch::channel(Honoured::default());
        let offered = LISTS.iter().filter(|(capability, ..)| handshake.offers(&[capability, "listChanged"]));
        let task = Task {
            shared: Arc::clone(shared),
            owner,
            lists: offered.map(|(_, filter, news)| (*filter, *news)).collect(),
            wanted: wanted_out,
            honoured: honoured_in,
            stop,
        };
        Self { wanted, honoured, task: Mutex::new(Some(task)) }
    }

    /// List changes are wanted from now on.
    pub(super) fn listen(&self) {
        self.wanted.send_if_modified(|wanted| {
            let changes = !wanted.lists;
            wanted.lists = true;
            wanted.number += u64::from(changes);
            changes
        });
        self.start();
    }

    /// Updates of a resource are wanted from now on. `false` when the server does not watch it.
    pub(super) async fn watch(&self, uri: &str) -> Result<bool, Refusal> {
        let mut number = 0;
        self.wanted.send_modify(|wanted| {
            wanted.uris.insert(uri.into());
            wanted.dropped.remove(uri);
            wanted.number += 1;
            number = wanted.number;
        });
        self.start();
        let mut honoured = self.honoured.clone();
        let settled = honoured.wait_for(|honoured| honoured.number >= number);
        let is_watched = match tokio::time::timeout(ACKNOWLEDGED, settled).await {
            Ok(Ok(honoured)) => honoured.uris.contains(uri),
            Ok(Err(_)) | Err(_) => {
                self.forget(uri);
                let text = "the server did not acknowledge the subscription";
                return Err(Refusal::new(Reason::BackendTimeout, text));
            }
        };
        if !is_watched {
            self.forget(uri);
        }
        Ok(is_watched)
    }

    /// Updates of a resource are not wanted any more.
    pub(super) fn forget(&self, uri: &str) {
        self.wanted.send_if_modified(|wanted| {
            let changes = wanted.uris.remove(uri);
            if changes {
                if wanted.dropped.len() >= MAX_DROPPED {
                    wanted.dropped.clear();
                }
                wanted.dropped.insert(uri.into());
            }
            wanted.number += u64::from(changes);
            changes
        });
    }

    /// Resources watched.
    pub(super) fn watched(&self) -> usize {
        self.wanted.borrow().uris.len()
    }

    fn start(&self) {
        let Some(task) = self.task.lock().take() else { return };
        tasks::spawn("session-listen", async move {
            let stop = task.stop.clone();
            tokio::select! {
                () = stop.cancelled() => {}
                () = task.run() => {}
            }
        });
    }
}

/// Why following a listen ended.
enum End {
    /// Other things are wanted.
    Changed,
    /// The stream ended, well or badly.
    Lost,
}

impl Task {
    async fn run(mut self) {
        let mut current: Option<Messages> = None;
        let mut wait = MIN_WAIT;
        let mut gap = false;
        loop {
            let wanted = self.wanted.borrow_and_update().clone();
            let filter = self.filter(&wanted);
            if filter.is_empty() {
                current = None;
                self.tell_honoured(&wanted, BTreeSet::new());
                if self.wanted.changed().await.is_err() {
                    return;
                }
                continue;
            }
            let opened = tokio::time::timeout(ACKNOWLEDGED, self.open(filter)).await;
            let mut is_due = false;
            match opened.unwrap_or_else(|_| Err(late())) {
                Ok(Some((messages, honoured))) => {
                    wait = MIN_WAIT;
                    self.drain(current.take()).await;
                    if std::mem::take(&mut gap) {
                        self.assume_changed(&wanted);
                    }
                    self.tell_honoured(&wanted, honoured);
                    current = Some(messages);
                }
                // Refused as a whole: asked again when something else is wanted.
                Ok(None) => {
                    self.tell_honoured(&wanted, BTreeSet::new());
                    if self.wanted.changed().await.is_err() {
                        return;
                    }
                    continue;
                }
                Err(error) => {
                    tracing::debug!(backend = %self.shared.cluster.name, ?error, "listen not opened");
                    // What the old listen brings is still wanted; the new one is tried again.
                    (gap, is_due) = (true, true);
                }
            }
            let end = match &mut current {
                Some(messages) => {
                    let followed = follow(messages, &mut self.wanted, &self.shared, self.owner.as_ref());
                    if is_due {
                        let followed = tokio::time::timeout(wait, followed).await;
                        wait = (wait * 2).min(MAX_WAIT);
                        followed.unwrap_or(End::Changed)
                    } else {
                        followed.await
                    }
                }
                None => End::Lost,
            };
            if matches!(end, End::Lost) {
                (current, gap) = (None, true);
                tokio::select! {
                    () = tokio::time::sleep(wait) => {}
                    changed = self.wanted.changed() => if changed.is_err() { return },
                }
                wait = (wait * 2).min(MAX_WAIT);
            }
        }
    }

    fn filter(&self, wanted: &Wanted) -> Map<String, Value> {
        let mut filter = Map::new();
        if wanted.lists {
            filter.extend(self.lists.iter().map(|(member, _)| ((*member).to_owned(), json!(true))));
        }
        if !wanted.uris.is_empty() {
            filter.insert("resourceSubscriptions".to_owned(), json!(wanted.uris));
        }
        filter
    }

    fn tell_honoured(&self, wanted: &Wanted, uris: BTreeSet<Box<str>>) {
        self.honoured.send_replace(Honoured { number: wanted.number, uris });
    }

    /// Opens a listen and waits for its acknowledgement; `None` when the server refuses it.
    async fn open(
        &self,
        filter: Map<String, Value>,
    ) -> Result<Option<(Messages, BTreeSet<Box<str>>)>, UpstreamError> {
        let (link, _) = self.shared.cluster.modern_link().await?;
        let frame = modern_request("subscriptions/listen", &json!({ "notifications": filter }))?;
        let headers = self.shared.headers(&frame);
        let Answer::Stream(mut messages) = link.request(&frame, headers, OnLeave::Cancel).await? else {
            return Ok(None);
        };
        loop {
            match messages.next().await? {
                Event::Notice(frame) if frame.method() == Method::Acknowledged => {
                    let params = frame.envelope().params.as_ref();
                    let raw = params.and_then(|params| frame.raw(params.members.notifications));
                    let honoured = Filter::parse(raw, &self.shared.limits, usize::MAX).unwrap_or_default();
                    return Ok(Some((messages, honoured.resource_subscriptions)));
                }
                Event::Answer(_) => return Ok(None),
                _ => {}
            }
        }
    }

    /// Passes on what an old listen has brought already.
    async fn drain(&self, old: Option<Messages>) {
        let Some(mut old) = old else { return };
        while let Ok(Ok(event)) = tokio::time::timeout(Duration::ZERO, old.next()).await {
            match event {
                Event::Notice(frame) => pass(&self.shared, self.owner.as_ref(), &self.wanted, &frame),
                Event::Answer(_) => return,
                _ => {}
            }
        }
    }

    /// What changed while nobody listened is not known, so all of it may have.
    fn assume_changed(&self, wanted: &Wanted) {
        let lists = self.lists.iter().filter(|_| wanted.lists);
        let lists = lists.map(|(_, news)| json!({ "jsonrpc": "2.0", "method": news }));
        let updates = wanted.uris.iter().map(|uri| {
            json!({ "jsonrpc": "2.0", "method": "notifications/resources/updated", "params": { "uri": uri } })
        });
        for news in lists.chain(updates) {
            if let Ok(frame) = Frame::parse(news.to_string().into(), &Limits::backend(usize::MAX, 8)) {
                self.owner.notice(frame);
            }
        }
    }
}

fn late() -> UpstreamError {
    Refusal::new(Reason::BackendTimeout, "the server did not acknowledge the listen").into()
}

async fn follow(
    messages: &mut Messages,
    wanted: &mut watch::Receiver<Wanted>,
    shared: &Shared,
    owner: &dyn Owner,
) -> End {
    loop {
        tokio::select! {
            changed = wanted.changed() => return if changed.is_ok() { End::Changed } else { End::Lost },
            event = messages.next() => match event {
                Ok(Event::Notice(frame)) => pass(shared, owner, wanted, &frame),
                Ok(Event::Answer(_)) | Err(_) => return End::Lost,
                Ok(_) => {}
            },
        }
    }
}

fn pass(shared: &Shared, owner: &dyn Owner, wanted: &watch::Receiver<Wanted>, notice: &Frame) {
    let Some(frame) = shared.shown(notice) else { return };
    let is_dropped = frame.method() == Method::ResourcesUpdated
        && frame.target().is_some_and(|uri| wanted.borrow().dropped.contains(&*uri));
    if !is_dropped {
        owner.notice(frame);
    }
}
