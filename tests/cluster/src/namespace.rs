//! A network, mount and process namespace of our own. Changes when a cluster needs another address or mount.
//!
//! Everything of a cluster lives in it: the ranges of pods and services are local addresses of this namespace and exist
//! nowhere else, and when its first process ends the kernel ends all others and drops addresses and mounts.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::Ipv4Addr;
use std::process::Command;
use std::{env, fs};

use anyhow::{Context as _, Result, ensure};

/// Says that we are inside already.
const MARK: &str = "BRIDGE_CLUSTER_NAMESPACE";
/// The address of the machine on the bridge of the pods; also the address of the API server.
pub(crate) const MACHINE: Ipv4Addr = Ipv4Addr::new(10, 244, 0, 1);
/// The range of Services: every address of it is local, so that a proxy can listen on it.
pub(crate) const SERVICES: &str = "10.96.0.0/16";
/// Where the API server is as a Service.
pub(crate) const KUBERNETES: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 1);
/// Where names are resolved.
pub(crate) const DNS: Ipv4Addr = Ipv4Addr::new(10, 96, 0, 10);
/// Files that end with the namespace: data of etcd, keys, volumes, root file systems.
pub(crate) const STATE: &str = "/run/bridge-cluster";

/// Whether this process is in a namespace made by [`command`].
pub fn inside() -> bool {
    env::var_os(MARK).is_some()
}

/// This program with `args`, in a namespace of its own, of which it will be the first process.
pub fn command(args: impl IntoIterator<Item = OsString>) -> Result<Command> {
    let program = env::current_exe().context("finding this program")?;
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "KILL", "--", "unshare", "--net", "--mount", "--propagation", "private"]);
    command.args(["--pid", "--fork", "--kill-child", "--mount-proc", "--"]).arg(program).args(args);
    command.env(MARK, "1");
    Ok(command)
}

/// Makes addresses and mounts, once, before anything is started.
///
/// # Errors
/// Where a default route is: traffic to pods and services must never be able to leave.
pub(crate) fn prepare(nodes: usize) -> Result<()> {
    ensure!(inside(), "a cluster runs in a namespace of its own; start it through namespace::command");
    let routes = fs::read_to_string("/proc/net/route").context("reading the routes")?;
    ensure!(
        !has_default(&routes),
        "this network namespace has a default route; a cluster runs only where no packet can leave"
    );
    let mut script = format!(
        "mount -t tmpfs -o mode=755 tmpfs /run
        mkdir -p {STATE} /run/netns
        ip link set lo up
        ip link add pods type bridge
        ip address add {MACHINE}/16 dev pods
        ip link set pods up
        ip route add local {SERVICES} dev lo\n"
    );
    for node in 0..nodes {
        let _ = writeln!(script, "ip address add {}/32 dev pods", node_address(node)?);
    }
    run(&script).context("preparing the namespace")
}

/// The address of a node.
pub(crate) fn node_address(node: usize) -> Result<Ipv4Addr> {
    let last = u8::try_from(10 + node).context("at most 240 nodes")?;
    Ok(Ipv4Addr::new(10, 244, 0, last))
}

/// Runs a few shell commands and tells what they complained of.
pub(crate) fn run(script: &str) -> Result<()> {
    let output = Command::new("/bin/sh").args(["-euc", script]).output().context("starting sh")?;
    ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr).trim());
    Ok(())
}

fn has_default(routes: &str) -> bool {
    routes.lines().skip(1).any(|line| {
        let mut fields = line.split_whitespace();
        fields.nth(1) == Some("00000000") && fields.nth(5) == Some("00000000")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_default_route_is_recognised() {
        let head = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\n";
        assert!(has_default(&format!("{head}eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n")));
        assert!(!has_default(&format!("{head}pods\t0000F40A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n")));
        assert!(!has_default(head));
    }
}
