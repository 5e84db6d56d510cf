//! The network namespace of a pod, and containers as processes in it. Changes when isolation does.
//!
//! A container sees the root file system of this machine through an overlay, which takes its writes, with its volumes and
//! the programs of its image mounted in. Its process is the program itself: everything before it replaces itself.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::{Container, Pod};
use tokio::io::AsyncReadExt as _;
use tokio::process::{Child, Command};

use crate::images::Program;
use crate::namespace::{DNS, MACHINE, STATE, run};

/// A pod's own network and folder; both go away with it.
#[derive(Debug)]
pub(super) struct Sandbox {
    /// Of the pod.
    pub(super) address: Ipv4Addr,
    /// Of its node.
    pub(super) host: Ipv4Addr,
    /// For volumes and the writes of containers.
    pub(super) dir: PathBuf,
    /// Its end of the pod's link.
    pub(super) link: String,
    network: String,
}

/// What a container runs.
#[derive(Debug)]
pub(super) struct CommandLine {
    pub(super) words: Vec<String>,
    pub(super) variables: BTreeMap<String, String>,
}

/// A container about to be started.
#[derive(Debug)]
pub(super) struct Launch {
    pub(super) command: CommandLine,
    pub(super) mounts: Vec<Mount>,
    /// The file that its output is added to.
    pub(super) log: PathBuf,
}

/// A file or folder of this machine that a container sees at `target`.
#[derive(Debug)]
pub(super) struct Mount {
    pub(super) source: PathBuf,
    pub(super) target: PathBuf,
    pub(super) read_only: bool,
}

impl Sandbox {
    /// Makes the network of a pod. `number` is unique in the cluster.
    pub(super) fn new(pod: &Pod, number: u16, host: Ipv4Addr) -> Result<Self> {
        let [high, low] = number.to_be_bytes();
        // The first 256 addresses of the range are for nodes.
        let address = Ipv4Addr::new(10, 244, high + 1, low);
        let network = format!("pod-{number}");
        let link = format!("v{number}");
        let dir = PathBuf::from(STATE).join("pods").join(pod.metadata.uid.as_deref().unwrap_or_default());
        fs::create_dir_all(&dir)?;
        run(&format!(
            "ip netns add {network}
            ip link add {link} type veth peer name eth0 netns {network}
            ip link set {link} master pods up
            ip -n {network} address add {address}/16 dev eth0
            ip -n {network} link set lo up
            ip -n {network} link set eth0 up
            ip -n {network} route add default via {MACHINE}"
        ))
        .context("making the network of a pod")?;
        let namespace = pod.metadata.namespace.as_deref().unwrap_or_default();
        fs::write(
            dir.join("resolv.conf"),
            format!(
                "search {namespace}.svc.cluster.local svc.cluster.local cluster.local\n\
                 nameserver {DNS}\noptions ndots:5 timeout:2\n"
            ),
        )?;
        let name = pod.metadata.name.as_deref().unwrap_or_default();
        fs::write(dir.join("hosts"), format!("127.0.0.1 localhost\n::1 localhost\n{address} {name}\n"))?;
        Ok(Self { address, host, dir, link, network })
    }

