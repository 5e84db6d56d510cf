//! One stream: messages of the index to a pod, and the pod's to the index. Changes when a stream lives or dies in another
//! way.

use std::ops::ControlFlow;
use std::time::Duration;

use bridge_snapshot::push::{FromPod, GoAway, ToPod};
use futures_util::{SinkExt as _, StreamExt as _};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};

use super::token::Peer;
use super::{Open, Shared};
use crate::engine::Event;

/// Messages that wait for a pod. At most one change and one message about other pods are on their way; the rest are
/// greetings and goodbyes.
const OUTBOUND: usize = 8;
/// Largest message of a pod: ten thousand names and versions.
const MAX_MESSAGE: usize = 8 * 1024 * 1024;
/// Memory that a stream takes for reading before anything has come. There are thousands of streams, most of them silent.
const READ: usize = 4 * 1024;
/// A pod that says more than so many things in this time is heard more slowly, so that nobody else waits for it.
const SAYS: (u32, Duration) = (200, Duration::from_secs(2));
/// Between signs of life.
const PING: Duration = Duration::from_secs(10);
/// A pod that shows none for so long is gone.
const DEAD: Duration = Duration::from_secs(30);
/// A stream ends at this age or up to twice it, so that pods spread over replicas and show a fresh token.
const AGE: Duration = Duration::from_mins(30);
/// Time to write one message, or to part.
const PATIENCE: Duration = Duration::from_secs(10);

type Socket = WebSocketStream<TokioIo<Upgraded>>;

pub(super) async fn run(open: Open, shared: &Shared) {
    let Open { upgrade, peer } = open;
    let upgraded = match upgrade.await {
        Ok(upgraded) => TokioIo::new(upgraded),
        Err(error) => return tracing::debug!(%error, "upgrade failed"),
    };
    let config = WebSocketConfig::default()
        .read_buffer_size(READ)
        .max_message_size(Some(MAX_MESSAGE))
        .max_frame_size(Some(MAX_MESSAGE));
    let mut socket = WebSocketStream::from_raw_socket(upgraded, Role::Server, Some(config)).await;
    let (id, gateway) = (shared.number(), peer.gateway.clone());
    let (sender, outbound) = mpsc::channel(OUTBOUND);
    if shared.events.send(Event::Connected(gateway.clone(), id, sender)).await.is_err() {
        return;
    }
    tracing::info!(%gateway, pod = peer.pod, stream = id, "stream open");
    let why = exchange(&mut socket, shared, (id, &peer), outbound).await;
    tracing::info!(%gateway, pod = peer.pod, stream = id, why, "stream ended");
    // The index has gone only when the process ends.
    let _ = shared.events.send(Event::Disconnected(gateway, id)).await;
    let _ = tokio::time::timeout(PATIENCE, socket.close(None)).await;
}

/// Exchanges messages until one of both ends it; says why it ended.
async fn exchange(
    socket: &mut Socket,
    shared: &Shared,
    (id, peer): (u64, &Peer),
    mut outbound: mpsc::Receiver<ToPod>,
) -> &'static str {
    let mut heard = Instant::now();
    let mut ping = tokio::time::interval(PING);
    let old = Instant::now() + AGE + AGE.mul_f64(unit(shared.random));
    let mut leaving = None;
    let (mut said, mut since) = (0, heard);
    loop {
        let hears_again = (said >= SAYS.0).then(|| since + SAYS.1);
        let sent = tokio::select! {
            message = outbound.recv() => match message {
                Some(message) => send(socket, &message).await,
                None => return "the index ended it",
            },
            () = sleep_until(hears_again) => {
                said = 0;
                continue;
            }
            message = socket.next(), if hears_again.is_none() => {
                heard = Instant::now();
                if heard >= since + SAYS.1 {
                    (said, since) = (0, heard);
                }
                said += 1;
                match message {
                    Some(Ok(Message::Text(text))) => match receive(shared, id, peer, &text).await {
                        ControlFlow::Continue(()) => continue,
                        ControlFlow::Break(why) => return why,
                    },
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Close(_))) | None => return "the pod ended it",
                    Some(Ok(_)) => return "the pod sent something that is not text",
                    Some(Err(_)) => return "the connection was lost",
                }
            }
            _ = ping.tick() => {
                if heard.elapsed() > DEAD {
                    return "the pod shows no sign of life";
                }
                write(socket, Message::Ping(Vec::new().into())).await
            }
            () = tokio::time::sleep_until(leaving.unwrap_or(old)) => {
                if leaving.is_some() {
                    return "the pod did not leave";
                }
                leaving = Some(Instant::now() + PATIENCE);
                send(socket, &ToPod::GoAway(GoAway { retry_after_ms: 0 })).await
            }
            () = shared.stop.cancelled() => return "the operator stops",
        };
        if sent.is_err() {
            return "the pod does not take messages";
        }
    }
}

async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(at).await,
        None => std::future::pending().await,
    }
}

async fn receive(shared: &Shared, id: u64, peer: &Peer, text: &str) -> ControlFlow<&'static str> {
    let Ok(message) = FromPod::from_json(text) else {
        return ControlFlow::Break("the pod sent a message that cannot be read");
    };
    // A pod speaks for itself alone: what it says of itself must be what its token says.
    if let FromPod::Hello(hello) = &message
        && (hello.gateway != peer.gateway.to_string() || hello.uid != peer.uid || hello.pod != peer.pod)
    {
        return ControlFlow::Break("the pod says that it is another one");
    }
    match shared.events.send(Event::Message(peer.gateway.clone(), id, Box::new(message))).await {
        Ok(()) => ControlFlow::Continue(()),
        Err(_) => ControlFlow::Break("the operator stops"),
    }
}

async fn send(socket: &mut Socket, message: &ToPod) -> Result<(), ()> {
    match message.to_json() {
        Ok(text) => write(socket, Message::text(text)).await,
        Err(error) => {
            tracing::error!(%error, "a message cannot be encoded");
            Err(())
        }
    }
}

async fn write(socket: &mut Socket, message: Message) -> Result<(), ()> {
    match tokio::time::timeout(PATIENCE, socket.send(message)).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) | Err(_) => Err(()),
    }
}

/// A number from 0 to 1.
fn unit(random: fn() -> u64) -> f64 {
    f64::from(u32::try_from(random() >> 32).unwrap_or_default()) / f64::from(u32::MAX)
}
