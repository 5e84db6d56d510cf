//! The API `metrics.k8s.io`, for autoscalers and `kubectl top`. Changes when it has a new version.
//!
//! What metrics-server does, without it: an aggregated API over what the kubelets of this process measure.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use bridge_runtime::tasks::spawn;
use http::{Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use k8s_openapi::jiff::Timestamp;
use parking_lot::Mutex;
use rustls::ServerConfig;
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::{Instant, interval};
use tokio_rustls::TlsAcceptor;

use crate::kubelet::node::Host;
use crate::kubelet::usage::Sample;
use crate::namespace::MACHINE;
use crate::pki::Identity;

/// Where it listens.
const PORT: u16 = 10260;
/// Between two measurements.
const WINDOW: Duration = Duration::from_secs(2);
const GROUP: &str = "metrics.k8s.io/v1beta1";

/// What tells the API server where it is.
pub(crate) const REGISTRATION: &str = "
apiVersion: v1
kind: Service
metadata: {name: resource-metrics, namespace: kube-system}
spec: {ports: [{name: https, port: 443, targetPort: 10260}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: resource-metrics, namespace: kube-system, labels: {kubernetes.io/service-name: resource-metrics}}
addressType: IPv4
endpoints: [{addresses: [10.244.0.1], conditions: {ready: true}}]
ports: [{name: https, port: 10260, protocol: TCP}]
---
apiVersion: apiregistration.k8s.io/v1
kind: APIService
metadata: {name: v1beta1.metrics.k8s.io}
spec:
  group: metrics.k8s.io
  version: v1beta1
  groupPriorityMinimum: 100
  versionPriority: 100
  insecureSkipTLSVerify: true
  service: {name: resource-metrics, namespace: kube-system}
";

/// A container over the last window.
struct Rate {
    sample: Sample,
    /// Billionths of a core.
    nanocores: u64,
}

type Rates = Mutex<(Timestamp, Vec<Rate>)>;

/// Measures and serves until the task ends.
pub(crate) async fn serve(host: Arc<Host>, identity: Identity) -> Result<()> {
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(
        vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes())?],
        PrivateKeyDer::from_pem_slice(identity.key.as_bytes())?,
    )?;
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind((MACHINE, PORT)).await?;
    let rates: Arc<Rates> = Arc::new(Mutex::new((Timestamp::now(), Vec::new())));
    let serving = async {
        loop {
            let (stream, _) = listener.accept().await?;
            let (acceptor, rates) = (acceptor.clone(), Arc::clone(&rates));
            spawn("metrics connection", async move {
                let stream = acceptor.accept(stream).await?;
                let service = service_fn(|request| {
                    let response = answer(&rates.lock(), &request);
                    std::future::ready(Ok::<_, Infallible>(response))
                });
                hyper::server::conn::http1::Builder::new()
                    .serve_connection(TokioIo::new(stream), service)
                    .await?;
                anyhow::Ok(())
            });
        }
    };
    tokio::select! {
        outcome = serving => outcome,
        outcome = measure(&host, &rates) => outcome,
    }
}

async fn measure(host: &Host, rates: &Rates) -> Result<()> {
    let mut tick = interval(WINDOW);
    let mut before: BTreeMap<(String, String, String), f64> = BTreeMap::new();
    let mut last = Instant::now();
    loop {
        tick.tick().await;
        let samples = host.usage()?;
        let seconds = last.elapsed().as_secs_f64();
        last = Instant::now();
        let mut now = BTreeMap::new();
        let mut found = Vec::new();
        for sample in samples {
            let key = (sample.namespace.clone(), sample.pod.clone(), sample.container.clone());
            let cpu = sample.usage.cpu;
            if let Some(earlier) = before.get(&key) {
                // A container that was started again has used less than before.
                let cores = (cpu - earlier).max(0.0) / seconds;
                let nanocores = Duration::try_from_secs_f64(cores).unwrap_or_default().as_nanos();
                found.push(Rate { sample, nanocores: u64::try_from(nanocores)? });
            }
            now.insert(key, cpu);
        }
        before = now;
        *rates.lock() = (Timestamp::now(), found);
    }
}

fn answer((time, rates): &(Timestamp, Vec<Rate>), request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let selector = crate::kubelet::query(request.uri().query().unwrap_or_default());
    let selector = selector.into_iter().find(|(key, _)| key == "labelSelector").map(|(_, value)| value);
    let found = find(*time, rates, request.uri().path(), selector.as_deref().unwrap_or_default());
    let status = if found.is_some() { StatusCode::OK } else { StatusCode::NOT_FOUND };
    let body = found.unwrap_or_else(|| {
        json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": "NotFound", "code": 404 })
    });
    let mut response = Response::new(Full::new(Bytes::from(body.to_string())));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    response
}

