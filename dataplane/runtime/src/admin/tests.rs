use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::*;
use crate::drain::Drain;
use crate::health::{BackendHealth, HealthSource};
use crate::readiness::Readiness;

struct NoBackends;

impl HealthSource for NoBackends {
    fn backends(&self) -> Vec<BackendHealth> {
        Vec::new()
    }
}

struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<()>,
    drain: Drain,
}

async fn start(with_metrics: bool) -> Running {
    let drain = Drain::new();
    let health = Health::new(Readiness::new(drain.clone()), Arc::new(NoBackends), "0");
    let pages =
        if with_metrics { Pages::Metrics(health, Metrics::new().unwrap()) } else { Pages::Health(health) };
    let server = AdminServer::bind("test", "127.0.0.1:0".parse().unwrap()).await.unwrap();
    let (address, stop) = (server.local_addr(), CancellationToken::new());
    let task = server.spawn(pages, stop.clone());
    Running { address, stop, task, drain }
}

async fn request(address: SocketAddr, method: &str, path: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let head = format!("{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(head.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[tokio::test]
async fn the_metrics_port_shows_metrics_anywhere_but_on_health_paths() {
    let server = start(true).await;
    for path in ["/metrics", "/", "/anything?x=1"] {
        let answer = request(server.address, "GET", path).await;
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains("process_open_fds"),
            "{path}: {answer}"
        );
        assert!(answer.contains("content-type: text/plain; version=0.0.4"), "{answer}");
    }
    assert!(request(server.address, "GET", "/healthz").await.ends_with("\r\n\r\nOK"));
    assert!(request(server.address, "GET", "/ready?verbose").await.ends_with("\r\n\r\nReady"));
}

#[tokio::test]
async fn the_health_port_has_nothing_else_and_only_reads() {
    let server = start(false).await;
    let answer = request(server.address, "GET", "/health").await;
    assert!(
        answer.starts_with("HTTP/1.1 200") && answer.contains("x-content-type-options: nosniff"),
        "{answer}"
    );
    assert!(request(server.address, "GET", "/metrics").await.starts_with("HTTP/1.1 404"));
    assert!(request(server.address, "POST", "/healthz").await.starts_with("HTTP/1.1 405"));
    let head = request(server.address, "HEAD", "/healthz").await;
    assert!(head.starts_with("HTTP/1.1 200") && head.ends_with("\r\n\r\n"), "{head}");
}

#[tokio::test]
async fn pages_outlive_the_beginning_of_the_drain() {
    let server = start(false).await;
    server.drain.start();
    let answer = request(server.address, "GET", "/ready").await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.ends_with("Not ready"), "{answer}");
    server.stop.cancel();
    server.task.await.unwrap();
    assert!(TcpStream::connect(server.address).await.is_err(), "the port is closed after stop");
}

#[tokio::test]
async fn a_port_in_use_is_named() {
    let server = start(false).await;
    let error = AdminServer::bind("metrics", server.address).await.unwrap_err().to_string();
    assert!(error.contains(&server.address.to_string()) && error.contains("metrics"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn a_silent_connection_is_closed() {
    let server = start(false).await;
    let mut stream = TcpStream::connect(server.address).await.unwrap();
    stream.write_all(b"GET /healthz HTTP/1.1\r\n").await.unwrap();
    let mut rest = Vec::new();
    // The paused clock jumps to the next timer once nothing else can happen: to the bound, or past it.
    let closed =
        tokio::time::timeout(std::time::Duration::from_hours(1), stream.read_to_end(&mut rest)).await;
    assert!(closed.is_ok(), "the connection is open after an hour of silence");
    assert!(!rest.starts_with(b"HTTP/1.1 200"), "{rest:?}");
}
