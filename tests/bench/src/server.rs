//! What the measured servers of this crate share: runtime, accept loop, announcing the address.
//! Changes when the reference servers need other socket settings.

use std::convert::Infallible;
use std::future::Future;
use std::io::Write as _;
use std::net::{Ipv4Addr, SocketAddr};

use anyhow::{Context as _, Result};
use bridge_runtime::tasks;
use http::{Request, Response};
use hyper::body::{Body, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

/// When a server of this crate stops by itself.
#[derive(clap::Args)]
pub(crate) struct Lifetime {
    /// Stop when the process that started this one ends.
    #[arg(long, hide = true)]
    die_with_parent: bool,
}

impl Lifetime {
    /// Arms the parent-death signal, so that a killed benchmark leaves nothing behind.
    pub(crate) fn apply(&self) -> Result<()> {
        if self.die_with_parent {
            rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::TERM))
                .context("cannot ask for a signal when the parent ends")?;
        }
        Ok(())
    }
}

/// The multi-thread flavour, which the gateway uses as well. `None` leaves the number of workers to tokio: the number
/// of usable cores, or `TOKIO_WORKER_THREADS`.
pub(crate) fn runtime(workers: Option<usize>) -> Result<tokio::runtime::Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    if let Some(workers) = workers {
        builder.worker_threads(workers);
    }
    builder.enable_all().build().context("cannot start the runtime")
}

/// Listens on localhost and says where on stdout, in one line that the starter of this process reads.
pub(crate) async fn listen(port: u16) -> Result<TcpListener> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.with_context(|| format!("cannot listen on {address}"))?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "listening on {}", listener.local_addr()?).context("cannot write to stdout")?;
    stdout.flush().context("cannot write to stdout")?;
    Ok(listener)
}

/// Serves HTTP/1.1 with keep-alive until the process ends.
pub(crate) async fn accept<F, Fut, B>(listener: TcpListener, handle: F) -> Result<()>
where
    F: Fn(Request<Incoming>) -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Response<B>> + Send + 'static,
    B: Body + Send + 'static,
    B::Data: Send,
    B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
{
    loop {
        let (stream, _) = listener.accept().await.context("cannot accept a connection")?;
        stream.set_nodelay(true)?;
        let handle = handle.clone();
        let service = service_fn(move |request| {
            let answer = handle(request);
            async move { Ok::<_, Infallible>(answer.await) }
        });
        tasks::spawn("connection", async move {
            // A peer that goes away ends its connection and nothing else; the load generator reports what it lost.
            let _gone = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
