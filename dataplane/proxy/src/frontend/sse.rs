//! Clients over HTTP+SSE of 2024-11-05: an event stream that is the session, and POSTs to the endpoint that it names.
//! Changes when that transport is served differently.
//!
//! Source: MCP 2024-11-05 "Transports: HTTP with SSE". Guard and access have judged each request before, as any other.
//!
//! On the paths of the original gateway a stream looks as its clients expect: events without names, and messages in an
//! envelope, without a token, go to the one stream of their user. Clients of MCP read such a stream, too, because a name
//! may be left out and the endpoint has one.

mod clients;

use std::sync::Arc;
use std::time::Duration;

use bridge_mcp::original::envelope::{self, Envelope, Form};
use bridge_mcp::original::input::{Namespace, Token};
use bridge_policy::refusal::{Reason, Refusal};
use bridge_policy::route::Scope;
use bridge_policy::route::sse::{Endpoint, Paths, route};
use bridge_snapshot::{Listener, SsePaths};
use bridge_transport::frontend::events::{EventSource, StreamEvent};
use bridge_transport::frontend::request::{accepts, is_json};
use bytes::Bytes;
use http::header::ALLOW;
use http::{HeaderValue, Method, Request};
use hyper::body::Incoming;
use tokio_util::sync::CancellationToken;

use super::connection::{Connection, Destination, Inbound, Outbox, Sender};
use crate::gateway::Gateway;
use crate::pipeline::{Context, Reply, read, refuse, respond};
use crate::session::SessionId;
use clients::Client;

pub(crate) use clients::Clients;

/// A request on one of the paths of this frontend.
pub(crate) struct Addressed {
    endpoint: Endpoint,
    /// Where this listener's clients send their messages.
    messages: String,
    keep_alive: Option<Duration>,
    original: bool,
}

impl Addressed {
    /// `None` when the path is another, or the listener does not serve this frontend.
    pub(crate) fn of(listener: &Listener, path: &str) -> Option<Self> {
        let sse = listener.sse()?;
        let usual = route(path, Paths::USUAL).map(|endpoint| (endpoint, Paths::USUAL));
        let own = || {
            let own = own_paths(sse)?;
            route(path, own).map(|endpoint| (endpoint, own))
        };
        let (endpoint, paths) = usual.or_else(own)?;
        let original = paths != Paths::USUAL;
        Some(Self { endpoint, messages: paths.messages.to_owned(), keep_alive: sse.keep_alive, original })
    }

    /// Which backends it is about. A message is for those of its stream.
    pub(crate) fn scope(&self) -> Scope {
        match &self.endpoint {
            Endpoint::Stream(scope) => scope.clone(),
            Endpoint::Messages => Scope::Merged,
        }
    }

    pub(crate) async fn serve(
        self,
        context: Context,
        stop: CancellationToken,
        request: Request<Incoming>,
    ) -> Reply {
        let (wanted, allowed) = match self.endpoint {
            Endpoint::Stream(_) => (Method::GET, "GET"),
            Endpoint::Messages => (Method::POST, "POST"),
        };
        if *request.method() != wanted {
            let refusal = Refusal::new(Reason::HttpMethod, format!("use {allowed}"));
            let mut reply = refuse(&context.gateway, &refusal);
            reply.headers_mut().insert(ALLOW, HeaderValue::from_static(allowed));
            return reply;
        }
        match self.endpoint {
            Endpoint::Stream(_) => self.open(context, stop, &request),
            Endpoint::Messages => self.post(context, request).await,
        }
    }

    /// Opens a stream, and with it the client's connection.
    fn open(self, context: Context, stop: CancellationToken, request: &Request<Incoming>) -> Reply {
        let gateway = &context.gateway;
        if !accepts(request.headers()).events {
            return refuse(
                gateway,
                &Refusal::new(Reason::NotAcceptable, "Accept must list text/event-stream"),
            );
        }
        let id = match SessionId::random() {
            Ok(id) => id,
            Err(error) => {
                tracing::error!(%error, "no randomness for an endpoint");
                return refuse(gateway, &Refusal::new(Reason::Exhausted, "no stream can be opened now"));
            }
        };
        let endpoint = format!("{}?sessionId={}", self.messages, id.as_str());
        let (connection, outbox) = Connection::open(gateway, stop);
        connection.bind(&context.principal);
        let client = Arc::new(Client {
            id,
            connection,
            principal: context.principal,
            scope: context.scope,
            original: self.original,
            gone: CancellationToken::new(),
        });
        gateway.sse.insert(&client);
        tracing::debug!(client = ?client.id, scope = %client.scope, "event stream opened");
        let stream =
            Stream { gateway: Arc::clone(gateway), client, endpoint: Some(endpoint), outbox, leaving: false };
        let keep_alive = self.keep_alive.unwrap_or(context.plan.snapshot.limits.keep_alive);
        respond::events(stream, keep_alive)
    }

