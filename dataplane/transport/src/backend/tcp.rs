//! Byte streams to backends that speak no HTTP: TCP, with or without TLS. Changes when such connections are opened
//! differently.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::tls::{Roots, TlsError, client_config};

/// An open byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections; cheap to clone.
#[derive(Clone)]
pub struct TcpConnector {
    tls: Arc<ClientConfig>,
}

impl TcpConnector {
    /// Trusts `roots`, which are looked up by the first TLS connection.
    pub fn new(roots: Roots) -> Result<Self, TlsError> {
        Ok(Self { tls: Arc::new(client_config(roots)?) })
    }

    /// Connects to `host`, a name or an address. With `tls` its certificate must be valid for that name.
    pub async fn connect(&self, host: &str, port: u16, tls: bool) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect((host, port)).await?;
        stream.set_nodelay(true)?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}
