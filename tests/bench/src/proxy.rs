//! The reverse proxy that does nothing: what one HTTP hop costs with the libraries that the gateway is built on.
//! Changes when the reference needs another variant.

use anyhow::Result;
use bytes::Bytes;
use http::header::{CONNECTION, HOST, TRANSFER_ENCODING};
use http::uri::{Authority, PathAndQuery, Scheme};
use http::{HeaderMap, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt as _, Either, Full};
use hyper::body::Incoming;
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::Value;

use crate::server;
use crate::wire::Endpoint;

type Body = Either<Incoming, Full<Bytes>>;

/// Passes every request on to `to` over pooled connections.
pub(crate) async fn serve(port: u16, to: Endpoint, parse: bool) -> Result<()> {
    let listener = server::listen(port).await?;
    forward(listener, to, parse).await
}

async fn forward(listener: tokio::net::TcpListener, to: Endpoint, parse: bool) -> Result<()> {
    let mut connector = HttpConnector::new();
    connector.set_nodelay(true);
    let client: Client<_, Body> = Client::builder(TokioExecutor::new()).build(connector);
    let authority = Authority::try_from(to.authority())?;
    server::accept(listener, move |request| {
        let (client, authority) = (client.clone(), authority.clone());
        async move {
            match exchange(&client, authority, request, parse).await {
                Ok(response) => response,
                Err(error) => refusal(&error),
            }
        }
    })
    .await
}

async fn exchange(
    client: &Client<HttpConnector, Body>,
    authority: Authority,
    request: Request<Incoming>,
    parse: bool,
) -> Result<Response<Body>> {
    let (mut head, body) = request.into_parts();
    let path = head.uri.path_and_query().cloned().unwrap_or_else(|| PathAndQuery::from_static("/"));
    head.uri = Uri::builder().scheme(Scheme::HTTP).authority(authority).path_and_query(path).build()?;
    head.headers.remove(HOST);
    drop_hop_by_hop(&mut head.headers);
    let body = if parse { parsed(body).await? } else { Either::Left(body) };
    let (mut head, body) = client.request(Request::from_parts(head, body)).await?.into_parts();
    drop_hop_by_hop(&mut head.headers);
    let body = if parse { parsed(body).await? } else { Either::Left(body) };
    Ok(Response::from_parts(head, body))
}

fn drop_hop_by_hop(headers: &mut HeaderMap) {
    headers.remove(CONNECTION);
    headers.remove(TRANSFER_ENCODING);
}

/// Reads a body whole, parses it to a tree as a gateway with a typed model would, and passes the original bytes on.
async fn parsed(body: Incoming) -> Result<Body> {
    let bytes = body.collect().await?.to_bytes();
    if !bytes.is_empty() {
        let tree: Value = serde_json::from_slice(&bytes)?;
        std::hint::black_box(&tree);
    }
    Ok(Either::Right(Full::new(bytes)))
}

fn refusal(error: &anyhow::Error) -> Response<Body> {
    let mut response = Response::new(Either::Right(Full::new(Bytes::from(format!("{error:#}\n")))));
    *response.status_mut() = StatusCode::BAD_GATEWAY;
    response
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::calls::Mode;
    use crate::load;

    #[tokio::test]
    async fn calls_cross_both_variants_unharmed() {
        for parse in [false, true] {
            let backend = crate::backend::start_for_tests().await;
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
            let proxy = Endpoint::local(listener.local_addr().unwrap().port(), "/mcp");
            bridge_runtime::tasks::spawn("proxy", forward(listener, backend, parse));
            for mode in [Mode::Legacy, Mode::Modern] {
                let (outcome, ..) = load::run(&load::Plan::short(proxy.clone(), mode), || ()).await.unwrap();
                assert_eq!(outcome.failures, 0, "{:?}", outcome.first_failure);
                assert!(outcome.requests > 0);
            }
        }
    }
}
