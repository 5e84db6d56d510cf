//! Pods that reach single Services badly or not at all. Changes when a path can be bad in another way.
//!
//! What one side sends is held while the path is cut, and arrives when it is not any more; on a lossy path everything takes its
//! time, and what is lost takes longer: a network that loses packets looks so to TCP, which sends them again. Kernels that we
//! test on have no `netem`, which would lose the packets themselves.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::sleep;

/// From a pod to a Service, by namespace and name.
type Way = (IpAddr, String, String);

/// A path that is slow and loses what is sent. No more is on its way at once than one read of the proxy, 16 KiB.
#[derive(Clone, Copy, Debug)]
pub struct Lossy {
    /// In each direction.
    pub delay: Duration,
    /// One of so many is lost.
    pub one_in: usize,
    /// Until what was lost is sent again.
    pub again: Duration,
}

#[derive(Clone, Copy, Debug)]
enum Trouble {
    Cut,
    Lossy(Lossy),
}

/// All paths that are not as they should be.
#[derive(Clone, Debug, Default)]
pub(crate) struct Partitions {
    troubles: watch::Sender<BTreeMap<Way, Trouble>>,
    lost: Arc<AtomicUsize>,
}

/// The path of one direction of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Path {
    way: Way,
    troubles: watch::Receiver<BTreeMap<Way, Trouble>>,
    sent: usize,
    lost: Arc<AtomicUsize>,
}

impl Partitions {
    pub(crate) fn set_reachable(&self, pod: IpAddr, service: (&str, &str), reachable: bool) {
        self.set(pod, service, (!reachable).then_some(Trouble::Cut));
    }

    pub(crate) fn set_lossy(&self, pod: IpAddr, service: (&str, &str), lossy: Option<Lossy>) {
        self.set(pod, service, lossy.map(Trouble::Lossy));
    }

    fn set(&self, pod: IpAddr, (namespace, service): (&str, &str), trouble: Option<Trouble>) {
        let way = (pod, namespace.to_owned(), service.to_owned());
        self.troubles.send_modify(|all| {
            if let Some(trouble) = trouble {
                all.insert(way, trouble);
            } else {
                all.remove(&way);
            }
        });
    }

    /// How often something was lost so far.
    pub(crate) fn lost(&self) -> usize {
        self.lost.load(Ordering::Relaxed)
    }

    pub(crate) fn path(&self, from: IpAddr, (namespace, service): (&str, &str)) -> Path {
        let way = (from, namespace.to_owned(), service.to_owned());
        Path { way, troubles: self.troubles.subscribe(), sent: 0, lost: Arc::clone(&self.lost) }
    }
}

impl Path {
    /// Returns when what was sent has arrived.
    pub(crate) async fn pass(&mut self) {
        let way = &self.way;
        let open = self.troubles.wait_for(|all| !matches!(all.get(way), Some(Trouble::Cut))).await;
        // The sender ends with the cluster, and then nothing is in the way.
        let trouble = open.ok().and_then(|all| all.get(way).copied());
        if let Some(Trouble::Lossy(lossy)) = trouble {
            sleep(self.takes(lossy)).await;
        }
    }

    /// How long what is sent next takes.
    fn takes(&mut self, lossy: Lossy) -> Duration {
        self.sent += 1;
        if !self.sent.is_multiple_of(lossy.one_in) {
            return lossy.delay;
        }
        self.lost.fetch_add(1, Ordering::Relaxed);
        lossy.delay + lossy.again
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn only_the_path_that_is_cut_waits() {
        let partitions = Partitions::default();
        let [one, other] = [[10, 0, 0, 1], [10, 0, 0, 2]].map(IpAddr::from);
        partitions.set_reachable(one, ("default", "kubernetes"), false);
        partitions.path(other, ("default", "kubernetes")).pass().await;
        partitions.path(one, ("default", "other")).pass().await;
        let mut cut = partitions.path(one, ("default", "kubernetes"));
        let waiting = bridge_runtime::tasks::spawn("waiting", async move { cut.pass().await });
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        partitions.set_reachable(one, ("default", "kubernetes"), true);
        waiting.await.unwrap();
    }

    #[test]
    fn what_is_lost_takes_longer() {
        let partitions = Partitions::default();
        let mut path = partitions.path(IpAddr::from([10, 0, 0, 1]), ("here", "far"));
        let [delay, again] = [250, 1000].map(Duration::from_millis);
        let took = [(); 4].map(|()| path.takes(Lossy { delay, one_in: 3, again }).as_millis());
        assert_eq!(took, [250, 250, 1250, 250]);
        assert_eq!(partitions.lost(), 1);
    }
}
