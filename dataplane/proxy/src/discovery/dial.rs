//! One connection to one of the operators. Changes when operators are found or trusted differently.
//!
//! Names, trust and token are looked up anew for each connection: all three change under a running pod.

use std::path::PathBuf;
use std::time::Duration;

use bridge_transport::backend::http::HttpClient;
use bridge_transport::backend::websocket::{Io, OpenError, WebSocketServer};
use bridge_transport::tls::{self, Roots, TlsError};
use bridge_transport::websocket::{Reader, Settings, Writer};
use http::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use http::uri::{InvalidUri, Uri};

use super::Bootstrap;

/// Path of the stream at an operator.
const PATH: &str = "/v1/stream";
/// Version of the protocol as WebSocket names it.
const SUBPROTOCOL: &str = "mcp-bridge-config.v1";
/// Time for a TCP connection to one address of a name.
const CONNECT: Duration = Duration::from_secs(3);
/// Time until a stream is open.
const OPEN: Duration = Duration::from_secs(10);
/// Largest message. Changes come in parts of about 1 MiB; a resource that is larger comes alone.
const MAX_MESSAGE: usize = 32 * 1024 * 1024;
/// An operator that shows no life for two of these is given up.
const PING_INTERVAL: Duration = Duration::from_secs(10);

/// Why there is no stream. Each says what to look at.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The token cannot be read.
    #[error("cannot read the token `{file}`: {source}")]
    Token { file: PathBuf, source: std::io::Error },
    /// The token is none.
    #[error("the token `{0}` is empty or has characters that a header cannot carry")]
    NotAToken(PathBuf),
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The address cannot be used.
    #[error(transparent)]
    Address(#[from] InvalidUri),
    /// The certificate is refused.
    #[error("{source}; the operator's certificate must be vouched for by `{ca_file}` and name the host")]
    Untrusted { ca_file: PathBuf, source: OpenError },
    /// The operator did not open a stream.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// It took too long.
    #[error("no stream within {OPEN:?}")]
    Slow,
}

/// Makes connections, to each operator in turn.
#[derive(Debug, Clone)]
pub(super) struct Dialer {
    operators: Vec<String>,
    ca_file: PathBuf,
    token_file: PathBuf,
    turn: usize,
}

impl Dialer {
    /// `random` chooses the first operator, so that pods spread over them.
    pub(super) fn new(bootstrap: &Bootstrap, random: u64) -> Self {
        Self {
            operators: bootstrap.operators.clone(),
            ca_file: bootstrap.ca_file.clone(),
            token_file: bootstrap.token_file.clone(),
            turn: usize::try_from(random >> 33).unwrap_or_default(),
        }
    }

    /// The operator whose turn it is, for logs.
    pub(super) fn operator(&self) -> &str {
        let turn = self.turn.checked_rem(self.operators.len()).unwrap_or_default();
        self.operators.get(turn).map_or("", String::as_str)
    }

    /// How many operators are known by name.
    pub(super) fn count(&self) -> usize {
        self.operators.len()
    }

    /// The next attempt is somebody else's turn.
    pub(super) fn pass_on(&mut self) {
        self.turn = self.turn.wrapping_add(1);
    }

    /// Opens a stream.
    pub(super) async fn open(&self) -> Result<(Reader<Io>, Writer<Io>), DialError> {
        let opening = async {
            let uri: Uri = format!("https://{}{PATH}", self.operator()).parse()?;
            let mut headers = HeaderMap::new();
            headers.insert(AUTHORIZATION, self.token().await?);
            let connector = tls::upgradable_connector(Roots::file(self.ca_file.clone()), CONNECT)?;
            let settings = Settings { max_message: MAX_MESSAGE, ping_interval: PING_INTERVAL, meter: None };
            let client = HttpClient::new(connector);
            let headers = headers.into();
            let server = WebSocketServer { client, uri, subprotocol: SUBPROTOCOL, headers, settings };
            server.open().await.map_err(|source| self.explain(source))
        };
        tokio::time::timeout(OPEN, opening).await.unwrap_or(Err(DialError::Slow))
    }

    async fn token(&self) -> Result<HeaderValue, DialError> {
        let unreadable = |source| DialError::Token { file: self.token_file.clone(), source };
        let token = tokio::fs::read_to_string(&self.token_file).await.map_err(unreadable)?;
        let token = Some(token.trim()).filter(|token| !token.is_empty());
        let value = token.and_then(|token| HeaderValue::try_from(format!("Bearer {token}")).ok());
        let mut value = value.ok_or_else(|| DialError::NotAToken(self.token_file.clone()))?;
        value.set_sensitive(true);
        Ok(value)
    }

    fn explain(&self, source: OpenError) -> DialError {
        if source.to_string().contains("certificate") {
            return DialError::Untrusted { ca_file: self.ca_file.clone(), source };
        }
        source.into()
    }
}
