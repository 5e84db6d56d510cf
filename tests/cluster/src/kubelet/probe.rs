//! The probes of a container. Changes when a kind of probe is added.

use std::net::{IpAddr, Ipv4Addr};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use http_body_util::Empty;
use hyper::body::Bytes;
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, ExecAction, HTTPGetAction, Probe};
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use tokio::net::TcpStream;
use tokio::sync::mpsc::Sender;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::exec::Inside;

/// What the probes of a container found.
#[derive(Debug, Eq, PartialEq)]
pub(super) enum Finding {
    /// The startup probe succeeded, or there is none.
    Started,
    /// Readiness changed.
    Ready(bool),
    /// Startup or liveness failed too often: the container has to be killed.
    Dead,
}

/// A container as its probes see it.
#[derive(Clone)]
pub(super) struct Target {
    pub(super) container: Container,
    pub(super) address: Ipv4Addr,
    pub(super) inside: Inside,
}

/// Probes until the receiver is gone, or the container has to be killed.
pub(super) async fn watch(target: Target, findings: Sender<Finding>) {
    if let Some(startup) = &target.container.startup_probe
        && !until(&target, startup, 1).await
    {
        let _ = findings.send(Finding::Dead).await;
        return;
    }
    if findings.send(Finding::Started).await.is_err() {
        return;
    }
    let readiness = async {
        match &target.container.readiness_probe {
            None => _ = findings.send(Finding::Ready(true)).await,
            Some(probe) => follow(&target, probe, &findings).await,
        }
    };
    let liveness = async {
        if let Some(probe) = &target.container.liveness_probe {
            while until(&target, probe, 1).await {}
            let _ = findings.send(Finding::Dead).await;
        }
    };
    tokio::join!(readiness, liveness);
}

/// Reports each change of readiness.
async fn follow(target: &Target, probe: &Probe, findings: &Sender<Finding>) {
    let (mut ready, mut good, mut bad) = (false, 0, 0);
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut tick = interval(seconds(probe.period_seconds, 10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        (good, bad) = if once(target, probe).await.is_ok() { (good + 1, 0) } else { (0, bad + 1) };
        let now = if ready {
            bad < probe.failure_threshold.unwrap_or(3)
        } else {
            good >= probe.success_threshold.unwrap_or(1)
        };
        if now != ready {
            ready = now;
            if findings.send(Finding::Ready(ready)).await.is_err() {
                return;
            }
        }
    }
}

/// Probes until it succeeded `wanted` times (true), or failed as often as it may in a row (false).
async fn until(target: &Target, probe: &Probe, wanted: i32) -> bool {
    let (mut good, mut bad) = (0, 0);
    sleep(seconds(probe.initial_delay_seconds, 0)).await;
    let mut tick = interval(seconds(probe.period_seconds, 10));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        (good, bad) = if once(target, probe).await.is_ok() { (good + 1, 0) } else { (good, bad + 1) };
        if good >= wanted {
            return true;
        }
        if bad >= probe.failure_threshold.unwrap_or(3) {
            return false;
        }
    }
}

async fn once(target: &Target, probe: &Probe) -> Result<()> {
    let patience = seconds(probe.timeout_seconds, 1);
    let attempt = async {
        if let Some(get) = &probe.http_get {
            http_get(target, get).await
        } else if let Some(tcp) = &probe.tcp_socket {
            TcpStream::connect((target.address, port(&target.container, &tcp.port)?)).await?;
            Ok(())
        } else if let Some(exec) = &probe.exec {
            run(&target.inside, exec).await
        } else {
            bail!("this kind of probe is not known to this kubelet")
        }
    };
    timeout(patience, attempt).await.context("timed out")?
}

/// Runs a command in a container to its end.
pub(super) async fn run(inside: &Inside, exec: &ExecAction) -> Result<()> {
    let words = exec.command.as_deref().unwrap_or_default();
    let status = inside.command(words).kill_on_drop(true).output().await?.status;
    ensure!(status.success(), "{status}");
    Ok(())
}

/// Asks over HTTP; every status below 400 is a success.
pub(super) async fn http_get(target: &Target, get: &HTTPGetAction) -> Result<()> {
    ensure!(
        get.scheme.as_deref().unwrap_or("HTTP") == "HTTP",
        "probes over https are not known to this kubelet"
    );
    let port = port(&target.container, &get.port)?;
    let host: IpAddr = match &get.host {
        Some(host) => host.parse()?,
        None => target.address.into(),
    };
    let stream = TcpStream::connect((host, port)).await?;
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let mut request = http::Request::get(get.path.as_deref().unwrap_or("/"))
        .header(http::header::HOST, format!("{host}:{port}"))
        .header(http::header::USER_AGENT, "kube-probe/1.36");
    for header in get.http_headers.iter().flatten() {
        if let Some(headers) = request.headers_mut() {
            headers.insert(
                http::HeaderName::from_bytes(header.name.as_bytes())?,
                http::HeaderValue::from_str(&header.value)?,
            );
        }
    }
    let request = request.body(Empty::<Bytes>::new())?;
    let exchange = async {
        let status = sender.send_request(request).await?.status();
        ensure!(status.as_u16() < 400, "HTTP probe failed with statuscode: {status}");
        Ok(())
    };
    tokio::select! {
        outcome = exchange => outcome,
        _ = connection => bail!("the connection ended before the answer"),
    }
}

fn port(container: &Container, port: &IntOrString) -> Result<u16> {
    let number = match port {
        IntOrString::Int(number) => *number,
        IntOrString::String(name) => {
            let mut ports = container.ports.iter().flatten();
            let found = ports.find(|port| port.name.as_ref() == Some(name));
            found.with_context(|| format!("no port {name}"))?.container_port
        }
    };
    u16::try_from(number).context("a port")
}

fn seconds(value: Option<i32>, default: u64) -> Duration {
    Duration::from_secs(
        value.and_then(|value| u64::try_from(value).ok()).unwrap_or(default).max(u64::from(default > 0)),
    )
}
