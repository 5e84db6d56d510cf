//! An operator in the test's process, between which and the API server things go wrong. Changes when another thing does.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Result, bail};
use bridge_cluster::Cluster;
use bytes::Bytes;
use clap::Parser as _;
use futures_util::StreamExt as _;
use http::{Method, Request, Response};
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use kube::client::Body;
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use mcp_operator::args::{Args, Command};
use mcp_operator::run::Operator;
use parking_lot::Mutex;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// After so long a watch of a server that is behind ends, as every watch does, before anybody takes it for broken.
const QUIET: Duration = Duration::from_secs(10);

type Answer = http_body_util::combinators::UnsyncBoxBody<Bytes, io::Error>;

/// When a request that is one too many fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Moment {
    /// Before it is sent.
    Before,
    /// After it was answered, so that only the answer is lost.
    After,
}

/// What goes wrong; may be changed at any time.
pub(crate) struct Faults {
    /// Writes of objects that succeed; from then on nothing does.
    writes: Option<(usize, Moment)>,
    count: AtomicUsize,
    cut: watch::Sender<bool>,
    /// No news of gateways arrives.
    old: watch::Sender<bool>,
    /// The Lease is out of reach.
    leaseless: watch::Sender<bool>,
    /// Method and path of every request.
    log: Mutex<Vec<String>>,
}

impl Faults {
    /// Nothing goes wrong.
    pub(crate) fn none() -> Arc<Self> {
        Self::new(None)
    }

    /// Nothing succeeds after so many writes.
    pub(crate) fn after(writes: usize, moment: Moment) -> Arc<Self> {
        Self::new(Some((writes, moment)))
    }

    fn new(writes: Option<(usize, Moment)>) -> Arc<Self> {
        Arc::new(Self {
            writes,
            count: AtomicUsize::new(0),
            cut: watch::Sender::new(false),
            old: watch::Sender::new(false),
            leaseless: watch::Sender::new(false),
            log: Mutex::default(),
        })
    }

    /// Keeps news of gateways back, or lets them through again.
    pub(crate) fn keep_back(&self, old: bool) {
        self.old.send_replace(old);
    }

    /// Takes the Lease out of reach, or gives it back.
    pub(crate) fn without_lease(&self, without: bool) {
        self.leaseless.send_replace(without);
    }

    /// Until the first request that is one too many.
    pub(crate) async fn until_cut(&self) {
        // The sender is here, so waiting cannot fail.
        let _ = self.cut.subscribe().wait_for(|cut| *cut).await;
    }

    /// How many requests so far begin so: method and path.
    pub(crate) fn asked(&self, begin: &str) -> usize {
        self.log.lock().iter().filter(|line| line.starts_with(begin)).count()
    }

    fn client(self: &Arc<Self>, inner: Client) -> Client {
        let namespace = inner.default_namespace().to_owned();
        let faults = Arc::clone(self);
        let service = tower::service_fn(move |request: Request<Body>| {
            let (faults, inner) = (Arc::clone(&faults), inner.clone());
            async move { faults.pass(inner, request).await }
        });
        Client::new(service, namespace)
    }

    async fn pass(&self, inner: Client, request: Request<Body>) -> Result<Response<Answer>, kube::Error> {
        let (method, path) = (request.method().clone(), request.uri().path().to_owned());
        let watches = request.uri().query().is_some_and(|query| query.contains("watch=true"));
        self.log.lock().push(format!("{method} {path}"));
        if *self.leaseless.borrow() && path.contains("/leases") {
            return Err(broken());
        }
        let gateways = path.ends_with("/mcpgateways") && method == Method::GET;
        if gateways && watches && *self.old.borrow() {
            // A server that is behind answers all the same, and has nothing to tell for a while.
            let mut old = self.old.subscribe();
            let end = async move { drop(tokio::time::timeout(QUIET, old.wait_for(|old| !*old)).await) };
            return Ok(Response::new(until(futures_util::stream::pending(), end)));
        }
        // Neither the election nor looking at tokens is a step.
        let step = method != Method::GET && !path.contains("/leases") && !path.ends_with("/tokenreviews");
        let mut last = false;
        if let (Some((allowed, moment)), true) = (self.writes, step) {
            last = self.count.fetch_add(1, Ordering::SeqCst) >= allowed;
            if last && moment == Moment::Before {
                self.cut.send_replace(true);
            }
        }
        if *self.cut.borrow() {
            return Err(broken());
        }
        let response = inner.send(request).await?;
        if last {
            self.cut.send_replace(true);
            return Err(broken());
        }
        if !(gateways && watches) {
            return Ok(response.map(|body| body.map_err(io::Error::other).boxed_unsync()));
        }
        let mut old = self.old.subscribe();
        let end = async move { drop(old.wait_for(|old| *old).await) };
        Ok(response
            .map(|body| until(body.into_data_stream().map(|part| part.map_err(io::Error::other)), end)))
    }
}

/// A body that ends with its stream, or before.
fn until(
    stream: impl futures_util::Stream<Item = io::Result<Bytes>> + Send + 'static,
    end: impl Future<Output = ()> + Send + 'static,
) -> Answer {
    StreamBody::new(stream.take_until(end).map(|part| part.map(Frame::data))).boxed_unsync()
}

fn broken() -> kube::Error {
    kube::Error::Service("the connection was cut".into())
}

/// An operator with a runtime of its own, so that it ends as a process does: everywhere at once.
pub(crate) struct Faulty {
    runtime: Option<Runtime>,
}

impl Faulty {
    /// Starts one with these flags. One that cannot start ends when it is killed.
    pub(crate) async fn start(cluster: &Cluster, faults: &Arc<Faults>, flags: &[&str]) -> Result<Self> {
        let line =
            ["mcp-operator", "run", "--metrics", "127.0.0.1:0", "--image", "example.test/mcp-gateway:test"];
        let Command::Run(args) = Args::try_parse_from(line.iter().chain(flags))?.command else {
            bail!("no run");
        };
        let runtime = Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
        let faults = Arc::clone(faults);
        let kubeconfig = Kubeconfig::read_from(cluster.kubeconfig())?;
        let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        runtime.handle().spawn(async move {
            // Connections belong to the runtime in which they are made, so nobody else's client will do.
            let Ok(client) = config.try_into() else { return };
            let Ok(mut operator) = Operator::start(&args, faults.client(client)).await else { return };
            operator.tend().await;
        });
        Ok(Self { runtime: Some(runtime) })
    }

    /// Ends it in the middle of whatever it does.
    pub(crate) async fn kill(mut self) -> Result<()> {
        let runtime = self.runtime.take();
        let end = move || runtime.map(|runtime| runtime.shutdown_timeout(Duration::from_secs(5)));
        tokio::task::spawn_blocking(end).await?;
        Ok(())
    }
}

impl Drop for Faulty {
    /// A test that fails waits for nothing.
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}
