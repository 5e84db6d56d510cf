//! A WebSocket client down to the frame. Changes when tests need to send or see something new on a WebSocket.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};

use anyhow::{Context as _, Result, bail, ensure};
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::tungstenite::{self, Message};

use crate::PATIENCE;
use crate::http::{Connection, Response, Url, request_bytes};
use crate::peer::Wire;

pub use tokio_tungstenite::tungstenite::protocol::frame::coding::CloseCode;

/// The key and its counterpart of RFC 6455 section 1.3.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &str = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

/// One connection.
#[derive(Debug)]
pub struct WebSocket {
    socket: tungstenite::WebSocket<TcpStream>,
    /// Headers of the answer to the handshake.
    headers: Vec<(String, String)>,
    closed: Option<(CloseCode, String)>,
}

impl WebSocket {
    /// Connects to a `http://` address with the subprotocol of MCP.
    pub fn connect(url: &str) -> Result<Self> {
        match Self::open(url, &[("Sec-WebSocket-Protocol", "mcp")])? {
            Ok(socket) => Ok(socket),
            Err(refused) => bail!("refused: {:?}", refused.head),
        }
    }

    /// Connects with further headers; a server that refuses gives its answer.
    pub fn open(url: &str, headers: &[(&str, &str)]) -> Result<std::result::Result<Self, Response>> {
        let url = Url::parse(url)?;
        let mut all = vec![
            ("Connection", "Upgrade"),
            ("Upgrade", "websocket"),
            ("Sec-WebSocket-Version", "13"),
            ("Sec-WebSocket-Key", KEY),
        ];
        all.extend_from_slice(headers);
        let request = request_bytes("GET", &url, &all, b"");
        let address = url.authority.to_socket_addrs()?.find(SocketAddr::is_ipv4);
        let address = address.with_context(|| format!("no IPv4 address for {}", url.authority))?;
        let stream = TcpStream::connect_timeout(&address, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut connection = Connection::adopt(stream);
        connection.send(&request)?;
        let head = connection.read_first_head()?;
        if head.status != 101 {
            return Ok(Err(Response { body: connection.read_body()?, head }));
        }
        ensure!(head.header("sec-websocket-accept") == Some(ACCEPT), "{:?}", head.headers);
        let (stream, early) = connection.into_parts();
        let config = WebSocketConfig::default();
        let socket = tungstenite::WebSocket::from_partially_read(stream, early, Role::Client, Some(config));
        Ok(Ok(Self { socket, headers: head.headers, closed: None }))
    }

    /// The first header of that name (lower case) in the answer to the handshake.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Sends a binary message.
    pub fn send_binary(&mut self, bytes: &'static [u8]) -> Result<()> {
        self.send_message(Message::Binary(bytes.into()))
    }

    fn send_message(&mut self, message: Message) -> Result<()> {
        self.socket.send(message).context("sending")
    }

    /// Sends a ping and waits for its pong.
    pub fn ping(&mut self, payload: &'static [u8]) -> Result<()> {
        self.send_message(Message::Ping(payload.into()))?;
        loop {
            match self.socket.read()? {
                Message::Pong(pong) if pong == payload => return Ok(()),
                Message::Ping(_) | Message::Pong(_) => {}
                other => bail!("not a pong: {other:?}"),
            }
        }
    }

    /// Closes properly.
    pub fn close(&mut self) -> Result<()> {
        self.socket.close(None).context("closing")?;
        while self.read()?.is_some() {}
        Ok(())
    }

    /// Breaks the connection without a word.
    pub fn cut(self) -> Result<()> {
        self.socket.get_ref().shutdown(std::net::Shutdown::Both).context("cutting")
    }

    /// Why the server closed, once it has.
    pub fn closed(&self) -> Option<&(CloseCode, String)> {
        self.closed.as_ref()
    }
}

impl Wire for WebSocket {
    fn send(&mut self, text: &str) -> Result<()> {
        self.send_message(Message::text(text))
    }

    fn read(&mut self) -> Result<Option<String>> {
        loop {
            match self.socket.read() {
                Ok(Message::Text(text)) => return Ok(Some(text.as_str().to_owned())),
                Ok(Message::Close(frame)) => {
                    self.closed = frame.map(|frame| (frame.code, frame.reason.to_string()));
                }
                Ok(_) => {}
                Err(tungstenite::Error::ConnectionClosed | tungstenite::Error::AlreadyClosed) => {
                    return Ok(None);
                }
                Err(error) => return Err(error).context("waiting for a message"),
            }
        }
    }
}
