//! One client on a connection of its own, whatever carries its messages, and how a server of one generation refuses the
//! other there. Changes when the SDK's transports of lines or the refusals do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetMeta, JsonRpcMessage, ServerJsonRpcMessage,
};
use rmcp::service::ServerInitializeError;
use rmcp::transport::Transport;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::{RoleServer, ServiceExt};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio_util::sync::CancellationToken;

use crate::era::{Era, MODERN_META_PREFIX, handshake_refused, unknown_method};
use crate::fixture::Fixture;
use crate::state::Shared;

/// Longest accepted message in bytes: above what any gateway limit under test lets through.
pub(crate) const MAX_MESSAGE: usize = 64 * 1024 * 1024;

/// Serves a client that sends and reads one message per line, until it leaves or `stop` is cancelled.
pub(crate) async fn serve<R, W>(
    shared: Arc<Shared>,
    input: R,
    output: W,
    stop: CancellationToken,
) -> anyhow::Result<()>
where
    R: AsyncRead + Send + Unpin + 'static,
    W: AsyncWrite + Send + Unpin + 'static,
{
    let lines = AsyncRwTransport::new(input, output).with_max_line_length(MAX_MESSAGE);
    let transport = EraGate::new(shared.era, lines, stop.clone());
    match Fixture::new(shared).serve_with_ct(transport, stop).await {
        Ok(service) => service.waiting().await.map(|_| ()).map_err(anyhow::Error::from),
        // The client left, or we were stopped, before it said anything that starts a session.
        Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

type Sending<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// Answers in place of the SDK what a server of the chosen generation would refuse.
struct EraGate<T: Transport<RoleServer>> {
    era: Era,
    inner: T,
    handshake_seen: bool,
    /// Fires at the end of input: calls end with their client, where the SDK would wait for their answers.
    ended: CancellationToken,
    /// A refusal on its way out. Kept here because `receive` may be dropped between two polls.
    refusal: Option<Sending<T::Error>>,
}

impl<T: Transport<RoleServer>> EraGate<T> {
    fn new(era: Era, inner: T, ended: CancellationToken) -> Self {
        Self { era, inner, handshake_seen: false, ended, refusal: None }
    }

    /// The error to answer with, if this generation does not serve the request.
    fn refuse(&mut self, request: &mut ClientRequest) -> Option<ErrorData> {
        match self.era {
            Era::Both => None,
            Era::Modern => refuse_legacy(request),
            Era::Legacy => self.refuse_modern(request),
        }
    }

    /// An old server ignores metadata it does not know, and wants a handshake first.
    fn refuse_modern(&mut self, request: &mut ClientRequest) -> Option<ErrorData> {
        request.get_meta_mut().retain(|key, _| !key.starts_with(MODERN_META_PREFIX));
        match request {
            ClientRequest::InitializeRequest(_) => {
                self.handshake_seen = true;
                None
            }
            ClientRequest::PingRequest(_) => None,
            ClientRequest::DiscoverRequest(_) | ClientRequest::SubscriptionsListenRequest(_) => {
                Some(unknown_method(request.method()))
            }
            _ if self.handshake_seen => None,
            _ => Some(ErrorData::invalid_params("initialize has to come first", None)),
        }
    }
}

fn refuse_legacy(request: &ClientRequest) -> Option<ErrorData> {
    let tagged = request.get_meta().protocol_version().is_some();
    match request {
        ClientRequest::InitializeRequest(initialize) if !tagged => {
            Some(handshake_refused(initialize.params.protocol_version.as_str()))
        }
        ClientRequest::InitializeRequest(_) | ClientRequest::PingRequest(_) => {
            Some(unknown_method(request.method()))
        }
        _ => None,
    }
}

impl<T: Transport<RoleServer>> Transport<RoleServer> for EraGate<T> {
    type Error = T::Error;

    fn send(
        &mut self,
        message: ServerJsonRpcMessage,
    ) -> impl Future<Output = Result<(), Self::Error>> + Send + 'static {
        self.inner.send(message)
    }

    async fn receive(&mut self) -> Option<ClientJsonRpcMessage> {
        loop {
            if let Some(refusal) = &mut self.refusal {
                let sent = refusal.await;
                self.refusal = None;
                if let Err(error) = sent {
                    tracing::debug!(%error, "a refusal was not delivered");
                    return None;
                }
            }
            let Some(mut message) = self.inner.receive().await else {
                self.ended.cancel();
                return None;
            };
            if let JsonRpcMessage::Request(request) = &mut message
                && let Some(error) = self.refuse(&mut request.request)
            {
                let answer = JsonRpcMessage::error(error, Some(request.id.clone()));
                self.refusal = Some(Box::pin(self.inner.send(answer)));
                continue;
            }
            return Some(message);
        }
    }

    async fn close(&mut self) -> Result<(), Self::Error> {
        self.inner.close().await
    }
}
