//! etcd, kube-apiserver, kube-controller-manager and kube-scheduler as children. Changes when one needs another flag.

mod backup;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use kube::Client;
use kube::config::{KubeConfigOptions, Kubeconfig};
use parking_lot::Mutex;
use tokio::process::{Child, Command};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::binaries::{Binaries, root};
use crate::namespace::{KUBERNETES, MACHINE, SERVICES, STATE, node_address};
use crate::pki::{self, Authority, Identity};

/// Where the API server listens, on every address of the namespace.
pub(crate) const PORT: u16 = 6443;
/// How long the API server may take; most of it is the first reading of a large binary.
const START: Duration = Duration::from_mins(2);

/// A running control plane; its programs end when this is dropped.
pub(crate) struct ControlPlane {
    programs: Mutex<Vec<Program>>,
    authority: Authority,
    nodes: Vec<Identity>,
}

struct Program {
    name: &'static str,
    path: PathBuf,
    flags: Vec<String>,
    child: Child,
    log: PathBuf,
}

impl Program {
    fn start(name: &'static str, path: PathBuf, flags: Vec<String>, log: PathBuf) -> Result<Self> {
        let file = File::options().create(true).append(true).open(&log);
        let file = file.with_context(|| log.display().to_string())?;
        let child = Command::new(&path)
            .args(&flags)
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .kill_on_drop(true)
            .spawn()
            .with_context(|| format!("starting {name}"))?;
        Ok(Self { name, path, flags, child, log })
    }
}

impl ControlPlane {
    /// Starts everything with logs in `logs`, and waits until the API server is ready.
    pub(crate) async fn start(
        binaries: &Binaries,
        logs: &Path,
        nodes: usize,
        node_grace: Duration,
    ) -> Result<Self> {
        let dir = PathBuf::from(STATE).join("pki");
        std::fs::create_dir_all(&dir)?;
        let authority = Authority::new(&dir, "ca")?;
        let front_proxy = Authority::new(&dir, "front-proxy-ca")?;
        front_proxy.issue("front-proxy-client", "front-proxy-client", "", &[])?;
        pki::service_account_keys(&dir)?;
        let names = ["127.0.0.1", "localhost", "kubernetes", "kubernetes.default", "kubernetes.default.svc"]
            .map(str::to_owned)
            .into_iter()
            .chain(["kubernetes.default.svc.cluster.local".to_owned()])
            .chain([MACHINE.to_string(), KUBERNETES.to_string()])
            .collect::<Vec<_>>();
        authority.issue("apiserver", "kube-apiserver", "", &names)?;
        authority.issue("apiserver-kubelet-client", "kube-apiserver", "system:masters", &[])?;
        let mut identities = Vec::new();
        for node in 0..nodes {
            let name = node_name(node);
            let names = [name.clone(), node_address(node)?.to_string()];
            let user = format!("system:node:{name}");
            identities.push(authority.issue(&name, &user, "system:nodes", &names)?);
        }

        let plane = Self { programs: Mutex::default(), authority, nodes: identities };
        let flags = Flags { dir: &dir, logs };
        plane.spawn(binaries, logs, "etcd", flags.etcd())?;
        plane.spawn(binaries, logs, "kube-apiserver", flags.api_server())?;
        plane.ready().await?;
        for (name, user) in
            [("kube-controller-manager", "controller-manager"), ("kube-scheduler", "scheduler")]
        {
            let path = dir.join(format!("{user}.kubeconfig"));
            pki::write(&path, &plane.kubeconfig(user, &format!("system:{name}"), "", PORT)?)?;
            let mut all = flags.kubeconfig(&path);
            if name == "kube-controller-manager" {
                all.extend(flags.controllers(node_grace));
            }
            plane.spawn(binaries, logs, name, all)?;
        }
        Ok(plane)
    }

    /// A kubeconfig for a new identity, with the API server at `port` of this machine.
    pub(crate) fn kubeconfig(&self, file: &str, user: &str, group: &str, port: u16) -> Result<String> {
        let identity = self.authority.issue(file, user, group, &[])?;
        Ok(self.authority.kubeconfig(&identity, &format!("https://127.0.0.1:{port}")))
    }

