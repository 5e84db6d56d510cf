//! TLS handshakes of accepted connections. Changes when connections are secured differently.

use std::io;

use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::tls::Server;

/// Performs the server's side of one handshake with the certificate that is current.
pub async fn accept(server: &Server, stream: TcpStream) -> io::Result<TlsStream<TcpStream>> {
    TlsAcceptor::from(server.config()).accept(stream).await
}
