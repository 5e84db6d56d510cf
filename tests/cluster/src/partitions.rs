//! Pods that cannot reach single Services. Changes when a path can be cut in another way.
//!
//! What one side sends is held while the path is cut, and arrives when it is not any more: a network that loses packets
//! looks so to TCP, which sends them again.

use std::collections::BTreeSet;
use std::net::IpAddr;

use tokio::sync::watch;

/// From a pod to a Service, by namespace and name.
type Way = (IpAddr, String, String);

/// All paths that are cut.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitions(watch::Sender<BTreeSet<Way>>);

/// The path of one connection.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    way: Way,
    cut: watch::Receiver<BTreeSet<Way>>,
}

impl Partitions {
    pub(crate) fn set(&self, pod: IpAddr, (namespace, service): (&str, &str), reachable: bool) {
        let way = (pod, namespace.to_owned(), service.to_owned());
        self.0.send_modify(|cut| {
            if reachable {
                cut.remove(&way);
            } else {
                cut.insert(way);
            }
        });
    }

    pub(crate) fn path(&self, from: IpAddr, (namespace, service): (&str, &str)) -> Path {
        Path { way: (from, namespace.to_owned(), service.to_owned()), cut: self.0.subscribe() }
    }
}

impl Path {
    /// Returns as soon as the path is not cut.
    pub(crate) async fn open(&mut self) {
        // The sender ends with the cluster, and then nothing is cut.
        let _ = self.cut.wait_for(|cut| !cut.contains(&self.way)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_path_that_is_cut_waits() {
        let partitions = Partitions::default();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        partitions.set(one, ("default", "kubernetes"), false);
        partitions.path(other, ("default", "kubernetes")).open().await;
        partitions.path(one, ("default", "other")).open().await;
        let mut cut = partitions.path(one, ("default", "kubernetes"));
        let waiting = bridge_runtime::tasks::spawn("waiting", async move { cut.open().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        partitions.set(one, ("default", "kubernetes"), true);
        waiting.await.unwrap();
    }
}
