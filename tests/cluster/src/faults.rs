//! Faults on purpose: programs stopped and killed, pods cut off, nodes lost. Changes when a test needs another fault.

use std::net::IpAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use k8s_openapi::api::core::v1::Pod;
use rustix::process::{Pid, Signal, kill_process};

use crate::cluster::Cluster;
use crate::namespace;
use crate::partitions::Lossy;

impl Cluster {
    /// Sends a signal to the program of a container: `STOP` freezes it, `CONT` lets it go on, `KILL` ends it.
    pub fn signal(&self, pod: &Pod, container: &str, signal: Signal) -> Result<()> {
        send(self.host().pid(pod, container)?, signal)
    }

    /// Cuts a pod off from everything but itself, or connects it again.
    pub fn set_connected(&self, pod: &Pod, connected: bool) -> Result<()> {
        let link = self.host().link(pod)?;
        namespace::run(&format!("ip link set {link} {}", if connected { "up" } else { "down" }))
    }

    /// Cuts a pod off from a Service, by namespace and name, or connects it again. What is sent meanwhile comes late, in
    /// either direction. The API server is `("default", "kubernetes")`.
    pub fn set_reachable(&self, pod: &Pod, service: (&str, &str), reachable: bool) -> Result<()> {
        self.partitions().set_reachable(address(pod)?, service, reachable);
        Ok(())
    }

    /// Makes the path of a pod to a Service slow and lossy, or good again, for connections that are open, too.
    pub fn set_lossy(&self, pod: &Pod, service: (&str, &str), lossy: Option<Lossy>) -> Result<()> {
        self.partitions().set_lossy(address(pod)?, service, lossy);
        Ok(())
    }

    /// How often something was lost on all paths so far.
    pub fn lost(&self) -> usize {
        self.partitions().lost()
    }

    /// Gives a pod new tokens for its service account. They and those that follow are good for `lifetime`, which may be less
    /// than the ten minutes of the API server, and are renewed as any others; without it for as long as the pod asks for.
    pub async fn renew_tokens(&self, pod: &Pod, lifetime: Option<Duration>) -> Result<()> {
        self.host().renew_tokens(pod, lifetime).await
    }

    /// Sends a signal to a program of the control plane: `etcd`, `kube-apiserver`, `kube-controller-manager` or
    /// `kube-scheduler`.
    pub fn signal_control_plane(&self, program: &str, signal: Signal) -> Result<()> {
        send(self.plane().pid(program)?, signal)
    }

    /// Kills a program of the control plane and starts it again with the same flags and data, in a new log after the old.
    pub async fn restart(&self, program: &str) -> Result<()> {
        self.plane().restart(program).await
    }

    /// Copies what the cluster has stored, for [`Cluster::restore`].
    pub async fn save(&self) -> Result<()> {
        self.plane().save().await
    }

    /// Puts the cluster back to where it was when it was saved: everything that was made or changed since is not. Nodes,
    /// Services and names begin anew, as their programs have to after that; pods go on unless they are not there any more.
    pub async fn restore(&self) -> Result<()> {
        self.plane().restore().await?;
        self.begin_anew();
        Ok(())
    }

    /// Loses a node: its programs are killed, and it is heard of no more.
    pub fn lose_node(&self, index: usize) {
        self.nodes().lock().remove(&index);
    }
}

fn address(pod: &Pod) -> Result<IpAddr> {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.as_ref());
    Ok(address.context("a pod without an address")?.parse()?)
}

pub(crate) fn send(pid: u32, signal: Signal) -> Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).context("it has ended")?;
    kill_process(pid, signal).context("signalling")
}
