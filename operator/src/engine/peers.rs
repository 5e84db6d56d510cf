//! Pods of a gateway are told of each other. Changes when another pod counts as one of them.

use std::collections::BTreeMap;
use std::net::IpAddr;

use bridge_api::meta::GATEWAY_UID_LABEL;
use bridge_snapshot::push::Peer;
use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kube::ResourceExt as _;

use super::Engine;

impl Engine {
    /// Tells pods which others there are, as far as that is different. Who does not see the cluster knows of nobody that he
    /// is gone.
    pub(super) fn introduce(&mut self) {
        let sees = self.missing.is_empty() && self.sight.is_clear();
        let same = self.introduced.as_ref().is_some_and(|pods| pods.is(&self.world.pods));
        if !sees || same {
            return;
        }
        let pods = self.world.pods.clone();
        let mut by_gateway: BTreeMap<&str, Vec<Peer>> = BTreeMap::new();
        for pod in pods.values() {
            if let (Some(of), Some(peer)) = (pod.labels().get(GATEWAY_UID_LABEL), peer(pod)) {
                by_gateway.entry(of).or_default().push(peer);
            }
        }
        for name in self.gateways.keys().cloned().collect::<Vec<_>>() {
            let uid = self.world.gateways.get(&name).and_then(|gateway| gateway.metadata.uid.clone());
            let peers = uid.and_then(|uid| by_gateway.remove(&*uid)).unwrap_or_default();
            self.with(&name, |gateway| gateway.publisher.peers(peers));
        }
        self.introduced = Some(pods);
    }
}

/// A pod as others know it; `None` for one that is not there yet, or about to end.
fn peer(pod: &Pod) -> Option<Peer> {
    let (meta, status) = (&pod.metadata, pod.status.as_ref()?);
    let ended = matches!(status.phase.as_deref(), Some("Succeeded" | "Failed"));
    let addresses = addresses(status);
    if meta.deletion_timestamp.is_some() || ended || addresses.is_empty() {
        return None;
    }
    Some(Peer { pod: meta.name.clone()?, uid: meta.uid.clone()?, addresses })
}

fn addresses(status: &PodStatus) -> Vec<IpAddr> {
    let listed = status.pod_ips.iter().flatten().map(|one| &one.ip);
    let mut addresses: Vec<IpAddr> = listed.filter_map(|address| address.parse().ok()).collect();
    if addresses.is_empty() {
        addresses.extend(status.pod_ip.iter().filter_map(|address| address.parse::<IpAddr>().ok()));
    }
    addresses
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn seen(pod: Value) -> Option<Peer> {
        peer(&serde_json::from_value(pod).unwrap())
    }

    #[test]
    fn a_pod_counts_from_its_address_to_the_beginning_of_its_end() {
        let meta = json!({"name": "main-1", "uid": "u"});
        assert_eq!(seen(json!({"metadata": meta})), None);
        assert_eq!(seen(json!({"metadata": meta, "status": {"phase": "Pending"}})), None);
        let status = json!({"phase": "Pending", "podIP": "10.0.0.1", "podIPs": [{"ip": "10.0.0.1"}, {"ip": "fd00::1"}]});
        let addresses = vec!["10.0.0.1".parse().unwrap(), "fd00::1".parse().unwrap()];
        let known = Peer { pod: "main-1".into(), uid: "u".into(), addresses };
        assert_eq!(seen(json!({"metadata": meta, "status": status})), Some(known));
        let going = json!({"name": "main-1", "uid": "u", "deletionTimestamp": "2026-11-26T20:00:00Z"});
        assert_eq!(seen(json!({"metadata": going, "status": status})), None);
        // Evicted: it keeps its address and is not deleted.
        let ended = json!({"phase": "Failed", "podIP": "10.0.0.1"});
        assert_eq!(seen(json!({"metadata": meta, "status": ended})), None);
        let single = json!({"phase": "Running", "podIP": "10.0.0.1"});
        assert_eq!(
            seen(json!({"metadata": meta, "status": single})).map(|peer| peer.addresses.len()),
            Some(1)
        );
    }
}
