//! The notification stream of a legacy HTTP session, kept open beside its requests. Changes when that stream changes.
//!
//! 405 means that the backend has no such stream, which is no failure. Requests never wait for this stream.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Duration;

use bridge_mcp::error::{code, error_response};
use bridge_mcp::frame::Frame;
use bridge_mcp::method::Method;
use bridge_mcp::version::Era;
use bridge_runtime::tasks;
use http::StatusCode;
use tokio::sync::oneshot;

use super::http_stream::Resumer;
use super::{Link, Owner, Taken, outside_call};

/// First wait after a stream that ended at once; doubled up to [`MAX_WAIT`].
const MIN_WAIT: Duration = Duration::from_millis(500);
const MAX_WAIT: Duration = Duration::from_secs(30);

/// How long a client waits for the stream to be there: some servers send the notifications of a call on it, and lose
/// those that come before it is open. Some never answer, hence the bound.
const OPENING: Duration = Duration::from_millis(500);

/// Opens the stream once per link, and waits a short while until it is open. Messages go to `owner` until the link
/// closes.
pub(crate) async fn listen(link: &Arc<Link>, owner: Arc<dyn Owner>) {
    let http = match link.as_ref() {
        Link::Http(http) => http,
        Link::ToModern(crossing) => return crossing.listen(),
        Link::Channel(_) | Link::Shared(_) => return,
    };
    if http.era() == Era::Modern || http.listening.swap(true, Ordering::Relaxed) {
        return;
    }
    let (stop, resumer, link) = (http.stop.clone(), http.resumer(), Arc::downgrade(link));
    let (opened_in, opened) = oneshot::channel();
    tasks::spawn("backend-listen", async move {
        tokio::select! {
            () = stop.cancelled() => {}
            () = run(&link, &resumer, owner.as_ref(), opened_in) => {}
        }
    });
    // Open, refused or late: the client goes on in each case.
    drop(tokio::time::timeout(OPENING, opened).await);
}

async fn run(link: &Weak<Link>, resumer: &Resumer, owner: &dyn Owner, opened: oneshot::Sender<()>) {
    let mut opened = Some(opened);
    let mut last: Option<Box<str>> = None;
    let mut retry_ms = None;
    let mut wait = MIN_WAIT;
    loop {
        let stream = resumer.get(last.as_deref()).await;
        if let Some(opened) = opened.take() {
            // Nobody may wait any more.
            let _ = opened.send(());
        }
        match stream {
            Ok(mut events) => {
                while let Ok(Some(event)) = events.next().await {
                    wait = MIN_WAIT;
                    retry_ms = event.retry_ms.or(retry_ms);
                    last = event.id.or(last);
                    if !event.data.is_empty() {
                        deliver(link, resumer, owner, event.data).await;
                    }
                }
            }
            Err(StatusCode::METHOD_NOT_ALLOWED | StatusCode::BAD_REQUEST) => return,
            // The session is gone; whoever needs it next opens another.
            Err(StatusCode::NOT_FOUND) => {
                if let Some(Link::Http(http)) = link.upgrade().as_deref() {
                    http.forgotten();
                }
                return;
            }
            Err(status) => {
                tracing::debug!(backend = resumer.backend(), %status, "no notification stream yet");
            }
        }
        tokio::time::sleep(retry_ms.map_or(wait, Duration::from_millis).min(MAX_WAIT)).await;
        wait = (wait * 2).min(MAX_WAIT);
    }
}

async fn deliver(link: &Weak<Link>, resumer: &Resumer, owner: &dyn Owner, data: bytes::Bytes) {
    let frame = match Frame::parse(data, resumer.limits()) {
        Ok(frame) => frame,
        Err(error) => {
            tracing::warn!(backend = resumer.backend(), %error, "event is no message; skipped");
            return;
        }
    };
    let Some(id) = frame.raw_id().map(bytes::Bytes::copy_from_slice) else {
        owner.notice(frame);
        return;
    };
    let reply = if frame.is_response() {
        return;
    } else if frame.method() == Method::Ping {
        bridge_mcp::error::result_response(&id, b"{}")
    } else {
        match owner.request(frame, false) {
            Taken::Yes => return,
            Taken::Outside => outside_call(&id),
            Taken::No | Taken::ForAnyCall(_) => {
                error_response(Some(&id), code::INTERNAL, "no client can answer this request", None)
            }
        }
    };
    let Some(link) = link.upgrade() else { return };
    if link.tell(reply).await.is_err() {
        tracing::debug!(backend = resumer.backend(), "reply not delivered");
    }
}
