//! Requests to the API server that nobody answers are given up. Changes when another request may take longer.
//!
//! A connection that leads nowhere any more, after a failover or with a lost node, is noticed by TCP after a quarter of an
//! hour. Until then whoever waits for an answer does nothing else.

use std::time::Duration;

use http::{Request, Response};
use kube::Client;
use kube::client::Body;

/// For an answer, its body included. Whoever may write by the Lease gives a request up before anybody else can hold it.
pub const DEADLINE: Duration = Duration::from_secs(10);

/// A request that was not answered in time. The API server may get it still.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the API server did not answer within {} seconds", DEADLINE.as_secs())]
pub struct Late;

/// A client whose requests are given up after [`DEADLINE`]. Of a watch that is the beginning alone: its events come when
/// they come, and it is asked anew in every [round](crate::watch::pulse::ROUND).
pub fn bounded(client: &Client) -> Client {
    let inner = client.clone();
    let service = tower::service_fn(move |request: Request<Body>| {
        let inner = inner.clone();
        async move {
            let watches = is_watch(&request);
            let answer = async {
                let (head, body) = inner.send(request).await?.into_parts();
                let body = if watches { body } else { Body::from(body.collect_bytes().await?) };
                Ok::<_, kube::Error>(Response::from_parts(head, body))
            };
            let answered = tokio::time::timeout(DEADLINE, answer).await;
            Ok::<_, tower::BoxError>(answered.map_err(|_elapsed| Late)??)
        }
    });
    Client::new(service, client.default_namespace().to_owned())
}

fn is_watch(request: &Request<Body>) -> bool {
    let mut pairs = request.uri().query().unwrap_or_default().split('&');
    pairs.any(|pair| matches!(pair, "watch=true" | "watch=1"))
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::StreamBody;
    use hyper::body::Frame;
    use k8s_openapi::api::core::v1::Pod;
    use kube::Api;
    use kube::api::{ListParams, WatchParams};

    use super::*;

    /// A client that gets the beginning of an answer, and then nothing.
    fn begun() -> Client {
        let service = tower::service_fn(|_: Request<Body>| async {
            let nothing = futures_util::stream::pending::<Result<Frame<bytes::Bytes>, Infallible>>();
            Ok::<_, Infallible>(Response::new(StreamBody::new(nothing)))
        });
        Client::new(service, "default")
    }

    /// A client that gets no answer at all.
    fn silent() -> Client {
        let service = tower::service_fn(|_: Request<Body>| {
            std::future::pending::<Result<Response<Body>, Infallible>>()
        });
        Client::new(service, "default")
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_waits_for_ever_for_an_answer() {
        for client in [silent(), begun()] {
            let pods: Api<Pod> = Api::namespaced(bounded(&client), "here");
            let given_up = async {
                let got = pods.get("x").await.map(drop);
                let listed = pods.list(&ListParams::default()).await.map(drop);
                [got, listed]
            };
            let given_up = tokio::time::timeout(3 * DEADLINE, given_up).await.unwrap();
            for result in given_up {
                let error = result.unwrap_err().to_string();
                assert!(error.contains(&Late.to_string()), "{error}");
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_watch_that_has_begun_may_be_quiet() {
        let pods: Api<Pod> = Api::namespaced(bounded(&begun()), "here");
        let mut events = Box::pin(pods.watch(&WatchParams::default(), "1").await.unwrap());
        let next = futures_util::StreamExt::next(&mut events);
        assert!(tokio::time::timeout(3 * DEADLINE, next).await.is_err(), "it has ended");
        let pods: Api<Pod> = Api::namespaced(bounded(&silent()), "here");
        let begun = tokio::time::timeout(3 * DEADLINE, pods.watch(&WatchParams::default(), "1")).await;
        assert!(begun.unwrap().is_err(), "a watch that does not begin is given up");
    }
}