    /// Takes a message for a stream.
    async fn post(self, context: Context, request: Request<Incoming>) -> Reply {
        let gateway = Arc::clone(&context.gateway);
        let token = request.uri().query().and_then(token);
        let client = match token {
            Some(token) => gateway.sse.get(token, &context.principal),
            None if self.original => gateway.sse.sole(&context.principal),
            None => None,
        };
        let Some(client) = client else { return refuse(&gateway, &unknown(self.original)) };
        let bare = token.is_some();
        if bare && !is_json(request.headers()) {
            return refuse(
                &gateway,
                &Refusal::new(Reason::MediaType, "Content-Type must be application/json"),
            );
        }
        let message = match read(&context, request.into_body()).await {
            Ok(message) => message,
            Err(refusal) => return refuse(&gateway, &refusal),
        };
        let received = async {
            if bare {
                client.receive_mcp(&context, message).await;
                return Ok(());
            }
            client.receive_original(&context, message).await
        };
        tokio::select! {
            received = received => match received {
                Ok(()) => respond::accepted(),
                Err(refusal) => refuse(&gateway, &refusal),
            },
            () = client.gone.cancelled() => refuse(&gateway, &unknown(self.original)),
        }
    }
}

impl Client {
    async fn receive_mcp(&self, context: &Context, message: Bytes) {
        let destination = Destination::Scope(&self.scope);
        let sender = Sender::Verified(&context.principal);
        let inbound = Inbound { message, destination, sender, token: None, id: None, unasked: false };
        self.connection.receive(inbound).await;
    }

    async fn receive_original(&self, context: &Context, text: Bytes) -> Result<(), Refusal> {
        let form = envelope::read(&text, &context.plan.connection_limits)
            .map_err(|error| Refusal::new(Reason::BadMessage, error.to_string()))?;
        let (message, id, namespace, token) = match form {
            Form::Bare(message) => (message, None, None, None),
            Form::Wrapped(Envelope { id, namespace, token, payload }) => (payload, id, namespace, token),
        };
        // A path that names a backend has chosen already.
        let chosen = match &self.scope {
            Scope::One(namespace) => Namespace::parse(namespace).ok(),
            Scope::Merged => namespace,
        };
        let inbound = Inbound {
            message,
            destination: Destination::Original { target: chosen.as_ref() },
            // A token of its own counts, else that of the request.
            sender: match token {
                Some(_) => Sender::Connection(&context.principal),
                None => Sender::Verified(&context.principal),
            },
            token: token.as_ref().map(Token::expose),
            id: id.as_deref(),
            unasked: true,
        };
        self.connection.receive(inbound).await;
        Ok(())
    }
}

/// The paths that the configuration adds to the usual ones.
fn own_paths(sse: &SsePaths) -> Option<Paths<'_>> {
    let own = Paths { stream: sse.stream.as_str(), messages: sse.messages.as_str() };
    (own != Paths::USUAL).then_some(own)
}

/// The token in the query of an endpoint.
fn token(query: &str) -> Option<&str> {
    query.split('&').find_map(|parameter| parameter.strip_prefix("sessionId="))
}

fn unknown(original: bool) -> Refusal {
    let text =
        if original { "stream not found" } else { "this stream does not exist or has ended; open another" };
    Refusal::new(Reason::UnknownSession, text)
}

/// What one client reads.
struct Stream {
    gateway: Arc<Gateway>,
    client: Arc<Client>,
    endpoint: Option<String>,
    outbox: Outbox,
    /// The gateway leaves, or the token has expired; only what waits is still written.
    leaving: bool,
}

impl EventSource for Stream {
    async fn next(&mut self) -> Option<StreamEvent> {
        if let Some(endpoint) = self.endpoint.take() {
            return Some(StreamEvent::Endpoint(endpoint));
        }
        if !self.leaving {
            tokio::select! {
                biased;
                next = self.outbox.next() => return next.map(|outbound| self.event(outbound.message)),
                _ = self.client.connection.over() => self.leaving = true,
            }
        }
        self.outbox.waiting().map(|outbound| self.event(outbound.message))
    }
}

impl Stream {
    fn event(&self, data: Bytes) -> StreamEvent {
        if self.client.original { StreamEvent::Unnamed(data) } else { StreamEvent::message(data) }
    }
}

/// The stream is the session: whoever stops reading it has left.
impl Drop for Stream {
    fn drop(&mut self) {
        self.gateway.sse.remove(&self.client.id);
        self.client.gone.cancel();
        tracing::debug!(client = ?self.client.id, "event stream ended");
    }
}
