//! Byte streams to backends that speak no HTTP: TCP, with or without TLS. Changes when such connections are opened
//! differently.

use std::io;
use std::sync::Arc;

use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use super::reach::Reach;
use crate::tls::{ClientSettings, TlsError, client_config};

/// An open byte stream.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// Opens connections; cheap to clone.
#[derive(Clone)]
pub struct TcpConnector {
    tls: Arc<ClientConfig>,
    server_name: Option<ServerName<'static>>,
    reach: Reach,
}

impl TcpConnector {
    /// Protects connections so; authorities are looked up by the first TLS connection.
    pub fn new(settings: impl Into<ClientSettings>) -> Result<Self, TlsError> {
        let settings = settings.into();
        let (server_name, reach) = (settings.server_name.clone(), settings.reach);
        Ok(Self { tls: Arc::new(client_config(settings)?), server_name, reach })
    }

    /// Connects to `host`, a name or an address. With `tls` its certificate must be valid for that name, or for the one in
    /// the settings.
    pub async fn connect(&self, host: &str, port: u16, tls: bool) -> io::Result<Box<dyn Stream>> {
        let stream = TcpStream::connect(&*self.reach.resolve(host, port).await?).await?;
        stream.set_nodelay(true)?;
        if !tls {
            return Ok(Box::new(stream));
        }
        let name = match &self.server_name {
            Some(name) => name.clone(),
            None => ServerName::try_from(host.to_owned()).map_err(io::Error::other)?,
        };
        let stream = TlsConnector::from(Arc::clone(&self.tls)).connect(name, stream).await?;
        Ok(Box::new(stream))
    }
}