    /// A client with a new identity.
    pub(crate) async fn client(&self, file: &str, user: &str, group: &str) -> Result<Client> {
        client(&self.kubeconfig(file, user, group, PORT)?).await
    }

    /// What a node is known by, for its client and its server.
    pub(crate) fn node(&self, index: usize) -> Result<Identity> {
        self.nodes.get(index).cloned().context("no such node")
    }

    /// A client of a node.
    pub(crate) async fn node_client(&self, identity: &Identity) -> Result<Client> {
        client(&self.authority.kubeconfig(identity, &format!("https://127.0.0.1:{PORT}"))).await
    }

    /// For a server of this machine.
    pub(crate) fn serving(&self, name: &str) -> Result<Identity> {
        self.authority.issue(name, name, "", &[MACHINE.to_string()])
    }

    /// The authority of this cluster, PEM.
    pub(crate) fn authority(&self) -> &str {
        self.authority.pem()
    }

    /// A kubeconfig for the bearer of a token.
    pub(crate) fn token_kubeconfig(&self, token: &str) -> String {
        self.authority.token_kubeconfig(token, &format!("https://127.0.0.1:{PORT}"))
    }

    /// The process of a program.
    pub(crate) fn pid(&self, name: &str) -> Result<u32> {
        let programs = self.programs.lock();
        let program = programs.iter().find(|program| program.name == name).context("no such program")?;
        program.child.id().context("it has ended")
    }

    /// Kills a program and starts it again.
    pub(crate) async fn restart(&self, name: &str) -> Result<()> {
        let mut program = {
            let mut programs = self.programs.lock();
            let index = programs.iter().position(|program| program.name == name);
            programs.remove(index.context("no such program")?)
        };
        program.child.kill().await?;
        let Program { name, path, flags, log, .. } = program;
        let program = Program::start(name, path, flags, log)?;
        self.programs.lock().push(program);
        self.ready().await
    }

    fn spawn(&self, binaries: &Binaries, logs: &Path, name: &'static str, flags: Vec<String>) -> Result<()> {
        let log = logs.join(format!("{name}.log"));
        self.programs.lock().push(Program::start(name, binaries.path(name), flags, log)?);
        Ok(())
    }

    /// The API server tells nobody when it is ready: it has to be asked again and again.
    async fn ready(&self) -> Result<()> {
        let client = self.client("admin", "admin", "system:masters").await?;
        let deadline = Instant::now() + START;
        let mut tick = interval(Duration::from_millis(100));
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let request = http::Request::get("/readyz").body(Vec::new())?;
            let Err(answer) = client.request_text(request).await else { return Ok(()) };
            for program in self.programs.lock().iter_mut() {
                if let Some(status) = program.child.try_wait()? {
                    bail!("{} ended ({status}): {}", program.name, tail(&program.log));
                }
            }
            if Instant::now() >= deadline {
                bail!(
                    "the API server is not ready after {START:?}: {answer}; see {}",
                    logs_of(&self.programs.lock())
                );
            }
        }
    }
}

/// The name of a node.
pub(crate) fn node_name(node: usize) -> String {
    format!("proc-{node}")
}

/// A client of a kubeconfig.
pub(crate) async fn client(kubeconfig: &str) -> Result<Client> {
    let config = Kubeconfig::from_yaml(kubeconfig)?;
    let mut config = kube::Config::from_custom_kubeconfig(config, &KubeConfigOptions::default()).await?;
    // Watches are quiet for minutes; the API server ends them.
    config.read_timeout = None;
    Ok(Client::try_from(config)?)
}

struct Flags<'a> {
    dir: &'a Path,
    logs: &'a Path,
}

