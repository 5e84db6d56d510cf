//! Clients of the original's binary protocol, written from its description and not from our code: the frames here are put
//! together by hand. Changes when tests need to send or see something new on such a connection.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use anyhow::{Context as _, Result, bail, ensure};
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use serde_json::{Value, json};

use crate::PATIENCE;
use crate::peer::Wire;

/// Message types.
pub mod kind {
    #![allow(missing_docs, reason = "the names of the protocol")]
    pub const REQUEST: u16 = 1;
    pub const RESPONSE: u16 = 2;
    pub const CONTROL: u16 = 3;
    pub const HEALTH: u16 = 4;
    pub const ERROR: u16 = 5;
    pub const NEGOTIATION: u16 = 6;
    pub const ACK: u16 = 7;
}

/// A byte stream, plain or not.
pub trait Stream: Read + Write + Send {}

impl<S: Read + Write + Send> Stream for S {}

/// One connection of either dialect.
pub struct Binary {
    stream: Box<dyn Stream>,
    magic: &'static [u8; 4],
}

/// One frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// Message type.
    pub kind: u16,
    /// Payload.
    pub payload: Vec<u8>,
}

impl Frame {
    /// The payload as JSON.
    pub fn json(&self) -> Result<Value> {
        serde_json::from_slice(&self.payload).with_context(|| format!("not JSON: {self:?}"))
    }
}

impl Binary {
    /// A connection of dialect G.
    pub fn g(address: SocketAddr) -> Result<Self> {
        Ok(Self { stream: Box::new(plain(address)?), magic: b"MCPB" })
    }

    /// A connection of dialect R.
    pub fn r(address: SocketAddr) -> Result<Self> {
        Ok(Self { magic: b"MCP\0", ..Self::g(address)? })
    }

    /// A connection of dialect G inside TLS, to a server that presents a certificate of `authority` for `localhost`.
    pub fn g_tls(address: SocketAddr, authority: &CertificateDer<'static>) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        roots.add(authority.clone())?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let session = ClientConnection::new(Arc::new(config), ServerName::try_from("localhost")?)?;
        Ok(Self { stream: Box::new(StreamOwned::new(session, plain(address)?)), magic: b"MCPB" })
    }