fn find(time: Timestamp, rates: &[Rate], path: &str, selector: &str) -> Option<Value> {
    let path = path.strip_prefix("/apis/metrics.k8s.io/v1beta1")?;
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty()).collect();
    let all = |fits: &dyn Fn(&Sample) -> bool| -> Vec<&Rate> {
        let fitting = |rate: &&Rate| fits(&rate.sample) && selects(selector, &rate.sample.labels);
        rates.iter().filter(fitting).collect()
    };
    match parts.as_slice() {
        [] => Some(json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": GROUP,
            "resources": [
                { "name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"] },
                { "name": "pods", "singularName": "", "namespaced": true, "kind": "PodMetrics", "verbs": ["get", "list"] },
            ],
        })),
        ["nodes"] => Some(list("NodeMetricsList", &nodes(time, &all(&|_| true)))),
        ["nodes", name] => nodes(time, &all(&|sample| sample.node == *name)).pop(),
        ["pods"] => Some(list("PodMetricsList", &pods(time, &all(&|_| true)))),
        ["namespaces", namespace, "pods"] => {
            Some(list("PodMetricsList", &pods(time, &all(&|sample| sample.namespace == *namespace))))
        }
        ["namespaces", namespace, "pods", name] => {
            pods(time, &all(&|sample| sample.namespace == *namespace && sample.pod == *name)).pop()
        }
        _ => None,
    }
}

fn list(kind: &str, items: &[Value]) -> Value {
    json!({ "kind": kind, "apiVersion": GROUP, "metadata": {}, "items": items })
}

fn pods(time: Timestamp, rates: &[&Rate]) -> Vec<Value> {
    let mut pods: BTreeMap<(&str, &str), Vec<&Rate>> = BTreeMap::new();
    for rate in rates {
        pods.entry((&rate.sample.namespace, &rate.sample.pod)).or_default().push(rate);
    }
    let item = |((namespace, name), rates): ((&str, &str), Vec<&Rate>)| {
        let labels = rates.first().map(|rate| &rate.sample.labels);
        let containers: Vec<_> = rates
            .iter()
            .map(|rate| json!({ "name": rate.sample.container, "usage": usage(&[rate]) }))
            .collect();
        json!({
            "kind": "PodMetrics", "apiVersion": GROUP,
            "metadata": { "name": name, "namespace": namespace, "labels": labels },
            "timestamp": time, "window": format!("{}s", WINDOW.as_secs()), "containers": containers,
        })
    };
    pods.into_iter().map(item).collect()
}

fn nodes(time: Timestamp, rates: &[&Rate]) -> Vec<Value> {
    let mut nodes: BTreeMap<&str, Vec<&Rate>> = BTreeMap::new();
    for rate in rates {
        nodes.entry(&rate.sample.node).or_default().push(rate);
    }
    let item = |(name, rates): (&str, Vec<&Rate>)| {
        json!({
            "kind": "NodeMetrics", "apiVersion": GROUP, "metadata": { "name": name },
            "timestamp": time, "window": format!("{}s", WINDOW.as_secs()), "usage": usage(&rates),
        })
    };
    nodes.into_iter().map(item).collect()
}

fn usage(rates: &[&Rate]) -> Value {
    let nanocores: u64 = rates.iter().map(|rate| rate.nanocores).sum();
    let memory: u64 = rates.iter().map(|rate| rate.sample.usage.memory).sum();
    json!({ "cpu": format!("{nanocores}n"), "memory": format!("{}Ki", memory / 1024) })
}

/// Whether labels fit `a=b,c!=d,e`. What else selectors can say fits nothing, so that a test notices.
fn selects(selector: &str, labels: &BTreeMap<String, String>) -> bool {
    selector.split(',').filter(|part| !part.is_empty()).all(|part| {
        if let Some((key, value)) = part.split_once("!=") {
            return labels.get(key).is_none_or(|label| label != value);
        }
        match part.split_once('=') {
            Some((key, value)) => labels.get(key).map(String::as_str) == Some(value.trim_start_matches('=')),
            None => labels.contains_key(part),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kubelet::usage::Usage;

    #[test]
    fn pods_are_found_by_namespace_name_and_labels() {
        let rate = |pod: &str, container: &str| Rate {
            sample: Sample {
                namespace: "a".to_owned(),
                pod: pod.to_owned(),
                node: "proc-0".to_owned(),
                labels: [("app".to_owned(), pod.to_owned())].into(),
                container: container.to_owned(),
                usage: Usage { cpu: 0.0, memory: 2048 },
            },
            nanocores: 5,
        };
        let rates = [rate("one", "x"), rate("one", "y"), rate("two", "x")];
        let ask = |path: &str, selector: &str| {
            find(Timestamp::UNIX_EPOCH, &rates, &format!("/apis/metrics.k8s.io/v1beta1{path}"), selector)
        };
        let count = |value: Option<Value>| value.and_then(|value| Some(value["items"].as_array()?.len()));
        assert_eq!(count(ask("/pods", "")), Some(2));
        assert_eq!(count(ask("/namespaces/a/pods", "app=two")), Some(1));
        assert_eq!(count(ask("/namespaces/b/pods", "")), Some(0));
        let one = ask("/namespaces/a/pods/one", "").unwrap_or_default();
        assert_eq!(one["containers"][1]["usage"], json!({ "cpu": "5n", "memory": "2Ki" }));
        let node = ask("/nodes/proc-0", "").unwrap_or_default();
        assert_eq!(node["usage"]["cpu"], "15n");
        assert_eq!(ask("/nodes/other", ""), None);
    }
}
