//! `bridge-cluster`: a cluster for a person. Changes when its command line does.
//!
//! It runs twice: outside, where it forwards a port of this machine, and inside of the namespace, where the cluster is.
//! Between them is a socket in the file system, which both see.

use std::io::{self, Write as _};
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{ExitCode, Stdio};
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};
use bridge_cluster::{Cluster, Images, Program, Settings, namespace, root};
use bridge_runtime::tasks::spawn;
use clap::Parser;
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::process::Command;
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

/// A Kubernetes cluster on this machine, in a network namespace of its own; pods are processes.
#[derive(Debug, Parser)]
#[command(name = "bridge-cluster")]
struct Args {
    /// How many nodes.
    #[arg(long, default_value_t = 3)]
    nodes: usize,
    /// What an image stands for: NAME=PROGRAM, the name with or without registry and tag. Programs of this project are
    /// known where they are built.
    #[arg(long = "image", value_name = "NAME=PROGRAM")]
    images: Vec<String>,
    /// Port on 127.0.0.1 for kubectl; 0 picks a free one.
    #[arg(long, default_value_t = 0)]
    port: u16,
}

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let runtime = Builder::new_multi_thread().enable_all().build()?;
    let outcome = runtime
        .block_on(async { if namespace::inside() { inside(args).await } else { outside(args).await } });
    // A read of standard input may still be blocked on its thread; waiting for it would hold the exit.
    runtime.shutdown_background();
    outcome
}

/// Forwards until the cluster has ended.
async fn outside(args: &Args) -> Result<()> {
    let listener =
        TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await.context("the port for kubectl")?;
    let port = listener.local_addr()?.port();
    let mut arguments =
        vec!["--nodes".to_owned(), args.nodes.to_string(), "--port".to_owned(), port.to_string()];
    arguments.extend(args.images.iter().flat_map(|image| ["--image".to_owned(), image.clone()]));
    let socket = socket();
    let _ = fs::remove_file(&socket);
    let command = namespace::command(arguments.into_iter().map(Into::into))?;
    // It ends when its standard input does, and no signal of the terminal reaches it.
    let mut child = Command::from(command)
        .stdin(Stdio::piped())
        .process_group(0)
        .spawn()
        .context("entering a namespace needs root, setpriv and unshare (package util-linux)")?;
    let mut open = child.stdin.take();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let status = loop {
        tokio::select! {
            status = child.wait() => break status?,
            accepted = listener.accept() => {
                let (client, _) = accepted?;
                let socket = socket.clone();
                spawn("relay", async move { relay_unix(client, &socket).await });
            }
            _ = interrupt.recv() => open = None,
            _ = terminate.recv() => open = None,
        }
    };
    drop(open);
    let _ = fs::remove_file(&socket);
    ensure!(status.success(), "the cluster ended: {status}");
    Ok(())
}

async fn relay_unix(mut client: TcpStream, socket: &Path) -> io::Result<()> {
    let mut server = UnixStream::connect(socket).await?;
    copy_bidirectional(&mut client, &mut server).await.map(|_| ())
}

/// Runs the cluster until standard input ends.
async fn inside(args: &Args) -> Result<()> {
    let settings =
        Settings { port: args.port, nodes: args.nodes, images: images(&args.images)?, ..Settings::new(NAME) };
    say("starting etcd, kube-apiserver, kube-controller-manager and kube-scheduler")?;
    let mut input = tokio::io::stdin();
    let mut sink = tokio::io::sink();
    let ended = tokio::io::copy(&mut input, &mut sink);
    tokio::pin!(ended);
    let cluster = tokio::select! {
        cluster = Cluster::start(settings) => cluster?,
        _ = &mut ended => return Ok(()),
    };
    let listener = UnixListener::bind(socket())?;
    let forward = async {
        while let Ok((mut client, _)) = listener.accept().await {
            spawn("relay", async move {
                let mut server = TcpStream::connect((Ipv4Addr::LOCALHOST, 6443)).await?;
                copy_bidirectional(&mut client, &mut server).await
            });
        }
    };
    say(&format!(
        "
the cluster is ready; in another terminal:

  export KUBECONFIG={}
  {} get nodes

any kubectl will do. Pods and Services are reached from their network:

  nsenter --target \"$(pgrep -x kube-apiserver)\" --net -- curl http://CLUSTER-IP:PORT/

logs are in {}; Ctrl-C ends it and leaves nothing",
        cluster.kubeconfig().display(),
        cluster.kubectl_path().display(),
        cluster.logs().display()
    ))?;
    tokio::select! {
        () = forward => {}
        _ = ended => {}
    }
    drop(cluster);
    Ok(())
}

/// The folder of this cluster below `target/cluster`.
const NAME: &str = "person";

fn socket() -> PathBuf {
    Settings::new(NAME).dir().with_extension("sock")
}

fn images(named: &[String]) -> Result<Images> {
    let mut images = Images::default();
    let ours = env::current_exe()?.parent().map_or_else(|| root().join("target/debug"), Path::to_owned);
    for name in ["mcp-gateway", "mcp-operator", "mcp-test-server"] {
        if ours.join(name).is_file() {
            images = images.with(name, Program::at(ours.join(name))?);
        }
    }
    for image in named {
        let (name, path) =
            image.split_once('=').with_context(|| format!("--image {image}: want NAME=PROGRAM"))?;
        images = images.with(name, Program::at(path)?);
    }
    Ok(images)
}

fn say(text: &str) -> io::Result<()> {
    writeln!(io::stdout(), "{text}")
}