impl Flags<'_> {
    fn file(&self, flag: &str, name: &str) -> String {
        format!("--{flag}={}", self.dir.join(name).display())
    }

    fn etcd(&self) -> Vec<String> {
        let _ = self;
        [
            format!("--data-dir={STATE}/etcd").as_str(),
            "--name=etcd",
            "--listen-client-urls=http://127.0.0.1:2379",
            "--advertise-client-urls=http://127.0.0.1:2379",
            "--listen-peer-urls=http://127.0.0.1:2380",
            "--initial-advertise-peer-urls=http://127.0.0.1:2380",
            "--initial-cluster=etcd=http://127.0.0.1:2380",
            // The data is in memory anyway.
            "--unsafe-no-fsync",
        ]
        .map(str::to_owned)
        .into()
    }

    fn api_server(&self) -> Vec<String> {
        let policy = root().join("tests/cluster/audit-policy.yaml");
        let mut flags = [
            "--etcd-servers=http://127.0.0.1:2379",
            "--bind-address=0.0.0.0",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction,OwnerReferencesPermissionEnforcement",
            "--service-account-issuer=https://kubernetes.default.svc.cluster.local",
            "--kubelet-preferred-address-types=InternalIP",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-username-headers=X-Remote-User",
            // Aggregated APIs are dialled at their endpoints; no packet filter translates ClusterIPs.
            "--enable-aggregator-routing=true",
            "--profiling=false",
        ]
        .map(str::to_owned)
        .to_vec();
        flags.extend([
            format!("--secure-port={PORT}"),
            // Not loopback: it is published as the endpoint of the Service `kubernetes`.
            format!("--advertise-address={MACHINE}"),
            format!("--service-cluster-ip-range={SERVICES}"),
            format!("--audit-policy-file={}", policy.display()),
            format!("--audit-log-path={}", self.logs.join("audit.log").display()),
            // Megabytes; whoever reads it reads all of it.
            "--audit-log-maxsize=4000".to_owned(),
            self.file("tls-cert-file", "apiserver.crt"),
            self.file("tls-private-key-file", "apiserver.key"),
            self.file("client-ca-file", "ca.crt"),
            self.file("service-account-key-file", "sa.pub"),
            self.file("service-account-signing-key-file", "sa.key"),
            self.file("kubelet-client-certificate", "apiserver-kubelet-client.crt"),
            self.file("kubelet-client-key", "apiserver-kubelet-client.key"),
            self.file("kubelet-certificate-authority", "ca.crt"),
            self.file("requestheader-client-ca-file", "front-proxy-ca.crt"),
            self.file("proxy-client-cert-file", "front-proxy-client.crt"),
            self.file("proxy-client-key-file", "front-proxy-client.key"),
        ]);
        flags
    }

    fn kubeconfig(&self, path: &Path) -> Vec<String> {
        let _ = self;
        ["kubeconfig", "authentication-kubeconfig", "authorization-kubeconfig"]
            .map(|flag| format!("--{flag}={}", path.display()))
            .into_iter()
            .chain(["--bind-address=127.0.0.1".to_owned(), "--leader-elect=false".to_owned()])
            .collect()
    }

    fn controllers(&self, node_grace: Duration) -> Vec<String> {
        let mut flags = [
            "--use-service-account-credentials=true",
            "--controllers=*,-node-ipam-controller,-persistentvolume-binder-controller,\
             -persistentvolume-attach-detach-controller,-persistentvolume-expander-controller",
            // Seconds instead of minutes, so that a lost node and a load are noticed within a test.
            "--node-monitor-period=1s",
            "--horizontal-pod-autoscaler-sync-period=2s",
            "--horizontal-pod-autoscaler-downscale-stabilization=10s",
            "--horizontal-pod-autoscaler-initial-readiness-delay=1s",
            "--horizontal-pod-autoscaler-cpu-initialization-period=2s",
        ]
        .map(str::to_owned)
        .to_vec();
        flags.extend([
            format!("--node-monitor-grace-period={}s", node_grace.as_secs()),
            self.file("service-account-private-key-file", "sa.key"),
            self.file("root-ca-file", "ca.crt"),
            self.file("cluster-signing-cert-file", "ca.crt"),
            self.file("cluster-signing-key-file", "ca.key"),
        ]);
        flags
    }
}

fn logs_of(programs: &[Program]) -> String {
    programs.iter().map(|program| program.log.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// The last lines of a log, for a message.
fn tail(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(10)..].join("\n")
}
