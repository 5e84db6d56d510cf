//! Serving on standard input and output, and how a server of one generation refuses the other there.
//! Changes when the SDK's stdio transport or the refusals do.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use rmcp::model::{
    ClientJsonRpcMessage, ClientRequest, ErrorData, GetMeta, JsonRpcMessage, ServerJsonRpcMessage,
};
use rmcp::service::ServerInitializeError;
use rmcp::transport::async_rw::AsyncRwTransport;
use rmcp::transport::{Transport, stdio_pipes};
use rmcp::{RoleServer, ServiceExt};
use tokio_util::sync::CancellationToken;

use crate::StopSignal;
use crate::era::{Era, MODERN_META_PREFIX, handshake_refused, unknown_method};
use crate::fixture::Fixture;
use crate::state::Shared;

/// Longest accepted line in bytes: above what any gateway limit under test lets through.
const MAX_LINE: usize = 64 * 1024 * 1024;
/// How long calls may take to notice that their client is gone.
const LAST_WORDS: Duration = Duration::from_millis(500);

/// Serves until the client closes standard input or the process is asked to stop.
pub(crate) async fn run(shared: Arc<Shared>) -> anyhow::Result<()> {
    let mut signal = StopSignal::watch()?;
    let (input, output) = stdio_pipes();
    let transport =
        EraGate::new(shared.era, AsyncRwTransport::new(input, output).with_max_line_length(MAX_LINE));
    let stop = CancellationToken::new();
    let (stopping, sleeping) = (shared.stopping.clone(), shared.sleeping.clone());
    let serving = async {
        match Fixture::new(shared).serve_with_ct(transport, stop.clone()).await {
            Ok(service) => service.waiting().await.map(|_| ()).map_err(anyhow::Error::from),
            // The client left, or we were stopped, before it said anything that starts a session.
            Err(ServerInitializeError::ConnectionClosed(_) | ServerInitializeError::Cancelled) => Ok(()),
            Err(error) => Err(error.into()),
        }
    };
    tokio::pin!(serving);
    let outcome = tokio::select! {
        outcome = &mut serving => outcome,
        () = signal.received() => {
            stopping.cancel();
            stop.cancel();
            serving.await
        }
    };
    // Calls end with their client; let them say so.
    stop.cancel();
    sleeping.close();
    if tokio::time::timeout(LAST_WORDS, sleeping.wait()).await.is_err() {
        tracing::warn!("calls were still under way at exit");
    }
    outcome
}

type Sending<E> = Pin<Box<dyn Future<Output = Result<(), E>> + Send>>;

/// Answers in place of the SDK what a server of the chosen generation would refuse.
struct EraGate<T: Transport<RoleServer>> {
    era: Era,
    inner: T,
    handshake_seen: bool,
    /// A refusal on its way out. Kept here because `receive` may be dropped between two polls.
    refusal: Option<Sending<T::Error>>,
}

impl<T: Transport<RoleServer>> EraGate<T> {
    fn new(era: Era, inner: T) -> Self {
        Self { era, inner, handshake_seen: false, refusal: None }
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
            let mut message = self.inner.receive().await?;
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