    /// Sends bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) -> Result<()> {
        self.stream.write_all(bytes).context("sending")?;
        self.stream.flush().context("sending")
    }

    /// The bytes of a frame.
    pub fn frame(&self, kind: u16, payload: &[u8]) -> Result<Vec<u8>> {
        let mut bytes = self.magic.to_vec();
        bytes.extend_from_slice(&1_u16.to_be_bytes());
        bytes.extend_from_slice(&kind.to_be_bytes());
        if self.magic == b"MCP\0" {
            bytes.extend_from_slice(&[0; 4]);
        }
        bytes.extend_from_slice(&u32::try_from(payload.len())?.to_be_bytes());
        bytes.extend_from_slice(payload);
        Ok(bytes)
    }

    /// Sends a frame.
    pub fn send(&mut self, kind: u16, payload: &[u8]) -> Result<()> {
        let bytes = self.frame(kind, payload)?;
        self.send_raw(&bytes)
    }

    /// The next frame, waited for; `None` when the server has closed.
    pub fn read(&mut self) -> Result<Option<Frame>> {
        let mut header = vec![0; if self.magic == b"MCPB" { 12 } else { 16 }];
        match self.stream.read(header.get_mut(..1).context("a header")?) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            // A server that closes with something unread resets the connection.
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return Ok(None),
            Err(error) => return Err(error).context("waiting for a frame"),
        }
        self.stream.read_exact(header.get_mut(1..).context("a header")?).context("a header")?;
        ensure!(header.starts_with(self.magic), "the server changed its dialect: {header:?}");
        ensure!(header.get(4..6) == Some(&[0, 1]), "version: {header:?}");
        let kind = u16::from_be_bytes(header.get(6..8).context("a type")?.try_into()?);
        let length = header.last_chunk::<4>().context("a length")?;
        let mut payload = vec![0; u32::from_be_bytes(*length) as usize];
        self.stream.read_exact(&mut payload).context("a payload")?;
        Ok(Some(Frame { kind, payload }))
    }

    /// The next frame, which must be of this type.
    pub fn expect(&mut self, kind: u16) -> Result<Frame> {
        let frame = self.read()?.context("the server closed")?;
        ensure!(
            frame.kind == kind,
            "expected type {kind}, got {frame:?}: {}",
            String::from_utf8_lossy(&frame.payload)
        );
        Ok(frame)
    }

    /// Fails unless the server closes without another frame.
    pub fn expect_end(&mut self) -> Result<()> {
        match self.read()? {
            None => Ok(()),
            Some(frame) => bail!("not the end: {frame:?}"),
        }
    }

    /// Offers the one version there is.
    pub fn negotiate(&mut self) -> Result<()> {
        let offer = br#"{"min_version":1,"max_version":1,"preferred_version":1,"supported_versions":[1]}"#;
        self.send(kind::NEGOTIATION, offer)?;
        let ack = self.expect(kind::ACK)?;
        ensure!(ack.payload == br#"{"agreed_version":1}"#, "{ack:?}");
        Ok(())
    }

    /// Sends a request as this dialect has it: bare, or in the router's envelope.
    pub fn request(&mut self, id: &Value, method: &str, params: &Value, beside: &Value) -> Result<()> {
        let request = json!({ "jsonrpc": "2.0", "method": method, "params": params, "id": id });
        let payload = if self.magic == b"MCPB" {
            request
        } else {
            let mut envelope = json!({
                "id": id, "timestamp": "2025-01-01T00:00:00Z", "source": "local-router", "mcp_payload": request,
            });
            for (key, value) in beside.as_object().into_iter().flatten() {
                envelope[key] = value.clone();
            }
            envelope
        };
        self.send(kind::REQUEST, payload.to_string().as_bytes())
    }

    /// The next response: the JSON-RPC message, unwrapped where the dialect wraps it.
    pub fn response(&mut self) -> Result<Value> {
        let message = self.expect(kind::RESPONSE)?.json()?;
        if self.magic == b"MCPB" { Ok(message) } else { Ok(message["mcp_payload"].clone()) }
    }

    /// Sends a request and waits for its response, with nothing else in flight.
    pub fn call(&mut self, method: &str, params: &Value, beside: &Value) -> Result<Value> {
        let id = json!(format!("call-{method}"));
        self.request(&id, method, params, beside)?;
        let response = self.response()?;
        ensure!(response["id"] == id, "{response}");
        Ok(response)
    }

    /// The handshake of dialect G.
    pub fn initialize(&mut self, token: &str) -> Result<Value> {
        self.call("initialize", &json!({ "token": token }), &json!({}))
    }
}

fn plain(address: SocketAddr) -> Result<TcpStream> {
    let stream = TcpStream::connect_timeout(&address, PATIENCE).context("connecting")?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// MCP over dialect G, where what has a method travels as type 1 and answers as type 2; or the envelopes of dialect R.
impl Wire for Binary {
    fn send(&mut self, text: &str) -> Result<()> {
        let message: Value = serde_json::from_str(text)?;
        let is_answer = self.magic == b"MCPB" && message.get("method").is_none();
        let kind = if is_answer { kind::RESPONSE } else { kind::REQUEST };
        Self::send(self, kind, text.as_bytes())
    }

    fn read(&mut self) -> Result<Option<String>> {
        while let Some(frame) = Self::read(self)? {
            match frame.kind {
                kind::REQUEST | kind::RESPONSE => return Ok(Some(String::from_utf8(frame.payload)?)),
                kind::CONTROL | kind::HEALTH => {}
                _ => bail!("{frame:?}"),
            }
        }
        Ok(None)
    }
}
