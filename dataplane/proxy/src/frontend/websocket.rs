//! Clients over WebSocket: the upgrade of an HTTP request, and the connection that comes of it. Changes when WebSocket
//! clients are served differently.
//!
//! Guard and access have judged the request before, as any other. What the client's first message looks like decides how
//! it is spoken to: bare JSON-RPC, or the original gateway's envelope.

mod form;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bridge_policy::denial::Denial;
use bridge_policy::principal::Principal;
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::Scope;
use bridge_snapshot::Listener;
use bridge_transport::websocket::{self, Closing, Reader, Role, Settings, SocketError, Writer, handshake};
use http::{Request, StatusCode};
use hyper::body::Incoming;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Outbox, Over};
use crate::gateway::Gateway;
use crate::listener::Underlying;
use crate::pipeline::{Context, Reply, refuse, respond};
use form::Reading;

type Io = TokioIo<Upgraded>;

/// Messages that are written together.
const TOGETHER: usize = 64;

/// A request for an upgrade that this listener grants.
pub(crate) struct Upgrade {
    ping_interval: Duration,
}

impl Upgrade {
    /// `None` when the request asks for none, or the listener does not speak WebSocket.
    pub(crate) fn wanted(listener: &Listener, request: &Request<Incoming>) -> Option<Self> {
        let ping_interval = listener.websocket()?;
        handshake::is_wanted(request.headers()).then_some(Self { ping_interval })
    }

    /// Answers the handshake; the client is served from then on.
    pub(crate) fn accept(
        self,
        context: Context,
        below: &Underlying,
        mut request: Request<Incoming>,
    ) -> Reply {
        let headers = match handshake::accept(request.method(), request.headers()) {
            Ok(headers) => headers,
            Err(error) => {
                let refusal = Refusal::new(Reason::BadMessage, error.to_string());
                let mut reply = refuse(&context.gateway, &refusal);
                *reply.status_mut() = error.status();
                reply.headers_mut().extend(error.headers());
                return reply;
            }
        };
        let Context { gateway, plan, scope, principal, .. } = context;
        let client = Client {
            settings: Settings {
                max_message: plan.snapshot.limits.max_message,
                ping_interval: self.ping_interval,
                meter: Some(Arc::new(gateway.metrics.websocket())),
            },
            gateway,
            scope,
            principal,
            stop: below.stop(),
        };
        let upgraded = hyper::upgrade::on(&mut request);
        below.go_on("websocket", client.serve(upgraded));
        let mut reply = respond::empty(StatusCode::SWITCHING_PROTOCOLS);
        *reply.headers_mut() = headers;
        reply
    }
}

/// A client whose handshake has been answered.
struct Client {
    gateway: Arc<Gateway>,
    scope: Scope,
    principal: Principal,
    settings: Settings,
    stop: CancellationToken,
}

impl Client {
    async fn serve(self, upgraded: OnUpgrade) {
        let upgraded = match upgraded.await {
            Ok(upgraded) => TokioIo::new(upgraded),
            Err(error) => return tracing::debug!(%error, "upgrade failed"),
        };
        let (mut reader, mut writer) = websocket::split(upgraded, Role::Server, self.settings.clone()).await;
        let (connection, mut outbox) = Connection::open(&self.gateway, self.stop.clone());
        connection.bind(&self.principal);
        tracing::debug!(scope = %self.scope, "websocket client");
        let ended = tokio::select! {
            read = self.read(&mut reader, &connection) => read,
            written = write(&mut writer, &mut outbox, &connection) => written,
        };
        // Before the last words, which a lost client may be slow to take.
        drop(connection);
        match ended {
            Ok(Closing::Policy) => {
                websocket::close(reader, writer, Closing::Policy, Denial::TokenExpired.text()).await;
            }
            Ok(why) => websocket::close(reader, writer, why, "").await,
            Err(error) => {
                tracing::debug!(%error, "websocket client left");
                websocket::close(reader, writer, error.closing(), &error.to_string()).await;
            }
        }
    }

    /// Takes the client's messages until it closes.
    async fn read(&self, reader: &mut Reader<Io>, connection: &Connection) -> Result<Closing, SocketError> {
        let mut reading = Reading::default();
        while let Some(text) = reader.next().await? {
            reading.take(text, &self.scope, &self.principal, connection).await;
        }
        Ok(Closing::Normal)
    }
}

/// Writes what is for the client, and pings, until the gateway leaves it.
async fn write(
    writer: &mut Writer<Io>,
    outbox: &mut Outbox,
    connection: &Connection,
) -> Result<Closing, SocketError> {
    let over = connection.over();
    tokio::pin!(over);
    let why = loop {
        let first = tokio::select! {
            biased;
            next = outbox.next() => next,
            beat = writer.beat() => {
                beat?;
                continue;
            }
            why = &mut over => break why,
        };
        let Some(first) = first else { break Over::Leaving };
        writer.feed(form::written(first, now())).await?;
        for _ in 1..TOGETHER {
            let Some(next) = outbox.waiting() else { break };
            writer.feed(form::written(next, now())).await?;
        }
        writer.flush().await?;
    };
    while let Some(last) = outbox.waiting() {
        writer.feed(form::written(last, now())).await?;
    }
    writer.flush().await?;
    Ok(match why {
        Over::Leaving => Closing::Away,
        Over::Expired => Closing::Policy,
    })
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs()
}
