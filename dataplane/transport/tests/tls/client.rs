//! Connections to https backends.

use std::convert::Infallible;
use std::time::Duration;

use bridge_transport::backend::http::HttpClient;
use bridge_transport::tls::{Roots, Server, connector};
use bytes::Bytes;
use http::{HeaderMap, Method, Response, Uri};
use http_body_util::{BodyExt as _, Full};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::RootCertStore;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::authority::{Authority, Directory};

const TIMEOUT: Duration = Duration::from_secs(5);

/// Serves its HTTP version as the body of every answer; returns the port.
async fn serve(server: Server) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    bridge_runtime::tasks::spawn("test", async move {
        while let Ok((stream, _)) = listener.accept().await {
            let accepting = TlsAcceptor::from(server.config()).accept(stream);
            let answer = service_fn(async |request: http::Request<hyper::body::Incoming>| {
                Ok::<_, Infallible>(Response::new(Full::new(Bytes::from(format!("{:?}", request.version())))))
            });
            bridge_runtime::tasks::spawn("test", async move {
                let Ok(stream) = accepting.await else { return };
                let builder = hyper_util::server::conn::auto::Builder::new(TokioExecutor::new());
                let _ = builder.serve_connection(TokioIo::new(stream), answer).await;
            });
        }
    });
    port
}

async fn get(client: &HttpClient, port: u16, host: &str) -> Result<String, String> {
    let uri: Uri = format!("https://{host}:{port}/mcp").parse().unwrap();
    let response = client.send(Method::GET, &uri, HeaderMap::new(), Bytes::new()).await;
    let response = response.map_err(|error| error.to_string())?;
    let body = response.into_body().collect().await.unwrap().to_bytes();
    Ok(String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn only_certificates_for_the_name_from_trusted_authorities_are_accepted() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let port = serve(Server::load(directory.settings(&authority.leaf("localhost"))).unwrap()).await;

    let trusting = HttpClient::new(connector(Roots::fixed(authority.roots()), TIMEOUT).unwrap());
    assert_eq!(get(&trusting, port, "localhost").await.unwrap(), "HTTP/2.0");
    let error = get(&trusting, port, "127.0.0.1").await.unwrap_err();
    assert!(error.contains("not valid for name"), "{error}");

    let stranger = Authority::new("not ours");
    let wary = HttpClient::new(connector(Roots::fixed(stranger.roots()), TIMEOUT).unwrap());
    let error = get(&wary, port, "localhost").await.unwrap_err();
    assert!(error.contains("UnknownIssuer"), "{error}");
}

#[tokio::test]
async fn without_any_authority_the_failure_is_the_connections_not_the_programs() {
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let port = serve(Server::load(directory.settings(&authority.leaf("localhost"))).unwrap()).await;
    let client = HttpClient::new(connector(Roots::fixed(RootCertStore::empty()), TIMEOUT).unwrap());
    assert!(get(&client, port, "localhost").await.is_err());
}

/// Runs itself again, because which authorities a process trusts comes from its environment.
#[tokio::test]
async fn the_systems_authorities_can_be_named_by_the_environment() {
    const PORT: &str = "TLS_TEST_PORT";
    if let Ok(port) = std::env::var(PORT) {
        let client = HttpClient::new(connector(Roots::system(), TIMEOUT).unwrap());
        let result = get(&client, port.parse().unwrap(), "localhost").await;
        std::fs::write(std::env::var("TLS_TEST_RESULT").unwrap(), format!("{result:?}")).unwrap();
        return;
    }
    let (authority, directory) = (Authority::new("ours"), Directory::new());
    let port = serve(Server::load(directory.settings(&authority.leaf("localhost"))).unwrap()).await;
    let trusted = directory.write("ca.crt", &authority.pem);
    let empty = directory.write("empty.crt", "");
    for (file, expected) in [(trusted, "HTTP/2.0"), (empty, "install the package ca-certificates")] {
        let result = directory.path().join("result");
        let mut command = tokio::process::Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "client::the_systems_authorities_can_be_named_by_the_environment"]);
        command.env(PORT, port.to_string()).env("TLS_TEST_RESULT", &result);
        command.env("SSL_CERT_FILE", &file).env_remove("SSL_CERT_DIR");
        assert!(command.output().await.unwrap().status.success());
        let result = std::fs::read_to_string(result).unwrap();
        assert!(result.contains(expected), "{}: {result}", file.display());
    }
}