    /// Starts a container's program, and waits until it is what runs. It leads a process group and writes to `log`.
    pub(super) async fn start(
        &self,
        pod: &Pod,
        container: &Container,
        image: &Program,
        launch: &Launch,
    ) -> Result<Child> {
        let Launch { command, mounts, log } = launch;
        let log =
            File::options().create(true).append(true).open(log).context("opening the log of a container")?;
        let root = self.dir.join("containers").join(&container.name);
        // A container that starts again starts from its image.
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        for part in ["root", "upper", "work"] {
            fs::create_dir_all(root.join(part))?;
        }
        // Standard input until the program has its place: it ends when the program, which gets none, takes over.
        let (ours, theirs) = UnixStream::pair()?;
        let child = Command::new("/usr/bin/nsenter")
            .arg(format!("--net=/run/netns/{}", self.network))
            .args(["--", "/usr/bin/unshare", "--mount", "--propagation", "private", "--", "/bin/sh", "-euc"])
            .arg(self.script(&root, image, mounts)?)
            .arg(inside(pod, container, mounts, image))
            .args(&command.words)
            .env_clear()
            .envs(&command.variables)
            .stdin(OwnedFd::from(theirs))
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0)
            .kill_on_drop(true)
            .spawn()
            .context("starting nsenter")?;
        ours.set_nonblocking(true)?;
        tokio::net::UnixStream::from_std(ours)?.read_to_end(&mut Vec::new()).await?;
        Ok(child)
    }

    /// What to do before the root changes. `$0` is what to do after it, `$@` the command line.
    fn script(&self, root: &Path, program: &Program, mounts: &[Mount]) -> Result<String> {
        let base = root.display();
        let dir = self.dir.display();
        let mut script = format!(
            "path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin; cd {base}
            mount -t overlay -o lowerdir=/,upperdir={base}/upper,workdir={base}/work overlay root
            mount --rbind /proc root/proc
            mount --rbind /dev root/dev
            mount -t tmpfs -o mode=1777 tmpfs root/tmp
            rm -f root/etc/resolv.conf root/etc/hosts
            cp {dir}/resolv.conf {dir}/hosts root/etc/
            mkdir -p root/.mounts root/usr/local/bin
            mount -t tmpfs tmpfs root/.mounts\n"
        );
        for program in &program.programs {
            let name = program.file_name().context("a program has a name")?;
            let (from, to) = (quote(program), quote(&Path::new("root/usr/local/bin").join(name)));
            let _ = writeln!(script, "rm -f {to}; : >{to}; mount --bind -o ro {from} {to}");
        }
        let files = program.files.iter().map(|(from, _)| from.as_path());
        for (index, from) in mounts.iter().map(|mount| mount.source.as_path()).chain(files).enumerate() {
            let make = if from.is_dir() { "mkdir" } else { ": >" };
            let from = quote(from);
            let _ = writeln!(script, "{make} root/.mounts/{index}; mount --bind {from} root/.mounts/{index}");
        }
        script.push_str("PATH=$path exec /usr/sbin/chroot root /bin/sh -euc \"$0\" sh \"$@\"");
        Ok(script)
    }

    /// Ends the network and removes the folder.
    pub(super) fn remove(&self) -> Result<()> {
        run(&format!("ip netns delete {}", self.network))?;
        fs::remove_dir_all(&self.dir).with_context(|| self.dir.display().to_string())
    }
}

/// What to do inside the new root: paths, links among them, mean what they mean to the container.
fn inside(pod: &Pod, container: &Container, mounts: &[Mount], program: &Program) -> String {
    let mut script = "path=$PATH; PATH=/usr/sbin:/usr/bin:/sbin:/bin\n".to_owned();
    let targets = mounts.iter().map(|mount| (mount.target.as_path(), mount.read_only));
    let files = program.files.iter().map(|(_, place)| (place.as_path(), true));
    for (index, (target, read_only)) in targets.chain(files).enumerate() {
        let option = if read_only { "-o ro " } else { "" };
        let target = quote(target);
        let _ = writeln!(
            script,
            "if [ -d /.mounts/{index} ]; then mkdir -p {target}; \
             else mkdir -p \"$(dirname {target})\"; [ -e {target} ] || : >{target}; fi
            mount --bind {option}/.mounts/{index} {target}"
        );
    }
    script.push_str("umount -l /.mounts; rmdir /.mounts\n");
    let of_pod = pod.spec.as_ref().and_then(|spec| spec.security_context.as_ref());
    let own = container.security_context.as_ref();
    if own.and_then(|own| own.read_only_root_filesystem) == Some(true) {
        script.push_str("mount -o remount,bind,ro /tmp; mount -o remount,bind,ro /\n");
    }
    if let Some(dir) = &container.working_dir {
        let _ = writeln!(script, "cd {}", quote(Path::new(dir)));
    }
    let user = own.and_then(|own| own.run_as_user).or_else(|| of_pod.and_then(|pod| pod.run_as_user));
    let group = own.and_then(|own| own.run_as_group).or_else(|| of_pod.and_then(|pod| pod.run_as_group));
    let more = of_pod.and_then(|pod| pod.fs_group);
    script.push_str("PATH=${path:-/usr/local/bin:/usr/bin:/bin}\nexec /usr/bin/setpriv ");
    if let Some(user) = user.or_else(|| group.map(|_| 0)) {
        let _ = write!(script, "--reuid={user} --regid={} ", group.unwrap_or(0));
        match more {
            Some(more) => _ = write!(script, "--groups={more} "),
            None => script.push_str("--clear-groups "),
        }
    }
    if own.and_then(|own| own.allow_privilege_escalation) == Some(false) {
        script.push_str("--no-new-privs ");
    }
    script.push_str("-- \"$@\" </dev/null");
    script
}

/// As one word of a shell.
fn quote(path: &Path) -> String {
    format!("'{}'", path.to_string_lossy().replace('\'', r"'\''"))
}
