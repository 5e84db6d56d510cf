//! What the API server asks a kubelet for: logs, commands, resource use. Changes when it asks for something else.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use bridge_runtime::tasks::spawn;
use futures_util::{Stream, stream};
use http::{Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Bytes, Frame, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _};
use tokio::net::TcpListener;
use tokio::time::sleep;
use tokio_rustls::TlsAcceptor;

use super::attach;
use super::node::{Host, PORT};
use super::pod::Shared;
use super::usage;
use crate::pki::Identity;

/// How often a followed log is read again.
const FOLLOW: Duration = Duration::from_millis(100);

type Body = UnsyncBoxBody<Bytes, std::io::Error>;

/// Serves at a node's address whoever has a certificate of the cluster.
pub(super) async fn serve(
    host: Arc<Host>,
    address: Ipv4Addr,
    identity: &Identity,
    authority: &str,
) -> Result<()> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(authority.as_bytes())?)?;
    let clients = WebPkiClientVerifier::builder(Arc::new(roots)).build()?;
    let config = ServerConfig::builder().with_client_cert_verifier(clients).with_single_cert(
        vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?],
        PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
    )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((address, PORT)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        let (acceptor, host) = (acceptor.clone(), Arc::clone(&host));
        spawn("kubelet connection", async move {
            let stream = acceptor.accept(stream).await?;
            let service = service_fn(move |request| {
                let host = Arc::clone(&host);
                async move { Ok::<_, Infallible>(answer(&host, address, request).await) }
            });
            hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service)
                .with_upgrades()
                .await?;
            anyhow::Ok(())
        });
    }
}

async fn answer(host: &Host, address: Ipv4Addr, request: Request<Incoming>) -> Response<Body> {
    route(host, address, request).await.unwrap_or_else(|error| {
        let mut response = Response::new(text(format!("{error:#}\n")));
        *response.status_mut() = StatusCode::NOT_FOUND;
        response
    })
}

async fn route(host: &Host, address: Ipv4Addr, request: Request<Incoming>) -> Result<Response<Body>> {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    match parts.as_slice() {
        ["healthz"] => Ok(Response::new(text("ok".to_owned()))),
        ["metrics", "resource"] => Ok(Response::new(text(usage::exposition(&host.running(Some(address)))?))),
        ["containerLogs", namespace, pod, container] => {
            let pod = host.pod(namespace, pod)?;
            logs(pod, container, request.uri().query().unwrap_or_default()).await
        }
        ["exec", namespace, pod, container] | ["exec", namespace, pod, _, container] => {
            let inside = host.pod(namespace, pod)?.inside(container)?;
            let (response, work) = attach::exec(inside, request)?;
            spawn("exec", work);
            Ok(response.map(|()| text(String::new())))
        }
        _ => bail!("{path} is not known to this kubelet"),
    }
}

/// The log of a container over all its starts; `previous` is therefore refused.
async fn logs(pod: Arc<Shared>, container: &str, query: &str) -> Result<Response<Body>> {
    let mut follow = false;
    let mut lines = None;
    for (key, value) in attach::pairs(query) {
        match (key.as_str(), value.as_str()) {
            ("follow", "true") => follow = true,
            ("tailLines", number) => lines = Some(number.parse::<usize>()?),
            ("previous", "true") => bail!("this kubelet keeps one log over all starts of a container"),
            _ => {}
        }
    }
    let path = pod.log(container)?;
    let mut file =
        File::open(&path).await.with_context(|| format!("container {container} has not started"))?;
    if let Some(lines) = lines {
        let mut all = Vec::new();
        file.read_to_end(&mut all).await?;
        let from = tail(&all, lines);
        file.seek(std::io::SeekFrom::Start(u64::try_from(from)?)).await?;
    }
    let container = container.to_owned();
    Ok(Response::new(StreamBody::new(read(file, pod, container, follow)).boxed_unsync()))
}

/// Where the last `lines` lines begin.
fn tail(text: &[u8], lines: usize) -> usize {
    let body = text.strip_suffix(b"\n").unwrap_or(text);
    let mut breaks = body.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n');
    match lines.checked_sub(1) {
        None => text.len(),
        Some(skipped) => breaks.nth(skipped).map_or(0, |(at, _)| at + 1),
    }
}

/// A file to its end, or with what is added until the container has ended.
fn read(
    file: File,
    pod: Arc<Shared>,
    container: String,
    follow: bool,
) -> impl Stream<Item = std::io::Result<Frame<Bytes>>> + Send {
    stream::unfold((file, pod, container), move |(mut file, pod, container)| async move {
        let mut buffer = vec![0; 16 * 1024];
        loop {
            // Looked at before the file: what ended has written everything.
            let more = follow && pod.inside(&container).is_ok();
            match file.read(&mut buffer).await {
                Ok(0) if more => sleep(FOLLOW).await,
                Ok(0) => return None,
                Ok(length) => {
                    buffer.truncate(length);
                    return Some((Ok(Frame::data(buffer.into())), (file, pod, container)));
                }
                Err(error) => return Some((Err(error), (file, pod, container))),
            }
        }
    })
}

fn text(text: String) -> Body {
    Full::new(Bytes::from(text)).map_err(|never| match never {}).boxed_unsync()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_counted_in_lines() {
        let text = b"one\ntwo\nthree\n";
        assert_eq!([0, 1, 2, 3, 4].map(|lines| tail(text, lines)), [14, 8, 4, 0, 0]);
        assert_eq!(tail(b"one\ntwo", 1), 4);
    }
}
