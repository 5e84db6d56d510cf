//! The client side of WebSocket: a handshake over the HTTP client, and the connection that it opens. Changes when
//! handshakes with servers do.

use bytes::Bytes;
use http::{Method, Uri};
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;

use super::http::{HttpClient, SendError, SharedHeaders};
use crate::websocket::handshake::{self, NotOpened};
use crate::websocket::{Reader, Role, Settings, Writer, split};

/// The stream below a connection.
pub type Io = TokioIo<Upgraded>;

/// Where a server is.
#[derive(Clone)]
pub struct WebSocketServer {
    /// Makes connections of HTTP/1 ([`crate::tls::upgradable_connector`]).
    pub client: HttpClient,
    /// Absolute URL, `http` for `ws` and `https` for `wss`.
    pub uri: Uri,
    /// What is to be spoken.
    pub subprotocol: &'static str,
    /// Further headers of the handshake.
    pub headers: SharedHeaders,
    /// Bounds of the connection.
    pub settings: Settings,
}

/// Why no connection opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// No answer.
    #[error(transparent)]
    Send(#[from] SendError),
    /// Another answer than a handshake.
    #[error(transparent)]
    NotOpened(#[from] NotOpened),
    /// The connection was lost in between.
    #[error("the connection was lost during the handshake: {0}")]
    Lost(#[from] hyper::Error),
    /// No randomness.
    #[error("the system gives no randomness: {0}")]
    Random(#[from] getrandom::Error),
}

impl WebSocketServer {
    /// Opens a connection.
    pub async fn open(&self) -> Result<(Reader<Io>, Writer<Io>), OpenError> {
        let mut nonce = [0; 16];
        getrandom::fill(&mut nonce)?;
        let (mut headers, key) = handshake::request(nonce, self.subprotocol);
        headers.extend(self.headers.get());
        let response = self.client.send(Method::GET, &self.uri, headers, Bytes::new()).await?;
        let (parts, body) = response.into_parts();
        handshake::opened(&parts, &key, self.subprotocol)?;
        let upgraded = hyper::upgrade::on(http::Response::from_parts(parts, body)).await?;
        Ok(split(TokioIo::new(upgraded), Role::Client, self.settings.clone()).await)
    }
}
